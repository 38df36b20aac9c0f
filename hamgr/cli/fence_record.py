"""A fence record as people are shown it: the fencer's codes become sentences here. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from hamgr.cib.status import FenceStatus, FenceStep
from hamgr.fencer.reasons import render
from hamgr.fencer.records import FenceRecord, Outcome, StepTime

_PHASES = {
    "intent": "intent recorded",
    "cut": "cutting off clients",
    "stop": "stopping the pod, waiting for its kubelet's word",
    "isolate": "isolating the node",
    "delete": "removing pod objects",
    "taint": "tainting the node out-of-service",
    "detach": "detaching the volumes",
    "proved": "PROVED: the old writer cannot write any more",
    "release": "releasing the volumes for the next node",
    "recover": "switching the node on again",
    "done": "done",
}


def fence_status(record: FenceRecord) -> FenceStatus:
    """The record in the words of the status document."""
    proofs = "; ".join(f"{proof.subject}: {proof.observed}" for proof in record.proofs)
    failed = record.outcome is Outcome.FAILED and record.tried
    return FenceStatus(
        id=record.id,
        target=_target(record),
        outcome=record.outcome.value,
        action="fence",
        level=record.level.level.value if record.levels else "",
        reason=str(record.reason),
        requested_by=record.requested_by,
        executed_by=record.executed_by,
        token=record.tokens[-1] if record.tokens else 0,
        started_at=datetime.fromtimestamp(record.started_at, UTC).isoformat(timespec="milliseconds"),
        took_s=round(record.ended_at - record.started_at, 3) if record.ended_at else None,
        proof=proofs,
        error="; ".join(f"level {entry.level}: {render(entry.code, entry.data)}" for entry in record.tried)
        if failed
        else "",
        steps=tuple(_step(step, record.started_at) for step in record.steps),
    )


def _target(record: FenceRecord) -> str:
    if record.target.pods is None:
        return record.target.node
    return ", ".join(f"{namespace}/{name}" for namespace, name in record.target.pods)


def _step(step: StepTime, started_at: float) -> FenceStep:
    at_s = round(max(step.at - started_at, 0.0), 3)
    if step.code:
        return FenceStep(render(step.code, step.data), at_s, f"level {step.level}")
    return FenceStep(_PHASES.get(step.phase, step.phase), at_s, f"level {step.level}")
