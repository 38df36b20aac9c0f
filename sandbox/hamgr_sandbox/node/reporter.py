"""Send pod statuses to the API server, in order, and say the last word of a graceful deletion.

Each pod has a short queue: while the server answers, every status is sent, so that watchers see a pod go through its
states; while it does not, only the newest is kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from hamgr_sandbox.client import STRATEGIC_MERGE_PATCH, ApiError, Client

Json = dict[str, Any]
log = logging.getLogger(__name__)
_RETRY_S = 0.5


@dataclass
class _Queue:
    pod: Json
    statuses: deque[Json] = field(default_factory=deque)
    task: asyncio.Task[None] | None = None


class Reporter:
    """Writes the statuses of one node's pods."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queues: dict[str, _Queue] = {}

    def report(self, pod: Json, status: Json) -> None:
        """Send this status when its turn comes."""
        uid = pod["metadata"]["uid"]
        queue = self._queues.setdefault(uid, _Queue(pod))
        queue.pod = pod
        queue.statuses.append(status)
        if queue.task is None or queue.task.done():
            queue.task = asyncio.create_task(self._drain(uid, queue))

    def busy(self, uid: str) -> bool:
        """Whether something of this pod has not been sent yet."""
        queue = self._queues.get(uid)
        return queue is not None and bool(queue.statuses)

    async def flush(self, uid: str, timeout_s: float = 5.0) -> None:
        """Wait until everything of a pod has been sent, or ``timeout_s``; then forget the pod."""
        queue = self._queues.pop(uid, None)
        if queue is not None and queue.task is not None:
            await asyncio.wait([queue.task], timeout=timeout_s)
            queue.task.cancel()

    def forget(self, uid: str) -> None:
        """Send nothing more of a pod."""
        queue = self._queues.pop(uid, None)
        if queue is not None and queue.task is not None:
            queue.task.cancel()

    async def delete(self, pod: Json) -> None:
        """Remove the object of a pod that has ended here. Raises ApiError."""
        metadata = pod["metadata"]
        body = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        await self._client.delete(_path(pod), body)

    async def _drain(self, uid: str, queue: _Queue) -> None:
        while queue.statuses:
            try:
                await self._send(queue.pod, queue.statuses[0])
                queue.statuses.popleft()
            except ApiError as error:
                if error.code in (404, 409, 410):  # the pod is gone, or another one has its name
                    queue.statuses.clear()
                    return
                log.warning("the status of pod %s cannot be written: %s", queue.pod["metadata"]["name"], error)
                while len(queue.statuses) > 1:
                    queue.statuses.popleft()
                await asyncio.sleep(_RETRY_S)

    async def _send(self, pod: Json, status: Json) -> None:
        # The UID in the body is the kubelet's own precondition: a pod of the same name is not meant.
        patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}
        await self._client.patch(f"{_path(pod)}/status", patch, STRATEGIC_MERGE_PATCH)


def _path(pod: Json) -> str:
    return f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
