"""How people are shown a fence: its record as the status document has it, each phase as a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from hamgr.api.status import FenceStatus, FenceStep
from hamgr.fencer.reasons import render
from hamgr.fencer.records import STEPPED_OVER, FenceRecord, Outcome, Phase, StepTime
from hamgr.fencer.topology import Level

_PHASES: Mapping[str, str] = {
    Phase.INTENT: "finding out what is to be fenced",
    Phase.CUT: "what is to be fenced is on record; cutting clients off",
    Phase.STOP: "stopping the pod in good order: its kubelet has to report the end",
    Phase.DELETE: "deleting the pod objects",
    Phase.TAINT: "tainting the node out-of-service, so that Kubernetes lets go of its volumes",
    Phase.DETACH: "detaching the disks: waiting until their VolumeAttachments are gone",
    Phase.PROVED: "PROVED: the old writer cannot write any more",
    Phase.RELEASE: "releasing the disks for another node",
    Phase.RECOVER: "switching the node on again",
    Phase.DONE: "done: what ran there may start elsewhere",
}
_ISOLATION: Mapping[str, str] = {
    Level.NODE: "switching the node off, and asking the device whether it is",
    Level.WATCHDOG: "waiting until the node must have fenced itself",
    Level.MANUAL: "taking the operator's word that the node is off",
}


def as_status(record: FenceRecord) -> FenceStatus:
    """The record as `hamgr status` and `hamgr fence history` show it."""
    pending = record.outcome is Outcome.PENDING
    last_failure = record.tried[-1] if record.tried and record.outcome is Outcome.FAILED else None
    return FenceStatus(
        id=record.id,
        target=record.target.node if record.target.pods is None else ", ".join(_told(record)),
        outcome=record.outcome,
        action=record.level.action if record.level.level == "node" else "release",
        level=record.level.level,
        reason=str(record.reason),
        requested_by=record.requested_by,
        executed_by=record.executed_by,
        token=record.tokens[-1] if record.tokens else 0,
        started_at=_time_of_day(record.started_at),
        took_s=None if pending else round(record.ended_at - record.started_at, 3),
        proof="; ".join(proof.observed for proof in record.proofs),
        tried=len(record.tried),
        left="; ".join(str(step.data.get("waiting")) for step in record.steps if step.code == STEPPED_OVER),
        error=render(last_failure.code, last_failure.data) if last_failure else "",
        steps=tuple(
            FenceStep(
                step=f"{step.level}: {step.phase}",
                at_s=round(step.at - record.started_at, 3),
                detail=render(step.code, step.data) if step.code else _entered(step),
            )
            for step in record.steps
        ),
    )


def _entered(step: StepTime) -> str:
    """What begins with a phase."""
    return (
        _ISOLATION.get(step.level, step.phase) if step.phase == Phase.ISOLATE else _PHASES.get(step.phase, step.phase)
    )


def _told(record: FenceRecord) -> list[str]:
    return [f"{namespace}/{name}" for namespace, name in record.target.pods or ()]


def _time_of_day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
