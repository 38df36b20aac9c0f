"""How agents look at the cluster: through the watch cache while it is fresh, else by asking the API server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hamgr.executor.agent import ActionContext, ActionResult, ActionTimeout
from hamgr.kube.errors import Conflict, NotFound, Unavailable
from hamgr.kube.nodes import boot_id
from hamgr.kube.objects import NODE, PV, PVC, Kind, Obj, name_of, namespace_of, uid_of
from hamgr.kube.parked import Clearing, Disks
from hamgr.kube.volumes import Volume, attach_required, in_use, resolve_claim, resolve_pv, volume_of

if TYPE_CHECKING:
    from hamgr.kube.cache import Cache
    from hamgr.kube.gateway import Kube

_FRESH_S = 3.0
_ASK_S = 2.0  # well below a monitor's timeout: a hung API server must not look like a hung resource
_REREAD_S = 2.0
_RETRY_S = 0.25
_REJUDGE_S = 0.01  # the first pause after a conflict: another writer was faster, by a moment as a rule


@dataclass(frozen=True, slots=True)
class Access:
    """The two ways to Kubernetes, present for sure."""

    kube: Kube
    cache: Cache


def access(ctx: ActionContext) -> Access:
    """The context's gateway and cache. Raises RuntimeError in an executor that was set up without."""
    if ctx.kube is None or ctx.cache is None:
        raise RuntimeError("this agent needs Kubernetes, but the executor was set up without it")
    return Access(ctx.kube, ctx.cache)


def look_up(ctx: ActionContext, kind: Kind, name: str, namespace: str = "") -> Obj | None:
    """One object of a watched kind, at most three seconds old. Good for judging, not for proving. Raises KubeError.

    It may be older than what an action before this one has read from the API server: what would be a failure is to be
    looked at with `ask_for` before it is told.
    """
    via = access(ctx)
    if via.cache.staleness_s(kind) <= _FRESH_S:
        return via.cache.get(kind, name, namespace)
    return ask_for(ctx, kind, name, namespace)


def ask_for(ctx: ActionContext, kind: Kind, name: str, namespace: str = "") -> Obj | None:
    """One object as the API server has it now, None when there is none. Raises KubeError."""
    try:
        return access(ctx).kube.get(kind.path(name, namespace), timeout_s=max(min(_ASK_S, ctx.left_s() / 2), 0.1))
    except NotFound:
        return None


def volume_behind(ctx: ActionContext, namespace: str, claim: str) -> Volume:
    """The disk of a claim. A claim's volume never changes, so the cache is good enough where it knows it.

    Raises NotFound, UnusableVolume.
    """
    via = access(ctx)
    pvc = via.cache.get(PVC, claim, namespace)
    if pvc is not None and (pvc.get("status") or {}).get("phase") == "Bound":
        pv = via.cache.get(PV, str((pvc.get("spec") or {}).get("volumeName")))
        if pv is not None:
            return volume_of(pv)
    return resolve_claim(via.kube, namespace, claim)


def volume_named(ctx: ActionContext, pv: str) -> Volume:
    """The disk of a PersistentVolume. Raises NotFound, UnusableVolume."""
    via = access(ctx)
    known = via.cache.get(PV, pv)
    return volume_of(known) if known is not None else resolve_pv(via.kube, pv)


def why_held(ctx: ActionContext, volume: Volume, node: str) -> str:
    """Why it is not proved that the node has let go of the volume; empty: it is proved.

    Proof is the word of the node's own hamgrd that nothing of it is mounted, or the kubelet's last report without it:
    a kubelet lists a volume before it mounts it and until it is unmounted, and a dead one's list stays as it was.
    To be asked when no pod object on that node uses the volume any more.
    """
    said = ctx.unmounted(node, volume)
    if said is True:
        return ""
    if not attach_required(access(ctx).kube, volume.driver):  # the kubelet's report names attachable volumes only
        return (
            f"driver {volume.driver} attaches nothing, so only the hamgrd on {node} can say that {volume.pv} is "
            "unmounted there, and it has not"
        )
    try:
        current = access(ctx).kube.get(NODE.path(node))
    except NotFound:
        return f"node {node} is unknown to Kubernetes, so nobody can say whether it still mounts {volume.pv}"
    if volume.unique_name not in in_use(current):
        return ""
    if said is False:
        return f"{volume.pv} is still mounted on {node}, says the hamgrd there"
    return f"the kubelet of {node} has not reported yet that {volume.pv} is unmounted (status.volumesInUse)"


def why_not_gone(ctx: ActionContext, pod: Obj, volumes: Sequence[str]) -> str:
    """Why it is not proved that nothing of a pod without an object runs on its node any more; empty: it is proved.

    ``pod`` is its last state; ``volumes`` are those on account of which that matters. A grace period that is over
    proves nothing, since its kubelet may hang. The node's own hamgrd, which looks for the pod's processes and mounts,
    does; and so does another boot of the node than the one in which the object went: it ends all processes.
    """
    said = ctx.departed(ctx.node, uid_of(pod))
    if said is True:
        return ""
    via = access(ctx)
    then = via.cache.last_boot(name_of(pod), namespace_of(pod))
    try:
        now = boot_id(via.kube.get(NODE.path(ctx.node)))
    except NotFound:
        now = ""
    if then and now and then != now:
        return ""
    if said is False:
        return f"processes or mounts of UID {uid_of(pod)} are still there, says the hamgrd on {ctx.node}"
    return f"only the hamgrd on {ctx.node} can say that nothing runs of UID {uid_of(pod)}, which wrote to {volumes[0]}"


def clearing(ctx: ActionContext, disks: Disks, resource: str = "") -> Callable[[], str]:
    """A step of a stop that comes before anything is released: it says which parked pod still has to go; empty: none.

    Of ``resource``, or of any that waits for one of these disks.
    """
    stay = ctx.parked_may_stay
    if stay is None:
        return lambda: ""
    under_way = Clearing(access(ctx).kube, ctx.cluster, ctx.clock)
    return lambda: under_way.step(disks, resource, stay)


@dataclass(frozen=True, slots=True)
class Due:
    """What a step waits for when time alone brings it, and in how many seconds."""

    reason: str
    in_s: float


def settle(
    ctx: ActionContext,
    step: Callable[[], ActionResult | Due | str],
    watched: Callable[[], object],
    pause_s: float = _REREAD_S,
) -> ActionResult:
    """Call ``step`` now, whenever ``watched()`` changes in the cache, and every ``pause_s``, until it has a result.

    A text from ``step`` says what it still waits for, a `Due` also when to look again. An API server that does not
    answer, or an object that changed under our hands, is waited for as well: an outage of some seconds must not make a
    stop fail, and with it the node.
    Whether the action is over, called off or out of time, is asked before each step: what comes after that is for
    whoever leads then. Raises ActionTimeout with the last text, KubeError for what waiting does not cure.
    """
    cache = access(ctx).cache
    reason, conflicts = "it had not begun", 0
    while not ctx.over():
        before = watched()
        try:
            outcome = step()
        except Conflict as error:  # judged on what is not so any more: read it anew, at once
            outcome = Due(error.message, min(_REJUDGE_S * 2.0**conflicts, _RETRY_S))
            conflicts += 1
        except Unavailable as error:
            outcome = Due(error.message, _RETRY_S)
        if isinstance(outcome, ActionResult):
            return outcome
        due = outcome if isinstance(outcome, Due) else Due(outcome, pause_s)
        reason = due.reason
        if ctx.over():
            break
        cache.wait_for(partial(_moved, watched, before), min(due.in_s, ctx.left_s()), ctx.cancelled)
    raise ActionTimeout(reason)


def _moved(watched: Callable[[], object], before: object) -> bool | None:
    return watched() != before or None
