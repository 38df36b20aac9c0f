"""Tells Kubernetes' own event log of a fence, on the node and its pods. A courtesy: failures are ignored."""

from __future__ import annotations

from typing import Any

import structlog

from hamgr.fencer.reasons import render
from hamgr.fencer.records import FenceRecord, Outcome
from hamgr.kube import events
from hamgr.kube.errors import KubeError
from hamgr.kube.gateway import Kube

log = structlog.get_logger(__name__)


def report(kube: Kube, record: FenceRecord, instance: str) -> None:
    """Emit one Event on the node and one on each pod: that the fence has begun, succeeded or failed."""
    why, message, severity = _told(record)
    node: dict[str, Any] = {"metadata": {"name": record.target.node, "uid": record.node_uid or record.target.node}}
    subjects = [("Node", node)]
    subjects += [
        ("Pod", {"metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid}}) for pod in record.pods
    ]
    for kind, about in subjects:
        try:
            events.emit(kube, about, kind=kind, reason=why, message=message, severity=severity, instance=instance)
        except KubeError as error:
            log.info("fence_event_not_emitted", fence=record.id, error=error.message)
            return


def _told(record: FenceRecord) -> tuple[str, str, str]:
    if record.outcome is Outcome.SUCCEEDED:
        proof = "; ".join(item.observed for item in record.proofs)
        return "Fenced", f"fenced by level {record.level.level} ({record.reason}): {proof}", "Warning"
    if record.outcome is Outcome.FAILED:
        failures = "; ".join(f"{item.level}: {render(item.code, item.data)}" for item in record.tried)
        return "FencingFailed", f"could not be fenced ({record.reason}): {failures}", "Warning"
    if record.outcome is Outcome.SUPERSEDED:
        by = record.steps[-1]
        return "FencingSuperseded", f"no longer being fenced ({record.reason}): {render(by.code, by.data)}", "Normal"
    return "Fencing", f"being fenced: {record.reason}", "Warning"
