"""The disruption controller: how many pods of a PodDisruptionBudget may be evicted right now."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hamgr.sandbox.client import Key, Object, key_of
from hamgr.sandbox.controllers import objects
from hamgr.sandbox.controllers.cluster import Cluster
from hamgr.sandbox.controllers.events import timestamp
from hamgr.sandbox.controllers.workqueue import WorkQueue


def status(budget: Object, pods: Iterable[Object], expected: int, now: str) -> Object:
    """The budget's status, given the pods it selects and how many there should be; ``now`` by the wall clock."""
    spec, known = budget["spec"], budget.get("status") or {}
    present = {pod["metadata"]["name"]: pod for pod in pods}
    # The eviction subresource notes whom it let go, until that pod is seen to be terminating.
    disrupted = {
        name: at
        for name, at in (known.get("disruptedPods") or {}).items()
        if name in present and not objects.is_terminating(present[name])
    }
    healthy = sum(
        objects.is_true(pod, "Ready") and not objects.is_terminating(pod) and name not in disrupted
        for name, pod in present.items()
    )
    if "maxUnavailable" in spec:
        desired = max(0, expected - _amount(spec["maxUnavailable"], expected))
    else:
        desired = _amount(spec.get("minAvailable", 1), expected)
    allowed = max(0, healthy - desired) if expected else 0
    enough = {
        "status": "True" if allowed else "False",
        "reason": "SufficientPods" if allowed else "InsufficientPods",
        "message": "",
        "observedGeneration": budget["metadata"].get("generation", 1),
    }
    fresh = {
        "observedGeneration": budget["metadata"].get("generation", 1),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": desired,
        "expectedPods": expected,
        "conditions": objects.with_condition(known.get("conditions") or [], "DisruptionAllowed", enough, now),
    }
    return fresh | ({"disruptedPods": disrupted} if disrupted else {})


def _amount(value: int | str, of: int) -> int:
    if isinstance(value, str) and value.endswith("%"):
        return math.ceil(int(value[:-1]) * of / 100)
    return int(value)


class Disruption:
    """One key is one PodDisruptionBudget."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._budgets = cluster.watch("PodDisruptionBudget")
        self._pods = cluster.watch("Pod")
        self._owners = {kind: cluster.watch(kind) for kind in ("ReplicaSet", "StatefulSet")}
        self._queue: WorkQueue[Key] = WorkQueue("disruption", self._reconcile)
        self._budgets.listeners.append(lambda _, item, __: self._queue.add(key_of(item)))
        self._pods.listeners.append(self._pod_changed)

    async def run(self) -> None:
        await self._queue.run()

    def _pod_changed(self, _: str, pod: Object, old: Object | None) -> None:
        for key, budget in self._budgets.items.items():
            if key[0] == pod["metadata"]["namespace"] and any(
                objects.selects(budget["spec"].get("selector"), objects.labels(version))
                for version in (pod, old or pod)
            ):
                self._queue.add(key)

    async def _reconcile(self, key: Key) -> None:
        budget = self._budgets.items.get(key)
        if budget is None or objects.is_terminating(budget):
            return
        selector = budget["spec"].get("selector")
        pods = [
            pod
            for (namespace, _), pod in self._pods.items.items()
            if namespace == key[0] and objects.selects(selector, objects.labels(pod)) and not objects.is_finished(pod)
        ]
        fresh = status(budget, pods, self._expected(key[0], pods), timestamp())
        if fresh != (budget.get("status") or {}):
            await self._cluster.replace({**budget, "status": fresh}, "status")

    def _expected(self, namespace: str, pods: list[Object]) -> int:
        """What the pods' controllers ask for, and each pod without one."""
        total, counted = 0, set()
        for pod in pods:
            owner = objects.controller_of(pod) or {}
            item = (
                self._owners[owner["kind"]].items.get((namespace, owner["name"]))
                if owner.get("kind") in self._owners
                else None
            )
            if item is None:
                total += 1
            elif item["metadata"]["uid"] not in counted:
                counted.add(item["metadata"]["uid"])
                total += int(item["spec"].get("replicas", 1))
        return total
