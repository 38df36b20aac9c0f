"""What the leader tells the world as it goes: each thing once, to the log and to the cluster's event log in etcd."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import structlog

from hamgr.api.events import Event
from hamgr.controller.state.cluster_state import WriteQueue
from hamgr.executor.operations import OpResult
from hamgr.fencer.records import FenceRecord, Outcome
from hamgr.fencer.status_view import as_status
from hamgr.store.eventlog import EventLog

log = structlog.get_logger("hamgr.controller")


class EventRecorder:
    """Writes events; they reach etcd with the journal. Used by the control thread alone."""

    def __init__(self, journal: WriteQueue, events: EventLog | None, now: Callable[[], float]) -> None:
        """now: seconds since the epoch. Raises StoreUnavailable: the log's end is looked up here."""
        self._journal = journal
        self._events = events
        self._now = now
        if events is not None:
            events.forget_position()
            events.stage()

    def emit(
        self, code: str, text: str, *, level: str = "info", node: str = "", resource: str = "", **data: Any
    ) -> None:
        """Tell one thing: a code with its data for programs, a sentence for people."""
        getattr(log, level)(code, text=text, **_given(node=node, resource=resource), **data)
        if self._events is None:
            return
        at = datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        puts, deletes = self._events.stage(Event(at, code, text, level, node, resource, data).to_value())
        for key, value in puts.items():
            self._journal.put(key, value)
        for key in deletes:
            self._journal.delete(key)

    def emit_operation(self, result: OpResult, *, failed: bool) -> None:
        """Tell what people want to know: whatever failed or changed something. Probes and quiet monitors are logged."""
        op = result.op
        outcome = "failed" if failed else "ok"
        reason = f": {result.reason}" if result.reason else ""
        text = f"{op.task} of {op.name} on {op.node} {outcome} after {result.exec_ms / 1000:.2f} s{reason}"
        if failed or op.task != "monitor":
            self.emit(
                "operation",
                text,
                level="warning" if failed else "info",
                node=op.node,
                resource=op.name,
                task=op.task,
                rc=int(result.rc),
                took_ms=result.exec_ms,
            )
        else:
            log.info("operation", text=text, rc=int(result.rc), interval_ms=op.interval_ms)

    def emit_fence(self, record: FenceRecord) -> None:
        """Tell how a fence has ended."""
        shown = as_status(record)
        if record.outcome is Outcome.SUCCEEDED:
            left = f"; not released in time: {shown.left}" if shown.left else ""
            text = f"{shown.target} fenced by level {shown.level} in {shown.took_s:g} s: {shown.proof}{left}"
        elif record.outcome is Outcome.SUPERSEDED:
            text = f"the fence of {shown.target} by level {shown.level} has ended: {shown.steps[-1].detail}"
        else:
            text = f"{shown.target} could not be fenced: {shown.error}"
        level = "error" if record.outcome is Outcome.FAILED else "warning"
        self.emit("fence", text, level=level, node=record.target.node, fence=record.id)


def _given(**values: str) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}
