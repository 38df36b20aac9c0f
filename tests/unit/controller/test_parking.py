"""Where parked pods are wanted, and that none stays where nobody wants one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fixtures.term_world import REGISTRY, World

from hamgr.controller.parking import Parking
from hamgr.kube.objects import POD, PV, PVC

FILE = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - {id: db, agent: pod, params: {image: "db:1", claim: data, mount_path: /data}}
constraints:
  - location: {resource: db, node: n1, score: 50}
"""


class Pods:
    """The watch cache, as far as parking looks at it."""

    driver = "disk.sandbox.hamgr.io"

    def __init__(self, **nodes: bool) -> None:
        """nodes: where pods of `db` are; True: parked, False: the active one."""
        self.nodes = nodes

    def get(self, kind: object, name: str, namespace: str = "") -> dict[str, Any] | None:
        del namespace
        claim = {"spec": {"volumeName": "pv-1"}}
        disk = {"metadata": {"name": "pv-1"}, "spec": {"csi": {"driver": self.driver, "volumeHandle": "disk-1"}}}
        return {(PVC, "data"): claim, (PV, "pv-1"): disk}.get((kind, name))  # type: ignore[call-overload]

    def list(self, kind: object, namespace: object = None, labels: Mapping[str, str] | None = None) -> list[Any]:
        del namespace, labels
        return [_pod(node, parked) for node, parked in self.nodes.items()] if kind is POD else []


def _pod(node: str, parked: bool) -> dict[str, Any]:
    marks = {"hamgr.io/parked": "true"} if parked else {}
    ready = [] if parked else [{"type": "Ready", "status": "True"}]
    return {
        "metadata": {"name": f"db-{node}", "namespace": "default", "uid": node, "annotations": marks},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
        "status": {"phase": "Pending" if parked else "Running", "conditions": ready},
    }


def orders(world: World, pods: Pods) -> list[tuple[str, str]]:
    """What parking has done once the leader is at rest."""
    cache: Any = pods
    executor: Any = world.executor
    parking = Parking(world.term, REGISTRY, executor, cache, "test", clock=lambda: world.time, now=lambda: world.time)
    parking.advance()
    return [(op.task, op.node) for op in world.executor.in_flight]


def at_rest(*standby: str) -> World:
    world = World(FILE)
    overrides = world.term.recorded.overrides
    for node in standby:
        overrides = overrides.node_attribute(node, "standby", "on")
    world.term.recorded.set_overrides(overrides)
    world.term.touch("test")
    world.settle()
    assert world.where("db") == ["n1"]
    return world


def test_a_pod_is_parked_where_the_resource_would_go() -> None:
    world = at_rest("n3")
    assert orders(world, Pods(n1=False)) == [("park", "n2")]
    world.executor.in_flight.clear()
    assert orders(world, Pods(n1=False, n2=True)) == []


def test_no_pod_waits_for_a_disk_whose_detach_is_no_proof() -> None:
    """Kubernetes gives a parked pod the disk by itself, six minutes after its node fell silent and the pod there was
    removed by force: no fence is asked then, so the driver's detach is all that keeps a second writer out."""
    world, pods = at_rest("n3"), Pods(n1=False)
    pods.driver = "rbd.csi.ceph.com"
    assert orders(world, pods) == []
    pods.nodes["n2"] = True
    assert orders(world, pods) == [("unpark", "n2")]


def test_a_parked_pod_leaves_a_node_in_standby_also_when_no_other_would_take_over() -> None:
    world = at_rest("n2", "n3")
    assert orders(world, Pods(n1=False, n2=True)) == [("unpark", "n2")]
