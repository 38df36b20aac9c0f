"""Live migrations in the recorded history: complete, partial, dangling or failed.

A migration is migrate_to on the source, migrate_from on the target, stop on the source. Without the second it is
partial (and may be continued), without the third dangling (and the source has to be stopped).
"""

from __future__ import annotations

from hamgr.cib.model import OpRecord
from hamgr.scheduler.inputs.op_records import PENDING, compare_age
from hamgr.scheduler.state.constants import STARTED, STOPPED
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.unpack.outcome import add_running

_STATE_CHANGES = frozenset(("start", "stop", "promote", "demote", "migrate_to", "migrate_from"))


def _ops(work: WorkingSet, rsc: Resource, node_name: str) -> tuple[OpRecord, ...]:
    # By the instance's own name: what an anonymous clone recorded without a number is not looked at, here or there.
    history = work.histories.get(node_name, {}).get(rsc.id)
    return history.ops if history is not None else ()


def _find(work: WorkingSet, rsc: Resource, task: str, node_name: str, other: str, rc: int = -1) -> OpRecord | None:
    """A record of a task on a node, of a migration with a certain peer, with a certain exit code."""
    for op in _ops(work, rsc, node_name):
        if op.operation != task or (task == "monitor" and op.interval_ms and rc < 0):
            continue
        if other and other != (op.migrate_target if task == "migrate_to" else op.migrate_source):
            continue
        if rc >= 0 and (op.rc != rc or op.op_status != 0):
            continue
        return op
    return None


def _state_change_after(work: WorkingSet, rsc: Resource, node_name: str, op: OpRecord, same_node: bool) -> bool:
    return any(
        other is not op and other.operation in _STATE_CHANGES and compare_age(other, op, same_node) > 0
        for other in _ops(work, rsc, node_name)
    )


def _unknown_on(work: WorkingSet, rsc: Resource, node_name: str) -> bool:
    return not any(op.rc != 193 for op in _ops(work, rsc, node_name))


def _newer_state(work: WorkingSet, rsc: Resource, node_name: str, to: OpRecord | None, back: OpRecord | None) -> bool:
    """Whether a node's history goes on after a migration's events, so that they do not matter for it."""
    known = to or back
    if known is None:
        return False
    on_target = node_name == known.migrate_target
    event, same_node = (back or known, back is not None) if on_target else (to or known, to is not None)
    if _state_change_after(work, rsc, node_name, event, same_node):
        return True
    return any(
        op.operation == "monitor" and op.rc == 7 and op.op_status == 0 and compare_age(op, event, same_node) > 0
        for op in _ops(work, rsc, node_name)
    )


def migrate_to_succeeded(work: WorkingSet, rsc: Resource, node: Node, op: OpRecord) -> None:
    """A migrate_to that worked: is the migration complete, dangling, partial or overtaken by events?"""
    source, target = op.migrate_source or node.name, op.migrate_target
    source_newer = _state_change_after(work, rsc, source, op, True)
    back = _find(work, rsc, "migrate_from", target, source)
    if back is not None and source_newer:
        return
    target_newer = _newer_state(work, rsc, target, op, back)
    if source_newer and target_newer:
        return
    if back is not None and back.rc == 0 and back.op_status == 0:
        rsc.role = STOPPED
        rsc.recorded.dangling_migrations.insert(0, node)
        return
    rsc.role = STARTED
    target_node = work.node(target)
    active = not target_newer and target_node is not None and target_node.online
    if back is not None and back.op_status != PENDING:
        if active and target_node is not None:
            add_running(work, rsc, target_node, True)
        else:
            _cannot_continue(rsc)
        return
    if target_node is not None and target_node.online and _unknown_on(work, rsc, target):
        return
    if active and target_node is not None:
        source_node = work.node(source)
        add_running(work, rsc, target_node, False)
        if source_node is not None and source_node.online:
            rsc.recorded.partial_migration_target = target_node
            rsc.recorded.partial_migration_source = source_node
    elif not source_newer:
        _cannot_continue(rsc)


def _cannot_continue(rsc: Resource) -> None:
    rsc.failed = rsc.recorded.stop_required = True
    rsc.allow_migrate = False


def migrate_to_failed(work: WorkingSet, rsc: Resource, node: Node, op: OpRecord) -> None:
    """A migrate_to that failed: the resource may be active on either side."""
    source, target = op.migrate_source or node.name, op.migrate_target
    rsc.role = STARTED
    back = _find(work, rsc, "migrate_from", target, source, 0)
    if not _unknown_on(work, rsc, target) and not _newer_state(work, rsc, target, op, back):
        target_node = work.node(target)
        if target_node is not None and target_node.online:
            add_running(work, rsc, target_node, False)
    elif not _state_change_after(work, rsc, source, op, True):
        rsc.recorded.dangling_migrations.insert(0, node)


def migrate_from_failed(work: WorkingSet, rsc: Resource, node: Node, op: OpRecord) -> None:
    """A migrate_from that failed: the resource may still be active on the source."""
    source, target = op.migrate_source, op.migrate_target or node.name
    rsc.role = STARTED
    to = _find(work, rsc, "migrate_to", source, target, 0)
    if not _unknown_on(work, rsc, source) and not _newer_state(work, rsc, source, to, op):
        source_node = work.node(source)
        if source_node is not None and source_node.online:
            add_running(work, rsc, source_node, True)
