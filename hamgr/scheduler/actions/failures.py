"""Fail counts, their expiry, and the clearing of failures that no longer count.

Implements "Handling Resource Failure" (migration-threshold, failure-timeout) of Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.cib.model import OpRecord, ResourceHistory
from hamgr.scheduler.actions import resource_actions
from hamgr.scheduler.inputs import operations
from hamgr.scheduler.state.constants import OPTIONAL
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.parts import strip_instance
from hamgr.scheduler.state.working_set import WorkingSet


def _matching(work: WorkingSet, rsc: Resource, node: Node, prefix: str) -> list[str]:
    """Values of the node's attributes that count (or date) failures of a resource."""
    name = rsc.id if rsc.settings.unique else strip_instance(rsc.id)
    start = f"{prefix}-{name}"
    legacy = work.legacy_fail_counts
    found = []
    for attribute, value in node.attributes.items():
        if not attribute.startswith(start):
            continue
        rest = attribute[len(start) :]
        if not rsc.settings.unique and rest[:1] == ":":
            rest = rest[1:].lstrip("0123456789")
        if rest == "" and legacy:
            found.append(value)
        elif rest[:1] == "#" and not legacy:
            op, _, interval = rest[1:].rpartition("_")
            if op and interval.isdigit():
                found.append(value)
    return found


def version(text: str) -> tuple[int, ...]:
    return tuple(scores.leading_int(part) for part in text.split("."))


def history_of(work: WorkingSet, rsc: Resource, node: Node) -> ResourceHistory | None:
    histories = work.histories.get(node.name, {})
    return histories.get(rsc.history_id) or histories.get(rsc.id)


def _failure_blocks(work: WorkingSet, rsc: Resource, node: Node, record: OpRecord | None) -> bool:
    """Whether an on-fail=block failure is recorded: those never expire."""
    history = history_of(work, rsc, node)
    if history is None or rsc.primitive is None:
        return False
    for op in rsc.primitive.ops:
        if op.attributes.get("on-fail", "").lower() != "block" and not op.meta:
            continue
        meta = operations.op_meta(work, rsc, op, op.name, op.interval_ms)
        if meta.get("on-fail", "").lower() != "block":
            continue
        for entry in (record,) if record is not None else history.ops:
            same = entry.operation == op.name and entry.interval_ms == op.interval_ms
            if same and (entry.id.endswith("_last_failure_0") or target_rc(entry) != entry.rc):
                return True
    return False


def target_rc(record: OpRecord) -> int:
    """The exit code that the controller expected; -1 when the record does not tell."""
    parts = record.transition_key.split(":", 3)
    return scores.leading_int(parts[2]) if len(parts) == 4 else -1


def fail_count(
    work: WorkingSet, rsc: Resource, node: Node, effective: bool, fillers: bool = False, record: OpRecord | None = None
) -> tuple[int, int]:
    """A resource's fail count on a node and when it last failed there (seconds since the epoch).

    ``effective`` leaves out what ``failure-timeout`` has expired; ``fillers`` adds the resources in a container.
    """
    count = last = 0
    if node.has_fail_counts:
        for value in _matching(work, rsc, node, "fail-count"):
            count = scores.add(count, scores.parse(value))
        if count:
            for value in _matching(work, rsc, node, "last-failure"):
                last = max(last, scores.leading_int(value))
    if count and rsc.failure_timeout_ms > 0 and _failure_blocks(work, rsc, node, record):
        # What blocks a resource stays until somebody has looked at it.
        rsc.failure_timeout_ms = 0
    timeout = rsc.failure_timeout_ms // 1000
    if effective and count and timeout > 0 and last > 0 and work.now > last + timeout:
        count = 0
    if fillers and rsc.fillers and not rsc.in_bundle():
        for filler in rsc.fillers:
            more, when = fail_count(work, filler, node, effective)
            count = scores.add(count, more)
            last = max(last, when)
    return count, last


def clear(work: WorkingSet, rsc: Resource, node: Node, reason: str) -> Action:
    """Have the controller clear a resource's fail count on a node."""
    key = f"{rsc.id}_clear_failcount_0"
    action = resource_actions.make(work, rsc, key, "clear_failcount", node, False)
    action.reason = reason
    # It concerns the recorded history only, so it is done even for resources that are not managed.
    action.flags &= ~OPTIONAL
    return action


def threshold_reached(work: WorkingSet, rsc: Resource, node: Node) -> Resource | None:
    """The resource (or anonymous clone) to keep off a node where it has failed migration-threshold times."""
    if rsc.settings.migration_threshold == 0 or rsc.recorded.failure_ignored:
        return None
    count, _ = fail_count(work, rsc, node, effective=True, fillers=True)
    if count <= 0:
        return None
    if rsc.settings.migration_threshold > count:
        return None
    return rsc if rsc.settings.unique else rsc.top()
