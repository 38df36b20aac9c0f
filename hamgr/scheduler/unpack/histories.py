"""What recorded operations say: where each resource is active, in which role, what failed, what was never seen before.

Operations of a resource on a node are unpacked in the order in which they were called; each moves the role, adds a
failure or clears one ("Operation History" in Pacemaker Development's documentation of the scheduler).
"""

from __future__ import annotations

from hamgr.cib import model
from hamgr.cib.model import OpRecord, ResourceHistory
from hamgr.scheduler.actions import resource_actions
from hamgr.scheduler.inputs import attributes, operations
from hamgr.scheduler.inputs.op_records import PENDING, active_range, sorted_ops
from hamgr.scheduler.state.constants import STARTED, UNKNOWN, Variant
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.unpack import history_match, nodes, outcome
from hamgr.scheduler.unpack.outcome import UnpackedOperations
from hamgr.scheduler.unpack.unpack_operation import unpack_operation


def unpack(work: WorkingSet) -> None:
    """Unpack all histories: cluster nodes first, guests and remotes once it is known whether they are up."""
    for state in work.cib.node_states:
        node = work.node_of(state)
        histories = work.histories.setdefault(node.name if node else state.name, {})
        histories.update({history.id: history for history in state.resources})
    while _pass(work, last=False):
        pass
    _pass(work, last=work.options.fencing)
    _stop_containers(work)
    for node in work.nodes:
        if node.remote and not node.unpacked:
            nodes.determine_remote_online(node)


def _pass(work: WorkingSet, last: bool) -> bool:
    found = False
    for state in work.cib.node_states:
        # Nodes may turn up on the way, from connections that are not configured.
        node = work.node_of(state)
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
            nodes.determine_remote_online(node)
            nodes.remote_attributes(work, node, state)
        _unpack_node(work, node, state)
    return found


def _stop_containers(work: WorkingSet) -> None:
    for container in work.stop_needed:
        node = container.current_node()
        if node is not None:
            action = resource_actions.stop(work, container, node, False)
            action.reason = "container failed"
    work.stop_needed.clear()


def _unpack_node(work: WorkingSet, node: Node, state: model.NodeState) -> None:
    fillers = []
    for history in state.resources:
        rsc = _unpack_resource(work, node, history)
        if rsc is not None and rsc.recorded.orphan_container_filler:
            fillers.append((rsc, history.container))
    for rsc, container_id in fillers:
        container = work.by_id.get(container_id)
        if container is not None and container.variant == Variant.PRIMITIVE and rsc.container is None:
            rsc.container = container
            container.fillers.append(rsc)
            connected = work.nodes_by_name.get(rsc.id)
            if connected is not None and connected.remote_rsc is rsc:
                connected.guest = True


def _unpack_resource(work: WorkingSet, node: Node, history: ResourceHistory) -> Resource | None:
    locks = work.options.shutdown_lock
    if not history.ops and not locks:
        return None
    rsc = history_match.find(work, node, history)
    if rsc is None:
        if not history.ops:
            return None
        rsc = history_match.make_orphan(work, history)
    if locks and history.shutdown_lock:
        _shutdown_lock(work, rsc, node, history)
    saved_role = rsc.role
    rsc.role = UNKNOWN
    unpacked = UnpackedOperations(work, rsc, node)
    ops = sorted_ops(history.ops)
    for record in ops:
        unpack_operation(work, unpacked, record)
    _recurring_in_history(work, rsc, node, ops)
    outcome.apply(work, unpacked)
    wanted = attributes.target_role(rsc)
    if wanted != UNKNOWN and (rsc.next_role == UNKNOWN or wanted < rsc.next_role):
        rsc.next_role = wanted
    rsc.role = max(rsc.role, saved_role)
    return rsc


def _shutdown_lock(work: WorkingSet, rsc: Resource, node: Node, history: ResourceHistory) -> None:
    limit = work.options.shutdown_lock_limit_s
    if limit > 0 and work.now > history.shutdown_lock + limit:
        return
    rsc.recorded.lock_node = node
    rsc.recorded.lock_time = history.shutdown_lock


def _recurring_in_history(work: WorkingSet, rsc: Resource, node: Node, ops: list[OpRecord]) -> None:
    """Recurring operations that are running already become optional actions."""
    start, stop = active_range(ops)
    if not node.online or start < stop:
        return
    for index, op in enumerate(ops):
        if index >= start and op.interval_ms and op.op_status != PENDING:
            key = operations.op_key(rsc.id, op.operation, op.interval_ms)
            resource_actions.make(work, rsc, key, op.operation, node, True, op.interval_ms)
