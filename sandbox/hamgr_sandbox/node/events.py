"""Record events as a kubelet does: equal ones are counted in one object, and a noisy object is throttled.

Events are told for people; recording never blocks and never fails. While the API server is away the newest are kept.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from hamgr_sandbox.client import ApiError, Client
from hamgr_sandbox.node.status import timestamp

Json = dict[str, Any]
log = logging.getLogger(__name__)
# client-go's defaults: an object may have 25 events at once, then one each five minutes.
_BURST, _REFILL_S = 25.0, 300.0
_REMEMBERED = 4096


@dataclass
class _Known:
    name: str
    count: int
    first: str


class Recorder:
    """Writes events of one node's agent."""

    def __init__(self, client: Client, node: str) -> None:
        self._client = client
        self._node = node
        self._queue: asyncio.Queue[tuple[Json, str, str, str, float]] = asyncio.Queue(1000)
        self._known: OrderedDict[tuple[str, ...], _Known] = OrderedDict()
        self._tokens: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def pod(self, pod: Json, reason: str, message: str, *, warning: bool = False, container: str = "") -> None:
        """An event about a pod, or about one of its containers (named as spec.containers{NAME})."""
        metadata = pod["metadata"]
        reference: Json = {
            "kind": "Pod",
            "apiVersion": "v1",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "resourceVersion": metadata.get("resourceVersion", ""),
        }
        if container:
            init = any(each["name"] == container for each in pod["spec"].get("initContainers") or [])
            reference["fieldPath"] = f"spec.{'initContainers' if init else 'containers'}{{{container}}}"
        self._record(reference, reason, message, "Warning" if warning else "Normal")

    def node(self, reason: str, message: str, *, warning: bool = False) -> None:
        """An event about this node. Kubelets give the node's name as its UID."""
        reference = {"kind": "Node", "name": self._node, "uid": self._node}
        self._record(reference, reason, message, "Warning" if warning else "Normal")

    def _record(self, reference: Json, reason: str, message: str, kind: str) -> None:
        now = time.time()
        if not self._allowed(f"{reference['kind']}/{reference['uid']}", now):
            return
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait((reference, reason, message, kind, now))

    def _allowed(self, about: str, now: float) -> bool:
        left, seen = self._tokens.pop(about, (_BURST, now))
        left = min(_BURST, left + (now - seen) / _REFILL_S)
        self._tokens[about] = (left - 1 if left >= 1 else left, now)
        if len(self._tokens) > _REMEMBERED:
            self._tokens.popitem(last=False)
        return left >= 1

    async def run(self) -> None:
        """Write what was recorded, until cancelled."""
        while True:
            entry = await self._queue.get()
            try:
                await self._write(*entry)
            except ApiError as error:
                log.debug("an event is lost: %s", error)
                if error.code == 0:
                    await asyncio.sleep(1.0)
            except Exception:
                log.exception("an event cannot be written")

    async def _write(self, reference: Json, reason: str, message: str, kind: str, moment: float) -> None:
        about = tuple(str(reference.get(key, "")) for key in ("kind", "namespace", "name", "uid", "fieldPath"))
        key = (*about, reason, message, kind)
        namespace = reference.get("namespace") or "default"
        known = self._known.get(key)
        if known is not None:
            patch = {"count": known.count + 1, "lastTimestamp": timestamp(moment)}
            try:
                await self._client.patch(f"/api/v1/namespaces/{namespace}/events/{known.name}", patch)
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                known.count += 1
                self._known.move_to_end(key)
                return
        self._known[key] = await self._create(namespace, reference, reason, message, kind, moment)
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    async def _create(
        self, namespace: str, reference: Json, reason: str, message: str, kind: str, moment: float
    ) -> _Known:
        name = f"{reference['name']}.{time.time_ns():x}"
        first = timestamp(moment)
        event = {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": reference,
            "reason": reason,
            "message": message,
            "source": {"component": "kubelet", "host": self._node},
            "firstTimestamp": first,
            "lastTimestamp": first,
            "count": 1,
            "type": kind,
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
        }
        await self._client.post(f"/api/v1/namespaces/{namespace}/events", event)
        return _Known(name, 1, first)
