"""Recorded operations by themselves: what their results are called, which are probes, and which came before which.

Exit codes are those of the Resource Agents' API, statuses those of Pacemaker's executor.
"""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.cib.model import OpRecord

# Agents' exit codes and, below them, the executor's statuses.

OK, INVALID_PARAM, UNIMPLEMENTED, INSUFFICIENT_PRIV, NOT_INSTALLED, NOT_CONFIGURED, NOT_RUNNING = 0, 2, 3, 4, 5, 6, 7
RUNNING_PROMOTED, FAILED_PROMOTED, DEGRADED, DEGRADED_PROMOTED = 8, 9, 190, 191
PENDING, DONE, CANCELLED, TIMEOUT, NOT_SUPPORTED, ERROR, ERROR_HARD, ERROR_FATAL = -1, 0, 1, 2, 3, 4, 5, 6
EXEC_NOT_INSTALLED, NOT_CONNECTED, INVALID, NO_FENCE_DEVICE, NO_SECRETS = 7, 8, 9, 10, 11


def is_probe(op: OpRecord) -> bool:
    """Whether an operation only asked whether the resource is active."""
    return op.operation == "monitor" and op.interval_ms == 0


def masked_probe(op: OpRecord) -> bool:
    """A probe that says the resource cannot be there at all counts as "not running"."""
    return (op.rc in (NOT_INSTALLED, INVALID_PARAM) or op.op_status == EXEC_NOT_INSTALLED) and is_probe(op)


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
    """A history's operations, the oldest first."""
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
