"""Unpacks one recorded operation: it moves the resource's role, adds a failure or clears one.

Results are read as "Operation History" in Pacemaker Development says: against what was expected of the operation, with
those that ``failure-timeout`` lets the cluster forget left out.
"""

from __future__ import annotations

from hamgr.cib.model import OpRecord
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import digest_check, failures, fencing, remote_connections, resource_actions
from hamgr.scheduler.inputs import operations
from hamgr.scheduler.inputs.op_records import (
    DEGRADED,
    DEGRADED_PROMOTED,
    DONE,
    ERROR,
    ERROR_FATAL,
    ERROR_HARD,
    EXEC_NOT_INSTALLED,
    FAILED_PROMOTED,
    INSUFFICIENT_PRIV,
    INVALID,
    INVALID_PARAM,
    NO_FENCE_DEVICE,
    NO_SECRETS,
    NOT_CONFIGURED,
    NOT_CONNECTED,
    NOT_INSTALLED,
    NOT_RUNNING,
    NOT_SUPPORTED,
    OK,
    PENDING,
    RUNNING_PROMOTED,
    TIMEOUT,
    UNIMPLEMENTED,
    is_probe,
    masked_probe,
)
from hamgr.scheduler.placement import node_scores
from hamgr.scheduler.state.constants import PROMOTED, STARTED, STOPPED, UNKNOWN, UNPROMOTED, OnFail
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.unpack import migration_history
from hamgr.scheduler.unpack.outcome import UnpackedOperations


def unpack_operation(work: WorkingSet, unpacked: UnpackedOperations, op: OpRecord) -> None:
    """Let one operation act on what is known so far; operations are to be given from the oldest to the newest."""
    rsc, node = unpacked.rsc, unpacked.node
    if not PENDING <= op.op_status <= NO_SECRETS or op.operation in ("notify", "meta-data"):
        return
    expired = _check_expiry(work, rsc, node, op)
    expected = failures.target_rc(op)
    rc, status = _remap(work, unpacked, op, expired, expected)
    if expired and masked_probe(op) and not rsc.in_bundle() and rc != op.rc:
        # Nothing is known about the resource any longer, so it is going to be probed again.
        if rsc.role <= STOPPED:
            rsc.role = UNKNOWN
        return
    if expired and rc != expected:
        if op.interval_ms == 0:
            return
        if node.online and not node.unclean:
            work.expired_recurring.add(id(op))
            return
    if masked_probe(op):
        _update_role(unpacked, op, NOT_INSTALLED if rsc.in_bundle() else rc)
        work.failed.append((rsc, node, op))
        node_scores.ban(work, _ban_target(rsc), node, "masked-probe-failure")
        return
    if status == PENDING:
        _pending(work, rsc, node, op)
    elif status == DONE:
        _update_role(unpacked, op, rc)
    elif status == EXEC_NOT_INSTALLED:
        if _on_fail_of(work, rsc, op)[0] == OnFail.IGNORE:
            # Without its agent there is no use in pretending that the resource is well.
            unpacked.on_fail = max(unpacked.on_fail, OnFail.MIGRATE)
        node_scores.ban(work, _ban_target(rsc), node, "hard-error")
        _failed(work, unpacked, op, rc)
    elif status == NOT_CONNECTED and node.remote:
        connection = node.remote_rsc
        if connection is not None and connection.managed:
            connection.failed = connection.recorded.stop_required = True
    elif status in (ERROR, ERROR_HARD, ERROR_FATAL, TIMEOUT, NOT_SUPPORTED, INVALID, NOT_CONNECTED):
        _failure(work, unpacked, op, rc, status, expected)


def _ban_target(rsc: Resource) -> Resource:
    return rsc if rsc.settings.unique else rsc.top()


def _failure(work: WorkingSet, unpacked: UnpackedOperations, op: OpRecord, rc: int, status: int, expected: int) -> None:
    rsc, node = unpacked.rsc, unpacked.node
    strategy, _ = _on_fail_of(work, rsc, op)
    if strategy == OnFail.IGNORE or (strategy == OnFail.RESTART_CONTAINER and op.operation == "stop"):
        _update_role(unpacked, op, expected)
        rsc.recorded.failure_ignored = True
        work.failed.append((rsc, node, op))
        if strategy == OnFail.RESTART_CONTAINER and unpacked.on_fail <= OnFail.RECOVER:
            unpacked.on_fail = strategy
        return
    _failed(work, unpacked, op, rc)
    if status == ERROR_HARD:
        node_scores.ban(work, _ban_target(rsc), node, "hard-error")
    elif status == ERROR_FATAL:
        node_scores.ban_everywhere(work, _ban_target(rsc), "fatal-error")


def _on_fail_of(work: WorkingSet, rsc: Resource, op: OpRecord) -> tuple[int, int]:
    config = operations.find_op(rsc, op.operation, op.interval_ms)
    meta = operations.op_meta(work, rsc, config, op.operation, op.interval_ms)
    return operations.on_fail(work, rsc, config, meta, op.operation, op.interval_ms)


def _pending(work: WorkingSet, rsc: Resource, node: Node, op: OpRecord) -> None:
    if op.operation == "start":
        rsc.recorded.start_pending = True
        _set_active(rsc)
    elif op.operation == "promote":
        rsc.role = PROMOTED
    elif op.operation == "migrate_to" and node.unclean:
        target = work.node(op.migrate_target)
        if target is not None:
            resource_actions.stop(work, rsc, target, False)
    if not rsc.recorded.pending_task and not is_probe(op):
        rsc.recorded.pending_task = op.operation
        rsc.recorded.pending_node = node


def _set_active(rsc: Resource) -> None:
    top = rsc.top()
    rsc.role = UNPROMOTED if top.settings.promotable else STARTED


def _check_expiry(work: WorkingSet, rsc: Resource, node: Node, op: OpRecord) -> bool:
    """Whether an operation's result is a failure that failure-timeout lets us forget; may clear the fail count."""
    if op.op_status == EXEC_NOT_INSTALLED:
        # No time that passes installs anything.
        return False
    last_failure = op.id.endswith("_last_failure_0")
    timeout = rsc.failure_timeout_ms // 1000
    if timeout <= 0 and not last_failure:
        return False
    expired, unexpired_count = False, 0
    if timeout > 0 and op.last_rc_change > 0:
        if work.now >= op.last_rc_change + timeout and not _timeout_does_not_apply(work, rsc, op):
            expired = True
        unexpired_count, _ = failures.fail_count(work, rsc, node, effective=True, record=op)
    reason = ""
    if expired:
        if failures.fail_count(work, rsc, node, effective=False)[0]:
            if unexpired_count == 0:
                reason = "it expired"
            else:
                expired = False
        elif last_failure and rsc.settings.remote_reconnect_ms:
            reason = "reconnect interval is set"
    if not expired and last_failure and op.operation in ("start", "monitor"):
        if digest_check.needs_remote_name(rsc):
            work.param_check.append((rsc, node, op, True))
        elif digest_check.compare(work, rsc, node, op) not in (digest_check.MATCH, digest_check.UNKNOWN):
            reason = "resource parameters have changed"
    if reason:
        action = failures.clear(work, rsc, node, reason)
        if work.options.fencing and rsc.settings.remote_reconnect_ms:
            remote_connections.order_after_fencing(work, action, rsc)
    if expired and is_probe(op) and op.rc in (OK, NOT_RUNNING, RUNNING_PROMOTED, DEGRADED, DEGRADED_PROMOTED):
        return False
    return expired


def _timeout_does_not_apply(work: WorkingSet, rsc: Resource, op: OpRecord) -> bool:
    """A failed monitor of a remote connection stays until the remote node has been fenced."""
    if rsc.settings.remote_reconnect_ms and work.options.fencing and op.interval_ms and op.operation == "monitor":
        node = work.node(rsc.id)
        return node is not None and not node.remote_was_fenced
    return False


_UNDEGRADED = {DEGRADED: OK, DEGRADED_PROMOTED: RUNNING_PROMOTED}


def _remap(
    work: WorkingSet, unpacked: UnpackedOperations, op: OpRecord, expired: bool, expected: int
) -> tuple[int, int]:
    """The exit code and status that count, given what was expected."""
    rsc, node = unpacked.rsc, unpacked.node
    status = op.op_status
    rc = _UNDEGRADED.get(op.rc, op.rc)
    if rc != op.rc and not expired and (not node.shutdown or node.online):
        work.failed.append((rsc, node, op))
    if masked_probe(op) and not rsc.in_bundle() and (status != DONE or rc != NOT_RUNNING):
        status, rc = DONE, NOT_RUNNING
    if status in (NO_FENCE_DEVICE, NO_SECRETS):
        return rc, ERROR_HARD
    if status not in (DONE, ERROR):
        return rc, status
    if expected >= 0:
        status = DONE if rc == expected else ERROR
    if rc == NOT_RUNNING and expired and rc != op.rc:
        # A masked failure that no longer counts says nothing about the resource.
        return rc, status
    if rc in (OK, NOT_RUNNING, RUNNING_PROMOTED, FAILED_PROMOTED):
        return rc, _told_state(unpacked, op, rc, status, expected)
    return rc, _told_trouble(work, unpacked, op, rc)


def _told_state(unpacked: UnpackedOperations, op: OpRecord, rc: int, status: int, expected: int) -> int:
    """The status that counts of a code that tells the resource's state; ``status`` is that by expectation alone."""
    rsc = unpacked.rsc
    probe = is_probe(op)
    if rc == OK:
        return DONE if probe and expected == NOT_RUNNING else status
    if rc == NOT_RUNNING:
        if not probe and expected != rc and rsc.managed:
            return status
        rsc.role = STOPPED
        unpacked.on_fail = OnFail.IGNORE
        rsc.next_role = UNKNOWN
        return DONE
    rsc.role = PROMOTED
    if rc == FAILED_PROMOTED:
        return ERROR
    return DONE if probe and rc != expected else status


def _told_trouble(work: WorkingSet, unpacked: UnpackedOperations, op: OpRecord, rc: int) -> int:
    """The status that counts of a code that tells what is wrong with the resource, its agent or its configuration."""
    if rc == NOT_CONFIGURED:
        return ERROR_FATAL
    if rc == UNIMPLEMENTED and op.interval_ms:
        return NOT_SUPPORTED
    if rc in (UNIMPLEMENTED, NOT_INSTALLED, INVALID_PARAM, INSUFFICIENT_PRIV):
        if op.operation == "stop" and not fencing.can_fence(work, unpacked.node):
            unpacked.rsc.managed = False
            unpacked.rsc.blocked = True
        return ERROR_HARD
    return ERROR


def _update_role(unpacked: UnpackedOperations, op: OpRecord, rc: int) -> None:
    """An operation's success moves the role and may clear earlier failures."""
    rsc = unpacked.rsc
    task = op.operation
    clears = False
    if rc == NOT_INSTALLED or (not rsc.in_bundle() and masked_probe(op)):
        rsc.role = STOPPED
    elif rc == NOT_RUNNING:
        clears = True
    elif task == "monitor":
        failure = unpacked.last_failure
        clears = failure is not None and (failure.operation, failure.interval_ms) == (task, op.interval_ms)
        if rsc.role < STARTED:
            _set_active(rsc)
    elif task in ("start", "migrate_from"):
        rsc.role = STARTED
        clears = True
    elif task == "stop":
        rsc.role = STOPPED
        clears = True
    elif task == "promote":
        rsc.role = PROMOTED
        clears = True
    elif task == "demote":
        clears = unpacked.on_fail == OnFail.DEMOTE
        rsc.role = UNPROMOTED
    elif task == "migrate_to":
        migration_history.migrate_to_succeeded(unpacked.work, rsc, unpacked.node, op)
    elif rsc.role < STARTED:
        _set_active(rsc)
    if not clears or unpacked.on_fail >= OnFail.STOP or unpacked.on_fail == OnFail.MIGRATE:
        return
    if unpacked.on_fail == OnFail.RESET_REMOTE and rsc.settings.remote_reconnect_ms:
        return
    unpacked.on_fail = OnFail.IGNORE
    rsc.next_role = UNKNOWN


def _failed(work: WorkingSet, unpacked: UnpackedOperations, op: OpRecord, rc: int) -> None:
    """An operation's failure: the worst of a resource's failures decides what happens."""
    rsc, node = unpacked.rsc, unpacked.node
    unpacked.last_failure = op
    if not node.shutdown or node.online:
        work.failed.append((rsc, node, op))
    strategy, fail_role = _on_fail_of(work, rsc, op)
    unpacked.on_fail = max(unpacked.on_fail, strategy)
    task = op.operation
    if task == "stop":
        node_scores.ban(work, rsc, node, "failed-stop")
    elif task == "migrate_to":
        migration_history.migrate_to_failed(work, rsc, node, op)
    elif task == "migrate_from":
        migration_history.migrate_from_failed(work, rsc, node, op)
    elif task == "promote":
        rsc.role = PROMOTED
    elif task == "demote":
        if strategy == OnFail.BLOCK:
            rsc.role = PROMOTED
            rsc.next_role = STOPPED
        else:
            rsc.role = STOPPED if rc == NOT_RUNNING else UNPROMOTED
    if is_probe(op) and rc == NOT_INSTALLED:
        rsc.role = STOPPED
    elif rsc.role < STARTED:
        _set_active(rsc)
    work.because(
        "failed", rsc, node, operation=op.operation, interval_ms=op.interval_ms, rc=rc, on_fail=OnFail.name(strategy)
    )
    if fail_role != STARTED and rsc.next_role < fail_role:
        rsc.next_role = fail_role
    if fail_role == STOPPED:
        banned = rsc
        if rsc.parent is not None and rsc.top().is_clone() and not rsc.top().settings.unique:
            banned = rsc.top()
        banned.allowed = dict.fromkeys(work.nodes, -INFINITY)
