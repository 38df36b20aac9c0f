"""The Deployment controller: one ReplicaSet a template, rolled out by Recreate or RollingUpdate."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from hamgr_sandbox.client import ApiError, Key, Object, key_of
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.cluster import Cluster
from hamgr_sandbox.controllers.events import timestamp
from hamgr_sandbox.controllers.workqueue import WorkQueue

SOURCE = "deployment-controller"
HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
# Kubernetes' own alphabet for names: no vowels, nothing that looks like something else.
_SAFE = "bcdfghjklmnpqrstvwxz2456789"
_HASH_LENGTH = 10


def template_hash(template: Object) -> str:
    """A short name for a pod template (not the real controller's number, which nothing depends on)."""
    digest = hashlib.sha256(json.dumps(template, sort_keys=True).encode()).digest()
    return "".join(_SAFE[byte % len(_SAFE)] for byte in digest[:_HASH_LENGTH])


def is_current(replica_set: Object, deployment: Object) -> bool:
    """Whether the set has the Deployment's present template, the hash label aside."""
    template = replica_set["spec"]["template"]
    metadata = template.get("metadata") or {}
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH_LABEL}
    mine = deployment["spec"]["template"]
    other = mine.get("metadata") or {}
    return (
        template["spec"] == mine["spec"]
        and labels == (other.get("labels") or {})
        and (metadata.get("annotations") or {}) == (other.get("annotations") or {})
    )


@dataclass(frozen=True, slots=True)
class Create:
    """A ReplicaSet for the present template, with so many replicas."""

    replicas: int


@dataclass(frozen=True, slots=True)
class Scale:
    replica_set: Object
    replicas: int


def rollout(deployment: Object, sets: Sequence[Object], pods: Iterable[Object]) -> list[Create | Scale]:
    """The next steps of a rollout. ``sets``: the Deployment's ReplicaSets; ``pods``: all pods of those."""
    wanted = int(deployment["spec"].get("replicas", 1))
    current = next((item for item in sets if is_current(item, deployment)), None)
    old = [item for item in sets if item is not current]
    if deployment["spec"].get("paused"):
        return [Scale(current, wanted)] if current is not None and _replicas(current) != wanted else []
    if deployment["spec"].get("strategy", {}).get("type") == "Recreate":
        return _recreate(wanted, current, old, pods)
    return _roll(deployment, wanted, current, old)


def _recreate(wanted: int, current: Object | None, old: list[Object], pods: Iterable[Object]) -> list[Create | Scale]:
    steps: list[Create | Scale] = [Scale(item, 0) for item in old if _replicas(item)]
    # Pods that are still terminating count: the next may start only when the last is gone.
    running = any(not objects.is_finished(pod) for item in old for pod in objects.owned_by(pods, item))
    if steps or running:
        return steps
    if current is None:
        return [Create(wanted)]
    return [Scale(current, wanted)] if _replicas(current) != wanted else []


def _roll(deployment: Object, wanted: int, current: Object | None, old: list[Object]) -> list[Create | Scale]:
    rolling = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    surge = _share(rolling.get("maxSurge", "25%"), wanted, math.ceil)
    unavailable = _share(rolling.get("maxUnavailable", "25%"), wanted, math.floor)
    if surge == unavailable == 0:
        unavailable = 1
    others = sum(_replicas(item) for item in old)
    have = 0 if current is None else _replicas(current)
    target = min(wanted, have + max(0, wanted + surge - others - have)) if have <= wanted else wanted
    if current is None:
        return [Create(target)]
    if target != have:
        return [Scale(current, target)]
    ready = sum(int(item.get("status", {}).get("availableReplicas", 0)) for item in [current, *old])
    spare = min(others, ready - (wanted - unavailable))
    steps: list[Create | Scale] = []
    for item in sorted(old, key=lambda item: str(item["metadata"].get("creationTimestamp", ""))):
        replicas = _replicas(item)
        broken = replicas - int(item.get("status", {}).get("availableReplicas", 0))
        fewer = min(replicas, broken + max(0, spare))
        if fewer > 0:
            steps.append(Scale(item, replicas - fewer))
            spare -= max(0, fewer - broken)
    return steps


def _replicas(replica_set: Object) -> int:
    return int(replica_set["spec"].get("replicas", 1))


def _share(value: int | str, of: int, rounding: object) -> int:
    if isinstance(value, str) and value.endswith("%"):
        part = int(value[:-1]) * of / 100
        return math.ceil(part) if rounding is math.ceil else math.floor(part)
    return int(value)


def status(deployment: Object, sets: Sequence[Object]) -> Object:
    """The Deployment's status from those of its ReplicaSets."""
    wanted = int(deployment["spec"].get("replicas", 1))
    current = [item for item in sets if is_current(item, deployment)]

    def total(items: Sequence[Object], field: str) -> int:
        return sum(int(item.get("status", {}).get(field, 0)) for item in items)

    replicas, updated = total(sets, "replicas"), total(current, "replicas")
    ready, available = total(sets, "readyReplicas"), total(sets, "availableReplicas")
    counts = {"replicas": replicas, "updatedReplicas": updated, "readyReplicas": ready, "availableReplicas": available}
    counts["unavailableReplicas"] = max(0, wanted - available)
    conditions = deployment.get("status", {}).get("conditions") or []
    for kind, changes in _conditions(deployment, wanted, updated, available, replicas):
        known: Object = next((entry for entry in conditions if entry["type"] == kind), {})
        if any(known.get(key) != value for key, value in changes.items()):
            now = timestamp()
            conditions = objects.with_condition(conditions, kind, {**changes, "lastUpdateTime": now}, now)
    told = {name: count for name, count in counts.items() if count}
    return {"observedGeneration": deployment["metadata"].get("generation", 1), **told, "conditions": conditions}


def _conditions(
    deployment: Object, wanted: int, updated: int, available: int, replicas: int
) -> list[tuple[str, Object]]:
    name = deployment["metadata"]["name"]
    enough = available >= max(0, wanted - 1) if wanted > 1 else available >= wanted
    has = "has" if enough else "does not have"
    reachable = {
        "status": "True" if enough else "False",
        "reason": "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        "message": f"Deployment {has} minimum availability.",
    }
    done = updated == wanted == replicas and available >= wanted
    progressing = {
        "status": "True",
        "reason": "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
        "message": f'Deployment "{name}" has successfully progressed.'
        if done
        else f'Deployment "{name}" is progressing.',
    }
    return [("Available", reachable), ("Progressing", progressing)]


class Deployments:
    """One key is one Deployment."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._deployments = cluster.watch("Deployment")
        self._sets = cluster.watch("ReplicaSet")
        self._pods = cluster.watch("Pod")
        self._queue: WorkQueue[Key] = WorkQueue("deployment", self._reconcile)
        self._deployments.listeners.append(lambda _, item, __: self._queue.add(key_of(item)))
        self._sets.listeners.append(self._set_changed)
        self._pods.listeners.append(self._pod_changed)

    async def run(self) -> None:
        await self._queue.run()

    def _set_changed(self, _: str, item: Object, __: Object | None) -> None:
        owner = objects.controller_of(item)
        if owner is not None and owner["kind"] == "Deployment":
            self._queue.add((item["metadata"]["namespace"], owner["name"]))

    def _pod_changed(self, kind: str, pod: Object, _: Object | None) -> None:
        """Recreate waits for the last pod to go; everything else comes through the ReplicaSets' status."""
        owner = objects.controller_of(pod)
        if kind == "DELETED" and owner is not None and owner["kind"] == "ReplicaSet":
            item = self._sets.items.get((pod["metadata"]["namespace"], owner["name"]))
            if item is not None:
                self._set_changed("MODIFIED", item, None)

    async def _reconcile(self, key: Key) -> None:
        item = self._deployments.items.get(key)
        if item is None or objects.is_terminating(item):
            return
        for step in rollout(item, self._owned(item), list(self._pods.items.values())):
            if isinstance(step, Create):
                await self._create(item, step.replicas)
            else:
                await self._scale(item, step.replica_set, step.replicas)
        await self._prune(item)
        item = self._deployments.items.get(key, item)
        fresh = status(item, self._owned(item))
        if fresh != (item.get("status") or {}):
            await self._cluster.replace({**item, "status": fresh}, "status")

    def _owned(self, item: Object) -> list[Object]:
        return objects.owned_by(self._sets.items.values(), item)

    async def _create(self, deployment: Object, replicas: int) -> None:
        namespace, name = key_of(deployment)
        template = deployment["spec"]["template"]
        short = template_hash(template)
        label = {HASH_LABEL: short}
        metadata = template.get("metadata") or {}
        revision = str(1 + max([_revision(item) for item in self._owned(deployment)], default=0))
        selector = deployment["spec"]["selector"]
        body = {
            "apiVersion": "apps/v1",
            "kind": "ReplicaSet",
            "metadata": {
                "name": f"{name}-{short}",
                "namespace": namespace,
                "labels": {**(metadata.get("labels") or {}), **label},
                "annotations": {REVISION: revision},
                "ownerReferences": [objects.controller_reference(deployment)],
            },
            "spec": {
                "replicas": replicas,
                "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), **label}},
                "template": {
                    **template,
                    "metadata": {**metadata, "labels": {**(metadata.get("labels") or {}), **label}},
                },
            },
        }
        try:
            created = await self._cluster.create("ReplicaSet", namespace, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            return
        self._tell_scaled(deployment, created, 0, replicas)
        annotations = {"metadata": {"annotations": {REVISION: revision}}}
        await self._cluster.patch(deployment, annotations)

    async def _scale(self, deployment: Object, replica_set: Object, replicas: int) -> None:
        metadata = {"resourceVersion": replica_set["metadata"]["resourceVersion"]}
        await self._cluster.patch(replica_set, {"metadata": metadata, "spec": {"replicas": replicas}})
        self._tell_scaled(deployment, replica_set, _replicas(replica_set), replicas)

    def _tell_scaled(self, deployment: Object, replica_set: Object, before: int, after: int) -> None:
        if before != after:
            way = "up" if after > before else "down"
            text = f"Scaled {way} replica set {replica_set['metadata']['name']} from {before} to {after}"
            self._cluster.events.record(SOURCE, deployment, "ScalingReplicaSet", text)

    async def _prune(self, deployment: Object) -> None:
        """Forget the oldest empty ReplicaSets beyond the history limit."""
        empty = [
            item
            for item in self._owned(deployment)
            if not is_current(item, deployment) and not _replicas(item) and not item.get("status", {}).get("replicas")
        ]
        limit = int(deployment["spec"].get("revisionHistoryLimit", 10))
        for item in sorted(empty, key=_revision)[: max(0, len(empty) - limit)]:
            await self._cluster.delete(item)


def _revision(replica_set: Object) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, "0"))
