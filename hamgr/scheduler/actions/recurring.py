"""Recurring operations: monitors that run where a resource is active, in the role that they are configured for.

Implements "Monitoring Resources for Failure" of Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib import model
from hamgr.scheduler.actions import digest_check, orderings, resource_actions
from hamgr.scheduler.inputs import operations
from hamgr.scheduler.state.constants import (
    O_IMPLIES_THEN,
    O_OPTIONAL,
    O_RUNNABLE_LEFT,
    OPTIONAL,
    PROMOTED,
    RESCHEDULE,
    ROLES_BY_NAME,
    RUNNABLE,
    STARTED,
    STOPPED,
    UNKNOWN,
    UNPROMOTED,
)
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet

_NOT_RECURRING = frozenset(("start", "stop", "promote", "demote"))


def create(work: WorkingSet, rsc: Resource) -> None:
    """Make a primitive's recurring operations, or cancel those that no longer fit."""
    if rsc.blocked or rsc.maintenance or rsc.primitive is None:
        return
    node = rsc.assigned_to
    start: Action | None = None
    if node is not None and not node.maintenance and (rsc.next_role != STOPPED or not rsc.managed):
        start = resource_actions.start(work, rsc, node, True)
    keys = [(op.name, op.interval_ms) for op in rsc.primitive.ops]
    for op in rsc.primitive.ops:
        # Where two have the same key, their results could not be told apart, so neither runs.
        if not op.interval_ms or op.name in _NOT_RECURRING or keys.count((op.name, op.interval_ms)) > 1:
            continue
        if not operations.enabled(op):
            continue
        role = ROLES_BY_NAME.get(op.attributes.get("role", "").capitalize(), UNKNOWN)
        key = operations.op_key(rsc.id, op.name, op.interval_ms)
        if role == STOPPED:
            _for_inactive(work, rsc, node, op, key)
        elif start is not None and node is not None:
            _for_active(work, rsc, start, node, op, key, role)


def _running(rsc: Resource, key: str, node: Node) -> list[Action]:
    return [a for a in rsc.actions.get(key, ()) if a.node is node]


def _for_active(work: WorkingSet, rsc: Resource, start: Action, node: Node, op: model.Op, key: str, role: int) -> None:
    running = _running(rsc, key, node)
    optional = bool(running) and not any(a.flags & RESCHEDULE for a in running) and bool(start.flags & OPTIONAL)
    fits = rsc.next_role == role if role != UNKNOWN else rsc.next_role != PROMOTED
    if not fits:
        if optional:
            _cancel(work, rsc, op, node)
        return
    monitor = resource_actions.make(work, rsc, key, op.name, node, optional, op.interval_ms)
    if not start.flags & RUNNABLE or not node.online or node.unclean:
        monitor.flags &= ~RUNNABLE
    if rsc.next_role == PROMOTED:
        monitor.target_rc = 8
    if not rsc.managed:
        return
    for task, flags in (
        ("start", O_IMPLIES_THEN | O_RUNNABLE_LEFT),
        ("reload-agent", O_IMPLIES_THEN | O_RUNNABLE_LEFT),
    ):
        orderings.new_ordering(work, rsc, orderings.key_of(rsc, task), None, None, key, monitor, flags)
    if rsc.next_role == PROMOTED or rsc.role == PROMOTED:
        task = "promote" if rsc.next_role == PROMOTED else "demote"
        flags = O_OPTIONAL | O_RUNNABLE_LEFT
        orderings.new_ordering(work, rsc, orderings.key_of(rsc, task), None, rsc, key, monitor, flags)


def _cancel(work: WorkingSet, rsc: Resource, op: model.Op, node: Node) -> None:
    cancel = digest_check.cancel_action(work, rsc, op.name, op.interval_ms, node)
    after = ""
    if rsc.role in (STARTED, UNPROMOTED):
        after = {PROMOTED: "promote", STOPPED: "stop"}.get(rsc.next_role, "")
    elif rsc.role == PROMOTED:
        after = "demote"
    if after:
        orderings.new_ordering(work, rsc, "", cancel, rsc, orderings.key_of(rsc, after), None, O_RUNNABLE_LEFT)


def _for_inactive(work: WorkingSet, rsc: Resource, node: Node | None, op: model.Op, key: str) -> None:
    """Monitors for role Stopped watch that a resource is not running where it should not."""
    if not rsc.settings.unique:
        return  # any node may have any instance of an anonymous clone: Pacemaker ignores these monitors, too
    for other in work.nodes:
        if other is node:
            if _running(rsc, key, other):
                cancel = digest_check.cancel_action(work, rsc, op.name, op.interval_ms, other)
                if rsc.next_role in (STARTED, UNPROMOTED):
                    start_key = orderings.key_of(rsc, "start")
                    orderings.new_ordering(work, rsc, "", cancel, rsc, start_key, None, O_RUNNABLE_LEFT)
            continue
        monitor = resource_actions.make(work, rsc, key, op.name, other, bool(_running(rsc, key, other)), op.interval_ms)
        monitor.target_rc = 7
        for probe in resource_actions.all_of(rsc, "monitor", other) if rsc.managed else ():
            orderings.order(probe, monitor, O_RUNNABLE_LEFT)
        for stop in resource_actions.all_of(rsc, "stop", other):
            if not stop.flags & OPTIONAL and not rsc.managed:
                monitor.flags |= OPTIONAL
            if not stop.flags & RUNNABLE:
                monitor.flags &= ~RUNNABLE
            if not rsc.managed:
                continue
            flags = O_IMPLIES_THEN | O_RUNNABLE_LEFT
            orderings.new_ordering(work, rsc, orderings.key_of(rsc, "stop"), stop, None, "", monitor, flags)
        if not other.online or other.unclean:
            monitor.flags &= ~RUNNABLE
