"""How what was observed becomes recorded history: pure functions from a node's state to its next one.

Implements what Pacemaker's controller and attribute manager write into the status section ("Pacemaker Explained",
chapter *Status -- Here be dragons*): one entry for the last operation of a resource, one for its last failure, one for
each recurring operation, and the fail counts among the transient node attributes. The scheduler sees nothing else.

Times are whole seconds since the epoch; durations are milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

from hamgr.cib.model import Agent, NodeState, OpRecord, ResourceHistory
from hamgr.cib.scores import INFINITY

T = TypeVar("T")

PENDING = -1
DONE = 0
CRM_FEATURE_SET = "3.17.4"  # of Pacemaker 2.1.5: tells the scheduler which way of writing to expect

_COUNTED_ONCE = {"promote", "demote"}
_DEGRADED = {190, 191}


@dataclass(frozen=True, slots=True)
class Executed:
    """One operation that was carried out, or (`status` PENDING) is being carried out."""

    resource: str  # the id under which it is recorded
    agent: Agent
    task: str
    key: str
    transition_key: str
    target_rc: int
    call_id: int
    interval_ms: int = 0
    rc: int = 0
    status: int = DONE
    exit_reason: str = ""
    changed_at: int = 0
    exec_ms: int = 0
    queue_ms: int = 0
    op_digest: str = ""
    op_restart_digest: str = ""
    op_force_restart: str = ""
    migrate_source: str = ""
    migrate_target: str = ""

    @property
    def failed(self) -> bool:
        """Whether it ended otherwise than expected. A probe that finds a resource active has not failed."""
        if self.status == PENDING:
            return False
        if self.status != DONE:
            return True
        if self.rc in _DEGRADED:
            return False
        if self.task == "monitor" and self.interval_ms == 0 and self.rc in (0, 7, 8):
            return False
        return self.rc != self.target_rc


def record(state: NodeState, executed: Executed, *, start_failure_is_fatal: bool = True) -> NodeState:
    """Give the state of a node after an operation on it, fail count included."""
    history = _history_of(state, executed)
    entries = {entry.id: entry for entry in history.ops}
    for entry_id in _entry_ids(executed):
        entries[entry_id] = _entry(executed, entry_id, state.name)
    state = _with_history(state, replace(history, ops=tuple(entries.values())))
    return _count_failure(state, executed, start_failure_is_fatal) if executed.failed else state


def forget_operation(state: NodeState, resource: str, task: str, interval_ms: int) -> NodeState:
    """Give the state without one operation of a resource: it was cancelled, or its result is not to count."""
    return _filter_ops(
        state, lambda owner, op: owner != resource or (op.operation, op.interval_ms) != (task, interval_ms)
    )


def forget_recurring(state: NodeState) -> NodeState:
    """Give the state without any record of recurring operations: they ended with the leader that ran them."""
    return _filter_ops(state, lambda _owner, op: op.interval_ms == 0 or op.id.endswith("_last_failure_0"))


def forget_pending(state: NodeState) -> tuple[NodeState, tuple[str, ...]]:
    """Give the state without resources that have an operation in flight, and their ids.

    A new leader does not know how they ended: without history the scheduler probes them.
    """
    unsure = tuple(
        history.id
        for history in state.resources
        if any(op.op_status == PENDING and op.interval_ms == 0 for op in history.ops)
    )
    return replace(state, resources=tuple(h for h in state.resources if h.id not in unsure)), unsure


def forget_resource(state: NodeState, resource: str) -> NodeState:
    """Give the state without a resource's history (a probe will follow); its fail counts stay."""
    return replace(state, resources=tuple(history for history in state.resources if history.id != resource))


def clear_failures(state: NodeState, resource: str, task: str = "", interval_ms: int | None = None) -> NodeState:
    """Give the state without a resource's fail counts and the records of its failures; of one operation if named."""
    wanted = f"{task}_{interval_ms or 0}" if task else ""

    def keeps_attribute(name: str) -> bool:
        for prefix in (f"fail-count-{resource}", f"last-failure-{resource}"):
            rest = name.removeprefix(prefix)
            if rest != name and (rest == "" or (rest.startswith("#") and (not wanted or rest[1:] == wanted))):
                return False
        return True

    def keeps_op(owner: str, op: OpRecord) -> bool:
        if owner != resource or not op.id.endswith("_last_failure_0"):
            return True
        return bool(task) and (op.operation, op.interval_ms) != (task, interval_ms or 0)

    attributes = {name: value for name, value in state.attributes.items() if keeps_attribute(name)}
    return _filter_ops(replace(state, attributes=attributes), keeps_op)


def fail_counts(state: NodeState) -> dict[str, int]:
    """Give each resource's failures on the node, summed over its operations and clamped to INFINITY."""
    counts: dict[str, int] = {}
    for name, value in state.attributes.items():
        if name.startswith("fail-count-"):
            resource = name.removeprefix("fail-count-").split("#")[0]
            counts[resource] = min(counts.get(resource, 0) + _number(value), INFINITY)
    return counts


def set_attributes(state: NodeState, values: Mapping[str, str | None]) -> NodeState:
    """Give the state with transient attributes set; None removes one."""
    merged = {**state.attributes, **values}
    return replace(state, attributes={name: value for name, value in merged.items() if value is not None})


def member_up(state: NodeState) -> NodeState:
    """Give the state of a node that is a full member now."""
    return replace(state, in_ccm=True, crmd=True, join="member", expected="member")


def member_lost(state: NodeState) -> NodeState:
    """Give the state of a member that fell silent: the scheduler will call it unclean and want it fenced."""
    return replace(state, in_ccm=False, crmd=False, expected="member")


def member_left(state: NodeState) -> NodeState:
    """Give the state of a node that said goodbye, or was fenced: nothing is active there and nothing is remembered."""
    return replace(
        state, in_ccm=False, crmd=False, join="down", expected="down", attributes={}, resources=(), shutdown=""
    )


def to_json(value: NodeState | ResourceHistory) -> dict[str, Any]:
    """Give plain JSON values, what is at its default left out."""
    return _lean(asdict(value), value)


def node_state_from_json(raw: Mapping[str, Any]) -> NodeState:
    """Read `to_json`'s answer; unknown keys are skipped. Raises ValueError when it is no node's state."""
    resources = tuple(resource_history_from_json(entry) for entry in raw.get("resources", ()))
    return _build(NodeState, {**raw, "resources": resources})


def resource_history_from_json(raw: Mapping[str, Any]) -> ResourceHistory:
    """Read `to_json`'s answer; unknown keys are skipped. Raises ValueError when it is no resource's history."""
    ops = tuple(_build(OpRecord, entry) for entry in raw.get("ops", ()))
    return _build(ResourceHistory, {**raw, "agent": _build(Agent, raw.get("agent", {})), "ops": ops})


def _history_of(state: NodeState, executed: Executed) -> ResourceHistory:
    for history in state.resources:
        if history.id == executed.resource:
            return replace(history, agent=executed.agent)
    return ResourceHistory(executed.resource, executed.agent)


def _with_history(state: NodeState, history: ResourceHistory) -> NodeState:
    others = [entry for entry in state.resources if entry.id != history.id]
    place = next((i for i, entry in enumerate(state.resources) if entry.id == history.id), len(others))
    return replace(state, resources=(*others[:place], history, *others[place:]))


def _entry_ids(executed: Executed) -> list[str]:
    """The entries that an operation is written to (a failed one-time operation replaces the last one as well)."""
    last, failure = f"{executed.resource}_last_0", f"{executed.resource}_last_failure_0"
    if executed.task in ("migrate_to", "migrate_from"):
        return [executed.key]
    if executed.failed:
        return [failure] if executed.interval_ms else [failure, last]
    return [executed.key] if executed.interval_ms else [last]


def _entry(executed: Executed, entry_id: str, node: str) -> OpRecord:
    return OpRecord(
        id=entry_id,
        operation=executed.task,
        operation_key=executed.key,
        interval_ms=executed.interval_ms,
        call_id=executed.call_id,
        rc=executed.rc,
        op_status=executed.status,
        transition_key=executed.transition_key,
        transition_magic=f"{executed.status}:{executed.rc};{executed.transition_key}",
        last_rc_change=executed.changed_at,
        exec_time=executed.exec_ms,
        queue_time=executed.queue_ms,
        op_digest=executed.op_digest,
        op_restart_digest=executed.op_restart_digest,
        op_force_restart=executed.op_force_restart,
        on_node=node,
        exit_reason=executed.exit_reason,
        migrate_source=executed.migrate_source,
        migrate_target=executed.migrate_target,
        crm_feature_set=CRM_FEATURE_SET,
    )


def _count_failure(state: NodeState, executed: Executed, start_failure_is_fatal: bool) -> NodeState:
    """Count as Pacemaker's controller does: a failed stop, and by default a failed start, count INFINITY."""
    fatal = executed.task == "stop" or (executed.task == "start" and start_failure_is_fatal)
    counted = executed.interval_ms > 0 or executed.task in _COUNTED_ONCE or executed.task == "start"
    if not (fatal or counted):
        return state
    operation = f"{executed.resource}#{executed.task}_{executed.interval_ms}"
    before = _number(state.attributes.get(f"fail-count-{operation}", "0"))
    count = "INFINITY" if fatal or before + 1 >= INFINITY else str(before + 1)
    return set_attributes(
        state, {f"fail-count-{operation}": count, f"last-failure-{operation}": str(executed.changed_at)}
    )


def _filter_ops(state: NodeState, keeps: Callable[[str, OpRecord], bool]) -> NodeState:
    resources = tuple(
        replace(history, ops=tuple(op for op in history.ops if keeps(history.id, op))) for history in state.resources
    )
    return replace(state, resources=resources)


def _number(text: str) -> int:
    if text.strip().lstrip("+").upper() == "INFINITY":
        return INFINITY
    try:
        return int(text)
    except ValueError:
        return 0


def _lean(plain: dict[str, Any], value: Any) -> dict[str, Any]:
    out = {}
    for item in fields(value):
        entry, original = plain[item.name], getattr(value, item.name)
        if entry == item.default or (not entry and entry is not False and item.default is not None):
            continue
        if isinstance(original, tuple) and original and hasattr(original[0], "__dataclass_fields__"):
            entry = [_lean(part, whole) for part, whole in zip(entry, original, strict=True)]
        out[item.name] = entry
    return out


def _build(kind: type[T], raw: Any) -> T:
    if not isinstance(raw, Mapping):
        raise ValueError(f"recorded state has {raw!r} where a {kind.__name__} belongs")  # noqa: TRY004
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    try:
        return kind(**{name: _frozen(value) for name, value in raw.items() if name in known})
    except TypeError as error:
        raise ValueError(f"recorded {kind.__name__} is incomplete: {error}") from None


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | Mapping) else value
