"""The ReplicaSet controller: as many active pods as asked for; pods that are being deleted do not count."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from hamgr_sandbox.client import ApiError, Key, Object, key_of
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.cluster import Cluster
from hamgr_sandbox.controllers.workqueue import WorkQueue

SOURCE = "replicaset-controller"
_PHASES = {"Pending": 0, "": 0, "Unknown": 1, "Running": 2}


@dataclass(frozen=True, slots=True)
class Plan:
    """How many pods to create, and which to delete."""

    create: int
    delete: tuple[Object, ...]


def plan(replica_set: Object, pods: Iterable[Object]) -> Plan:
    """What brings the set to its number of replicas, given the pods it owns (replica_set.go manageReplicas)."""
    active = [pod for pod in pods if objects.is_active(pod)]
    surplus = len(active) - int(replica_set["spec"].get("replicas", 1))
    if surplus <= 0:
        return Plan(-surplus, ())
    return Plan(0, tuple(sorted(active, key=_worth)[:surplus]))


def _worth(pod: Object) -> tuple[bool, int, bool, list[int]]:
    """Smaller goes first: without a node, pending, not ready, newest."""
    created = [-ord(character) for character in pod["metadata"].get("creationTimestamp", "")]
    ready = objects.is_true(pod, "Ready")
    return bool(objects.node_of(pod)), _PHASES.get(objects.phase(pod), 2), ready, created


def pod_from(template: Object, owner: Object, *, name: str = "") -> Object:
    """A pod by a pod template, controlled by ``owner``; without a name it gets the owner's and a random end."""
    metadata = template.get("metadata") or {}
    naming = {"name": name} if name else {"generateName": f"{owner['metadata']['name']}-"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            **naming,
            "namespace": owner["metadata"]["namespace"],
            "labels": dict(metadata.get("labels") or {}),
            "annotations": dict(metadata.get("annotations") or {}),
            "ownerReferences": [objects.controller_reference(owner)],
        },
        "spec": template["spec"],
    }


def status(replica_set: Object, pods: Iterable[Object]) -> Object:
    """The set's status; every ready pod counts as available (minReadySeconds is not waited for)."""
    active = [pod for pod in pods if objects.is_active(pod)]
    ready = sum(objects.is_true(pod, "Ready") for pod in active)
    counts = {"replicas": len(active), "fullyLabeledReplicas": len(active), "readyReplicas": ready}
    told = {name: count for name, count in (counts | {"availableReplicas": ready}).items() if count}
    return {"replicas": 0, **told, "observedGeneration": replica_set["metadata"].get("generation", 1)}


class ReplicaSets:
    """One key is one ReplicaSet."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._sets = cluster.watch("ReplicaSet")
        self._pods = cluster.watch("Pod")
        self._deleting: set[str] = set()
        self._queue: WorkQueue[Key] = WorkQueue("replicaset", self._reconcile)
        self._sets.listeners.append(lambda _, item, __: self._queue.add(key_of(item)))
        self._pods.listeners.append(self._pod_changed)

    async def run(self) -> None:
        await self._queue.run()

    def _pod_changed(self, kind: str, pod: Object, _: Object | None) -> None:
        if kind == "DELETED" or objects.is_terminating(pod):
            self._deleting.discard(pod["metadata"]["uid"])
        owner = objects.controller_of(pod)
        if owner is not None and owner["kind"] == "ReplicaSet":
            self._queue.add((pod["metadata"]["namespace"], owner["name"]))

    async def _reconcile(self, key: Key) -> None:
        item = self._sets.items.get(key)
        if item is None or objects.is_terminating(item):
            return
        # What is being deleted by us is on its way out, though the watch does not say so yet.
        todo = plan(item, [pod for pod in self._owned(item) if pod["metadata"]["uid"] not in self._deleting])
        await asyncio.gather(*(self._create(item) for _ in range(todo.create)))
        await asyncio.gather(*(self._delete(item, pod) for pod in todo.delete))
        fresh = status(item, self._owned(item))
        if fresh != (item.get("status") or {}):
            # Whole, because counts that are zero are absent.
            await self._cluster.replace({**item, "status": fresh}, "status")

    def _owned(self, item: Object) -> list[Object]:
        return objects.owned_by(self._pods.items.values(), item)

    async def _create(self, owner: Object) -> None:
        try:
            pod = await self._cluster.create(
                "Pod", owner["metadata"]["namespace"], pod_from(owner["spec"]["template"], owner)
            )
        except ApiError as error:
            text = f"Error creating: {error.message}"
            self._cluster.events.record(SOURCE, owner, "FailedCreate", text, kind="Warning")
            raise
        self._cluster.events.record(SOURCE, owner, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")

    async def _delete(self, owner: Object, pod: Object) -> None:
        self._deleting.add(pod["metadata"]["uid"])
        try:
            await self._cluster.delete(pod)
        except ApiError as error:
            self._deleting.discard(pod["metadata"]["uid"])
            if error.code != 404:
                raise
            return
        self._cluster.events.record(SOURCE, owner, "SuccessfulDelete", f"Deleted pod: {pod['metadata']['name']}")
