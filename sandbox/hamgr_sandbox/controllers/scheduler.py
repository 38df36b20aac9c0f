"""The scheduler: binds pods that have no node, and looks again at those it refused when something has changed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from hamgr_sandbox.client import ApiError, Key, Object, key_of
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.cluster import Cluster, path
from hamgr_sandbox.controllers.events import timestamp
from hamgr_sandbox.controllers.placement import Refusal, Snapshot, choose, waits_for_consumer
from hamgr_sandbox.controllers.volumes import SELECTED_NODE
from hamgr_sandbox.controllers.workqueue import WorkQueue

SOURCE = "default-scheduler"


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, Kubernetes' own: how long a refused pod waits at least, and at most though nothing has changed."""

    backoff_s: float = 1.0
    backoff_max_s: float = 10.0
    flush_s: float = 300.0


@dataclass(slots=True)
class _Refused:
    attempts: int
    not_before: float
    message: str


class Scheduler:
    """One pod at a time; a pod that was just bound counts as placed before the watch says so."""

    def __init__(self, cluster: Cluster, timings: Timings) -> None:
        self._cluster = cluster
        self._timings = timings
        self._pods = cluster.watch("Pod")
        self._nodes = cluster.watch("Node")
        self._claims = cluster.watch("PersistentVolumeClaim")
        self._volumes = cluster.watch("PersistentVolume")
        self._classes = cluster.watch("StorageClass")
        self._queue: WorkQueue[Key] = WorkQueue("scheduler", self._schedule)
        self._assumed: dict[str, str] = {}
        self._refused: dict[Key, _Refused] = {}
        self._pods.listeners.append(self._pod_changed)
        self._nodes.listeners.append(self._node_changed)
        for informer in (self._claims, self._volumes):
            informer.listeners.append(lambda *_: self._look_again())

    async def run(self) -> None:
        await self._queue.run()

    def _pod_changed(self, kind: str, pod: Object, old: Object | None) -> None:
        uid, key = pod["metadata"]["uid"], key_of(pod)
        if kind == "DELETED" or objects.node_of(pod):
            self._assumed.pop(uid, None)
            self._refused.pop(key, None)
            if kind == "DELETED" or objects.is_finished(pod):
                self._look_again()
        elif _is_pending(pod) and (old is None or not _is_pending(old)):
            self._queue.add(key)

    def _node_changed(self, kind: str, node: Object, old: Object | None) -> None:
        # A heartbeat changes nothing for a pod that found no room.
        if old is None or kind == "DELETED" or _what_matters(node) != _what_matters(old):
            self._look_again()

    def _look_again(self) -> None:
        now = self._cluster.now()
        for key, refused in self._refused.items():
            self._queue.add_after(key, max(0.0, refused.not_before - now))

    async def _schedule(self, key: Key) -> None:
        pod = self._pods.items.get(key)
        if pod is None or not _is_pending(pod) or pod["metadata"]["uid"] in self._assumed:
            self._refused.pop(key, None)
            return
        snapshot = self._snapshot()
        answer = choose(pod, snapshot)
        if isinstance(answer, Refusal):
            await self._refuse(pod, answer.message)
        elif waiting := [c for c in _claims(pod, snapshot) if waits_for_consumer(c, snapshot)]:
            await self._select(pod, waiting, answer)
        else:
            await self._bind(pod, answer)

    async def _select(self, pod: Object, claims: list[Object], node: str) -> None:
        """Say for which node the volumes are to be made; the pod is looked at again when its claims change."""
        for claim in claims:
            if not (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE):
                await self._cluster.patch(claim, {"metadata": {"annotations": {SELECTED_NODE: node}}})
        self._refused.setdefault(key_of(pod), _Refused(0, self._cluster.now(), ""))

    def _snapshot(self) -> Snapshot:
        pods = []
        for pod in self._pods.items.values():
            node = self._assumed.get(pod["metadata"]["uid"])
            pods.append({**pod, "spec": {**pod["spec"], "nodeName": node}} if node else pod)
        return Snapshot(
            list(self._nodes.items.values()), pods, self._claims.items, self._volumes.items, self._classes.items
        )

    async def _bind(self, pod: Object, node: str) -> None:
        namespace, name = key_of(pod)
        uid = pod["metadata"]["uid"]
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        self._assumed[uid] = node
        try:
            await self._cluster.client.post(path(pod, "binding"), binding)
        except (ApiError, asyncio.CancelledError):
            self._assumed.pop(uid, None)
            raise
        self._refused.pop((namespace, name), None)
        text = f"Successfully assigned {namespace}/{name} to {node}"
        self._cluster.events.record_new_style(SOURCE, pod, "Scheduled", text, action="Binding")

    async def _refuse(self, pod: Object, message: str) -> None:
        key = key_of(pod)
        known = self._refused.get(key)
        attempts = known.attempts + 1 if known else 1
        delay = min(self._timings.backoff_s * 2 ** (attempts - 1), self._timings.backoff_max_s)
        self._refused[key] = _Refused(attempts, self._cluster.now() + delay, message)
        self._queue.add_after(key, self._timings.flush_s)
        if known is not None and known.message == message:
            return
        self._cluster.events.record_new_style(
            SOURCE, pod, "FailedScheduling", message, action="Scheduling", kind="Warning"
        )
        changes = {"status": "False", "reason": "Unschedulable", "message": message}
        conditions = pod.get("status", {}).get("conditions") or []
        status = {"conditions": objects.with_condition(conditions, "PodScheduled", changes, timestamp())}
        await self._cluster.patch(pod, {"metadata": {"uid": pod["metadata"]["uid"]}, "status": status}, "status")


def _claims(pod: Object, snapshot: Snapshot) -> list[Object]:
    return [snapshot.claims[key] for key in objects.claims_of(pod)]


def _is_pending(pod: Object) -> bool:
    spec = pod["spec"]
    return (
        not objects.node_of(pod)
        and objects.is_active(pod)
        and spec.get("schedulerName", SOURCE) == SOURCE
        and not spec.get("schedulingGates")
    )


def _what_matters(node: Object) -> tuple[object, ...]:
    spec = node["spec"]
    return (
        spec.get("taints"),
        spec.get("unschedulable"),
        objects.labels(node),
        node.get("status", {}).get("allocatable"),
    )
