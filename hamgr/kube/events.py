"""Tell Kubernetes' own event log what hamgr did to an object, so that ``kubectl describe`` shows it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from hamgr.kube.gateway import Kube
from hamgr.kube.objects import EVENT, Obj, name_of, namespace_of, uid_of

_MESSAGE_LIMIT = 1024


def event_body(
    about: Mapping[str, Any], *, kind: str, reason: str, message: str, severity: str, now: datetime, instance: str
) -> Obj:
    """The Event object; ``severity`` is Normal or Warning, ``instance`` who says so (a node's hamgrd).

    ``kind`` is the kind of ``about``: objects out of a list do not carry it.
    """
    namespace = namespace_of(about) or "default"
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name_of(about)}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
        "involvedObject": {
            "apiVersion": about.get("apiVersion") or "v1",
            "kind": kind,
            "name": name_of(about),
            "uid": uid_of(about),
        }
        | ({"namespace": namespace_of(about)} if namespace_of(about) else {}),
        "reason": reason,
        "message": message[:_MESSAGE_LIMIT],
        "type": severity,
        "source": {"component": "hamgr", "host": instance},
        "reportingComponent": "hamgr.io/hamgrd",
        "reportingInstance": instance,
        "firstTimestamp": stamp,
        "lastTimestamp": stamp,
        "count": 1,
    }


def emit(
    kube: Kube, about: Mapping[str, Any], *, kind: str, reason: str, message: str, severity: str, instance: str
) -> Obj:
    """Create an Event about an object. Raises KubeError; callers to whom it is a courtesy ignore that."""
    body = event_body(
        about,
        kind=kind,
        reason=reason,
        message=message,
        severity=severity,
        now=datetime.now(UTC),
        instance=instance,
    )
    return kube.post(EVENT.collection(body["metadata"]["namespace"]), body)
