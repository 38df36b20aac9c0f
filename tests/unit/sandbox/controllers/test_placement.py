"""Where a pod goes, what a Service's slices say, which volume a claim gets, which address a Service: by values."""

from __future__ import annotations

from typing import Any

import pytest
from hamgr_sandbox.attacher import Fault, fault_for, read_faults, set_faults
from hamgr_sandbox.balancer import AddressesUsedUp, backends_of, choose_address, parse_addresses
from hamgr_sandbox.controllers import endpoints, objects, volumes
from hamgr_sandbox.controllers.placement import Refusal, Snapshot, choose, waits_for_consumer
from hamgr_sandbox.provisioner import is_zonal, new_volume

Item = dict[str, Any]


def node(name: str, *, labels: dict[str, str] | None = None, room: dict[str, str] | None = None, **spec: Any) -> Item:
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": spec,
        "status": {"allocatable": room or {}},
    }


def pod(name: str, on: str = "", **spec: Any) -> Item:
    metadata = {"name": name, "namespace": "default", "uid": name}
    return {"metadata": metadata, "spec": {"containers": [], **({"nodeName": on} if on else {}), **spec}, "status": {}}


def place(item: Item, nodes: list[Item], pods: list[Item] | None = None, **rest: Any) -> str | Refusal:
    return choose(item, Snapshot(nodes, pods or [], rest.get("claims", {}), rest.get("volumes", {})))


def test_pods_spread_over_the_emptier_nodes() -> None:
    nodes = [node("n1"), node("n2")]
    assert place(pod("a"), nodes) == "n1"
    assert place(pod("a"), nodes, [pod("b", "n1")]) == "n2"


def test_cordons_and_taints_keep_pods_away_unless_tolerated() -> None:
    tainted = node("n2", taints=[{"key": objects.UNREACHABLE, "effect": "NoSchedule"}])
    nodes = [node("n1", unschedulable=True), tainted]
    assert place(pod("a"), nodes) == Refusal(
        "0/2 nodes are available: 1 node(s) had untolerated taint(s), 1 node(s) were unschedulable."
    )
    assert place(pod("a", tolerations=[{"key": objects.UNREACHABLE, "operator": "Exists"}]), nodes) == "n2"


def test_selectors_and_affinity() -> None:
    nodes = [node("n1"), node("n2", labels={"disk": "ssd"})]
    assert place(pod("a", nodeSelector={"disk": "ssd"}), nodes) == "n2"
    term = {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    assert place(pod("a", affinity={"nodeAffinity": required}), nodes) == "n2"


def test_requests_must_fit() -> None:
    def hungry(name: str, on: str = "") -> Item:
        return pod(name, on, containers=[{"resources": {"requests": {"cpu": "600m"}}}])

    nodes = [node("n1", room={"cpu": "1"})]
    assert place(hungry("a"), nodes) == "n1"
    assert place(hungry("a"), nodes, [hungry("b", "n1")]) == Refusal("0/1 nodes are available: 1 Insufficient cpu.")


def claimed(name: str, on: str = "") -> Item:
    return pod(name, on, volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])


def claims(phase: str = "Bound", mode: str = "ReadWriteOnce") -> dict[tuple[str, str], Item]:
    item = {"metadata": {}, "spec": {"accessModes": [mode], "volumeName": "pv"}, "status": {"phase": phase}}
    return {("default", "data"): item}


def test_an_unbound_claim_holds_the_pod_up() -> None:
    answer = place(claimed("a"), [node("n1")], claims=claims("Pending"))
    assert answer == Refusal("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found")


def test_read_write_once_pod_is_for_one_pod_in_the_cluster() -> None:
    only = claims(mode="ReadWriteOncePod")
    assert place(claimed("a"), [node("n1")], claims=only) == "n1"
    assert isinstance(place(claimed("a"), [node("n1")], [claimed("b", "n2")], claims=only), Refusal)
    assert place(claimed("a"), [node("n1")], [claimed("b", "n2")], claims=claims()) == "n1"


SERVICE = {
    "metadata": {"name": "db", "namespace": "default", "uid": "db"},
    "spec": {"selector": {"app": "db"}, "ports": [{"port": 3306, "targetPort": "sql"}]},
}


def backend(name: str, *, ready: bool = True, deleted: bool = False, phase: str = "Running") -> Item:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": "db"}}
        | ({"deletionTimestamp": "now"} if deleted else {}),
        "spec": {"nodeName": "n1", "containers": [{"ports": [{"name": "sql", "containerPort": 3307}]}]},
        "status": {
            "podIP": "10.0.0.1",
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


@pytest.mark.parametrize(
    ("ready", "deleted", "conditions"),
    [
        (True, False, {"ready": True, "serving": True, "terminating": False}),
        (False, False, {"ready": False, "serving": False, "terminating": False}),
        (True, True, {"ready": False, "serving": True, "terminating": True}),
    ],
)
def test_ready_is_serving_and_not_terminating(ready: bool, deleted: bool, conditions: dict[str, bool]) -> None:
    (group,) = endpoints.slices_of(SERVICE, [backend("a", ready=ready, deleted=deleted)])
    assert group.ports == (("", "TCP", 3307),)
    assert [endpoint["conditions"] for endpoint in group.endpoints] == [conditions]


def test_finished_pods_leave_and_an_empty_slice_stays() -> None:
    assert endpoints.slices_of(SERVICE, [backend("a", phase="Succeeded")]) == [endpoints.Slice((), ())]


def test_existing_slices_are_used_again() -> None:
    wanted = endpoints.slices_of(SERVICE, [backend("a")])
    empty = {"metadata": {"name": "s", "namespace": "default"}, "endpoints": None, "ports": None}
    todo = endpoints.changes(wanted, [empty])
    assert (todo.create, todo.replace, todo.delete) == ((), ((empty, wanted[0]),), ())
    ports = [{"name": "", "protocol": "TCP", "port": 3307}]
    settled = {**empty, "endpoints": list(wanted[0].endpoints), "ports": ports}
    assert endpoints.changes(wanted, [settled]) == endpoints.Changes((), (), ())


def test_endpoints_leave_out_terminating_pods() -> None:
    wanted = endpoints.slices_of(SERVICE, [backend("a"), backend("b", ready=False), backend("c", deleted=True)])
    (subset,) = endpoints.subsets_of(SERVICE, wanted)
    assert [entry["targetRef"]["name"] for entry in subset["addresses"]] == ["a"]
    assert [entry["targetRef"]["name"] for entry in subset["notReadyAddresses"]] == ["b"]
    assert subset["ports"] == [{"port": 3307, "protocol": "TCP"}]


def claim(**spec: Any) -> Item:
    requests = {"resources": {"requests": {"storage": "1Gi"}}, "accessModes": ["ReadWriteOnce"]}
    return {"metadata": {"name": "data", "namespace": "default", "uid": "u1"}, "spec": {**requests, **spec}}


def volume(name: str, size: str = "1Gi", **spec: Any) -> Item:
    base = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    return {"metadata": {"name": name}, "spec": {**base, **spec}}


CLASSES = {("", "sandbox-disk"): {"metadata": {"name": "sandbox-disk"}, "provisioner": "disk.sandbox.hamgr.io"}}


def test_a_claim_takes_the_volume_it_names_and_no_other_claims_volume() -> None:
    assert volumes.decide(claim(volumeName="b"), [volume("a"), volume("b")], {}) == volumes.Bind(volume("b"))
    taken = volume("b", claimRef={"namespace": "default", "name": "data", "uid": "u0"})
    assert isinstance(volumes.decide(claim(volumeName="b"), [taken], {}), volumes.Wait)
    reserved = volume("b", claimRef={"namespace": "default", "name": "data"})
    assert volumes.decide(claim(storageClassName=""), [volume("a"), reserved], {}) == volumes.Bind(reserved)


def test_a_claim_takes_the_smallest_volume_that_fits() -> None:
    offered = [volume("small", "512Mi"), volume("large", "4Gi"), volume("fit", "2Gi")]
    assert volumes.decide(claim(storageClassName=""), offered, {}) == volumes.Bind(offered[2])


def test_a_claim_of_a_class_is_provisioned_for() -> None:
    assert volumes.decide(claim(storageClassName="sandbox-disk"), [volume("a")], CLASSES) == volumes.Provision(
        CLASSES["", "sandbox-disk"]
    )
    assert isinstance(volumes.decide(claim(storageClassName="none"), [], CLASSES), volumes.Wait)


LATER = {"metadata": {"name": "later"}, "provisioner": "disk.x", "volumeBindingMode": "WaitForFirstConsumer"}
NOBODY = {"metadata": {"name": "local"}, "provisioner": volumes.NO_PROVISIONER, "volumeBindingMode": "Immediate"}


def test_a_claim_that_waits_for_its_first_consumer_takes_nothing_before_a_node_is_selected() -> None:
    """Not even a volume that exists and fits; one that is reserved for it, it does (pv_controller.go)."""
    waiting, classes = claim(storageClassName="later"), {("", "later"): LATER}
    offered = volume("a", storageClassName="later")
    for volumes_there in ([], [offered]):
        answer = volumes.decide(waiting, volumes_there, classes)
        assert answer == volumes.Wait("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    reserved = volume("b", claimRef={"namespace": "default", "name": "data"})
    assert volumes.decide(waiting, [reserved], classes) == volumes.Bind(reserved)
    waiting["metadata"]["annotations"] = {volumes.SELECTED_NODE: "n1"}
    assert volumes.decide(waiting, [], classes) == volumes.Provision(LATER)
    assert volumes.decide(waiting, [offered], classes) == volumes.Bind(offered)


def test_a_zonal_disk_is_for_the_nodes_of_its_zone() -> None:
    wanted = claim(storageClassName="zonal", volumeName="pvc-7") | {"status": {"phase": "Bound"}}
    wanted["metadata"]["uid"] = "7"
    zonal = {"metadata": {"name": "zonal"}, "parameters": {"zonal": "true"}}
    made = new_volume(wanted, zonal, "a")
    assert is_zonal(zonal)
    assert "nodeAffinity" not in new_volume(wanted, zonal)
    nodes = [node("n1", labels={objects.ZONE: "b"}), node("n2", labels={objects.ZONE: "a"}), node("n3")]
    using = pod("p", volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}])
    there = {"claims": {("default", "data"): wanted}, "volumes": {("", "pvc-7"): made}}
    assert place(using, nodes, **there) == "n2"
    assert place(using, nodes[:1], **there) == Refusal(
        "0/1 nodes are available: 1 node(s) didn't match PersistentVolume's node affinity."
    )


def test_nobody_provisions_for_a_class_that_says_so() -> None:
    answer = volumes.decide(claim(storageClassName="local"), [], {("", "local"): NOBODY})
    assert isinstance(answer, volumes.Wait)
    assert answer.reason == "ProvisioningFailed"


def test_a_pod_is_placed_before_its_claim_is_bound_where_the_class_waits_for_that() -> None:
    unbound = claim(storageClassName="later") | {"status": {"phase": "Pending"}}
    waiting = Snapshot([node("n1")], [], {("default", "data"): unbound}, {}, {("", "later"): LATER})
    assert choose(claimed("a"), waiting) == "n1"
    assert waits_for_consumer(unbound, waiting)
    at_once = Snapshot([node("n1")], [], {("default", "data"): unbound}, {}, CLASSES)
    assert isinstance(choose(claimed("a"), at_once), Refusal)


def test_a_volume_is_released_when_its_claim_is_another_one() -> None:
    bound = volume("a", claimRef={"namespace": "default", "name": "data", "uid": "u1"})
    assert volumes.volume_phase(bound, {("default", "data"): claim()}) == "Bound"
    assert volumes.volume_phase(bound, {}) == "Released"
    assert volumes.volume_phase(volume("a"), {}) == "Available"


def test_addresses() -> None:
    assert parse_addresses("10.0.0.1-10.0.0.3,10.0.1.1") == ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.1.1"]
    with pytest.raises(ValueError, match="ends before it starts"):
        parse_addresses("10.0.0.3-10.0.0.1")
    asked = {"metadata": {"name": "s", "namespace": "d"}, "spec": {"loadBalancerIP": "b"}}
    assert choose_address(asked, [], ["a", "b"]) == "b"
    assert choose_address(asked, ["b"], ["a", "b"]) == "a"
    with pytest.raises(AddressesUsedUp):
        choose_address(asked, ["a", "b"], ["a", "b"])


def test_backends_are_the_ready_endpoints_of_the_ports_name() -> None:
    service = {"spec": {"ports": [{"name": "sql", "port": 1}, {"name": "dns", "port": 2, "protocol": "UDP"}]}}
    item = {
        "ports": [{"name": "sql", "port": 3306}, {"name": "other", "port": 9}],
        "endpoints": [
            {"addresses": ["a"], "conditions": {"ready": True}},
            {"addresses": ["b"], "conditions": {"ready": False}},
        ],
    }
    assert backends_of(service, [item, {"ports": None, "endpoints": None}]) == {1: (("a", 3306),)}


def test_faults_of_one_disk_come_before_those_of_all(tmp_path: Any) -> None:
    assert read_faults(tmp_path) == {}
    set_faults(tmp_path, {"detach": Fault(hang=True), "detach:d1": Fault(latency_s=2.0)})
    faults = read_faults(tmp_path)
    assert fault_for(faults, "detach", "d1") == Fault(latency_s=2.0)
    assert fault_for(faults, "detach", "d2") == Fault(hang=True)
    assert fault_for(faults, "attach", "d1") == Fault()


@pytest.mark.parametrize(("text", "number"), [("10Gi", 10 * 2**30), ("250m", 0.25), ("5M", 5e6), (3, 3.0), ("7", 7.0)])
def test_quantities(text: str | int, number: float) -> None:
    assert objects.quantity(text) == number
