"""The `pod` agent: one pod on one node, created, watched and ended by hamgr itself.

No controller of Kubernetes owns the pod, so nobody makes a second one; its name is the resource's and the node's, so
that one node cannot have two. Its kubelet restarts crashed containers in place within a second, and is given
``restart_grace`` for that before the cluster takes over. Stopping means that the kubelet has confirmed the end.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

from hamgr.executor.agent import ActionContext, ActionResult, Agent
from hamgr.executor.metadata import Action, Metadata, Parameter
from hamgr.executor.ocf import Ocf
from hamgr.kube.errors import AlreadyExists, Conflict, Forbidden, Invalid, NotFound
from hamgr.kube.objects import (
    ANNOTATION_PARKED,
    LABEL_CLUSTER,
    LABEL_NODE,
    LABEL_RESOURCE,
    NODE,
    POD,
    PV,
    PVC,
    VOLUME_ATTACHMENT,
    Kind,
    Obj,
    annotations_of,
    is_terminating,
    name_of,
    namespace_of,
    revision_of,
    uid_of,
)
from hamgr.kube.pods import (
    Judgement,
    PodState,
    bind,
    delete_gracefully,
    ended_cleanly,
    find,
    has_ended,
    has_run,
    is_ours,
    is_parked,
    is_rejected,
    is_unbound,
    judge_pod,
    node_of,
    of_resource,
)
from hamgr.kube.volumes import (
    SINGLE_WRITER,
    UnboundClaim,
    UnusableVolume,
    Volume,
    attachments,
    attachments_among,
    claims_of,
    users_of_claim,
    written_sources,
)
from hamgr_agents.observation import access, ask_for, clearing, look_up, settle, volume_behind, why_held, why_not_gone
from hamgr_agents.pod_template import (
    ANNOTATION_TEMPLATE,
    TemplateError,
    TemplateNotThere,
    essence,
    parked,
    parse_source,
    parse_template,
    pod_name,
    references,
    render,
    simple_template,
    workload_template,
)
from hamgr_agents.rivals import Rival, claims_of_disk, rivals

_UNCONFIRMED = "removed without its kubelet's confirmation"
_SOURCES = ("template", "template_from", "image")  # what a pod is made from: one of them

PARAMETERS = (
    Parameter("namespace", "Namespace of the pod", default="default"),
    Parameter(
        "template",
        "Pod template. A mapping with metadata and spec as in a Deployment, or a bare pod spec.",
        type="object",
    ),
    Parameter(
        "template_from",
        "Existing workload whose template is used. deployment/NAME or statefulset/NAME, scaled to 0; of a StatefulSet, "
        "its first pod: with the claims TEMPLATE-NAME-0, and outside of clones its host name NAME-0 and subdomain.",
    ),
    Parameter("image", "Image of a pod of one container, instead of a template"),
    Parameter("port", "TCP port that container serves, probed for readiness", type="integer"),
    Parameter("claim", "Claim that container mounts at mount_path"),
    Parameter("mount_path", "Where that container mounts the claim"),
    Parameter(
        "shared_claims",
        "Claims that other resources' pods write to as well, separated by commas. Only for access mode ReadWriteMany: "
        "of any other, whatever is said here, one pod at a time is started.",
        reloadable=True,
    ),
    Parameter(
        "restart_grace",
        "Time for the kubelet to restart a crashed container in place. Only after that the cluster recovers the pod.",
        type="duration",
        default="10s",
        reloadable=True,
    ),
    Parameter(
        "park",
        "Keep a parked pod on the node that would take over. It waits there for the volume, which saves seconds. "
        "Only with drivers in fencing.drivers: Kubernetes may start it without asking for a proof.",
        type="boolean",
        default="true",
        reloadable=True,
    ),
)
ACTIONS = (
    Action("start", timeout_s=120),
    Action("stop", timeout_s=90),
    Action("monitor", timeout_s=20, interval_s=10),
    Action("reload-agent", timeout_s=20),
    Action("validate-all", timeout_s=20),
    Action("meta-data", timeout_s=5),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What an application says: ``trouble`` counts against it, a ``remark`` is for people.

    heard: it has said so itself, from the pod's own address.
    """

    trouble: str = ""
    remark: str = ""
    heard: bool = False


class Turns:
    """One start at a time for each claim. Two resources of one claim may be started at once, by two workers of the
    leader: each would look for the other, see nothing, and make its pod.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._locks: dict[tuple[str, str], threading.Lock] = {}

    @contextlib.contextmanager
    def of(self, namespace: str, claims: Iterable[str]) -> Iterator[None]:
        """Wait for one's turn with some claims, each of them; others wait while one looks and makes its pod."""
        with contextlib.ExitStack() as held:
            for claim in sorted(set(claims)):  # in one order, so that no two wait for each other
                with self._guard:
                    lock = self._locks.setdefault((namespace, claim), threading.Lock())
                held.enter_context(lock)
            yield


_TURNS = Turns()  # of all agents that make pods


class PodAgent(Agent):
    """See the module."""

    recheck_s: ClassVar[float] = 2.0
    """How often a waiting start looks again when no watch has said anything."""

    metadata: ClassVar[Metadata] = Metadata(
        name="pod",
        version="1.0",
        shortdesc="Runs one pod on one node",
        longdesc=(
            "Creates a pod bound to the node where the resource is active, waits until it is ready, and ends it "
            "gracefully: it counts as stopped when its kubelet has confirmed that."
        ),
        parameters=PARAMETERS,
        actions=ACTIONS,
        exactly_one_of=(("template", "template_from", "image"),),
    )

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._unready: dict[tuple[str, str], tuple[str, float]] = {}  # (resource, node): pod UID, since (monotonic)

    def to_record(self, params: Mapping[str, str]) -> dict[str, str]:
        """The template without what does not matter for the end of its pod."""
        kept = super().to_record(params)
        return kept | {"template": essence(kept["template"])} if kept.get("template") else kept

    def other_actions(self) -> Mapping[str, Callable[[ActionContext], ActionResult]]:
        """``park`` and ``unpark``, by which the controller keeps a standby pod where it would need one."""
        return {"park": self.park, "unpark": self.unpark}

    # -- start ---------------------------------------------------------------------------------------------------

    def start(self, ctx: ActionContext) -> ActionResult:
        """OK once the pod on this node is ready: a new one, the one that was parked there, or one that runs."""

        made: set[str] = set()  # UIDs of pods that this very start has created

        def step() -> ActionResult | str:
            wanted = self._wanted_or_why_not(ctx)
            if isinstance(wanted, ActionResult):
                return wanted
            try:
                return self._step_towards_ready(ctx, wanted, made)
            except (Forbidden, NotFound) as error:
                # A quota, an admission policy, a ServiceAccount or namespace that is not there (yet, or again).
                return _waits(f"pod {name_of(wanted)} cannot be created: {error.message}")
            except Invalid as error:
                return ActionResult(Ocf.ERR_CONFIGURED, f"pod {name_of(wanted)} cannot be created: {error.message}")

        result = settle(ctx, step, self._pod_watch(ctx), self.recheck_s)
        self._forget_trouble(ctx)
        return result

    def may_start(self, ctx: ActionContext) -> ActionResult:
        """OK: everything that can be looked at is there. A refusal by the API server cannot be."""
        wanted = self._wanted_or_why_not(ctx)
        if isinstance(wanted, ActionResult):
            return wanted if wanted.waiting else ActionResult(Ocf.OK)
        if missing := self._missing(ctx, wanted):
            return _waits(f"pod {name_of(wanted)} cannot start: {missing}")
        return ActionResult(Ocf.OK)

    def _wanted_or_why_not(self, ctx: ActionContext) -> Obj | ActionResult:
        try:
            return self.wanted(ctx)
        except TemplateNotThere as error:
            return _waits(str(error))
        except TemplateError as error:
            return ActionResult(Ocf.ERR_CONFIGURED, str(error))

    def _step_towards_ready(self, ctx: ActionContext, wanted: Obj, made: set[str]) -> ActionResult | str:
        name = name_of(wanted)
        if (elsewhere := self._clear_other_nodes(ctx)) is not None:
            return elsewhere
        pod = find(access(ctx).kube, name, ctx.text("namespace"))
        if pod is None or self._is_leftover(ctx, pod):
            return self._create(ctx, wanted, made, pod)
        if not is_ours(pod, ctx.cluster, ctx.resource):
            return ActionResult(Ocf.ERR_GENERIC, f"a pod {name} exists that is not this resource's: delete it first")
        judged = judge_pod(pod)
        outdated = annotations_of(pod).get(ANNOTATION_TEMPLATE) != annotations_of(wanted)[ANNOTATION_TEMPLATE]
        if judged.state is PodState.TERMINATING:
            return f"an earlier pod {name} is still being stopped"
        if judged.state is PodState.ENDED and uid_of(pod) in made:
            return ActionResult(Ocf.ERR_GENERIC, judged.why)  # another one would fare no better here
        if judged.state is PodState.ENDED or (is_parked(pod) and outdated):
            delete_gracefully(access(ctx).kube, pod)
            return f"an earlier pod {name} has to go first"
        if judged.state is PodState.BLOCKED and not has_run(pod) and (missing := self._missing(ctx, wanted)):
            delete_gracefully(access(ctx).kube, pod)  # what waits must not come alive by itself
            return f"pod {name} has to go first: {missing}"
        if ANNOTATION_PARKED in annotations_of(pod):
            with _TURNS.of(ctx.text("namespace"), claims_of(pod)):
                if (rival := self._rival(ctx, pod)) is not None:
                    return self._beside(name, rival)
                self._adopt(ctx, pod)
        return self._progress(ctx, pod, judge_pod(_unmarked(pod)))

    def _clear_other_nodes(self, ctx: ActionContext) -> ActionResult | str | None:
        """Send away this resource's parked pods on other nodes; what else of it is there, None for nothing.

        Deletion takes a pod that never ran out of the race for the volume at once, whether its kubelet lives or not.
        """
        if ctx.instance not in ("", ctx.resource):
            return None  # an instance of a clone: its siblings have disks of their own
        via = access(ctx)
        for pod in of_resource(via.kube, ctx.cluster, ctx.resource, ctx.text("namespace")):
            judged = judge_pod(pod)
            if is_unbound(pod) or node_of(pod) == ctx.node or judged.state is PodState.ENDED:
                continue  # of what is not bound its name takes care: it is nowhere
            if is_parked(pod):
                if not is_terminating(pod):
                    delete_gracefully(via.kube, pod)
            elif judged.state is PodState.TERMINATING:
                return f"pod {name_of(pod)} is still being stopped on {node_of(pod)}"
            else:
                why = f"pod {name_of(pod)} of this resource exists on {node_of(pod)}: stop it there, or fence it"
                return ActionResult(Ocf.ERR_GENERIC, why)
        return None

    def _is_leftover(self, ctx: ActionContext, pod: Obj) -> bool:
        """Whether somebody made the pod and never bound it: it says nothing, and must not keep its name from us."""
        return is_unbound(pod) and is_ours(pod, ctx.cluster, ctx.resource)

    def _place(self, ctx: ActionContext, wanted: Obj, leftover: Obj | None) -> Obj:
        """Create the pod, inert, then bind it to this node: by the second request alone it may start, and that one is
        void as soon as the next leader has touched the pod. Raises AlreadyExists, Conflict, ..."""
        via = access(ctx)
        if leftover is not None:
            delete_gracefully(via.kube, leftover)
        created = via.kube.post(POD.collection(ctx.text("namespace")), wanted)
        bind(via.kube, created, ctx.node)
        return created

    def _create(self, ctx: ActionContext, wanted: Obj, made: set[str], leftover: Obj | None) -> ActionResult | str:
        name = name_of(wanted)
        if missing := self._missing(ctx, wanted):
            return _waits(f"pod {name} cannot start: {missing}")
        if held := self._why_not_departed(ctx, wanted, uid_of(leftover) if leftover else ""):
            return f"an earlier pod {name} may still run: {held}"
        with _TURNS.of(ctx.text("namespace"), claims_of(wanted)):
            if (rival := self._rival(ctx, wanted)) is not None:
                return self._beside(name, rival)
            try:
                made.add(uid_of(self._place(ctx, wanted, leftover)))
            except AlreadyExists:
                return f"pod {name} has just been created by somebody else"
        return f"pod {name} has just been created"

    def _adopt(self, ctx: ActionContext, pod: Obj) -> None:
        """Make the parked pod the real one; the precondition keeps a late call from touching another pod."""
        metadata = {"uid": uid_of(pod), "resourceVersion": revision_of(pod), "annotations": {ANNOTATION_PARKED: None}}
        access(ctx).kube.patch_merge(POD.path(name_of(pod), ctx.text("namespace")), {"metadata": metadata})

    def _progress(self, ctx: ActionContext, pod: Obj, judged: Judgement) -> ActionResult | str:
        if judged.state is PodState.READY:
            answer = self.ask(ctx, pod)
            return answer.trouble or ActionResult(Ocf.OK, answer.remark)
        if judged.state in (PodState.BLOCKED, PodState.CRASHING, PodState.ENDED):
            return ActionResult(Ocf.ERR_GENERIC, judged.why)
        if judged.state is PodState.STARTING and (rival := self._rival(ctx, pod)) is not None and not rival.leaving:
            return self._beside(name_of(pod), rival)
        return judged.why

    @staticmethod
    def _beside(name: str, rival: Rival) -> ActionResult | str:
        """What a start comes to while another pod uses the claim: one that is leaving is waited for."""
        why = f"pod {name} may not start beside another user of its disk: {rival}"
        return why if rival.leaving else ActionResult(Ocf.ERR_GENERIC, f"{why}; end that one first")

    def _rival(self, ctx: ActionContext, pod: Obj) -> Rival | None:
        """A pod beside which this one must not run, as the API server has them now: it uses a single-writer claim of
        it, on whatever node. Somebody may create one right after the look: that is told under Warnings then.
        """
        via, namespace = access(ctx), ctx.text("namespace")
        claims: list[tuple[str, str]] = []
        attached: set[str] = set()
        for claim in claims_of(pod):
            known = look_up(ctx, PVC, claim, namespace) or ask_for(ctx, PVC, claim, namespace) or {}
            modes = (known.get("spec") or {}).get("accessModes") or []
            if modes and not SINGLE_WRITER & set(modes):
                continue  # of one whose modes nobody knows the strictest is assumed
            try:
                volume = volume_behind(ctx, namespace, claim)
            except (NotFound, UnusableVolume):
                claims.append((namespace, claim))
                continue
            claims += claims_of_disk((namespace, claim), volume, via.cache.list(PV))
            attached |= {a.node for a in attachments_among(via.cache.list(VOLUME_ATTACHMENT), volume)}
        if not claims:
            return None
        pods = [found for ns in {ns for ns, _ in claims} for found in via.kube.list(POD.collection(ns)).items]
        own = [(namespace, name_of(pod))]
        found = rivals(pods, claims, cluster=ctx.cluster, node=ctx.node, own=own, attached=attached)
        return found[0] if found else None

    def _missing(self, ctx: ActionContext, pod: Obj) -> str:
        """The claim, Secret or ConfigMap that the pod needs and that does not exist; empty: all are there."""
        needed: list[tuple[Kind, str, str]] = [(PVC, claim, "a volume") for claim in claims_of(pod)]
        needed += [(r.kind, r.name, r.used_for) for r in references(pod)]
        namespace = ctx.text("namespace")
        for kind, name, used_for in needed:
            try:
                access(ctx).kube.get(kind.path(name, namespace))
            except NotFound:
                return f"{kind.name} {namespace}/{name}, needed for {used_for}, does not exist"
            except Forbidden:
                continue  # not ours to see: the kubelet will tell
        return ""

    # -- monitor -------------------------------------------------------------------------------------------------

    def monitor(self, ctx: ActionContext) -> ActionResult:
        """OK: ready, or being restarted in place for less than ``restart_grace``. NOT_RUNNING: absent or ending.

        A probe's NOT_RUNNING lets the resource start elsewhere without a stop here: not while something may be left.
        """
        pod = self._our_pod(ctx)
        if pod is not None and is_unbound(pod):
            pod = None
        judged = judge_pod(pod)
        if pod is None and not ctx.interval_ms and (held := self._why_not_gone(ctx)):
            why = f"pod {pod_name(ctx.resource, ctx.node)} was {_UNCONFIRMED}: {held}"
            return ActionResult(Ocf.ERR_GENERIC, why)
        if pod is None or judged.state in (PodState.TERMINATING, PodState.ENDED, PodState.PARKED):
            self._forget_trouble(ctx)
            return ActionResult(Ocf.NOT_RUNNING, judged.why)
        if judged.state is not PodState.READY:
            return self._within_grace(ctx, uid_of(pod), judged.why)
        answer = self.ask(ctx, pod)
        if answer.trouble:
            return replace(self._within_grace(ctx, uid_of(pod), answer.trouble), heard=answer.heard)
        self._forget_trouble(ctx)
        return ActionResult(Ocf.OK, answer.remark, heard=answer.heard)

    def _our_pod(self, ctx: ActionContext) -> Obj | None:
        """This resource's pod here: as it is known, while it is ready, else as the API server has it now."""
        where = (POD, pod_name(ctx.resource, ctx.node), ctx.text("namespace"))
        pod = look_up(ctx, *where)
        if judge_pod(pod).state is not PodState.READY:
            pod = ask_for(ctx, *where)
        return pod if pod is not None and is_ours(pod, ctx.cluster, ctx.resource) else None

    def ask(self, ctx: ActionContext, pod: Obj) -> Answer:
        """What the application in a ready pod says, for agents that know it."""
        del ctx, pod
        return Answer()

    def _within_grace(self, ctx: ActionContext, uid: str, why: str) -> ActionResult:
        """OK while the trouble, by our own clock, is younger than ``restart_grace``; the same pod's, that is."""
        now, key = ctx.clock(), (ctx.resource, ctx.node)
        with self._lock:
            known, since = self._unready.get(key, ("", now))
            if known != uid:
                since = now
            self._unready[key] = (uid, since)
        grace = ctx.seconds("restart_grace")
        if now - since < grace:
            return ActionResult(Ocf.OK, f"{why} (for {now - since:.1f} of {grace:g} s)")
        return ActionResult(Ocf.ERR_GENERIC, f"{why}; this has lasted longer than {grace:g} s")

    def _forget_trouble(self, ctx: ActionContext) -> None:
        with self._lock:
            self._unready.pop((ctx.resource, ctx.node), None)

    def reload_agent(self, ctx: ActionContext) -> ActionResult:
        """Reloadable parameters are read in each action anyway; none of them is in the pod."""
        del ctx
        return ActionResult(Ocf.OK)

    # -- stop ----------------------------------------------------------------------------------------------------

    def stop(self, ctx: ActionContext) -> ActionResult:
        """OK once the kubelet has confirmed the end, or the node is proved to have let go of the pod's volumes."""
        name = pod_name(ctx.resource, ctx.node)
        if not any(ctx.text(source) for source in _SOURCES):
            namespace = self._namespace_by_labels(ctx)
            if namespace is None:
                return ActionResult(Ocf.OK, f"no pod of {ctx.resource} exists on {ctx.node}, in whatever namespace")
            ctx = replace(ctx, params={**ctx.params, "namespace": namespace})

        in_the_way = clearing(ctx, (), ctx.resource)

        def step() -> ActionResult | str:
            pod = find(access(ctx).kube, name, ctx.text("namespace"))
            if rival := in_the_way():
                return rival
            if pod is not None and is_ours(pod, ctx.cluster, ctx.resource):
                if not is_terminating(pod):
                    delete_gracefully(access(ctx).kube, pod)
                return f"pod {name} has been told to stop, and its kubelet on {ctx.node} has not confirmed that"
            if held := self._why_not_departed(ctx, self._wanted_or_last(ctx)):
                return f"pod {name} was {_UNCONFIRMED}: {held}"
            return ActionResult(Ocf.OK)

        self._forget_trouble(ctx)
        return settle(ctx, step, self._pod_watch(ctx))

    def _namespace_by_labels(self, ctx: ActionContext) -> str | None:
        """Where the pod is of a resource whose definition is neither configured nor on record; None: nowhere."""
        selector = f"{LABEL_CLUSTER}={ctx.cluster},{LABEL_RESOURCE}={ctx.resource},{LABEL_NODE}={ctx.node}"
        found = access(ctx).kube.list(POD.collection(), label_selector=selector).items
        return next((namespace_of(pod) for pod in found if name_of(pod) == pod_name(ctx.resource, ctx.node)), None)

    def _why_not_departed(self, ctx: ActionContext, pod: Obj | None, never_bound: str = "") -> str:
        """Why a former pod of that name may still run, now that its object is gone; empty: it does not.

        never_bound: the UID of one that is there still, and on no node.

        Its last state tells when we saw it end. Else (removed by force, or while nobody watched) the node must be
        known to have let go of its volumes. Volumes about which only the pod's own end tells something (of no CSI
        driver, or used there by other pods by right) need that; a restart of the node ends it as well.
        """
        name, namespace, cache = pod_name(ctx.resource, ctx.node), ctx.text("namespace"), access(ctx).cache
        lingering = cache.get(POD, name, namespace)
        known = lingering is not None and uid_of(lingering) != never_bound
        if lingering is not None and known and is_ours(lingering, ctx.cluster, ctx.resource):
            return "its end has not been seen yet"
        if pod is None or self._end_was_seen(ctx):
            return ""
        disks, silent = self._volumes_left(ctx, pod)
        for disk in disks:
            if held := why_held(ctx, disk, ctx.node):
                return held
        last = cache.last_seen(POD, name, namespace)
        return why_not_gone(ctx, last, silent) if silent and last is not None else ""

    def _why_not_gone(self, ctx: ActionContext) -> str:
        """Of a pod that ran here and has no object any more: why it may still write what no disk's detach tells of."""
        last = access(ctx).cache.last_seen(POD, pod_name(ctx.resource, ctx.node), ctx.text("namespace"))
        if last is None or not is_ours(last, ctx.cluster, ctx.resource) or not has_run(last) or self._end_was_seen(ctx):
            return ""
        _, silent = self._volumes_left(ctx, last)
        return why_not_gone(ctx, last, silent) if silent else ""

    def _end_was_seen(self, ctx: ActionContext) -> bool:
        """Whether the last pod of that name has ended by its kubelet's own word."""
        name, namespace, cache = pod_name(ctx.resource, ctx.node), ctx.text("namespace"), access(ctx).cache
        last, final = cache.last_seen(POD, name, namespace), cache.final_state(POD, name, namespace)
        return (last is not None and has_ended(last)) or (final is not None and ended_cleanly(final))

    def _volumes_left(self, ctx: ActionContext, pod: Obj) -> tuple[list[Volume], list[str]]:
        """What the pod may still write to: disks whose release the node tells of, and names of volumes without such."""
        namespace = ctx.text("namespace")
        others = access(ctx).kube.list(POD.collection(namespace), field_selector=f"spec.nodeName={ctx.node}").items
        disks, silent = [], list(written_sources(pod))
        for claim in claims_of(pod):
            if users_of_claim(others, namespace, claim):
                silent.append(claim)
                continue
            try:
                disks.append(volume_behind(ctx, namespace, claim))
            except (NotFound, UnboundClaim):
                continue
            except UnusableVolume:
                silent.append(claim)
        return disks, silent

    def _wanted_or_last(self, ctx: ActionContext) -> Obj | None:
        last = access(ctx).cache.last_seen(POD, pod_name(ctx.resource, ctx.node), ctx.text("namespace"))
        if last is not None:
            return last
        try:
            return self.wanted(ctx)
        except TemplateError:
            return None  # never could be started

    # -- parking -------------------------------------------------------------------------------------------------

    def park(self, ctx: ActionContext) -> ActionResult:
        """Have a parked pod on this node. Refused unless its volume is held elsewhere, where it would just start."""
        try:
            wanted = self.wanted(ctx)
        except TemplateError as error:
            return ActionResult(Ocf.ERR_CONFIGURED, str(error))
        existing = find(access(ctx).kube, name_of(wanted), ctx.text("namespace"))
        if existing is not None and is_ours(existing, ctx.cluster, ctx.resource) and is_rejected(existing):
            delete_gracefully(access(ctx).kube, existing)
            return ActionResult(Ocf.ERR_GENERIC, judge_pod(existing).why)
        leftover = existing if existing is not None and self._is_leftover(ctx, existing) else None
        if existing is not None and leftover is None:
            outdated = annotations_of(existing).get(ANNOTATION_TEMPLATE) != annotations_of(wanted)[ANNOTATION_TEMPLATE]
            if is_parked(existing) and outdated and not is_terminating(existing):
                delete_gracefully(access(ctx).kube, existing)
            return ActionResult(Ocf.OK, judge_pod(existing).why)
        if refusal := self._why_not_park(ctx, wanted):
            return ActionResult(Ocf.ERR_GENERIC, f"pod {name_of(wanted)} is not parked: {refusal}")
        try:
            self._place(ctx, parked(wanted), leftover)
        except (AlreadyExists, Conflict):
            pass  # tried again later
        return ActionResult(Ocf.OK)

    def unpark(self, ctx: ActionContext) -> ActionResult:
        """Remove the parked pod from this node. One that got its volume meanwhile is left alone and reported."""
        name = pod_name(ctx.resource, ctx.node)
        pod = find(access(ctx).kube, name, ctx.text("namespace"))
        if pod is None or not is_ours(pod, ctx.cluster, ctx.resource) or ANNOTATION_PARKED not in annotations_of(pod):
            return ActionResult(Ocf.OK)
        if not is_parked(pod) and not is_unbound(pod):
            return ActionResult(Ocf.ERR_GENERIC, f"pod {name} is not parked any more: it runs on {ctx.node}")
        try:
            delete_gracefully(access(ctx).kube, pod)
        except Conflict:
            pass
        return ActionResult(Ocf.OK)

    def _why_not_park(self, ctx: ActionContext, wanted: Obj) -> str:
        namespace = ctx.text("namespace")
        if others := written_sources(wanted):
            return f"it also writes to volume {others[0]}, which no detach of a disk takes from an earlier pod"
        for claim in claims_of(wanted):
            pvc = look_up(ctx, PVC, claim, namespace)
            modes = set((pvc or {}).get("spec", {}).get("accessModes") or [])
            if "ReadWriteOncePod" in modes:
                return f"claim {claim} is ReadWriteOncePod, which allows one pod at a time"
            if "ReadWriteOnce" not in modes:
                continue
            try:
                volume = volume_behind(ctx, namespace, claim)
            except (NotFound, UnusableVolume) as error:
                return error.message
            found = attachments(access(ctx).kube, volume)
            if any(a.attached and not a.leaving and a.node != ctx.node for a in found):
                return ""
        return "no ReadWriteOnce claim of it is attached to another node, so it would start at once"

    # -- the pod -------------------------------------------------------------------------------------------------

    def wanted(self, ctx: ActionContext) -> Obj:
        """The pod as it should be on this node. Raises TemplateError, KubeError."""
        template = self._template(ctx)
        return render(
            template,
            cluster=ctx.cluster,
            resource=ctx.resource,
            node=ctx.node,
            namespace=ctx.text("namespace"),
        )

    def _template(self, ctx: ActionContext) -> Obj:
        if ctx.text("template"):
            return parse_template(ctx.text("template"))
        if ctx.text("template_from"):
            kind, name = parse_source(ctx.text("template_from"))
            try:
                workload = access(ctx).kube.get(kind.path(name, ctx.text("namespace")))
            except NotFound as error:
                raise TemplateNotThere(f"template_from: {error.message}") from error
            return workload_template(workload, kind, identity=ctx.instance in ("", ctx.resource))
        if ctx.text("image"):
            return simple_template(ctx.text("image"), ctx.number("port"), ctx.text("claim"), ctx.text("mount_path"))
        raise TemplateError("no template: give template, template_from or image")

    def validate_all(self, ctx: ActionContext) -> ActionResult:
        """Also: the template can be read, and the objects that it refers to exist."""
        checked = super().validate_all(ctx)
        if checked.rc is not Ocf.OK or (ctx.kube is None and ctx.text("template_from")):
            return checked
        try:
            wanted = self.wanted(ctx)
        except TemplateError as error:
            return ActionResult(Ocf.ERR_CONFIGURED, str(error))
        if ctx.kube is not None and (missing := self._missing(ctx, wanted)):
            return ActionResult(Ocf.ERR_CONFIGURED, missing)
        return ActionResult(Ocf.OK)

    def _pod_watch(self, ctx: ActionContext) -> Callable[[], object]:
        """What a waiting start or stop watches: the pod itself, and whatever else may free its volume."""
        cache, name, namespace = access(ctx).cache, pod_name(ctx.resource, ctx.node), ctx.text("namespace")

        def seen() -> object:
            pod = cache.get(POD, name, namespace)
            return (revision_of(pod) if pod else "", cache.changes(VOLUME_ATTACHMENT, NODE))

        return seen


def _waits(why: str) -> ActionResult:
    """Of a start that has begun nothing: it is tried again when what is missing is there."""
    return ActionResult(Ocf.ERR_GENERIC, why, waiting=True)


def _unmarked(pod: Obj) -> Obj:
    """The pod as it is once it has been adopted."""
    annotations = {k: v for k, v in annotations_of(pod).items() if k != ANNOTATION_PARKED}
    return pod | {"metadata": pod["metadata"] | {"annotations": annotations}}
