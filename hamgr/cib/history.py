"""How results become recorded history: what Pacemaker's controller and attribute manager would write.

Pure functions from a `NodeState` (or a whole `Cib`) to a new one. The scheduler sees nothing of an operation but this,
so the controller and the simulator both record through here.
"""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.cib.model import Agent, Cib, NodeState, OpRecord, ResourceHistory, Started
from hamgr.cib.records import dataclass, replace
from hamgr.cib.scores import INFINITY

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

# Execution statuses (Pacemaker's PCMK_EXEC_*).
PENDING, DONE, CANCELLED, TIMEOUT, NOT_SUPPORTED, ERROR = -1, 0, 1, 2, 3, 4
CRM_FEATURE_SET = "3.16.2"


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of an executed operation, as the executor reports it."""

    resource: str  # under which history is kept: without ":N" for anonymous clone instances
    agent: Agent
    operation: str
    node: str
    interval_ms: int = 0
    rc: int = 0
    target_rc: int = 0
    status: int = DONE
    call_id: int = 0
    transition: int = -1  # number of the transition; -1: not part of any
    action: int = -1  # id of the action in it
    controller: str = "hamgr"  # id of the controller that asked for it
    last_rc_change: int = 0  # seconds since the epoch
    exec_time: int = 0  # milliseconds
    queue_time: int = 0  # milliseconds
    op_digest: str = ""
    op_restart_digest: str = ""
    op_force_restart: str | None = None  # parameters whose change needs a restart; None: all
    exit_reason: str = ""
    migrate_source: str = ""
    migrate_target: str = ""
    notify_type: str = ""  # of a notify: pre, post
    notify_operation: str = ""

    @property
    def failed(self) -> bool:
        """Whether it did something else than expected; cancelled and pending operations did not fail."""
        if self.status in (CANCELLED, PENDING):
            return False
        if self.status != DONE:
            return True
        return self.rc != self.target_rc


def op_key(resource: str, operation: str, interval_ms: int) -> str:
    return f"{resource}_{operation}_{interval_ms}"


def to_record(result: Result) -> OpRecord:
    """The entry for a result, with the id under which it replaces an older one."""
    operation = result.operation
    if operation == "reload-agent":  # Pacemaker records it as what the scheduler is to take from it
        operation = "start" if result.status == DONE else "monitor"
    key = op_key(result.resource, operation, result.interval_ms)
    if result.operation == "notify":
        entry = f"{result.resource}_{result.notify_type}_notify_{result.notify_operation}_0"
    elif result.operation in ("migrate_to", "migrate_from") or result.interval_ms:
        entry = key
    else:
        entry = f"{result.resource}_last_0"
    transition_key = f"{result.action}:{result.transition}:{result.target_rc}:{result.controller}"
    return OpRecord(
        operation=operation,
        id=entry,
        operation_key=key,
        interval_ms=result.interval_ms,
        call_id=result.call_id,
        rc=result.rc,
        op_status=result.status,
        transition_key=transition_key,
        transition_magic=f"{result.status}:{result.rc};{transition_key}",
        last_rc_change=result.last_rc_change,
        exec_time=result.exec_time,
        queue_time=result.queue_time,
        op_digest=result.op_digest,
        op_restart_digest=result.op_restart_digest,
        op_force_restart=result.op_force_restart,
        on_node=result.node,
        exit_reason=result.exit_reason if result.failed else "",
        migrate_source=result.migrate_source,
        migrate_target=result.migrate_target,
        crm_feature_set=CRM_FEATURE_SET,
    )


# --- one node -----------------------------------------------------------------------------------------


def record_result(state: NodeState, result: Result, start_failure_is_fatal: bool = True) -> NodeState:
    """A node's state after an operation: last result per operation, last failure, fail counts."""
    if result.operation == "cancel":
        return state
    record = to_record(result)
    entries = [record]
    if result.failed and result.operation not in ("migrate_to", "migrate_from", "notify"):
        failure = replace(record, id=f"{result.resource}_last_failure_0")
        entries = [failure] if result.interval_ms else [record, failure]
    state = _with_entries(state, result.resource, result.agent, entries)
    if result.failed and result.status != PENDING and not _is_probe(result):
        state = _count_failure(state, result, start_failure_is_fatal)
    return state


def with_entry(state: NodeState, result: Result) -> NodeState:
    """A node's state with the bare entry for a result, whatever the result was."""
    return _with_entries(state, result.resource, result.agent, [to_record(result)])


def _is_probe(result: Result) -> bool:
    return result.operation == "monitor" and result.interval_ms == 0


def _with_entries(state: NodeState, resource: str, agent: Agent, entries: list[OpRecord]) -> NodeState:
    ids = {entry.id for entry in entries}
    found = False
    histories = []
    for history in state.resources:
        if history.id == resource:
            found = True
            kept = tuple(op for op in history.ops if op.id not in ids)
            history = replace(history, agent=agent, ops=(*kept, *entries))
        histories.append(history)
    if not found:
        histories.append(ResourceHistory(resource, agent, tuple(entries)))
    return replace(state, resources=tuple(histories))


def _count_failure(state: NodeState, result: Result, start_failure_is_fatal: bool) -> NodeState:
    """What attrd keeps: how often an operation failed, and when last; a failed start or stop may count as INFINITY."""
    suffix = f"{result.resource}#{result.operation}_{result.interval_ms}"
    name = f"fail-count-{suffix}"
    fatal = result.operation == "stop" or (result.operation == "start" and start_failure_is_fatal)
    count = INFINITY if fatal else scores.add(scores.parse(state.attributes.get(name)), 1)
    attributes = dict(state.attributes)
    attributes[name] = scores.text(count)
    attributes[f"last-failure-{suffix}"] = str(result.last_rc_change)
    return replace(state, attributes=attributes)


def forget_operation(state: NodeState, resource: str, operation: str, interval_ms: int) -> NodeState:
    """A node's state after a recurring operation was cancelled."""
    key = op_key(resource, operation, interval_ms)
    return _map_history(
        state,
        resource,
        lambda h: replace(
            h, ops=tuple(op for op in h.ops if (op.operation_key or op.id) != key or "last_failure" in op.id)
        ),
    )


def forget_resource(state: NodeState, resource: str) -> NodeState:
    """A node's state after a resource's history was deleted (lrm_delete): as if it had never been there."""
    return replace(state, resources=tuple(h for h in state.resources if h.id != resource))


def clear_failures(state: NodeState, resource: str, operation: str = "", interval_ms: int = 0) -> NodeState:
    """A node's state after clear_failcount: of one operation, or of all operations of a resource."""
    suffixes = [f"{resource}#{operation}_{interval_ms}"] if operation else [f"{resource}#"]
    if not operation:
        suffixes.append(resource)
    prefixes = [f"{kind}-{suffix}" for kind in ("fail-count", "last-failure") for suffix in suffixes]

    def kept(name: str) -> bool:
        return not any(name == p or (p.endswith("#") and name.startswith(p)) for p in prefixes)

    state = replace(state, attributes={k: v for k, v in state.attributes.items() if kept(k)})
    failure = f"{resource}_last_failure_0"

    def without_failure(history: ResourceHistory) -> ResourceHistory:
        def gone(op: OpRecord) -> bool:
            return op.id == failure and (not operation or (op.operation, op.interval_ms) == (operation, interval_ms))

        return replace(history, ops=tuple(op for op in history.ops if not gone(op)))

    return _map_history(state, resource, without_failure)


def forget_recurring(state: NodeState) -> NodeState:
    """A node's state without recurring operations: they ended with the leader that ran them."""
    return replace(
        state,
        resources=tuple(
            replace(h, ops=tuple(op for op in h.ops if not op.interval_ms or op.id == f"{h.id}_last_failure_0"))
            for h in state.resources
        ),
    )


def forget_recurring_of(state: NodeState, resource: str) -> NodeState:
    """A node's state without one resource's recurring operations: they were ended from outside."""
    kept = forget_recurring(state)
    ours = next((h for h in kept.resources if h.id == resource), None)
    return replace(state, resources=tuple(ours if ours and h.id == resource else h for h in state.resources))


def forget_pending(
    state: NodeState, findable: Callable[[ResourceHistory], bool] = lambda _history: True
) -> tuple[NodeState, tuple[str, ...], tuple[str, ...]]:
    """A node's state without what is in flight there; the ids of what is to be probed, and of what counts as running.

    How it ended is not known. Without history the scheduler probes a resource. One that a probe would not find (not
    findable: its definition went, or is another one by now) has to count as running, so that it is stopped: as often as
    not it is, and a stop of what is stopped already does no harm.
    """
    unsure = [h for h in state.resources if any(op.op_status == PENDING for op in h.ops)]
    probed = tuple(h.id for h in unsure if findable(h))
    assumed = tuple(h.id for h in unsure if h.id not in probed)
    kept = tuple(h for h in state.resources if h.id not in probed)
    return _map_histories(replace(state, resources=kept), assumed, _assumed_running), probed, assumed


def doubt(state: NodeState, resource: str, *, findable: bool) -> NodeState:
    """A node's state when what is recorded of a resource is not to be believed any more; findable: as above."""
    if findable:
        return forget_resource(state, resource)
    return _map_histories(state, (resource,), lambda h: _assumed_running(h) if _may_run(h) else h)


def _may_run(entry: ResourceHistory) -> bool:
    return not any(_says_down(op) for op in entry.ops)


def _assumed_running(entry: ResourceHistory) -> ResourceHistory:
    """The history of a resource of which nothing is known but that it was started once."""
    last = max(entry.ops, key=lambda op: op.call_id, default=OpRecord("start"))
    key = last.transition_key or "-1:-1:0:hamgr"
    action, transition, _, controller = [*key.split(":", 3), "", "", "", ""][:4]
    key = f"{action}:{transition}:0:{controller}"
    started = OpRecord(
        "start",
        id=f"{entry.id}_last_0",
        operation_key=op_key(entry.id, "start", 0),
        call_id=last.call_id,
        transition_key=key,
        transition_magic=f"{DONE}:0;{key}",
        last_rc_change=last.last_rc_change,
        op_digest="" if entry.started is None else entry.started.digest,
        on_node=last.on_node,
        crm_feature_set=CRM_FEATURE_SET,
    )
    return replace(entry, ops=(started,))


def note_started(state: NodeState, resource: str, started: Started) -> NodeState:
    """A node's state with what a resource is started with there, from now on."""
    if not any(h.id == resource for h in state.resources):
        state = _with_entries(state, resource, started.agent, [])
    return _map_histories(state, (resource,), lambda h: replace(h, started=started))


def assume_running(state: NodeState, resource: str, started: Started) -> NodeState:
    """A node's state with a resource on record that was found to run there, without our having started it."""
    return _map_histories(note_started(state, resource, started), (resource,), _assumed_running)


def last_start(state: NodeState, resource: str) -> Started | None:
    """With what a resource was last started on the node; None: that is not on record."""
    return next((h.started for h in state.resources if h.id == resource), None)


def is_active(entry: ResourceHistory) -> bool:
    """Whether a resource may run, by what is recorded of it: it was started, or found, and not stopped since."""
    return bool(entry.ops) and _may_run(entry)


def not_running(state: NodeState, resource: str) -> tuple[str, ...]:
    """The histories (of a resource or its instances) whose last word is that it was stopped, or found not running."""
    chosen = (entry for entry in state.resources if entry.id.partition(":")[0] == resource)
    return tuple(entry.id for entry in chosen if any(_says_down(op) for op in entry.ops))


def _says_down(op: OpRecord) -> bool:
    last = op.id.endswith("_last_0") and op.op_status == DONE
    return last and (op.operation, op.rc) in (("stop", 0), ("monitor", 7))


def fail_counts(state: NodeState) -> dict[str, int]:
    """Each resource's failures on the node, summed over its operations."""
    counts: dict[str, int] = {}
    for name, value in state.attributes.items():
        if name.startswith("fail-count-"):
            resource = name.removeprefix("fail-count-").split("#")[0]
            counts[resource] = scores.add(counts.get(resource, 0), scores.parse(value))
    return counts


def set_attributes(state: NodeState, values: Mapping[str, str | None]) -> NodeState:
    """A node's state with transient attributes set, or removed (None)."""
    merged = {**state.attributes, **values}
    return replace(state, attributes={name: value for name, value in merged.items() if value is not None})


def _map_history(state: NodeState, resource: str, change: Any) -> NodeState:
    return _map_histories(state, (resource,), change)


def _map_histories(state: NodeState, chosen: tuple[str, ...], change: Any) -> NodeState:
    return replace(state, resources=tuple(change(h) if h.id in chosen else h for h in state.resources))


def next_call_id(state: NodeState) -> int:
    """A call id newer than all that are recorded for a node."""
    return max((op.call_id for history in state.resources for op in history.ops), default=0) + 1


# --- node membership ----------------------------------------------------------------------------------


def member_up(state: NodeState) -> NodeState:
    """A node that has joined."""
    return replace(state, in_ccm=True, crmd=True, join="member", expected="member")


def member_lost(state: NodeState) -> NodeState:
    """A node that has vanished: it is still expected, so it will have to be fenced.

    Its transient attributes go at once, as Pacemaker's controller deletes them (peer_update_callback).
    """
    return replace(state, in_ccm=False, crmd=False, attributes={})


def member_left(state: NodeState) -> NodeState:
    """A node that has left cleanly, after stopping everything: its transient attributes go with it."""
    return replace(state, in_ccm=False, crmd=False, join="down", expected="down", attributes={})


def member_fenced(state: NodeState) -> NodeState:
    """A node that has been fenced: nothing that was recorded about it holds any more."""
    return replace(state, in_ccm=False, crmd=False, join="down", expected="down", attributes={}, resources=())


# --- the whole CIB ------------------------------------------------------------------------------------


def node_state(cib: Cib, node: str) -> NodeState:
    """The recorded state of a node, an empty one if there is none."""
    for state in cib.node_states:
        if state.name == node:
            return state
    known = next((n for n in cib.nodes if n.name == node), None)
    return NodeState(name=node, id=known.id if known else node)


def with_node_state(cib: Cib, state: NodeState) -> Cib:
    """A CIB in which a node's state has been replaced (or added)."""
    states = [state if s.name == state.name else s for s in cib.node_states]
    if all(s is not state for s in states):
        states.append(state)
    return replace(cib, node_states=tuple(states))


def record(cib: Cib, result: Result, start_failure_is_fatal: bool = True) -> Cib:
    """A CIB after an operation was executed; see `record_result`."""
    return with_node_state(cib, record_result(node_state(cib, result.node), result, start_failure_is_fatal))


# --- JSON ---------------------------------------------------------------------------------------------


def to_json(state: NodeState) -> dict[str, Any]:
    """A node's state as plain values for storing; fields at their defaults are left out."""
    names = [name for name in NodeState.__match_args__ if name not in ("resources", "attributes")]
    empty = NodeState("")
    document: dict[str, Any] = {name: v for name in names if (v := getattr(state, name)) != getattr(empty, name)}
    document["attributes"] = dict(state.attributes)
    document["resources"] = [history_to_json(history) for history in state.resources]
    return document


def history_to_json(history: ResourceHistory) -> dict[str, Any]:
    """One resource's history as plain values."""
    default = OpRecord("")
    return {
        "id": history.id,
        "agent": {name: getattr(history.agent, name) for name in Agent.__match_args__},
        "container": history.container,
        "shutdown_lock": history.shutdown_lock,
        **({} if history.started is None else {"started": _started_to_json(history.started)}),
        "ops": [
            {name: v for name in OpRecord.__match_args__ if (v := getattr(op, name)) != getattr(default, name)}
            for op in history.ops
        ],
    }


def _started_to_json(started: Started) -> dict[str, Any]:
    return {
        "agent": {name: getattr(started.agent, name) for name in Agent.__match_args__},
        "params": dict(started.params),
        "timeouts": dict(started.timeouts),
        "digest": started.digest,
        "group": started.group,
    }


def _started_from_json(document: Any) -> Started | None:
    """None for what nobody can read: then it counts as not recorded."""
    try:
        return Started(
            _agent_from_json(document["agent"]),
            {str(name): str(value) for name, value in document["params"].items()},
            {str(task): int(ms) for task, ms in document["timeouts"].items()},
            str(document["digest"]),
            str(document["group"]),
        )
    except (TypeError, ValueError, KeyError, AttributeError):
        return None


def _agent_from_json(document: Mapping[str, Any]) -> Agent:
    return Agent(document.get("standard", ""), document.get("type", ""), document.get("provider", ""))


def from_json(document: Mapping[str, Any]) -> NodeState:
    """The inverse of `to_json`; unknown keys are skipped. Raises ValueError when it is no node state."""
    names = set(NodeState.__match_args__) - {"resources", "attributes"}
    if not isinstance(document.get("name"), str):
        raise ValueError("a recorded node state has no name")  # noqa: TRY004
    return NodeState(
        **{k: v for k, v in document.items() if k in names},
        attributes=dict(document.get("attributes", {})),
        resources=tuple(history_from_json(h) for h in document.get("resources", ())),
    )


def history_from_json(document: Mapping[str, Any]) -> ResourceHistory:
    """The inverse of `history_to_json`."""
    names = set(OpRecord.__match_args__)
    return ResourceHistory(
        id=document["id"],
        agent=_agent_from_json(document.get("agent", {})),
        started=_started_from_json(document.get("started")),
        ops=tuple(OpRecord(**{k: v for k, v in op.items() if k in names}) for op in document.get("ops", ())),
        container=document.get("container", ""),
        shutdown_lock=document.get("shutdown_lock", 0),
    )
