"""The leader's care for disks: which orders go out, what holds a fence, what is written down."""

from __future__ import annotations

from typing import Any

from fixtures.leader_world import World, cluster_file

from hamgr.controller.disks.care import DiskCare
from hamgr.controller.disks.workloads import Workloads
from hamgr.kube.objects import NODE, PV, PVC

FILE = """\
cluster: test
nodes: [n1, n2, n3]
fencing: {levels: [volume]}
resources:
  - group: database
    members:
      - {id: disk, agent: volume, params: {claim: data}}
      - {id: db, agent: pod, params: {image: "db:1", claim: data, mount_path: /data}}
  - {id: web, agent: dummy}
constraints:
  - location: {resource: database, node: n1, score: 50}
"""


class Objects:
    """The watch cache, as far as it is looked at here."""

    def __init__(self) -> None:
        self.claim: dict[str, Any] = {
            "metadata": {"name": "data", "namespace": "default"},
            "spec": {"volumeName": "pv-1"},
        }
        csi = {"driver": "d", "volumeHandle": "h"}
        spec = {"csi": csi, "persistentVolumeReclaimPolicy": "Delete"}
        self.volume: dict[str, Any] = {"metadata": {"name": "pv-1"}, "spec": spec}
        self.zones = {"n1": "a", "n2": "a", "n3": "b"}

    def get(self, kind: object, name: str, namespace: str = "") -> dict[str, Any] | None:
        if kind is NODE:
            return {"metadata": {"name": name, "labels": {"zone": self.zones[name]}}}
        found = {(PVC, "default", "data"): self.claim, (PV, "", "pv-1"): self.volume}
        return found.get((kind, namespace, name))  # type: ignore[call-overload,no-any-return]

    def list(self, kind: object, namespace: object = None, labels: object = None) -> list[Any]:
        return {PVC: [self.claim], PV: [self.volume]}.get(kind, [])  # type: ignore[call-overload,no-any-return]


def care_of(world: World, objects: Objects) -> DiskCare:
    cache: Any = objects
    executor: Any = world.executor
    recorder: Any = world.leader._recorder
    return DiskCare(world.leader, executor, cache, Workloads(None), recorder, "test", "n1",
                    clock=lambda: world.time, now=lambda: world.time)  # fmt: skip


def settled() -> World:
    world = World(FILE)
    world.settle()
    assert world.where("db") == ["n1"]
    return world


def test_the_claim_gets_the_finalizer_and_its_reclaim_policy_is_told_once() -> None:
    world, objects = settled(), Objects()
    care = care_of(world, objects)
    care.advance()
    (order,) = world.executor.in_flight
    assert (order.task, order.agent, order.params) == ("protect", "volume", {"namespace": "default", "claim": "data"})
    world.time += 10
    care.advance()
    told = [text for code, text in world.told if code == "reclaim-policy-delete"]
    assert len(told) == 1
    assert "PersistentVolume pv-1 has reclaim policy Delete" in told[0]
    assert [notice.code for notice in care.notices()] == ["reclaim-policy-delete"]
    assert list(care.findings()) == [], "it is no warning"


def test_only_the_fence_of_the_node_where_it_is_on_record_is_held() -> None:
    world, objects = settled(), Objects()
    care = care_of(world, objects)
    assert care.doomed("n1") == ""
    objects.claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert care.doomed("n1").startswith("claim default/data is being deleted")
    assert care.doomed("n2") == ""
    assert care.doomed("n1", ("web",)) == ""
    assert care.doomed("n1", ("db",)).startswith("claim default/data is being deleted")
    world.leader.configure(cluster_file(FILE.replace("data", "other")))
    assert care.doomed("n1").startswith("claim default/data is being deleted"), "it was started with this one"
    del objects.claim["metadata"]["deletionTimestamp"]
    objects.volume["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert care.doomed("n1").startswith("PersistentVolume pv-1 of claim default/data is being deleted")


def test_a_zone_becomes_a_rule_by_which_the_resource_is_placed() -> None:
    world, objects = settled(), Objects()
    leader = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["b"]}]}
    objects.volume["spec"]["nodeAffinity"] = {"required": {"nodeSelectorTerms": [leader]}}
    care_of(world, objects).advance()
    assert set(world.leader.cluster_state.bars["disk"]) == {"n2"}  # it is active on n1, and may stay there
    assert not world.leader.idle
    world.executor.in_flight.clear()
    world.lose("n1")
    world.settle()
    assert world.where("db") == ["n3"]


TWO = """\
cluster: test
nodes: [n1, n2]
fencing: {levels: [volume]}
resources:
  - {id: web, agent: dummy}
  - {id: db, agent: pod, params: {image: "db:1", claim: data, mount_path: /data, shared_claims: data}}
  - {id: dump, agent: pod, params: {image: "db:1", claim: data, mount_path: /data, shared_claims: data}}
"""


def test_a_second_user_of_a_disk_is_not_started_and_comes_up_when_the_first_is_gone() -> None:
    world, objects = World(TWO), Objects()
    care = care_of(world, objects)
    objects.claim["spec"]["accessModes"] = ["ReadWriteOnce"]
    world.leader.second_users = care.second_users
    world.settle()
    care.advance()
    world.executor.in_flight.clear()
    world.settle()
    assert (len(world.where("db")), world.where("dump")) == (1, [])
    told = [(found.code, found.resource) for found in care.findings() if found.code == "disk-shared"]
    assert told == [("disk-shared", "dump")]
    world.apply(TWO.replace("claim: data", "claim: other", 1))
    world.time += 10
    care.advance()
    world.executor.in_flight.clear()
    world.settle()
    assert (len(world.where("db")), len(world.where("dump"))) == (1, 1)
