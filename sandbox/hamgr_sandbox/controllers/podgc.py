"""The pod garbage collector: ends pods that no kubelet will ever end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hamgr_sandbox.client import ApiError, Key, Object
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.cluster import Cluster, path_of
from hamgr_sandbox.controllers.tainteviction import mark_disrupted

log = logging.getLogger(__name__)

Cause: TypeAlias = Literal["out of service", "orphaned", "never scheduled"]


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, Kubernetes' own (gc_controller.go)."""

    check_period_s: float = 20.0
    quarantine_s: float = 40.0


def to_collect(
    pods: Iterable[Object], nodes: Mapping[Key, Object], long_missing: Collection[str]
) -> list[tuple[Object, Cause]]:
    """The pods to end now. ``long_missing``: names of nodes without an object for the whole quarantine."""
    found: list[tuple[Object, Cause]] = []
    for pod in pods:
        name = objects.node_of(pod)
        node = nodes.get(("", name))
        if not name:
            if objects.is_terminating(pod):
                found.append((pod, "never scheduled"))
        elif node is None:
            if name in long_missing:
                found.append((pod, "orphaned"))
        elif (
            objects.is_terminating(pod)
            and not objects.is_true(node, "Ready")
            and objects.has_taint(node, objects.OUT_OF_SERVICE)
        ):
            found.append((pod, "out of service"))
    return found


class PodGarbageCollector:
    """Looks at all pods every twenty seconds."""

    def __init__(self, cluster: Cluster, timings: Timings) -> None:
        self._cluster = cluster
        self._timings = timings
        self._pods = cluster.watch("Pod")
        self._nodes = cluster.watch("Node")
        self._missing_since: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._timings.check_period_s)
            for pod, cause in to_collect(self._pods.items.values(), self._nodes.items, await self._long_missing()):
                try:
                    await self._end(pod, cause)
                except ApiError as error:
                    if error.code not in (404, 409):
                        log.warning("pod %s/%s: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], error)

    async def _long_missing(self) -> set[str]:
        """Nodes that pods name and that have had no object for the quarantine; the API server itself is asked last."""
        now = self._cluster.now()
        named = {objects.node_of(pod) for pod in self._pods.items.values()} - {""}
        missing = {name for name in named if ("", name) not in self._nodes.items}
        self._missing_since = {name: self._missing_since.get(name, now) for name in missing}
        gone = set()
        for name, since in self._missing_since.items():
            if now - since >= self._timings.quarantine_s:
                code, _ = await self._cluster.client.raw("GET", path_of("Node", "", name))
                gone |= {name} if code == 404 else set()
        return gone

    async def _end(self, pod: Object, cause: Cause) -> None:
        log.info("pod %s/%s is collected: %s", pod["metadata"]["namespace"], pod["metadata"]["name"], cause)
        if not objects.is_finished(pod):
            told = {"orphaned": "PodGC: node no longer exists"}.get(cause, f"PodGC: {cause}")
            if cause == "orphaned":
                await mark_disrupted(self._cluster, pod, "DeletionByPodGC", told, "Failed")
            else:
                patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"phase": "Failed"}}
                await self._cluster.patch(pod, patch, "status")
        await self._cluster.delete(pod, grace_s=0)
