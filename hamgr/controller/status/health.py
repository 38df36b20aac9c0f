"""How the cluster is: what a person should look at, how bad it is, and what to do. Pure: values in, findings out.

`CLUSTER OK` means that everything serves that should, and that it could fail over now. What serves and could not fail
over is a warning, and so is what somebody has asked for (disabled, maintenance); what should serve and does not is
critical. There is always a finding where a resource is down. Who can see something else that a person should know
yields findings of his own; `report` puts them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from hamgr.api.status import (
    CRITICAL,
    Ban,
    FailedAction,
    Finding,
    NodeStatus,
    ResourceStatus,
    StatusDoc,
    failing,
)
from hamgr.cib.scores import INFINITY
from hamgr.controller.fencing.advice import about_unclean_node
from hamgr.scheduler.output import sentences
from hamgr.scheduler.output.explain import Account, Candidate
from hamgr.scheduler.transition import Reason

RECOVERY_S = 60.0
"""Seconds for which what is being started or moved is no more than a warning, or none."""

PARKING_S = 25.0
"""Seconds for which a pod that is being parked is no finding: a second attempt 10 s after the first, then the kubelet's
next report of the disk, 10 s later at most, and some for the pod itself."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """A finding that counts once it has lasted: what passes by itself within that time needs no person."""

    finding: Finding
    after_s: float = RECOVERY_S
    until_then: Finding | None = None


@dataclass(frozen=True, slots=True)
class Stranded:
    """Something that runs on one node alone and could run nowhere if that node were gone, though its file lets it."""

    node: str
    account: Account  # what the scheduler would say without that node


@dataclass(frozen=True, slots=True)
class Insight:
    """What the status document does not say.

    accounts: of each primitive that is down, what the scheduler says about it now. under_way: the resources that the
    transition under way starts, moves or promotes. deciding: the scheduler is about to be asked. stranded: by
    primitive. unwarmed: by primitive, the node on which a pod of it should be parked and is not warm.
    """

    accounts: Mapping[str, Account] = field(default_factory=dict)
    under_way: frozenset[str] = frozenset()
    deciding: bool = False
    stranded: Mapping[str, Stranded] = field(default_factory=dict)
    unwarmed: Mapping[str, str] = field(default_factory=dict)


def assess(doc: StatusDoc, insight: Insight) -> Iterator[Finding | Lasting]:
    """All that is to be found in a status document."""
    if not doc.stonith_enabled:
        yield Finding(
            "fencing-disabled",
            "fencing is disabled (fencing-enabled: false): data on shared volumes are not safe; enable it in the "
            "cluster file",
        )
    if doc.maintenance:
        yield Finding(
            "maintenance",
            "the cluster is in maintenance: nothing is started, stopped, moved or fenced, whatever fails; end it with "
            "`hamgr maintenance off`",
        )
    for node in doc.nodes:
        yield from _of_node(node, doc)
    yield from _of_fences(doc)
    for resource in doc.resources:
        if not resource.orphaned:
            yield from _of_resource(resource, doc, insight)
    yield from _of_failures(doc)


class Patience:
    """Remembers since when each lasting finding is there. A new leader begins to count anew."""

    def __init__(self) -> None:
        self._since: dict[tuple[str, str, str], float] = {}

    def settle(self, found: Iterable[Finding | Lasting], now: float) -> Iterator[Finding]:
        """What counts by now. now: monotonic seconds."""
        seen: dict[tuple[str, str, str], float] = {}
        for entry in found:
            if isinstance(entry, Finding):
                yield entry
                continue
            key = (entry.finding.code, entry.finding.resource, entry.finding.node)
            seen[key] = self._since.get(key, now)
            if now - seen[key] >= entry.after_s:
                yield entry.finding
            elif entry.until_then is not None:
                yield entry.until_then
        self._since = seen


# --- nodes and fences ------------------------------------------------------------------------------------------------


def _of_node(node: NodeStatus, doc: StatusDoc) -> Iterator[Finding | Lasting]:
    name = node.name
    if node.unclean:
        text = about_unclean_node(node, doc.resources, doc.fencing)
        yield Finding("node-unclean", text, CRITICAL, node=name)
    elif node.pending:
        text = f"node {name} has not been probed yet since its hamgrd has come: `hamgr events --node {name}` says why"
        yield Lasting(Finding("node-pending", text, node=name))
    elif not node.online:
        yield Finding("node-offline", _offline(node), node=name)
    if node.maintenance and not doc.maintenance:
        text = f"node {name} is in maintenance: nothing is started, stopped, monitored or fenced there"
        yield Finding("node-maintenance", f"{text}; end it with `hamgr maintenance off {name}`", node=name)
    if node.standby_onfail:
        text = f"node {name} is in standby because an action with on-fail=standby has failed there"
        yield Finding("node-standby-onfail", f"{text}; mend the cause, then `hamgr cleanup --node {name}`", node=name)


def _offline(node: NodeStatus) -> str:
    if node.fenced_at or node.fenced_by or node.away:
        return f"node {node.name} is offline, fenced{': ' if node.away else ''}{node.away}"
    return f"node {node.name} is offline: does it run, and its kubelet and hamgrd?"


def _of_fences(doc: StatusDoc) -> Iterator[Finding]:
    """Fences that have failed and matter still. What could be on a node that is lost is told with the node."""
    unclean = {node.name for node in doc.nodes if node.unclean}
    for target in dict.fromkeys(fence.target for fence in failing(doc.fencing)):
        if target not in unclean:
            yield Finding(
                "fence-failed",
                f"the last fence of {target} has failed, though nothing waits for it now: `hamgr fence history "
                f"{target}` says what would fail the next time, too",
                node="" if "/" in target else target,
            )


# --- resources -------------------------------------------------------------------------------------------------------


def primitives(resource: ResourceStatus) -> Iterator[ResourceStatus]:
    """The primitives that a resource is, or that are in it; not hamgr's own stand-in for fencing."""
    if resource.kind == "primitive" and not resource.agent.startswith("stonith:"):
        yield resource
    for child in resource.children:
        yield from primitives(child)


def is_down(resource: ResourceStatus) -> bool:
    """Whether a primitive does not serve yet, or any more. One that is being started is on record on its node."""
    return not resource.nodes or resource.pending == "Starting"


def down_in(resource: ResourceStatus) -> list[ResourceStatus]:
    """Its primitives that are down and should not be: of a clone, all of them, and only where none runs."""
    leaves = [leaf for leaf in primitives(resource) if not leaf.orphaned]
    down = [leaf for leaf in leaves if is_down(leaf)]
    if resource.kind == "clone" and len(down) < len(leaves):
        return []
    return down


def needing_reasons(resource: ResourceStatus) -> list[ResourceStatus]:
    """Its primitives of which the scheduler has to be asked why they do not run, or are not promoted."""
    leaves = list(primitives(resource))
    if resource.promotable and not any(leaf.role == "Promoted" for leaf in leaves):
        return leaves
    return [] if resource.orphaned else down_in(resource)


def _of_resource(resource: ResourceStatus, doc: StatusDoc, insight: Insight) -> Iterator[Finding | Lasting]:
    down = down_in(resource)
    if down:
        yield _down(resource, down, doc, insight)
    elif resource.promotable and not any(leaf.role == "Promoted" for leaf in primitives(resource)):
        yield _unpromoted(resource, insight)
    for leaf in primitives(resource):
        if not is_down(leaf):
            yield from _of_what_runs(leaf, resource, insight, doc.bans)
    yield from _left_alone(resource, doc)


def _down(top: ResourceStatus, down: list[ResourceStatus], doc: StatusDoc, insight: Insight) -> Finding | Lasting:
    """One finding for all that is down in a resource: the first that is down by itself says why."""
    root = next((leaf for leaf in down if not _depends(leaf, down, insight)), down[0])
    names = ", ".join(dict.fromkeys(leaf.id.partition(":")[0] if top.kind == "clone" else leaf.id for leaf in down))
    what = f"{top.id} ({names})" if top.children else top.id
    asked = _asked_for(top, root, insight.accounts.get(root.id))
    if asked:
        return Finding("resource-disabled", f"{what} is stopped: {asked}", resource=top.id)
    why = _why_down(root, insight.accounts.get(root.id), doc)
    moving = any(leaf.id in insight.under_way or leaf.pending for leaf in down)
    if not moving and not insight.deciding:
        return Finding("resource-down", f"{what} is down and should run: {why}", CRITICAL, resource=top.id)
    doing = "it is being started" if moving else why
    return Lasting(
        Finding(
            "resource-down",
            f"{what} is down for longer than {RECOVERY_S:.0f} s: {doing} (`hamgr events` shows how far it is)",
            CRITICAL,
            resource=top.id,
        ),
        until_then=Finding("resource-recovering", f"{what} is down: {doing}", resource=top.id),
    )


def _asked_for(top: ResourceStatus, leaf: ResourceStatus, account: Account | None) -> str:
    """Who has asked for a resource to be stopped, and how that ends; empty: nobody has."""
    if _circumstance(account, "stop-all-resources"):
        return "stop-all-resources is set in the cluster file"
    if top.disabled or leaf.disabled:
        name = top.id if top.disabled else leaf.id
        return f"{name} is disabled; `hamgr enable {name}`, or its target-role in the cluster file, lets it run"
    return ""


def _circumstance(account: Account | None, code: str) -> Reason | None:
    return next((reason for reason in (account.circumstances if account else ()) if reason.code == code), None)


def _depends(leaf: ResourceStatus, down: list[ResourceStatus], insight: Insight) -> bool:
    """Whether it is down because another one of those that are down is."""
    account = insight.accounts.get(leaf.id)
    if account is None or leaf.disabled:
        return False
    others = {other.id.partition(":")[0] for other in down if other is not leaf}
    waits = any(set(line.reason.split()) & others for line in account.changes if line.blocked)
    follows = any(
        step.code == "with-primary" and str(step.data.get("primary", "")).partition(":")[0] in others
        for candidate in account.candidates
        for step in _against(candidate)
    )
    return waits or follows


# What keeps a resource as a whole from running, the weightiest first, and what ends that.
_HELD = {
    "blocked": "find out why under Failed Resource Actions, mend it, then `hamgr cleanup {resource}`",
    "maintenance-mode": "`hamgr maintenance off`",
    "node-maintenance": "`hamgr maintenance off NODE`",
    "unmanaged": "`hamgr manage {resource}`, or is-managed in the cluster file",
    "no-fence-device": "give the cluster file a section `fencing`",
    "no-quorum": "bring etcd's members back",
    "ticket": "the ticket has to be granted here",
    "locked": "bring that node back, or `hamgr cleanup {resource}`",
    "pending": "`hamgr events -f` shows when it comes",
}


def _why_down(leaf: ResourceStatus, account: Account | None, doc: StatusDoc) -> str:
    if account is None:
        return f"the scheduler is being asked why; `hamgr simulate --live --why {leaf.id}` asks it, too"
    for code, advice in _HELD.items():
        reason = _circumstance(account, code)
        if reason is not None:
            return f"{_clause(sentences.circumstance(reason))} ({advice.format(resource=leaf.id)})"
    for line in account.changes:
        if line.blocked:
            return (
                f"it cannot be started, because {sentences.cause(line.reason)}"
                if line.reason
                else "its start is blocked"
            )
    failure = _circumstance(account, "failed")
    barred = any(True for candidate in account.candidates for _ in _barriers(candidate, {}))
    if failure is not None and not account.next_node and not barred:
        advice = f"mend the cause, then `hamgr cleanup {leaf.id}`"
        return f"{_clause(sentences.circumstance(failure))} ({advice})"
    if account.next_node:
        return f"it is to be started on {account.next_node}, and that waits: `hamgr events -f` shows for what"
    return nowhere(leaf.id, account, doc.failed, doc.bans)


def _clause(sentence: str) -> str:
    """A sentence as the part of another one."""
    text = sentence.removesuffix(".")
    return text[0].lower() + text[1:]


def _unpromoted(top: ResourceStatus, insight: Insight) -> Finding | Lasting:
    account = next((insight.accounts[leaf.id] for leaf in primitives(top) if leaf.id in insight.accounts), None)
    limited = _circumstance(account, "target-role")
    if limited is not None or top.disabled:
        text = f"nothing of {top.id} is promoted: its target-role says so (`hamgr enable {top.id}`)"
        return Finding("resource-disabled", text, resource=top.id)
    text = f"nothing of {top.id} is promoted: `hamgr simulate --live --why {top.id}` says why"
    found = Finding("resource-unpromoted", text, CRITICAL, resource=top.id)
    if insight.deciding or any(leaf.id in insight.under_way for leaf in primitives(top)):
        return Lasting(found, until_then=replace(found, severity="warning", text=f"{top.id} is being promoted"))
    return found


def _of_what_runs(
    leaf: ResourceStatus, top: ResourceStatus, insight: Insight, bans: Iterable[Ban]
) -> Iterator[Finding | Lasting]:
    where = ", ".join(leaf.nodes)
    if leaf.blocked:
        text = (
            f"{leaf.id} on {where} is blocked: hamgr dares nothing about it; Failed Resource Actions says what failed"
        )
        yield Finding("resource-blocked", f"{text}; mend it, then `hamgr cleanup {leaf.id}`", CRITICAL, leaf.id, where)
    elif leaf.failed:
        left = "it is not managed; `hamgr manage` lets hamgr recover it" if not leaf.managed else "it is recovered"
        found = Finding("resource-failed", f"{leaf.id} has failed on {where}: {left}", CRITICAL, leaf.id, where)
        is_cared_for = leaf.managed or leaf.id in insight.under_way or insight.deciding
        yield Lasting(found, until_then=replace(found, severity="warning")) if is_cared_for else found
    if len(leaf.nodes) > 1 and leaf.pending != "Migrating" and leaf.id not in insight.under_way:
        text = f"{leaf.id} is active on more than one node ({where}): `hamgr events` says what is done about it"
        yield Finding("resource-multiply-active", text, CRITICAL, leaf.id)
    if leaf.managed and leaf.id in insight.stranded and leaf.nodes == (insight.stranded[leaf.id].node,):
        stranded = insight.stranded[leaf.id]
        why = nowhere(leaf.id, stranded.account, (), bans, without=stranded.node)
        text = f"{leaf.id} could not fail over: without {stranded.node} it would run nowhere; {why}"
        yield Finding("no-failover", text, resource=leaf.id, node=stranded.node)
    elif leaf.id in insight.unwarmed:
        node = insight.unwarmed[leaf.id]
        text = (
            f"{leaf.id} has no warm pod on {node}: a failover takes up to 10 s longer; image, resources, taints there?"
        )
        yield Lasting(
            Finding("standby-not-warm", f"{text} (`kubectl describe pod {leaf.id}-{node}`)", "warning", leaf.id, node),
            after_s=PARKING_S,
        )


def _left_alone(resource: ResourceStatus, doc: StatusDoc) -> Iterator[Finding]:
    """What is not managed, told once for the outermost; maintenance is told of nodes and of the cluster."""
    if not resource.managed and not resource.maintenance and not doc.maintenance:
        told = {node.name for node in doc.nodes if node.maintenance}
        if any(set(leaf.nodes) - told for leaf in primitives(resource)):
            text = f"{resource.id} is not managed: nobody recovers it when it fails; `hamgr manage {resource.id}`"
            yield Finding("resource-unmanaged", f"{text} (or is-managed in the cluster file)", resource=resource.id)
        return
    for child in resource.children:
        yield from _left_alone(child, doc)


# --- why nowhere -----------------------------------------------------------------------------------------------------


def nowhere(
    resource: str, account: Account, failed: Iterable[FailedAction], bans: Iterable[Ban], *, without: str = ""
) -> str:
    """Node by node, what keeps a resource from running, and what to do about it; `without` is not told of."""
    found = {ban.constraint: ban.why for ban in bans if ban.why}
    said, advice = [], {}
    errors = {entry.node: entry for entry in failed if entry.resource == resource.partition(":")[0]}
    for candidate in account.candidates:
        if candidate.node == without:
            continue
        barriers = list(_barriers(candidate, found))
        error = errors.get(candidate.node)
        because = (
            f" ({error.task}: {error.reason})" if error is not None and error.reason and not candidate.unfit else ""
        )
        said.append(f"{candidate.node}: {' and '.join(dict.fromkeys(barriers)) or 'nothing against it'}{because}")
        advice.update(dict.fromkeys(_advice(resource, candidate)))
    if not said:
        return "there is no other node" if without else "the cluster file has no node for it"
    return "; ".join(said) + (f" ({', '.join(advice)})" if advice else "")


def _against(candidate: Candidate) -> list[Reason]:
    return [step for step in candidate.steps if sentences.change(step) <= -INFINITY]


def _barriers(candidate: Candidate, found: Mapping[str, str]) -> Iterator[str]:
    """found: what hamgr's own constraints are about."""
    if candidate.unfit:
        yield sentences.UNFIT[candidate.unfit]
        return
    for step in _against(candidate):
        if str(step.data.get("constraint", "")).startswith("cli-"):
            yield "it was moved or banned from there"
        elif why := found.get(str(step.data.get("constraint", ""))):
            yield why
        else:
            yield sentences.step(step).removesuffix(" (then: hamgr cleanup)")


_UNFIT_ADVICE = {
    "standby": "`hamgr unstandby {node}`",
    "maintenance": "`hamgr maintenance off {node}`",
    "offline": "bring {node} back",
}
_STEP_ADVICE = dict.fromkeys(
    ("fatal-error", "hard-error", "failed-stop", "masked-probe-failure", "migration-threshold", "on-fail-migrate"),
    "mend the cause, then `hamgr cleanup {resource}`",
)


def _advice(resource: str, candidate: Candidate) -> Iterator[str]:
    if candidate.unfit in _UNFIT_ADVICE:
        yield _UNFIT_ADVICE[candidate.unfit].format(node=candidate.node)
    if candidate.unfit:
        return
    for step in _against(candidate):
        if str(step.data.get("constraint", "")).startswith("cli-"):
            yield f"`hamgr clear {resource}`"
        elif step.code in _STEP_ADVICE:
            yield _STEP_ADVICE[step.code].format(resource=resource)


# --- failures --------------------------------------------------------------------------------------------------------


def _of_failures(doc: StatusDoc) -> Iterator[Finding]:
    """Nodes that are barred by fail counts, and failures that bar nothing."""
    barred = set()
    for entry in doc.failcounts:
        if entry.count == "INFINITY" or (entry.threshold and int(entry.count) >= int(entry.threshold)):
            barred.add((entry.resource, entry.node))
            error = next((f for f in doc.failed if (f.resource, f.node) == (entry.resource, entry.node)), None)
            why = f"{_failure(error)}; " if error is not None else ""
            yield Finding(
                "node-barred",
                f"{entry.resource} may not run on {entry.node} any more: {why}mend the cause, then "
                f"`hamgr cleanup {entry.resource}`",
                resource=entry.resource,
                node=entry.node,
            )
    for failed in doc.failed:
        if (failed.resource, failed.node) not in barred:
            yield Finding(
                "failed-action",
                f"{_failure(failed)}: `hamgr cleanup {failed.resource}` forgets it",
                resource=failed.resource,
                node=failed.node,
            )


def _failure(entry: FailedAction) -> str:
    because = f" ({entry.reason})" if entry.reason else ""
    return f"{entry.resource} {entry.task} failed on {entry.node}{because}"
