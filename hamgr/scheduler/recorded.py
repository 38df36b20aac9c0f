"""What recorded operations say: where each resource is active, in which role, what failed, what was never seen before.

Operations of a resource on a node are replayed in the order in which they were called; each moves the role, adds a
failure or clears one ("Operation History" in Pacemaker Development's documentation of the scheduler).
"""

from __future__ import annotations

from hamgr.cib import model, scores
from hamgr.cib.model import OpRecord, ResourceHistory
from hamgr.cib.scores import INFINITY
from hamgr.scheduler import (
    actions,
    config_check,
    failures,
    fencing,
    migration_history,
    operations,
    placement,
    resources,
)
from hamgr.scheduler.state import (
    OPTIONAL,
    PROMOTED,
    STARTED,
    STOPPED,
    UNKNOWN,
    UNPROMOTED,
    Needs,
    NodeRt,
    OnFail,
    Rsc,
    Variant,
    Work,
)

# Agents' exit codes (Resource Agents' API) and executor's statuses.
OK, INVALID_PARAM, UNIMPLEMENTED, INSUFFICIENT_PRIV, NOT_INSTALLED, NOT_CONFIGURED, NOT_RUNNING = 0, 2, 3, 4, 5, 6, 7
RUNNING_PROMOTED, FAILED_PROMOTED, DEGRADED, DEGRADED_PROMOTED = 8, 9, 190, 191
PENDING, DONE, CANCELLED, TIMEOUT, NOT_SUPPORTED, ERROR, ERROR_HARD, ERROR_FATAL = -1, 0, 1, 2, 3, 4, 5, 6
EXEC_NOT_INSTALLED, NOT_CONNECTED, INVALID, NO_FENCE_DEVICE, NO_SECRETS = 7, 8, 9, 10, 11


class Replay:
    """One resource's operations on one node, while they are replayed."""

    __slots__ = ("last_failure", "node", "on_fail", "rsc", "work")

    def __init__(self, work: Work, rsc: Rsc, node: NodeRt) -> None:
        self.work = work
        self.rsc = rsc
        self.node = node
        self.on_fail = OnFail.IGNORE
        self.last_failure: OpRecord | None = None


# --- order of node states -----------------------------------------------------------------------------


def unpack(work: Work) -> None:
    """Replay all histories: cluster nodes first, guests and remotes once it is known whether they are up."""
    from hamgr.scheduler import status

    for state in work.cib.node_states:
        node = status.node_of(work, state)
        histories = work.histories.setdefault(node.name if node else state.name, {})
        histories.update({history.id: history for history in state.resources})
    while _pass(work, last=False):
        pass
    _pass(work, last=work.options.fencing)
    _stop_containers(work)
    for node in work.nodes:
        if node.remote and not node.unpacked:
            status.determine_remote_online(node)


def _pass(work: Work, last: bool) -> bool:
    from hamgr.scheduler import status

    found = False
    for state in work.cib.node_states:
        # Nodes may turn up on the way, from connections that are no longer configured.
        node = status.node_of(work, state)
        if node is None or node.unpacked:
            continue
        connection = node.remote_rsc
        if last:
            pass
        elif node.guest:
            container = connection.container if connection else None
            if connection is None or container is None or connection.role != STARTED or container.role != STARTED:
                continue
        elif node.remote:
            if connection is None or (not work.options.shutdown_lock and connection.role != STARTED):
                continue
        elif not (work.options.fencing or work.options.shutdown_lock or node.online):
            continue
        node.unpacked = True
        found = True
        if node.remote:
            status.determine_remote_online(node)
            status.remote_attributes(work, node, state)
        _unpack_node(work, node, state)
    return found


def _stop_containers(work: Work) -> None:
    for container in work.stop_needed:
        node = container.current_node()
        if node is not None:
            action = actions.stop(work, container, node, False)
            action.reason = "container failed"
    work.stop_needed.clear()


def _unpack_node(work: Work, node: NodeRt, state: model.NodeState) -> None:
    fillers = []
    for history in state.resources:
        rsc = _unpack_resource(work, node, history)
        if rsc is not None and rsc.orphan_container_filler:
            fillers.append((rsc, history.container))
    for rsc, container_id in fillers:
        container = work.by_id.get(container_id)
        if container is not None and container.variant == Variant.PRIMITIVE and rsc.container is None:
            rsc.container = container
            container.fillers.append(rsc)
            connected = work.nodes_by_name.get(rsc.id)
            if connected is not None and connected.remote_rsc is rsc:
                connected.guest = True


# --- which resource a history is about ----------------------------------------------------------------


def strip_instance(name: str) -> str:
    head, colon, tail = name.rpartition(":")
    return head if colon and tail.isdigit() else name


def _find_resource(work: Work, node: NodeRt, history: ResourceHistory) -> Rsc | None:
    rsc = work.by_id.get(history.id)
    if rsc is None:
        renamed = work.by_history.get(history.id)
        zero = work.by_id.get(strip_instance(history.id) + ":0")
        if zero is not None and not zero.unique and zero.variant == Variant.PRIMITIVE:
            rsc = zero
        elif renamed:
            rsc = renamed[0]
    elif rsc.variant != Variant.PRIMITIVE:
        return None
    if rsc is None:
        return None
    parent = rsc.top()
    if parent.variant == Variant.CLONE and not parent.unique:
        if parent.parent is not None and parent.parent.bundle is not None:
            rsc = next((r.child for r in parent.parent.bundle.replicas if r.node is node), None)
        else:
            rsc = _anonymous_instance(work, node, parent, strip_instance(history.id))
    if rsc is not None and history.id not in (rsc.id, rsc.history_id):
        rsc.history_id = history.id
    if rsc is not None and history.id != rsc.id:
        rsc.clone_name = history.id
    return rsc


def member_called(instance: Rsc, base: str) -> Rsc | None:
    """The primitive of an instance that was made from the configured primitive ``base``."""
    for leaf in instance.leaves():
        if leaf.primitive is not None and leaf.primitive.id == base:
            return leaf
    return None


def _locations(instance: Rsc) -> list[NodeRt]:
    found: list[NodeRt] = []
    for leaf in instance.leaves():
        for node in leaf.running_on:
            if node not in found:
                found.append(node)
        if leaf.pending_node is not None and leaf.pending_node not in found:
            found.append(leaf.pending_node)
    return found


def _anonymous_instance(work: Work, node: NodeRt, clone: Rsc, base: str) -> Rsc | None:
    """The instance that a node's history is about: the one bound to the node, else a free one, else an orphan."""
    rsc: Rsc | None = None
    inactive: Rsc | None = None
    skip_inactive = False
    for child in clone.children:
        where = _locations(child)
        if where:
            if where[0] is node:
                rsc = member_called(child, base)
                if rsc is not None and rsc.running_on:
                    # Several instances in one node's history: the others are left over from when they were unique.
                    skip_inactive, rsc = True, None
                if rsc is not None:
                    break
        elif not skip_inactive and inactive is None and not child.blocked:
            inactive = member_called(child, base)
            if inactive is not None and inactive.pending_node is not None and inactive.pending_node is not node:
                inactive = None
    if rsc is None and not skip_inactive:
        rsc = inactive
    assert clone.clone is not None
    if (
        rsc is not None
        and rsc.needs < Needs.FENCING
        and (not node.online or node.unclean)
        and not node.guest
        and clone.clone.clone_max != len(work.nodes)
    ):
        rsc = None
    if rsc is None:
        rsc = member_called(resources.create_instance(work, clone), base)
    return rsc


def _orphan(work: Work, node: NodeRt, history: ResourceHistory) -> Rsc:
    """A resource that is no longer configured, made up from its history so that it can be stopped."""
    config = model.Primitive(history.id, history.agent)
    rsc = resources.build(work, config, None)
    rsc.orphan = True
    work.resources.append(rsc)
    if rsc.is_remote_node:
        from hamgr.scheduler import remotes

        remotes.adopt_orphan(work, rsc)
    if history.container:
        rsc.orphan_container_filler = True
    if work.options.stop_orphans:
        placement.ban_everywhere(work, rsc, "orphan")
    else:
        rsc.managed = False
    return rsc


# --- one resource on one node -------------------------------------------------------------------------


def _decode(record: OpRecord) -> tuple[int, str]:
    """Transition number and controller of a record, for ordering pending operations."""
    key = record.transition_magic.partition(";")[2] or record.transition_key
    parts = key.split(":", 3)
    return (scores.leading_int(parts[1]), parts[3]) if len(parts) == 4 else (-1, "")


def _compare_times(a: int, b: int) -> int:
    """Order two times; one that was not recorded (0) counts as the latest."""
    if a <= 0 or b <= 0:
        return -1 if b <= 0 else 1
    return (a > b) - (a < b)


def compare_age(a: OpRecord, b: OpRecord, same_node: bool = True) -> int:
    """Order two records by age: negative when ``a`` is the older one."""
    if a is b or (a.id == b.id and same_node and a.call_id == b.call_id):
        return 0
    if a.call_id == -1 and b.call_id == -1:
        return 0
    if a.call_id >= 0 and b.call_id >= 0:
        if same_node and a.call_id != b.call_id:
            return -1 if a.call_id < b.call_id else 1
        return _compare_times(a.last_rc_change, b.last_rc_change)
    (a_id, a_uuid), (b_id, b_uuid) = _decode(a), _decode(b)
    if not a_uuid or not b_uuid:
        return 0
    if a_uuid != b_uuid or a_id == b_id:
        return -1 if b.call_id == -1 else 1
    # Results that were injected have no transition; they count as the newest.
    return -1 if 0 <= a_id < b_id or b_id == -1 else 1


def sorted_ops(ops: tuple[OpRecord, ...]) -> list[OpRecord]:
    if len(ops) < 2:  # most histories are but a probe
        return list(ops)
    if all(op.call_id >= 0 for op in ops):
        return sorted(ops, key=lambda op: (op.call_id, op.last_rc_change))
    return _merge_sorted(list(reversed(ops)))


def _merge_sorted(ops: list[OpRecord]) -> list[OpRecord]:
    """Sort by age as Pacemaker does, by halves: with pending records among them, age is no consistent order."""
    if len(ops) < 2:
        return ops
    middle = (len(ops) + 1) // 2
    older, newer = _merge_sorted(ops[:middle]), _merge_sorted(ops[middle:])
    merged: list[OpRecord] = []
    i = j = 0
    while i < len(older) and j < len(newer):
        if compare_age(older[i], newer[j]) <= 0:
            merged.append(older[i])
            i += 1
        else:
            merged.append(newer[j])
            j += 1
    return merged + older[i:] + newer[j:]


def _unpack_resource(work: Work, node: NodeRt, history: ResourceHistory) -> Rsc | None:
    locks = work.options.shutdown_lock
    if not history.ops and not locks:
        return None
    rsc = _find_resource(work, node, history)
    if rsc is None:
        if not history.ops:
            return None
        rsc = _orphan(work, node, history)
    if locks and history.shutdown_lock:
        _shutdown_lock(work, rsc, node, history)
    saved_role = rsc.role
    rsc.role = UNKNOWN
    replay = Replay(work, rsc, node)
    ops = sorted_ops(history.ops)
    for record in ops:
        _replay_op(work, replay, record)
    _recurring_in_history(work, rsc, node, ops)
    _apply(work, replay)
    wanted = resources.target_role(rsc)
    if wanted != UNKNOWN and (rsc.next_role == UNKNOWN or wanted < rsc.next_role):
        rsc.next_role = wanted
    rsc.role = max(rsc.role, saved_role)
    return rsc


def _shutdown_lock(work: Work, rsc: Rsc, node: NodeRt, history: ResourceHistory) -> None:
    limit = work.options.shutdown_lock_limit_s
    if limit > 0 and work.now > history.shutdown_lock + limit:
        return
    rsc.lock_node = node
    rsc.lock_time = history.shutdown_lock


def active_range(ops: list[OpRecord]) -> tuple[int, int]:
    """Indices of the operations that last started and last stopped a resource (-1: none)."""
    start = stop = implied_monitor = implied_role = -1
    for index, op in enumerate(ops):
        if op.operation == "stop" and op.op_status == 0:
            stop = index
        elif op.operation in ("start", "migrate_from"):
            start = index
        elif implied_monitor <= stop and op.operation == "monitor":
            if op.rc in (OK, RUNNING_PROMOTED):
                implied_monitor = index
        elif op.operation in ("promote", "demote"):
            implied_role = index
    if start == -1:
        start = implied_role if implied_role != -1 else implied_monitor
    return start, stop


def _recurring_in_history(work: Work, rsc: Rsc, node: NodeRt, ops: list[OpRecord]) -> None:
    """Recurring operations that are running already become optional actions."""
    start, stop = active_range(ops)
    if not node.online or start < stop:
        return
    for index, op in enumerate(ops):
        if index >= start and op.interval_ms and op.op_status != PENDING:
            key = operations.op_key(rsc.id, op.operation, op.interval_ms)
            actions.make(work, rsc, key, op.operation, node, True, op.interval_ms)


# --- one operation ------------------------------------------------------------------------------------


def is_probe(op: OpRecord) -> bool:
    return op.operation == "monitor" and op.interval_ms == 0


def masked_probe(op: OpRecord) -> bool:
    """A probe that says the resource cannot be there at all counts as "not running"."""
    return (op.rc in (NOT_INSTALLED, INVALID_PARAM) or op.op_status == EXEC_NOT_INSTALLED) and is_probe(op)


def _ban_target(rsc: Rsc) -> Rsc:
    return rsc if rsc.unique else rsc.top()


def _replay_op(work: Work, replay: Replay, op: OpRecord) -> None:
    rsc, node = replay.rsc, replay.node
    if not PENDING <= op.op_status <= NO_SECRETS or op.operation in ("notify", "meta-data"):
        return
    expired = _check_expiry(work, rsc, node, op)
    expected = failures.target_rc(op)
    rc, status = _remap(work, replay, op, expired, expected)
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
        _update_role(replay, op, NOT_INSTALLED if rsc.in_bundle() else rc)
        work.failed.append((rsc, node, op))
        placement.ban(work, _ban_target(rsc), node, "masked-probe-failure")
        return
    if status == PENDING:
        _pending(work, rsc, node, op)
    elif status == DONE:
        _update_role(replay, op, rc)
    elif status == EXEC_NOT_INSTALLED:
        if _on_fail_of(work, rsc, op)[0] == OnFail.IGNORE:
            # Without its agent there is no use in pretending that the resource is well.
            replay.on_fail = max(replay.on_fail, OnFail.MIGRATE)
        placement.ban(work, _ban_target(rsc), node, "hard-error")
        _failed(work, replay, op, rc)
    elif status == NOT_CONNECTED and node.remote:
        connection = node.remote_rsc
        if connection is not None and connection.managed:
            connection.failed = connection.stop_required = True
    elif status in (ERROR, ERROR_HARD, ERROR_FATAL, TIMEOUT, NOT_SUPPORTED, INVALID, NOT_CONNECTED):
        _failure(work, replay, op, rc, status, expected)


def _failure(work: Work, replay: Replay, op: OpRecord, rc: int, status: int, expected: int) -> None:
    rsc, node = replay.rsc, replay.node
    strategy, _ = _on_fail_of(work, rsc, op)
    if strategy == OnFail.IGNORE or (strategy == OnFail.RESTART_CONTAINER and op.operation == "stop"):
        _update_role(replay, op, expected)
        rsc.failure_ignored = True
        work.failed.append((rsc, node, op))
        if strategy == OnFail.RESTART_CONTAINER and replay.on_fail <= OnFail.RECOVER:
            replay.on_fail = strategy
        return
    _failed(work, replay, op, rc)
    if status == ERROR_HARD:
        placement.ban(work, _ban_target(rsc), node, "hard-error")
    elif status == ERROR_FATAL:
        placement.ban_everywhere(work, _ban_target(rsc), "fatal-error")


def _on_fail_of(work: Work, rsc: Rsc, op: OpRecord) -> tuple[int, int]:
    config = operations.find_op(rsc, op.operation, op.interval_ms)
    meta = operations.op_meta(work, rsc, config, op.operation, op.interval_ms)
    return operations.on_fail(work, rsc, config, meta, op.operation, op.interval_ms)


def _pending(work: Work, rsc: Rsc, node: NodeRt, op: OpRecord) -> None:
    if op.operation == "start":
        rsc.start_pending = True
        _set_active(rsc)
    elif op.operation == "promote":
        rsc.role = PROMOTED
    elif op.operation == "migrate_to" and node.unclean:
        target = work.node(op.migrate_target)
        if target is not None:
            actions.stop(work, rsc, target, False)
    if not rsc.pending_task and not is_probe(op):
        rsc.pending_task = op.operation
        rsc.pending_node = node


def _set_active(rsc: Rsc) -> None:
    top = rsc.top()
    rsc.role = UNPROMOTED if top.promotable else STARTED


def _check_expiry(work: Work, rsc: Rsc, node: NodeRt, op: OpRecord) -> bool:
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
        elif last_failure and rsc.remote_reconnect_ms:
            reason = "reconnect interval is set"
    if not expired and last_failure and op.operation in ("start", "monitor"):
        if config_check.needs_remote_name(rsc):
            work.param_check.append((rsc, node, op, True))
        elif config_check.compare(work, rsc, node, op) not in (config_check.MATCH, config_check.UNKNOWN):
            reason = "resource parameters have changed"
    if reason:
        action = failures.clear(work, rsc, node, reason)
        if work.options.fencing and rsc.remote_reconnect_ms:
            from hamgr.scheduler import remotes

            remotes.order_after_fencing(work, action, rsc)
    if expired and is_probe(op) and op.rc in (OK, NOT_RUNNING, RUNNING_PROMOTED, DEGRADED, DEGRADED_PROMOTED):
        return False
    return expired


def _timeout_does_not_apply(work: Work, rsc: Rsc, op: OpRecord) -> bool:
    """A failed monitor of a remote connection stays until the remote node has been fenced."""
    if rsc.remote_reconnect_ms and work.options.fencing and op.interval_ms and op.operation == "monitor":
        node = work.node(rsc.id)
        return node is not None and not node.remote_was_fenced
    return False


# What exit codes of degraded service count as.
_UNDEGRADED = {DEGRADED: OK, DEGRADED_PROMOTED: RUNNING_PROMOTED}


def _remap(work: Work, replay: Replay, op: OpRecord, expired: bool, expected: int) -> tuple[int, int]:
    """The exit code and status that count, given what was expected."""
    rsc, node = replay.rsc, replay.node
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
    probe = is_probe(op)
    if expected >= 0:
        status = DONE if rc == expected else ERROR
    if rc == OK:
        if probe and expected == NOT_RUNNING:
            status = DONE
    elif rc == NOT_RUNNING and expired and rc != op.rc:
        # A masked failure that no longer counts says nothing about the resource.
        pass
    elif rc == NOT_RUNNING:
        if probe or expected == rc or not rsc.managed:
            status = DONE
            rsc.role = STOPPED
            replay.on_fail = OnFail.IGNORE
            rsc.next_role = UNKNOWN
    elif rc == RUNNING_PROMOTED:
        if probe and rc != expected:
            status = DONE
        rsc.role = PROMOTED
    elif rc == FAILED_PROMOTED:
        rsc.role = PROMOTED
        status = ERROR
    elif rc == NOT_CONFIGURED:
        status = ERROR_FATAL
    elif rc == UNIMPLEMENTED and op.interval_ms:
        status = NOT_SUPPORTED
    elif rc in (UNIMPLEMENTED, NOT_INSTALLED, INVALID_PARAM, INSUFFICIENT_PRIV):
        if op.operation == "stop" and not fencing.can_fence(work, node):
            rsc.managed = False
            rsc.blocked = True
        status = ERROR_HARD
    elif status == DONE:
        status = ERROR
    return rc, status


def _update_role(replay: Replay, op: OpRecord, rc: int) -> None:
    """An operation's success moves the role and may clear earlier failures."""
    rsc = replay.rsc
    task = op.operation
    clears = False
    if rc == NOT_INSTALLED or (not rsc.in_bundle() and masked_probe(op)):
        rsc.role = STOPPED
    elif rc == NOT_RUNNING:
        clears = True
    elif task == "monitor":
        failure = replay.last_failure
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
        clears = replay.on_fail == OnFail.DEMOTE
        rsc.role = UNPROMOTED
    elif task == "migrate_to":
        migration_history.migrate_to_succeeded(replay.work, rsc, replay.node, op)
    elif rsc.role < STARTED:
        _set_active(rsc)
    if not clears or replay.on_fail >= OnFail.STOP or replay.on_fail == OnFail.MIGRATE:
        return
    if replay.on_fail == OnFail.RESET_REMOTE and rsc.remote_reconnect_ms:
        return
    replay.on_fail = OnFail.IGNORE
    rsc.next_role = UNKNOWN


def _failed(work: Work, replay: Replay, op: OpRecord, rc: int) -> None:
    """An operation's failure: the worst of a resource's failures decides what happens."""
    rsc, node = replay.rsc, replay.node
    replay.last_failure = op
    if not node.shutdown or node.online:
        work.failed.append((rsc, node, op))
    strategy, fail_role = _on_fail_of(work, rsc, op)
    replay.on_fail = max(replay.on_fail, strategy)
    task = op.operation
    if task == "stop":
        placement.ban(work, rsc, node, "failed-stop")
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
        if rsc.parent is not None and rsc.top().is_clone() and not rsc.top().unique:
            banned = rsc.top()
        banned.allowed = dict.fromkeys(work.nodes, -INFINITY)


# --- the outcome --------------------------------------------------------------------------------------


def _apply(work: Work, replay: Replay) -> None:
    """Turn a replay's outcome into the working state: where it runs, what has to be recovered or fenced."""
    rsc, node = replay.rsc, replay.node
    if rsc.role != UNKNOWN:
        known: Rsc | None = rsc
        while known is not None:
            known.known_on[node] = True
            if known.unique:
                break
            known = known.parent
    if rsc.role > STOPPED and not node.online and not node.maintenance and rsc.managed:
        _fence_where_active(work, rsc, node)
    saved = replay.on_fail
    # A node that is to be fenced takes its failures with it.
    on_fail = OnFail.IGNORE if node.unclean else replay.on_fail
    _handle_failure(work, rsc, node, on_fail)
    if rsc.failed and rsc.is_remote_node:
        target = work.node(rsc.id)
        if target is not None and target.unclean:
            target.unseen = False
    if rsc.role not in (STOPPED, UNKNOWN):
        add_running(work, rsc, node, saved != OnFail.IGNORE)
        if on_fail in (OnFail.DEMOTE, OnFail.BLOCK):
            rsc.failed = True
        elif on_fail != OnFail.IGNORE:
            rsc.failed = rsc.stop_required = True
    elif ":" in rsc.history_id and not rsc.unique:
        rsc.history_id = strip_instance(rsc.history_id)
        rsc.clone_name = ""
    else:
        for action in actions.all_of(rsc, "stop", node):
            action.flags |= OPTIONAL
    if rsc.role == STOPPED and rsc.partial_migration_source is node and rsc.partial_migration_target and rsc.running_on:
        rsc.role = STARTED


def _fence_where_active(work: Work, rsc: Rsc, node: NodeRt) -> None:
    why = "is thought to be active there"
    if node.guest:
        rsc.failed = rsc.stop_required = True
    elif not work.options.fencing:
        return
    elif node.remote and node.remote_rsc is not None and not node.remote_rsc.failed:
        # Fencing is revoked if the connection can be established from elsewhere.
        node.unseen = True
        why = "is active there (fencing will be revoked if remote connection can be re-established elsewhere)"
    fencing.fence_node(work, node, f"{rsc.id} {why}", priority_delay=False)


def _handle_failure(work: Work, rsc: Rsc, node: NodeRt, on_fail: int) -> None:
    if on_fail == OnFail.DEMOTE:
        rsc.failed = True
        actions.demote(work, rsc, node, False)
    elif on_fail == OnFail.FENCE:
        fencing.fence_node(work, node, f"{rsc.id} failed there", priority_delay=False)
    elif on_fail == OnFail.STANDBY:
        node.standby = node.standby_onfail = True
    elif on_fail == OnFail.BLOCK:
        rsc.managed = False
        rsc.blocked = True
    elif on_fail == OnFail.MIGRATE:
        placement.ban(work, rsc, node, "on-fail-migrate")
    elif on_fail == OnFail.STOP:
        rsc.next_role = STOPPED
    elif on_fail == OnFail.RECOVER:
        if rsc.role not in (STOPPED, UNKNOWN):
            rsc.failed = rsc.stop_required = True
            actions.stop(work, rsc, node, False)
    elif on_fail == OnFail.RESTART_CONTAINER:
        rsc.failed = rsc.stop_required = True
        if rsc.container is not None and rsc.in_bundle():
            work.stop_needed.insert(0, rsc.container)
        elif rsc.container is not None:
            actions.stop(work, rsc.container, node, False)
        elif rsc.role not in (STOPPED, UNKNOWN):
            actions.stop(work, rsc, node, False)
    elif on_fail == OnFail.RESET_REMOTE:
        _reset_remote(work, rsc, node)


def _reset_remote(work: Work, rsc: Rsc, node: NodeRt) -> None:
    rsc.failed = rsc.stop_required = True
    if work.options.fencing and rsc.is_remote_node:
        remote = work.node(rsc.id)
        if remote is not None and remote.remote and not remote.guest and not remote.remote_was_fenced:
            fencing.fence_node(work, remote, "remote connection is unrecoverable", priority_delay=False)
    if rsc.role > STOPPED:
        actions.stop(work, rsc, node, False)
    if rsc.remote_reconnect_ms:
        rsc.next_role = STOPPED


def add_running(work: Work, rsc: Rsc, node: NodeRt, failed: bool) -> None:
    """Record that a resource is active on a node."""
    if node in rsc.running_on:
        return
    rsc.running_on.append(node)
    if rsc.variant == Variant.PRIMITIVE:
        node.running.append(rsc)
        _priority_to_node(rsc, node, failed)
        if node.maintenance:
            rsc.managed = False
    if not rsc.managed:
        placement.prefer(work, rsc, node, INFINITY, "not-managed")
        parent = rsc.parent
        while parent is not None and node.online:
            if node not in parent.running_on:
                parent.running_on.append(node)
            parent = parent.parent
        return
    if rsc.variant == Variant.PRIMITIVE and len(rsc.running_on) > 1:
        _multiply_active(work, rsc)
    if rsc.parent is not None:
        add_running(work, rsc.parent, node, False)


def _multiply_active(work: Work, rsc: Rsc) -> None:
    work.because("multiply-active", rsc, recovery=rsc.multiple_active)
    if rsc.multiple_active == "stop_only":
        for node in rsc.allowed:
            rsc.allowed[node] = -INFINITY
    elif rsc.multiple_active == "block":
        rsc.managed = False
        rsc.blocked = True
        parent = rsc.parent
        if (
            parent is not None
            and parent.variant in (Variant.GROUP, Variant.BUNDLE)
            and parent.multiple_active == "block"
        ):
            for child in parent.children:
                child.managed = False
                child.blocked = True
    elif rsc.multiple_active == "stop_unexpected":
        rsc.stop_unexpected = True


def _priority_to_node(rsc: Rsc, node: NodeRt, failed: bool) -> None:
    """Add up the priority of what runs on a node, for ``priority-fencing-delay``."""
    if rsc.priority == 0 or failed:
        return
    priority = rsc.priority
    if rsc.role == PROMOTED:
        # A promoted instance counts a little more than its priority.
        priority += 1
    node.priority += priority
    if node.guest and node.remote_rsc is not None and node.remote_rsc.container is not None:
        for host in node.remote_rsc.container.running_on:
            host.priority += priority
