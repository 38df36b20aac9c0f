"""The Transition Summary: what changes for whom, in a line each, as crm_simulate prints it."""

from __future__ import annotations

from hamgr.scheduler.actions import resource_actions
from hamgr.scheduler.state.constants import (
    OPTIONAL,
    PROMOTED,
    ROLE_NAMES,
    RUNNABLE,
    STARTED,
    STOPPED,
    UNPROMOTED,
    Variant,
)
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.transition import SummaryLine

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator


def lines(work: WorkingSet) -> tuple[SummaryLine, ...]:
    """All lines: fencing first, then resources in configuration order."""
    found = list(_fencing(work))
    for rsc in work.resources:
        found.extend(_resource(rsc))
    return tuple(found)


def _fencing(work: WorkingSet) -> Iterator[SummaryLine]:
    for action in reversed(work.actions):
        if action.rsc is not None or action.flags & OPTIONAL or action.task != "stonith" or not action.reason:
            continue
        node = action.node
        if node is None:
            continue
        name = node.name
        if node.guest and node.remote_rsc is not None and node.remote_rsc.container is not None:
            name = f"{node.name} (resource: {node.remote_rsc.container.id})"
        yield SummaryLine(task=f"Fence ({action.meta.get('stonith_action', '')})", node=name, reason=action.reason)


def _resource(rsc: Resource) -> Iterator[SummaryLine]:
    if rsc.variant != Variant.PRIMITIVE:
        for child in rsc.children if rsc.bundle is None else [p for r in rsc.bundle.replicas for p in r.parts()]:
            yield from _resource(child)
        return
    following = rsc.assigned_to
    current = rsc.current_node()
    if current is not None and rsc.role == STOPPED:
        rsc.role = STARTED
    if current is None and rsc.orphan:
        return
    if rsc.managed and (current is not None or following is not None):
        yield from _changes(rsc, current, following)


def _first(rsc: Resource, task: str, node: Node | None) -> Action | None:
    return next(iter(resource_actions.all_of(rsc, task, node)), None)


def _changes(rsc: Resource, current: Node | None, following: Node | None) -> Iterator[SummaryLine]:
    moving = current is not None and following is not None and current is not following
    start = _first(rsc, "start", following)
    stop_node = None if start is None or not start.flags & RUNNABLE else current
    stop = _first(rsc, "stop", stop_node)
    if stop is None and rsc.stop_unexpected:
        stop = _first(rsc, "stop", None)
    promote, demote = _first(rsc, "promote", following), _first(rsc, "demote", following)
    if rsc.role == rsc.next_role:
        line = _same_role(rsc, current, following, moving, start, stop, promote, demote)
        if line is not None:
            yield line
        return
    if stop is not None and (rsc.next_role == STOPPED or (start is not None and not start.flags & RUNNABLE)):
        for node in rsc.running_on:
            stop_here = _first(rsc, "stop", node)
            if stop_here is not None:
                yield _line("stop", rsc, node, None, stop_here, stop_here if stop_here.reason else start)
    elif stop is not None and rsc.failed and rsc.recorded.stop_required:
        yield _line("recover", rsc, current, following, stop, start)
    elif moving:
        yield _line("move", rsc, current, following, stop or start, None)
    elif rsc.reload:
        yield _line("reload", rsc, current, following, start, None)
    elif stop is not None and not stop.flags & OPTIONAL:
        yield _line("restart", rsc, current, following, start, None)
    elif rsc.role == PROMOTED:
        yield _line("demote", rsc, current, following, demote, None)
    elif rsc.next_role == PROMOTED:
        yield _line("promote", rsc, current, following, promote, None)
    elif rsc.role == STOPPED and rsc.next_role > STOPPED:
        yield _line("start", rsc, current, following, start, None)


def _same_role(
    rsc: Resource,
    current: Node | None,
    following: Node | None,
    moving: bool,
    start: Action | None,
    stop: Action | None,
    promote: Action | None,
    demote: Action | None,
) -> SummaryLine | None:
    migrate = _first(rsc, "migrate_from", following)
    if migrate is not None and current is not None and migrate.flags & RUNNABLE:
        return _line("migrate", rsc, current, following, start, None)
    if rsc.reload:
        return _line("reload", rsc, current, following, start, None)
    if start is None or start.flags & OPTIONAL:
        if demote is not None and promote is not None and not (demote.flags | promote.flags) & OPTIONAL:
            return _line("re-promote", rsc, current, following, promote, demote)
        return None
    if not start.flags & RUNNABLE:
        return _line("stop", rsc, current, None, stop, stop if stop is not None and stop.reason else start)
    if moving:
        return _line("recover" if rsc.failed else "move", rsc, current, following, stop, None)
    if rsc.failed:
        return _line("recover", rsc, current, None, stop, None)
    return _line("restart", rsc, current, following, start, None)


def _line(
    verb: str,
    rsc: Resource,
    origin: Node | None,
    destination: Node | None,
    action: Action | None,
    source: Action | None,
) -> SummaryLine:
    roles = rsc.role > STARTED or rsc.next_role > UNPROMOTED
    same_role = rsc.role == rsc.next_role
    same_host = origin is not None and origin is destination
    role, next_role = ROLE_NAMES[rsc.role], ROLE_NAMES[rsc.next_role]
    fields: dict[str, str] = {}
    if origin is None:
        assert destination is not None
        fields = (
            {"role": role, "next_role": next_role, "dest": destination.name} if roles else {"node": destination.name}
        )
    elif destination is None:
        fields = {"role": role, "node": origin.name} if roles else {"node": origin.name}
    elif same_role and same_host:
        fields = {"source": origin.name, **({"role": role} if roles else {})}
    elif same_role:
        fields = {"source": origin.name, "dest": destination.name, **({"role": role} if roles else {})}
    elif same_host:
        fields = {"role": role, "next_role": next_role, "source": origin.name}
    else:
        fields = {"role": role, "source": origin.name, "next_role": next_role, "dest": destination.name}
    cause = source or action
    blocked = action is not None and not action.flags & RUNNABLE
    return SummaryLine(
        action=verb, resource=rsc.id, blocked=blocked, reason=cause.reason if cause is not None else "", **fields
    )
