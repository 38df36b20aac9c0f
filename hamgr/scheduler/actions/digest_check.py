"""Compares recorded operations with the present configuration: what has to be restarted, reloaded or rescheduled.

Parameters are compared by the digests that were recorded with the operations ("Resource Parameter Changes" and
"agent reload" of Pacemaker Explained).
"""

from __future__ import annotations

from hamgr.cib import digest
from hamgr.cib.model import OpRecord, ResourceHistory
from hamgr.scheduler.actions import failures, orderings, resource_actions, unfencing
from hamgr.scheduler.inputs import attributes, operations
from hamgr.scheduler.inputs.op_records import active_range, sorted_ops
from hamgr.scheduler.state.constants import O_OPTIONAL, O_THEN_CANCELS_FIRST, RESCHEDULE, Variant
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.parts import strip_instance
from hamgr.scheduler.state.working_set import WorkingSet

MATCH, ALL, RESTART, UNKNOWN = range(4)


def needs_remote_name(rsc: Resource) -> bool:
    """Whether a parameter of this resource depends on where its bundle's container will be."""
    return rsc.settings.is_bundle_connection and resource_address(rsc) == "#uname"


def compare(work: WorkingSet, rsc: Resource, node: Node, op: OpRecord) -> int:
    """Whether an operation would be run with the parameters with which it was."""
    params = dict(operations.op_params(work, config := operations.find_op(rsc, op.operation, op.interval_ms), node))
    extra = bool(params)
    for name, value in attributes.params(work, rsc, node).items():
        params.setdefault(name, value)
    if needs_remote_name(rsc):
        params["addr"] = host_address(rsc)
    meta = operations.op_meta(work, rsc, config, op.operation, op.interval_ms)
    timeout = operations.timeout_ms(work, rsc, config, meta, op.operation, op.interval_ms)
    current = digest.op_digest(params, op.interval_ms, timeout)
    if op.op_restart_digest:
        # Without a list of what needs a restart, everything does.
        part = digest.restart_digest(params, op.op_force_restart) if op.op_force_restart is not None else current
        if part != op.op_restart_digest:
            return RESTART
    if not op.op_digest:
        return UNKNOWN
    if current == op.op_digest:
        return MATCH
    if (
        op.op_secure_digest
        and digest.secure_digest(_public(rsc, params, op), op.op_secure_params) == op.op_secure_digest
    ):
        # Only parameters that are masked in saved configurations differ.
        return MATCH
    return RESTART if op.interval_ms == 0 and extra else ALL


def _public(rsc: Resource, params: dict[str, str], op: OpRecord) -> dict[str, str]:
    if rsc.settings.fence_device and failures.version(op.crm_feature_set) < (3, 16, 0):
        special = ("provides", "stonith-timeout")
        return {k: v for k, v in params.items() if not k.startswith("pcmk_") and k not in special}
    return params


def check_all(work: WorkingSet) -> None:
    """Check the active operations of all resources against the configuration."""
    for state in work.cib.node_states:
        node = work.node_of(state)
        if node is None or not (node.maintenance or node.is_available()):
            continue
        for history in state.resources:
            if history.ops:
                for rsc in _resources_for(work, history.id):
                    _check_history(work, rsc, node, history)


def _resources_for(work: WorkingSet, history_id: str) -> list[Resource]:
    candidates = work.by_history.get(strip_instance(history_id), ())
    found = [rsc for rsc in candidates if history_id in (rsc.id, rsc.clone_name)]
    exact = work.by_id.get(history_id)
    if exact is not None and exact not in found and exact.variant == Variant.PRIMITIVE:
        found.append(exact)
    return found


def _agent_changed(rsc: Resource, history: ResourceHistory) -> bool:
    configured = rsc.primitive.agent if rsc.primitive is not None else history.agent
    return configured is not history.agent and configured != history.agent


def _clean_up(work: WorkingSet, rsc: Resource, node: Node) -> None:
    resource_actions.schedule_cleanup(work, rsc, node, False)


def _check_history(work: WorkingSet, rsc: Resource, node: Node, history: ResourceHistory) -> None:
    if rsc.orphan:
        top = rsc.top()
        if not (top.is_clone() and not top.settings.unique):
            _clean_up(work, rsc, node)
        return
    active = node in rsc.running_on
    if _agent_changed(rsc, history):
        if active:
            resource_actions.make(work, rsc, orderings.key_of(rsc, "stop"), "stop", node, False)
        _clean_up(work, rsc, node)
    if not active:
        return
    ops = sorted_ops(history.ops)
    start, stop = active_range(ops)
    if start < stop:
        return
    for index, op in enumerate(ops):
        if index < start:
            continue
        if op.interval_ms and (rsc.maintenance or node.maintenance):
            _cancel(work, rsc, op, node, "maintenance mode")
        elif op.interval_ms or op.operation in ("monitor", "start", "promote", "migrate_from"):
            if needs_remote_name(rsc):
                work.param_check.append((rsc, node, op, False))
            elif check_op(work, rsc, node, op) and failures.fail_count(work, rsc, node, effective=True)[0]:
                failures.clear(work, rsc, node, "action definition changed")


def check_postponed(work: WorkingSet) -> None:
    """Check the operations of connections whose address is known only once their containers have a place."""
    for rsc, node, op, is_failure in work.param_check:
        if is_failure:
            if compare(work, rsc, node, op) not in (MATCH, UNKNOWN):
                failures.clear(work, rsc, node, "resource parameters have changed")
        elif check_op(work, rsc, node, op) and failures.fail_count(work, rsc, node, effective=True)[0]:
            failures.clear(work, rsc, node, "action definition changed")


def cancel_action(work: WorkingSet, rsc: Resource, task: str, interval_ms: int, node: Node) -> Action:
    """An action that cancels a recurring operation."""
    key = operations.op_key(rsc.id, task, interval_ms)
    cancel = resource_actions.make(work, rsc, key, "cancel", node, False, interval_ms)
    cancel.task = "cancel"
    cancel.cancel_task = task
    return cancel


def _cancel(work: WorkingSet, rsc: Resource, op: OpRecord, node: Node, reason: str) -> None:
    cancel = cancel_action(work, rsc, op.operation, op.interval_ms, node)
    cancel.reason = reason
    orderings.new_ordering(work, rsc, orderings.key_of(rsc, "stop"), None, rsc, "", cancel, O_OPTIONAL)


def check_op(work: WorkingSet, rsc: Resource, node: Node, op: OpRecord) -> bool:
    """Action on one operation's difference from the configuration; whether there was one."""
    task, interval = op.operation, op.interval_ms
    if interval and operations.find_op(rsc, task, interval, include_disabled=False) is None:
        if work.options.stop_orphan_actions:
            _cancel(work, rsc, op, node, "orphan")
        return True
    if not interval and task in ("monitor", "migrate_from"):
        # Their parameters are those with which the resource was started.
        task = "start"
    key = operations.op_key(rsc.id, task, interval)
    result = RESTART if id(op) in work.expired_recurring else compare(work, rsc, node, op)
    if result == MATCH:
        return False
    if result != RESTART and interval:
        action = resource_actions.make(work, rsc, key, task, node, True, interval)
        action.flags |= RESCHEDULE
    elif result != RESTART and op.op_restart_digest:
        _reload(work, rsc, node)
    else:
        action = resource_actions.make(work, rsc, key, task, None, False, interval)
        action.reason = "resource definition change"
    unfencing.trigger(work, rsc, node, "Device parameters changed")
    return True


def _reload(work: WorkingSet, rsc: Resource, node: Node) -> None:
    if not rsc.managed or rsc.failed:
        return
    if rsc.recorded.start_pending:
        resource_actions.make(work, rsc, orderings.key_of(rsc, "stop"), "stop", node, False)
        return
    rsc.reload = True
    reload = resource_actions.make(work, rsc, orderings.key_of(rsc, "reload-agent"), "reload-agent", node, False)
    reload.reason = "resource definition change"
    flags = O_OPTIONAL | O_THEN_CANCELS_FIRST
    for task in ("stop", "demote"):
        orderings.new_ordering(work, None, "", reload, rsc, orderings.key_of(rsc, task), None, flags)


def host_address(connection: Resource) -> str:
    """Where a connection without an address of its own reaches its container: the host's name ("": there is none)."""
    container = connection.container
    host = container.assigned_to or container.current_node() if container is not None else None
    return host.name if host is not None else ""


def resource_address(rsc: Resource) -> str:
    """The configured address of a connection resource."""
    for nvset in rsc.settings.own_params:
        for name, value in nvset.pairs:
            if name == "addr":
                return value
    return ""
