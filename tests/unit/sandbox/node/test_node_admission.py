"""Which pods a node takes that are bound to it: by values, with reason and message as a 1.36 kubelet writes them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hamgr_sandbox.client import ApiError
from hamgr_sandbox.node.admission import Admissions, Rejection, why_rejected
from hamgr_sandbox.node.heartbeat import Machine, steady_status
from hamgr_sandbox.node.status import rejected_status

Json = dict[str, Any]
ROOM = {"cpu": "2", "memory": "1Gi", "ephemeral-storage": "10Gi", "pods": "3", "example.com/gpu": "1"}
EVICTING = {"key": "maintenance", "value": "", "effect": "NoExecute"}


def node(room: Json | None = None, labels: dict[str, str] | None = None, **spec: Any) -> Json:
    metadata = {"name": "n1", "labels": labels or {}}
    return {"metadata": metadata, "spec": spec, "status": {"allocatable": ROOM | (room or {})}}


def pod(uid: str = "p", **spec: Any) -> Json:
    return {"metadata": {"name": uid, "uid": uid, "namespace": "default"}, "spec": {"containers": [], **spec}}


def asking(uid: str = "p", **requests: str) -> Json:
    return pod(uid, containers=[{"name": "c", "resources": {"requests": requests}}])


def test_what_fits_is_taken() -> None:
    assert why_rejected(asking(cpu="1500m", memory="512Mi"), node(), [asking("other", cpu="500m")]) is None


@pytest.mark.parametrize(
    ("wanted", "others", "reason", "told"),
    [
        (asking(cpu="1"), [asking("a", cpu="1500m")], "OutOfcpu", "cpu, requested: 1000, used: 1500, capacity: 2000"),
        (
            asking(memory="1Gi"),
            [asking("a", memory="1Mi")],
            "OutOfmemory",
            "memory, requested: 1073741824, used: 1048576, capacity: 1073741824",
        ),
        (pod(), [pod("a"), pod("b"), pod("c")], "OutOfpods", "pods, requested: 1, used: 3, capacity: 3"),
        (
            asking(**{"ephemeral-storage": "11Gi"}),
            [],
            "OutOfephemeral-storage",
            "ephemeral-storage, requested: 11811160064, used: 0, capacity: 10737418240",
        ),
        (
            asking(**{"example.com/gpu": "2"}),
            [],
            "OutOfexample.com/gpu",
            "example.com/gpu, requested: 2, used: 0, capacity: 1",
        ),
    ],
)
def test_what_does_not_fit_beside_the_others(wanted: Json, others: list[Json], reason: str, told: str) -> None:
    assert why_rejected(wanted, node(), others) == Rejection(reason, f"Node didn't have enough resource: {told}")


def test_an_extended_resource_that_the_node_does_not_know_is_not_its_affair() -> None:
    assert why_rejected(asking(**{"example.com/license": "1"}), node(), []) is None


def test_init_containers_sidecars_and_overhead_count_as_they_run() -> None:
    def container(cpu: str, **more: str) -> Json:
        return {"name": cpu, "resources": {"requests": {"cpu": cpu}}, **more}

    hungry_start = pod(containers=[container("100m")], initContainers=[container("2500m")])
    sidecar = pod(containers=[container("1500m")], initContainers=[container("600m", restartPolicy="Always")])
    beside = pod(
        containers=[container("1")],
        initContainers=[container("600m", restartPolicy="Always"), container("1500m")],
    )
    overhead = pod(containers=[container("1900m")], overhead={"cpu": "200m"})
    whole = pod(containers=[container("100m")], resources={"requests": {"cpu": "2200m"}})
    told = [rejection.message for p in (hungry_start, sidecar, beside, overhead, whole)
            if (rejection := why_rejected(p, node(), []))]  # fmt: skip
    assert [text.partition("requested: ")[2].partition(",")[0] for text in told] == [
        "2500",
        "2100",
        "2100",
        "2100",
        "2200",
    ]


def test_a_node_that_does_not_match() -> None:
    rejection = why_rejected(pod(nodeSelector={"zone": "b"}), node(labels={"zone": "a"}), [])
    assert rejection == Rejection(
        "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
    )


def test_only_taints_that_evict_are_looked_at() -> None:
    cordoned = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}
    tainted = node(taints=[cordoned, EVICTING])
    assert why_rejected(pod(), tainted, []) == Rejection(
        "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate"
    )
    tolerant = pod(tolerations=[{"key": "maintenance", "operator": "Exists", "tolerationSeconds": 5}])
    assert why_rejected(tolerant, tainted, []) is None
    assert why_rejected(pod(), node(taints=[cordoned], unschedulable=True), []) is None


def test_host_ports_are_had_by_one() -> None:
    def listening(uid: str, address: str = "", protocol: str = "TCP") -> Json:
        port = {"containerPort": 80, "hostPort": 80, "hostIP": address, "protocol": protocol}
        return pod(uid, containers=[{"name": "c", "ports": [port]}])

    rejection = why_rejected(listening("p", "10.0.0.1"), node(), [listening("a")])
    assert rejection is not None
    assert rejection.reason == "NodePorts"
    assert why_rejected(listening("p"), node(), [listening("a", protocol="UDP")]) is None


def test_room_is_given_back_when_a_pod_has_ended_and_labels_are_asked_for_once_more() -> None:
    fresh = node(labels={"zone": "b"})

    async def play() -> None:
        async def ask() -> Json:
            return fresh

        gate = Admissions(node, ask)
        assert await gate.judge(asking("a", cpu="2")) is None
        assert await gate.judge(asking("a", cpu="2")) is None  # itself does not stand in its way
        refused = await gate.judge(asking("b", cpu="1"))
        assert refused is not None
        assert refused.reason == "OutOfcpu"
        gate.ended("a")
        assert await gate.judge(asking("b", cpu="1")) is None
        assert await gate.judge(pod("c", nodeSelector={"zone": "b"})) is None

        async def away() -> Json:
            raise ApiError(0, "", "away", {})

        refused = await Admissions(node, away).judge(pod("d", nodeSelector={"zone": "b"}))
        assert refused is not None
        assert refused.reason == "NodeAffinity"

    asyncio.run(play())


def test_the_status_of_a_rejected_pod_is_the_verdict_and_nothing_else() -> None:
    bound = pod() | {"status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True"}]}}
    assert rejected_status(bound, "OutOfcpu", "too little", 1_800_000_000.0, ended=True) == {
        "observedGeneration": None,
        "startTime": "2027-01-15T08:00:00Z",
        "conditions": [{"$patch": "delete", "type": "PodScheduled"}],
        "phase": "Failed",
        "reason": "OutOfcpu",
        "message": "Pod was rejected: too little",
    }


def test_what_the_machine_itself_needs_is_not_allocatable() -> None:
    machine = Machine("n1", "10.0.0.1", 10250, "boot-1", 20, {"cpu": "250m", "memory": "64Mi"})
    status = steady_status(machine)
    assert status["capacity"]["pods"] == status["allocatable"]["pods"] == "20"
    cores = float(status["capacity"]["cpu"])
    assert status["allocatable"]["cpu"] == f"{round(cores * 1000) - 250}m"
    kib = int(status["capacity"]["memory"].removesuffix("Ki"))
    assert status["allocatable"]["memory"] == str((kib << 10) - (64 << 20))
