"""Record Kubernetes events as the real components do, without ever holding up the controller that reports them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from datetime import UTC, datetime

from hamgr_sandbox.client import ApiError, Client, Object

log = logging.getLogger(__name__)

_REMEMBERED = 4096
_QUEUED = 1000


def timestamp() -> str:
    """Now, as Kubernetes writes times: UTC, whole seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp() -> str:
    """Now, as Kubernetes writes MicroTime: UTC, microseconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Recorder:
    """Sends events in the background; a repeated one raises the first one's count.

    When the API server is slow or gone, events beyond a thousand are dropped: they are for people only.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue: asyncio.Queue[tuple[Object, tuple[str, ...]]] = asyncio.Queue(_QUEUED)
        self._known: OrderedDict[tuple[str, ...], Object] = OrderedDict()

    def record(self, source: str, about: Object, reason: str, message: str, *, kind: str = "Normal") -> None:
        """One event of ``kind`` Normal or Warning about an object, from component ``source``, with a count."""
        event = _event(source, about, kind, reason, message)
        now = timestamp()
        event |= {"source": {"component": source}, "firstTimestamp": now, "lastTimestamp": now, "count": 1}
        reference = event["involvedObject"]
        self._put(event, (source, reference["kind"], reference["uid"], reason, message))

    def record_new_style(
        self, source: str, about: Object, reason: str, message: str, *, action: str, kind: str = "Normal"
    ) -> None:
        """As events.k8s.io components (the scheduler) write them: eventTime and an action in the place of a count."""
        event = _event(source, about, kind, reason, message)
        event |= {"eventTime": micro_timestamp(), "action": action, "reportingInstance": source}
        self._put(event, ())

    def _put(self, event: Object, correlation: tuple[str, ...]) -> None:
        try:
            self._queue.put_nowait((event, correlation))
        except asyncio.QueueFull:
            log.debug("event dropped: %s", event["message"])

    async def run(self) -> None:
        while True:
            event, correlation = await self._queue.get()
            try:
                await self._send(event, correlation)
            except ApiError as error:
                log.debug("event not recorded: %s: %s", event["message"], error)

    async def _send(self, event: Object, correlation: tuple[str, ...]) -> None:
        collection = f"/api/v1/namespaces/{event['metadata']['namespace']}/events"
        known = self._known.get(correlation) if correlation else None
        if known is not None:
            repeat = {"count": known["count"] + 1, "lastTimestamp": event["lastTimestamp"]}
            try:
                self._known[correlation] = await self._client.patch(f"{collection}/{known['metadata']['name']}", repeat)
                return
            except ApiError as error:
                if error.code != 404:
                    raise
        created = await self._client.post(collection, event)
        if correlation:
            self._known[correlation] = created
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)


def _event(source: str, about: Object, kind: str, reason: str, message: str) -> Object:
    metadata = about["metadata"]
    namespace = metadata.get("namespace") or "default"
    reference = {
        "kind": about["kind"],
        "apiVersion": about["apiVersion"],
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    if metadata.get("namespace"):
        reference["namespace"] = namespace
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{time.time_ns():x}", "namespace": namespace},
        "involvedObject": reference,
        "type": kind,
        "reason": reason,
        "message": message,
        "reportingComponent": source,
    }
