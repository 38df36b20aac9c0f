"""What the configuration says about operations: their settings, timeouts and what their failure leads to.

Implements "Resource Operations" and "on-fail" of Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib import durations, model, rules
from hamgr.cib.booleans import is_true
from hamgr.scheduler.inputs import attributes
from hamgr.scheduler.state.constants import STARTED, STOPPED, UNKNOWN, UNPROMOTED, OnFail
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet

DEFAULT_TIMEOUT_MS = 20_000

_ON_FAIL = {
    "block": OnFail.BLOCK,
    "fence": OnFail.FENCE,
    "standby": OnFail.STANDBY,
    "ignore": OnFail.IGNORE,
    "nothing": OnFail.IGNORE,
    "migrate": OnFail.MIGRATE,
    "stop": OnFail.STOP,
    "restart": OnFail.RECOVER,
    "demote": OnFail.DEMOTE,
}


def op_key(rsc_id: str, task: str, interval_ms: int) -> str:
    """Pacemaker's operation key: ``db_monitor_10000``."""
    return f"{rsc_id}_{task}_{interval_ms}"


def enabled(op: model.Op) -> bool:
    return is_true(op.attributes.get("enabled", "true"))


def find_op(rsc: Resource, task: str, interval_ms: int, include_disabled: bool = True) -> model.Op | None:
    """The configured operation of a name and interval; migrations and notifications have fallbacks."""
    if rsc.primitive is None:
        return None
    fallback = {"migrate_to": "migrate", "migrate_from": "migrate", "notify": "notify"}.get(task)
    for name, interval in ((task, interval_ms), (fallback, 0)):
        for op in rsc.primitive.ops:
            if op.name == name and op.interval_ms == interval and (include_disabled or enabled(op)):
                return op
    return None


def op_meta(work: WorkingSet, rsc: Resource | None, op: model.Op | None, task: str, interval_ms: int) -> dict[str, str]:
    """Settings of an operation: its XML attributes, its meta attributes, then the cluster's operation defaults."""
    table: dict[str, str] = {}
    if op is not None:
        table.update(op.attributes)
        if op.meta:
            for name, value in rules.values(op.meta, rules.Context(now=work.now)).items():
                table.setdefault(name, value)
    if work.cib.op_defaults:
        context = rules.Context(
            now=work.now,
            agent=rsc.primitive.agent if rsc is not None and rsc.primitive else None,
            op_name=task,
            op_interval_ms=interval_ms,
        )
        for name, value in rules.values(work.cib.op_defaults, context).items():
            table.setdefault(name, value)
    return table


def timeout_ms(
    work: WorkingSet, rsc: Resource, op: model.Op | None, meta: dict[str, str], task: str, interval_ms: int
) -> int:
    """An operation's timeout; a probe without its own takes that of the most frequent monitor."""
    if task == "monitor" and interval_ms == 0 and (op is None or "timeout" not in meta):
        frequent = _most_frequent_monitor(rsc)
        if frequent is not None and "timeout" in (own := op_meta(work, rsc, frequent, task, frequent.interval_ms)):
            return durations.parse_ms(own["timeout"], DEFAULT_TIMEOUT_MS)
    if rsc.settings.fence_device and task in ("start", "monitor"):
        special = attributes.params(work, rsc, None).get("pcmk_monitor_timeout")
        if special:
            return durations.parse_ms(special, DEFAULT_TIMEOUT_MS)
    return durations.parse_ms(meta.get("timeout"), DEFAULT_TIMEOUT_MS)


def _most_frequent_monitor(rsc: Resource) -> model.Op | None:
    if rsc.primitive is None:
        return None
    monitors = [op for op in rsc.primitive.ops if op.name == "monitor" and op.interval_ms > 0 and enabled(op)]
    return min(monitors, key=lambda op: op.interval_ms, default=None)


def on_fail(
    work: WorkingSet, rsc: Resource, op: model.Op | None, meta: dict[str, str], task: str, interval_ms: int
) -> tuple[int, int]:
    """What a failure of the operation leads to, and the role that the resource may have afterwards."""
    text = _configured_on_fail(rsc, op, meta, task)
    fail_role = UNKNOWN
    found = _ON_FAIL.get(text)
    if found == OnFail.FENCE and not work.options.fencing:
        found = OnFail.STOP
    if found == OnFail.STOP:
        fail_role = STOPPED
    if text == "restart-container" and rsc.container is not None:
        found = OnFail.RESTART_CONTAINER
    if found is None and rsc.container is not None:
        found = OnFail.RESTART_CONTAINER
    elif (
        (found is None or not rsc.managed)
        and rsc.settings.is_remote_node
        and not (task == "monitor" and interval_ms == 0)
        and task != "start"
    ):
        if not rsc.managed:
            found, fail_role = OnFail.STOP, STOPPED
        else:
            found = OnFail.RESET_REMOTE
            if rsc.settings.remote_reconnect_ms:
                fail_role = STOPPED
    elif found is None and task == "stop":
        found = OnFail.FENCE if work.options.fencing else OnFail.BLOCK
    elif found is None:
        found = OnFail.RECOVER
    if fail_role == UNKNOWN:
        fail_role = UNPROMOTED if task == "promote" else STARTED
    return found, fail_role


def _configured_on_fail(rsc: Resource, op: model.Op | None, meta: dict[str, str], task: str) -> str:
    text = meta.get("on-fail", "").lower()
    if task == "stop" and text in ("standby", "demote", "stop"):
        return ""
    if task == "demote" and not text:
        return _promoted_monitor_on_fail(rsc)
    if task == "delete":
        return "ignore"
    if text == "demote" and op is not None:
        recurring_promoted = op.name == "monitor" and op.interval_ms and _op_role(op) == "Promoted"
        if op.name != "promote" and not recurring_promoted:
            return ""
    return text


def _op_role(op: model.Op) -> str:
    role = op.attributes.get("role", "").capitalize()
    return {"Master": "Promoted", "Slave": "Unpromoted"}.get(role, role)


def _promoted_monitor_on_fail(rsc: Resource) -> str:
    """A failed demote is treated as the recurring monitor of the promoted role would be."""
    for op in rsc.primitive.ops if rsc.primitive else ():
        text = op.attributes.get("on-fail", "").lower()
        promoted_monitor = op.name == "monitor" and enabled(op) and op.interval_ms and _op_role(op) == "Promoted"
        if promoted_monitor and text and text != "demote":
            return text
    return ""


def op_params(work: WorkingSet, op: model.Op | None, node: Node | None) -> dict[str, str]:
    """Instance attributes that only this operation gets."""
    if op is None or not op.params:
        return {}
    return rules.values(op.params, rules.Context(now=work.now, attributes=node.attributes if node else None))
