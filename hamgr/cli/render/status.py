"""The status document as text in crm_mon's layout. Pure: document in, lines out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from hamgr.api.status import (
    CRITICAL,
    VERDICTS,
    FailedAction,
    FenceStatus,
    Finding,
    NodeStatus,
    ResourceStatus,
    StatusDoc,
    failing,
    verdict,
)


class Line(NamedTuple):
    """A line below another one."""

    depth: int
    text: str


_TRANSIENT = ("Starting", "Stopping", "Promoting", "Demoting", "Migrating")
_FENCES_SHOWN = 5
_STEPS_SHOWN = 8


def render_status(doc: StatusDoc, *, led: bool = True, full: bool = False, zone: tzinfo | None = None) -> str:
    """The whole document, sections in crm_mon's order, empty ones left out.

    led: whether somebody leads right now. full: also node attributes, fail counts and all of the fencing history.
    zone: for times of day; None is the machine's own.
    """
    failed = failing(doc.fencing)
    pending = [fence for fence in doc.fencing if fence.outcome == "pending"]
    history = [fence for fence in doc.fencing if fence not in failed and fence not in pending]
    most = len(doc.fencing) if full else _FENCES_SHOWN
    sections: list[tuple[str, Iterable[str | Line]]] = [
        ("Cluster Summary:", _summary(doc, led, zone)),
        ("Node List:", _nodes(doc.nodes, zone)),
        ("Full List of Resources:", _resources(doc)),
        ("Transition:", _transition(doc)),
        ("Node Attributes:", _attributes(doc.nodes) if full else ()),
        ("Migration Summary:", _failcounts(doc) if full else ()),
        ("Failed Resource Actions:", (_failed_action(entry, zone) for entry in doc.failed)),
        ("Failed Fencing Actions:", _fences(failed, most, zone)),
        ("Pending Fencing Actions:", _fences(pending, len(pending), zone)),
        ("Fencing History:", _fences(history, most, zone)),
        ("Negative Location Constraints:", _bans(doc)),
        ("Tickets:", (f"{ticket.id}\t{'granted' if ticket.granted else 'revoked'}" for ticket in doc.tickets)),
        ("Self-Fencing:", _self_fencing(doc.nodes)),
        ("Warnings:", (_finding(entry) for entry in doc.found)),
        ("Notices:", (entry.text for entry in doc.notices)),
    ]
    blocks = [(title, [_laid_out(line) for line in lines]) for title, lines in sections]
    return "\n\n".join("\n".join([title, *lines]) for title, lines in blocks if lines)


def _laid_out(line: str | Line) -> str:
    depth, text = line if isinstance(line, Line) else (0, line)
    return f"{'  ' * (depth + 1)}* {text}"


def render_oneline(doc: StatusDoc) -> tuple[str, int]:
    """crm_mon -s: a line for a monitoring system, with its exit code (0 fine, 1 warning, 2 critical)."""
    code = verdict(doc.found)
    if code:
        return f"CLUSTER {VERDICTS[code]}: {'; '.join(finding.text for finding in doc.found)}", code
    online = sum(node.online and not (node.standby or node.maintenance) for node in doc.nodes)
    standby = sum(node.online and node.standby for node in doc.nodes)
    spare = f"{standby} standby node{_plural(standby)}, " if standby else ""
    instances = f"{doc.instances} resource instance{_plural(doc.instances)}"
    bare = ", ".join(node.name for node in doc.nodes if not node.hamgrd)
    who = f"{online} node{_plural(online)} online" + (f" ({bare} without hamgrd)" if bare else "")
    return f"CLUSTER OK: {who}, {spare}{instances} configured", 0


def render_time(text: str, zone: tzinfo | None) -> str:
    """An RFC 3339 time as crm_mon shows times; what is no time is shown as it is."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return text or "never"
    return moment.astimezone(zone).strftime("%a %b %e %H:%M:%S %Y")


# --- summary and nodes -------------------------------------------------------------------------------------------


def _summary(doc: StatusDoc, led: bool, zone: tzinfo | None) -> Iterator[str]:
    quorum = "with quorum" if doc.quorum else "WITHOUT quorum"
    yield f"Cluster: {doc.cluster}"
    if led:
        yield f"Current DC: {doc.leader} (version {doc.version or 'unknown'}, token {doc.token}) - partition {quorum}"
    else:
        yield f"Current DC: NONE (this is what {doc.leader or 'the last leader'} wrote before it left)"
    yield f"Last updated: {render_time(doc.updated_at, zone)}"
    by = f" by {doc.changed_by}" if doc.changed_by else ""
    yield f"Last change:  {render_time(doc.changed_at, zone)}{by}"
    count = len(doc.nodes)
    yield f"{count} node{_plural(count)} configured ({doc.members} with hamgrd)"
    marks = [f"{number} {word}" for number, word in ((doc.disabled, "DISABLED"), (doc.blocked, "BLOCKED")) if number]
    suffix = f" ({', '.join(marks)})" if marks else ""
    yield f"{doc.instances} resource instance{_plural(doc.instances)} configured{suffix}"
    if doc.maintenance:
        yield "*** Resource management is DISABLED: maintenance-mode is on ***"
    if not doc.stonith_enabled:
        yield "*** Fencing is DISABLED: fencing-enabled is false, data on shared volumes is NOT safe ***"


def _plural(count: int) -> str:
    return "" if count == 1 else "s"


def _fenced(node: NodeStatus) -> bool:
    return bool(node.fenced_at or node.fenced_by or node.away)


def _nodes(nodes: Sequence[NodeStatus], zone: tzinfo | None) -> Iterator[str]:
    for node in nodes:
        state = _node_state(node)
        if _fenced(node):
            yield f"Node {node.name}: {state or 'OFFLINE'}, {_how_fenced(node, zone)}"
        elif state:
            yield f"Node {node.name}: {state}"
    for title, online in (("Online", True), ("OFFLINE", False)):
        names = [node.name for node in nodes if not (_node_state(node) or _fenced(node)) and node.online is online]
        if names:
            yield f"{title}: {_bracketed(names)}"


def _how_fenced(node: NodeStatus, zone: tzinfo | None) -> str:
    level = f" by level {node.fenced_by}" if node.fenced_by else ""
    at = f" at {render_time(node.fenced_at, zone)}" if node.fenced_at else ""
    return f"fenced{level}{at}{'; ' if node.away else ''}{node.away}"


def _node_state(node: NodeStatus) -> str:
    """What is special about a node; empty for one that is simply online or offline."""
    if node.unclean:
        return f"UNCLEAN ({'online' if node.online else 'offline'})"
    if node.pending:
        return "pending"
    if node.standby_onfail and node.online:
        return "standby (on-fail)"
    if node.standby:
        return "standby" if node.online else "OFFLINE (standby)"
    if node.maintenance:
        return "maintenance" if node.online else "OFFLINE (maintenance)"
    if node.online and node.shutdown:
        return "online (shutting down)"
    if node.online and node.health in ("red", "yellow"):
        return f"online (health is {node.health.upper()})"
    return ""


def _attributes(nodes: Sequence[NodeStatus]) -> Iterator[str | Line]:
    for node in nodes:
        if node.attributes:
            yield f"Node: {node.name}:"
            yield from (Line(1, f"{name}\t: {value}") for name, value in sorted(node.attributes.items()))


def _self_fencing(nodes: Sequence[NodeStatus]) -> Iterator[str]:
    bounds: dict[float, list[str]] = {}
    for node in nodes:
        if node.self_fence_s is not None:
            bounds.setdefault(node.self_fence_s, []).append(node.name)
    for bound, names in sorted(bounds.items()):
        yield f"{_bracketed(names)} stop their instances within {bound:g} s of losing etcd"


def _bracketed(names: Iterable[str]) -> str:
    return f"[ {' '.join(names)} ]"


# --- resources ---------------------------------------------------------------------------------------------------


def _resources(doc: StatusDoc) -> Iterator[str | Line]:
    if not doc.resources:
        yield "No resources"
    for resource in doc.resources:
        yield from _resource(resource, doc.nodes, 0)


def _resource(resource: ResourceStatus, nodes: Sequence[NodeStatus], depth: int) -> Iterator[Line]:
    """A resource's lines, its children's below it."""
    if resource.kind == "primitive":
        yield Line(depth, _primitive(resource, nodes))
        return
    yield Line(depth, f"{_collection_title(resource)}{_collection_flags(resource)}:")
    if resource.kind == "clone":
        yield from _instances(resource, nodes, depth + 1)
    else:
        for child in resource.children:
            yield from _resource(child, nodes, depth + 1)


def _collection_title(resource: ResourceStatus) -> str:
    if resource.kind == "group":
        return f"Resource Group: {resource.id}"
    if resource.kind == "clone":
        inner = resource.children[0].id.partition(":")[0] if resource.children else ""
        promotable = " (promotable)" if resource.promotable else ""
        return f"Clone Set: {resource.id} [{inner}]{promotable}{' (unique)' if resource.unique else ''}"
    return f"Container bundle: {resource.id}"


def _primitive(resource: ResourceStatus, nodes: Sequence[NodeStatus]) -> str:
    orphaned = " ORPHANED" if resource.orphaned else ""
    where = _bracketed(resource.nodes) if len(resource.nodes) > 1 else "".join(resource.nodes)
    state = f"{orphaned} {_state(resource)} {where}".rstrip()
    note = f" - {resource.note}" if resource.note else ""
    return f"{resource.id}\t({resource.agent}):\t{state}{_flags(resource, nodes)}{note}"


def _state(resource: ResourceStatus) -> str:
    if resource.failed:
        return "FAILED Promoted" if resource.role == "Promoted" else "FAILED"
    return resource.pending if resource.pending in _TRANSIENT else resource.role


def _is_lost(resource: ResourceStatus, nodes: Sequence[NodeStatus]) -> bool:
    """Whether it is where nobody can see whether it runs, and nowhere else."""
    lost = {node.name for node in nodes if node.unclean and not node.online}
    return bool(resource.nodes) and lost.issuperset(resource.nodes)


def _flags(resource: ResourceStatus, nodes: Sequence[NodeStatus]) -> str:
    words = [
        (_is_lost(resource, nodes), "UNCLEAN"),
        (resource.disabled, "disabled"),
        (resource.blocked, "blocked"),
        (resource.maintenance, "maintenance"),
        (not resource.managed and not resource.maintenance, "unmanaged"),
        (bool(resource.pending) and resource.pending not in _TRANSIENT, resource.pending),
    ]
    shown = [word for said, word in words if said]
    return f" ({', '.join(shown)})" if shown else ""


def _collection_flags(resource: ResourceStatus) -> str:
    words = [
        (resource.maintenance, "maintenance"),
        (not resource.managed and not resource.maintenance, "unmanaged"),
        (resource.disabled, "disabled"),
    ]
    return "".join(f" ({word})" for said, word in words if said)


def _instances(clone: ResourceStatus, nodes: Sequence[NodeStatus], depth: int) -> Iterator[Line]:
    """A clone's instances: the ordinary ones together by role, each that needs attention on a line of its own."""
    together: dict[str, list[str]] = {"Promoted": [], "Unpromoted": [], "Started": []}
    active: set[str] = set()
    for instance in clone.children:
        role = _ordinary_role(instance, nodes)
        active.update(_active_nodes(instance))
        if role in together and not clone.unique:
            together[role].extend(_active_nodes(instance))
        elif role != "Stopped" or clone.unique:
            yield from _resource(instance, nodes, depth)
    for role, names in together.items():
        if names:
            yield Line(depth, f"{role}: {_bracketed(sorted(set(names)))}")
    stopped = [node.name for node in nodes if node.name not in active]
    if stopped and not clone.unique:
        disabled = " (disabled)" if clone.disabled else ""
        yield Line(depth, f"Stopped{disabled}: {_bracketed(stopped)}")


def _ordinary_role(instance: ResourceStatus, nodes: Sequence[NodeStatus]) -> str:
    """The role that all of an instance is in, or empty when something about it is to be shown."""
    if instance.children:
        roles = {_ordinary_role(child, nodes) for child in instance.children}
        return roles.pop() if len(roles) == 1 else ""
    plain = instance.managed and not (instance.failed or instance.blocked or instance.orphaned or instance.pending)
    plain = plain and not _is_lost(instance, nodes)
    return instance.role if plain and len(instance.nodes) <= 1 and not instance.note else ""


def _active_nodes(instance: ResourceStatus) -> tuple[str, ...]:
    inner = tuple(node for child in instance.children for node in _active_nodes(child))
    return instance.nodes or inner


# --- what goes on and what went wrong ----------------------------------------------------------------------------


def _transition(doc: StatusDoc) -> Iterator[str]:
    if doc.transition is not None:
        running = f": {', '.join(doc.transition.running)}" if doc.transition.running else ""
        yield f"{doc.transition.number}: {doc.transition.done} of {doc.transition.total} actions done{running}"


def _failcounts(doc: StatusDoc) -> Iterator[str | Line]:
    nodes: dict[str, list[str]] = {}
    for entry in doc.failcounts:
        threshold = f"migration-threshold={entry.threshold} " if entry.threshold else ""
        last = f" last-failure='{entry.last_failure}'" if entry.last_failure else ""
        nodes.setdefault(entry.node, []).append(f"{entry.resource}: {threshold}fail-count={entry.count}{last}")
    for node, lines in nodes.items():
        yield f"Node: {node}:"
        yield from (Line(1, line) for line in lines)


def _failed_action(entry: FailedAction, zone: tzinfo | None) -> str:
    interval = f"{entry.interval_ms / 1000:g}s-interval " if entry.interval_ms else ""
    result = entry.rc_text or f"exit code {entry.rc}"
    reason = f" because '{entry.reason}'" if entry.reason else ""
    status = f" ({entry.status})" if entry.status not in ("", "complete") else ""
    at = f" at {render_time(entry.at, zone)}" if entry.at else ""
    took = f" after {entry.took_ms}ms" if entry.took_ms else ""
    return f"{entry.resource} {interval}{entry.task} on {entry.node} returned '{result}'{status}{reason}{at}{took}"


def _fences(fences: Sequence[FenceStatus], most: int, zone: tzinfo | None) -> Iterator[str]:
    for fence in fences[:most]:
        yield "\n".join(_fence(fence, zone))
    if most < len(fences):
        yield f"... and {len(fences) - most} more (--full shows them)"


def _fence(fence: FenceStatus, zone: tzinfo | None) -> Iterator[str]:
    verb = {"succeeded": "successful", "failed": "FAILED"}.get(fence.outcome, fence.outcome)
    at = f" at {render_time(fence.started_at, zone)}" if fence.started_at else ""
    yield f"{fence.action} of {fence.target} {verb}{render_how(fence)}{at}"
    named = fence.requested_by in fence.reason.split() or fence.requested_by in ("", fence.executed_by)
    asked = "" if named else f" for {fence.requested_by}"
    why = f": {fence.reason}" if fence.reason else ""
    if fence.executed_by:
        yield f"      {fence.executed_by} (token {fence.token}){asked}{why}"
    shown = min({"pending": _STEPS_SHOWN, "superseded": 1}.get(fence.outcome, 0), len(fence.steps))
    earlier = len(fence.steps) - shown
    if earlier and fence.outcome == "pending":
        yield f"      ... {earlier} earlier step{_plural(earlier)} (`hamgr fence history` shows them)"
    for step in fence.steps[earlier:]:
        yield "      " + render_step(step.at_s, step.step, step.detail)
    if fence.proof:
        yield f"      proof: {fence.proof}"
    if fence.left:
        yield f"      not released in time: {fence.left}"
    if fence.error:
        yield f"      error: {fence.error}"


def render_how(fence: FenceStatus) -> str:
    """By which level, and in what time; a superseded fence was at it for so long."""
    by, within = ("at", "after") if fence.outcome == "superseded" else ("by", "in")
    level = f" {by} level {fence.level}" if fence.level else ""
    took = f" {within} {fence.took_s:.1f} s" if fence.took_s is not None else ""
    return f"{level}{took}"


def render_step(at_s: float, step: str, detail: str) -> str:
    """One step of a fence: its level and what begins, or was noticed, in it; without a sentence its name."""
    level = step.partition(":")[0]
    return f"{at_s:6.2f} s  {level}: {detail}" if detail else f"{at_s:6.2f} s  {step}"


def _finding(finding: Finding) -> str:
    return f"CRITICAL: {finding.text}" if finding.severity == CRITICAL else finding.text


def _bans(doc: StatusDoc) -> Iterator[str]:
    for ban in doc.bans:
        role = " Promoted" if ban.promoted_only else ""
        because = f" ({ban.why})" if ban.why else ""
        yield f"{ban.constraint}\tprevents {ban.resource} from running{role} on {ban.node}{because}"
