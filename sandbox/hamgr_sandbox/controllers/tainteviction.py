"""The taint eviction controller: deletes pods from nodes with NoExecute taints when their tolerations run out."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable
from dataclasses import dataclass

from hamgr_sandbox.client import Key, Object, key_of
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.cluster import Cluster
from hamgr_sandbox.controllers.events import timestamp
from hamgr_sandbox.controllers.workqueue import WorkQueue

SOURCE = "taint-eviction-controller"


def patience(tolerations: Iterable[Object], taints: Iterable[Object]) -> float:
    """Seconds a pod may stay with these NoExecute taints: 0 when one is not tolerated, infinite when all are."""
    tolerations = list(tolerations)
    shortest = math.inf
    for taint in taints:
        matching = [toleration for toleration in tolerations if objects.tolerates(toleration, taint)]
        if not matching:
            return 0.0
        limits = [entry["tolerationSeconds"] for entry in matching if entry.get("tolerationSeconds") is not None]
        shortest = min([shortest, *(max(0.0, float(limit)) for limit in limits)])
    return shortest


@dataclass(frozen=True, slots=True)
class _Doomed:
    uid: str
    since: float
    timer: asyncio.TimerHandle


class TaintEviction:
    """One key is one pod; a pod's time begins when its node's taints are first seen to threaten it."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._pods = cluster.watch("Pod")
        self._nodes = cluster.watch("Node")
        self._doomed: dict[Key, _Doomed] = {}
        self._queue: WorkQueue[Key] = WorkQueue("taint eviction", self._judge)
        self._pods.listeners.append(self._pod_changed)
        self._nodes.listeners.append(self._node_changed)

    async def run(self) -> None:
        await self._queue.run()

    def _pod_changed(self, _: str, pod: Object, old: Object | None) -> None:
        key = key_of(pod)
        if key in self._doomed or (objects.node_of(pod) and (old is None or not objects.node_of(old))):
            self._queue.add(key)

    def _node_changed(self, _: str, node: Object, old: Object | None) -> None:
        if _evicting(node) != (_evicting(old) if old is not None else []):
            for key, pod in self._pods.items.items():
                if objects.node_of(pod) == node["metadata"]["name"]:
                    self._queue.add(key)

    async def _judge(self, key: Key) -> None:
        pod, doomed = self._pods.items.get(key), self._doomed.get(key)
        if doomed is not None and (pod is None or pod["metadata"]["uid"] != doomed.uid or objects.is_terminating(pod)):
            self._reprieve(key, pod)
        if pod is None or objects.is_terminating(pod):
            return
        node = self._nodes.items.get(("", objects.node_of(pod)))
        taints = _evicting(node) if node is not None else []
        seconds = patience(pod["spec"].get("tolerations") or [], taints)
        if not taints or math.isinf(seconds):
            self._reprieve(key, pod)
            return
        doomed = self._doomed.get(key)
        since = self._cluster.now() if doomed is None else doomed.since
        left = since + seconds - self._cluster.now()
        if left <= 0:
            await self._evict(pod)
            return
        if doomed is not None:
            doomed.timer.cancel()
        timer = asyncio.get_running_loop().call_later(left, self._queue.add, key)
        self._doomed[key] = _Doomed(pod["metadata"]["uid"], since, timer)

    def _reprieve(self, key: Key, pod: Object | None) -> None:
        doomed = self._doomed.pop(key, None)
        if doomed is not None:
            doomed.timer.cancel()
            about = pod or _remembered(key, doomed.uid)
            text = f"Cancelling deletion of Pod {'/'.join(key)}"
            self._cluster.events.record(SOURCE, about, "TaintManagerEviction", text)

    async def _evict(self, pod: Object) -> None:
        key = key_of(pod)
        text = f"Marking for deletion Pod {'/'.join(key)}"
        self._cluster.events.record(SOURCE, pod, "TaintManagerEviction", text)
        await mark_disrupted(
            self._cluster, pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint"
        )
        self._doomed.pop(key, None)
        await self._cluster.delete(pod)


async def mark_disrupted(cluster: Cluster, pod: Object, reason: str, message: str, phase: str = "") -> None:
    """Say on the pod why it goes: the condition DisruptionTarget, and where given the phase it ends with."""
    changes = {"status": "True", "reason": reason, "message": message}
    conditions = pod.get("status", {}).get("conditions") or []
    status: Object = {"conditions": objects.with_condition(conditions, "DisruptionTarget", changes, timestamp())}
    status |= {"phase": phase} if phase else {}
    await cluster.patch(pod, {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}, "status")


def _evicting(node: Object) -> list[Object]:
    return [
        {key: taint.get(key, "") for key in ("key", "value", "effect")}
        for taint in objects.taints(node)
        if taint["effect"] == "NoExecute"
    ]


def _remembered(key: Key, uid: str) -> Object:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": key[0], "name": key[1], "uid": uid}}
