"""The StatefulSet controller: pods with names and claims of their own, never two of one name at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from hamgr_sandbox.client import ApiError, Key, Object, key_of
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.cluster import Cluster
from hamgr_sandbox.controllers.deployments import template_hash
from hamgr_sandbox.controllers.replicasets import pod_from
from hamgr_sandbox.controllers.workqueue import WorkQueue

SOURCE = "statefulset-controller"
REVISION_LABEL = "controller-revision-hash"
NAME_LABEL, INDEX_LABEL = "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index"


@dataclass(frozen=True, slots=True)
class CreatePod:
    ordinal: int


@dataclass(frozen=True, slots=True)
class DeletePod:
    pod: Object


Step: TypeAlias = CreatePod | DeletePod


def revision(stateful_set: Object) -> str:
    """The name of the present template's revision."""
    return f"{stateful_set['metadata']['name']}-{template_hash(stateful_set['spec']['template'])}"


def plan(stateful_set: Object, pods: Mapping[int, Object]) -> list[Step]:
    """The next steps, given the set's pods by ordinal (stateful_set_control.go updateStatefulSet).

    With OrderedReady (the default) one step at a time: a pod that is missing, not ready or still terminating holds up
    all that come after it. With Parallel, only a pod's own name must be free.
    """
    spec = stateful_set["spec"]
    start = int((spec.get("ordinals") or {}).get("start", 0))
    wanted = range(start, start + int(spec.get("replicas", 1)))
    ordered = spec.get("podManagementPolicy", "OrderedReady") == "OrderedReady"
    steps: list[Step] = []
    for ordinal in wanted:
        pod = pods.get(ordinal)
        if pod is None:
            steps.append(CreatePod(ordinal))
        elif objects.is_finished(pod) and not objects.is_terminating(pod):
            steps.append(DeletePod(pod))
        if ordered and (pod is None or objects.is_terminating(pod) or not objects.is_true(pod, "Ready")):
            return steps
    surplus = sorted((ordinal for ordinal in pods if ordinal not in wanted), reverse=True)
    if ordered and any(objects.is_terminating(pods[ordinal]) for ordinal in surplus):
        return steps
    going: list[Step] = [DeletePod(pods[ordinal]) for ordinal in surplus if not objects.is_terminating(pods[ordinal])]
    steps += going[:1] if ordered else going
    return steps or _update(stateful_set, [pods[ordinal] for ordinal in wanted], start)


def _update(stateful_set: Object, pods: list[Object], start: int) -> list[Step]:
    """RollingUpdate: from the last pod down to the partition, one at a time, each ready before the next goes."""
    strategy = stateful_set["spec"].get("updateStrategy") or {}
    if strategy.get("type", "RollingUpdate") != "RollingUpdate":
        return []
    partition = int((strategy.get("rollingUpdate") or {}).get("partition", 0))
    for pod in reversed(pods[max(0, partition - start) :]):
        if objects.labels(pod).get(REVISION_LABEL) != revision(stateful_set):
            return [] if objects.is_terminating(pod) else [DeletePod(pod)]
        if not objects.is_true(pod, "Ready") or objects.is_terminating(pod):
            return []
    return []


def claims(stateful_set: Object, ordinal: int) -> list[Object]:
    """The claims of one pod, by the set's templates; they outlive pod and set."""
    namespace, name = key_of(stateful_set)
    found = []
    for template in stateful_set["spec"].get("volumeClaimTemplates") or []:
        metadata = template["metadata"]
        labels = {**(stateful_set["spec"]["selector"].get("matchLabels") or {}), **(metadata.get("labels") or {})}
        claim_name = f"{metadata['name']}-{name}-{ordinal}"
        found.append(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "metadata": {**metadata, "name": claim_name, "namespace": namespace, "labels": labels},
                "spec": template["spec"],
            }
        )
    return found


def pod_for(stateful_set: Object, ordinal: int) -> Object:
    """The pod of one ordinal."""
    name = f"{stateful_set['metadata']['name']}-{ordinal}"
    pod = pod_from(stateful_set["spec"]["template"], stateful_set, name=name)
    pod["metadata"]["labels"] |= {NAME_LABEL: name, INDEX_LABEL: str(ordinal), REVISION_LABEL: revision(stateful_set)}
    own = {
        template["metadata"]["name"]: {"claimName": claim["metadata"]["name"]}
        for template, claim in zip(
            stateful_set["spec"].get("volumeClaimTemplates") or [], claims(stateful_set, ordinal), strict=True
        )
    }
    shared = [volume for volume in pod["spec"].get("volumes") or [] if volume["name"] not in own]
    mounted = [{"name": volume, "persistentVolumeClaim": claim} for volume, claim in own.items()]
    named: dict[str, Any] = {"hostname": name, "subdomain": stateful_set["spec"].get("serviceName", "")}
    pod["spec"] = {**pod["spec"], **{key: value for key, value in named.items() if value}, "volumes": shared + mounted}
    return pod


def status(stateful_set: Object, pods: Mapping[int, Object]) -> Object:
    """The set's status; every ready pod counts as available."""
    alive = [pod for pod in pods.values() if not objects.is_finished(pod)]
    ready = sum(objects.is_true(pod, "Ready") and not objects.is_terminating(pod) for pod in alive)
    update = revision(stateful_set)
    updated = sum(objects.labels(pod).get(REVISION_LABEL) == update for pod in alive)
    known = stateful_set.get("status") or {}
    complete = updated == len(alive)
    current = update if complete else known.get("currentRevision", update)
    counts = {
        "readyReplicas": ready,
        "currentReplicas": sum(objects.labels(pod).get(REVISION_LABEL) == current for pod in alive),
        "updatedReplicas": updated,
    }
    return {
        "observedGeneration": stateful_set["metadata"].get("generation", 1),
        "replicas": len(alive),
        **{name: count for name, count in counts.items() if count},
        "currentRevision": current,
        "updateRevision": update,
        "collisionCount": 0,
        "availableReplicas": ready,
    }


class StatefulSets:
    """One key is one StatefulSet."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._sets = cluster.watch("StatefulSet")
        self._pods = cluster.watch("Pod")
        self._claims = cluster.watch("PersistentVolumeClaim")
        self._queue: WorkQueue[Key] = WorkQueue("statefulset", self._reconcile)
        self._sets.listeners.append(lambda _, item, __: self._queue.add(key_of(item)))
        self._pods.listeners.append(self._pod_changed)

    async def run(self) -> None:
        await self._queue.run()

    def _pod_changed(self, _: str, pod: Object, __: Object | None) -> None:
        owner = objects.controller_of(pod)
        if owner is not None and owner["kind"] == "StatefulSet":
            self._queue.add((pod["metadata"]["namespace"], owner["name"]))

    async def _reconcile(self, key: Key) -> None:
        item = self._sets.items.get(key)
        if item is None or objects.is_terminating(item):
            return
        for step in plan(item, self._owned(item)):
            if isinstance(step, CreatePod):
                await self._create(item, step.ordinal)
            else:
                await self._delete(item, step.pod)
        fresh = status(item, self._owned(item))
        if fresh != (item.get("status") or {}):
            await self._cluster.replace({**item, "status": fresh}, "status")

    def _owned(self, item: Object) -> dict[int, Object]:
        pods = {}
        for pod in objects.owned_by(self._pods.items.values(), item):
            base, _, ordinal = pod["metadata"]["name"].rpartition("-")
            if base == item["metadata"]["name"] and ordinal.isdigit():
                pods[int(ordinal)] = pod
        return pods

    async def _create(self, owner: Object, ordinal: int) -> None:
        namespace, name = key_of(owner)
        for claim in claims(owner, ordinal):
            if key_of(claim) not in self._claims.items:
                try:
                    await self._cluster.create("PersistentVolumeClaim", namespace, claim)
                except ApiError as error:
                    if error.reason != "AlreadyExists":
                        raise
        pod = await self._cluster.create("Pod", namespace, pod_for(owner, ordinal))
        text = f"create Pod {pod['metadata']['name']} in StatefulSet {name} successful"
        self._cluster.events.record(SOURCE, owner, "SuccessfulCreate", text)

    async def _delete(self, owner: Object, pod: Object) -> None:
        try:
            await self._cluster.delete(pod)
        except ApiError as error:
            if error.code != 404:
                raise
            return
        text = f"delete Pod {pod['metadata']['name']} in StatefulSet {owner['metadata']['name']} successful"
        self._cluster.events.record(SOURCE, owner, "SuccessfulDelete", text)
