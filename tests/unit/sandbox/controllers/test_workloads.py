"""ReplicaSets, Deployments, StatefulSets and the garbage collector, by values."""

from __future__ import annotations

from typing import Any

from hamgr_sandbox.controllers import deployments, garbage, replicasets, statefulsets
from hamgr_sandbox.controllers.deployments import Create, Scale, rollout
from hamgr_sandbox.controllers.statefulsets import CreatePod, DeletePod

Item = dict[str, Any]


def pod(name: str, *, ready: bool = True, deleted: bool = False, phase: str = "Running", **metadata: Any) -> Item:
    return {
        "metadata": {"name": name, "uid": name, **metadata} | ({"deletionTimestamp": "now"} if deleted else {}),
        "spec": {"nodeName": "n1"},
        "status": {"phase": phase, "conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def replica_set(replicas: int) -> Item:
    return {"metadata": {"name": "rs", "uid": "rs", "generation": 1}, "spec": {"replicas": replicas}}


def test_a_terminating_pod_is_replaced_at_once() -> None:
    assert replicasets.plan(replica_set(1), [pod("a", deleted=True)]) == replicasets.Plan(1, ())


def test_a_finished_pod_is_replaced() -> None:
    assert replicasets.plan(replica_set(1), [pod("a", phase="Failed")]).create == 1


def test_surplus_pods_that_are_not_ready_go_first() -> None:
    good, bad = pod("good"), pod("bad", ready=False)
    assert replicasets.plan(replica_set(1), [good, bad]).delete == (bad,)


def test_the_youngest_of_equals_goes_first() -> None:
    old, young = pod("old", creationTimestamp="2026-01-01"), pod("young", creationTimestamp="2026-01-02")
    assert replicasets.plan(replica_set(1), [old, young]).delete == (young,)


TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "new"}]}}
OLD_TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "old"}]}}


def deployment(kind: str, replicas: int = 1) -> Item:
    rolling = {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"}} if kind == "RollingUpdate" else {}
    return {
        "metadata": {"name": "d", "uid": "d"},
        "spec": {"replicas": replicas, "strategy": {"type": kind, **rolling}, "template": TEMPLATE},
    }


def set_of(template: Item, replicas: int, available: int | None = None) -> Item:
    labels = {**template["metadata"]["labels"], deployments.HASH_LABEL: "h"}
    name = template["spec"]["containers"][0]["image"]
    return {
        "metadata": {"name": name, "uid": name},
        "spec": {"replicas": replicas, "template": {**template, "metadata": {"labels": labels}}},
        "status": {"availableReplicas": replicas if available is None else available},
    }


def owned(name: str, owner: str, *, deleted: bool = False) -> Item:
    return pod(name, deleted=deleted, ownerReferences=[{"uid": owner, "controller": True, "kind": "ReplicaSet"}])


def test_the_first_rollout_creates_the_set() -> None:
    assert rollout(deployment("Recreate"), [], []) == [Create(1)]
    assert rollout(deployment("RollingUpdate", 3), [], []) == [Create(3)]


def test_recreate_waits_until_the_last_old_pod_is_gone() -> None:
    old = set_of(OLD_TEMPLATE, 1)
    assert rollout(deployment("Recreate"), [old], [owned("p", "old")]) == [Scale(old, 0)]
    empty = set_of(OLD_TEMPLATE, 0)
    assert rollout(deployment("Recreate"), [empty], [owned("p", "old", deleted=True)]) == []
    assert rollout(deployment("Recreate"), [empty], []) == [Create(1)]


def test_rolling_update_of_one_replica_keeps_the_old_until_the_new_is_available() -> None:
    old = set_of(OLD_TEMPLATE, 1)
    assert rollout(deployment("RollingUpdate"), [old], []) == [Create(1)]
    waiting = set_of(TEMPLATE, 1, available=0)
    assert rollout(deployment("RollingUpdate"), [old, waiting], []) == []
    assert rollout(deployment("RollingUpdate"), [old, set_of(TEMPLATE, 1)], []) == [Scale(old, 0)]


def test_scaling_reaches_the_present_set() -> None:
    current = set_of(TEMPLATE, 1)
    assert rollout(deployment("RollingUpdate", 3), [current], []) == [Scale(current, 3)]
    assert rollout(deployment("Recreate", 0), [current], []) == [Scale(current, 0)]


def stateful_set(replicas: int, policy: str = "OrderedReady") -> Item:
    return {
        "metadata": {"name": "db", "namespace": "default", "uid": "db"},
        "spec": {
            "replicas": replicas,
            "podManagementPolicy": policy,
            "template": TEMPLATE,
            "selector": {"matchLabels": {"app": "x"}},
            "serviceName": "db",
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
        },
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
    }


def member(ordinal: int, **state: Any) -> Item:
    item = pod(f"db-{ordinal}", **state)
    item["metadata"]["labels"] = {statefulsets.REVISION_LABEL: statefulsets.revision(stateful_set(1))}
    return item


def test_one_name_one_pod_a_terminating_one_is_waited_for() -> None:
    assert statefulsets.plan(stateful_set(1), {0: member(0, deleted=True)}) == []
    assert statefulsets.plan(stateful_set(1, "Parallel"), {0: member(0, deleted=True)}) == []
    assert statefulsets.plan(stateful_set(1), {}) == [CreatePod(0)]


def test_ordered_pods_come_one_after_the_other_parallel_ones_together() -> None:
    assert statefulsets.plan(stateful_set(2), {0: member(0, ready=False)}) == []
    assert statefulsets.plan(stateful_set(2), {0: member(0)}) == [CreatePod(1)]
    assert statefulsets.plan(stateful_set(2, "Parallel"), {}) == [CreatePod(0), CreatePod(1)]


def test_a_finished_pod_is_removed_so_that_its_name_is_free() -> None:
    failed = member(0, phase="Failed", ready=False)
    assert statefulsets.plan(stateful_set(1), {0: failed}) == [DeletePod(failed)]


def test_the_highest_ordinal_goes_first() -> None:
    pods = {0: member(0), 1: member(1), 2: member(2)}
    assert statefulsets.plan(stateful_set(1), pods) == [DeletePod(pods[2])]


def test_an_old_revision_is_replaced_from_the_top() -> None:
    pods = {0: member(0), 1: member(1)}
    for item in pods.values():
        item["metadata"]["labels"] = {statefulsets.REVISION_LABEL: "db-before"}
    assert statefulsets.plan(stateful_set(2), pods) == [DeletePod(pods[1])]


def test_a_pod_mounts_the_claim_of_its_own_name() -> None:
    item = statefulsets.pod_for(stateful_set(1), 3)
    assert item["metadata"]["name"] == item["spec"]["hostname"] == "db-3"
    assert item["spec"]["volumes"] == [{"name": "data", "persistentVolumeClaim": {"claimName": "data-db-3"}}]
    assert [entry["metadata"]["name"] for entry in statefulsets.claims(stateful_set(1), 3)] == ["data-db-3"]


def dependent(*owners: str) -> Item:
    return {"metadata": {"name": "x", "ownerReferences": [{"uid": uid} for uid in owners]}}


def test_garbage_goes_only_when_no_owner_is_left() -> None:
    assert garbage.judge(dependent("a"), ["a"], []).outcome == "delete"
    assert garbage.judge(dependent("a"), [], ["a"]).outcome == "delete"
    assert garbage.judge(dependent("a"), [], []).outcome == "keep"
    assert garbage.judge(dependent(), ["a"], []).outcome == "keep"
    verdict = garbage.judge(dependent("a", "b"), ["a"], [])
    assert verdict == garbage.Verdict("release", ({"uid": "b"},))
