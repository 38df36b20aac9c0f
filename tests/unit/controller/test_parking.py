"""Where parked pods are wanted, and that none stays where nobody wants one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from fixtures.leader_world import REGISTRY, World, cluster_file

from hamgr.controller.fencing.targets import PodTarget
from hamgr.controller.leader import PARK
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.standby.parking import Parking
from hamgr.fencer.reasons import reason
from hamgr.kube.objects import NODE, POD, PV, PVC

FILE = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - {id: db, agent: pod, params: {image: "db:1", claim: data, mount_path: /data}}
constraints:
  - location: {resource: db, node: n1, score: 50}
"""


MONITORED = "mount_path: /data}, operations: {monitor: {interval: 10s, on-fail: stop}}"
LABELS = {"hamgr.io/cluster": "test", "hamgr.io/resource": "db"}


class Pods:
    """The watch cache, as far as parking looks at it."""

    driver = "disk.sandbox.hamgr.io"

    def __init__(self, **nodes: bool) -> None:
        """nodes: where pods of `db` are; True: parked, False: the active one."""
        self.nodes = nodes
        self.inline: dict[str, Any] = {}  # a volume of the pods beside their claims, which their container mounts
        self.more_disks: dict[str, str] = {}  # claims beside `data`, each with its driver
        self.in_use: dict[str, list[str]] = {}  # node: what its kubelet reports
        self.terminating: set[str] = set()

    def get(self, kind: object, name: str, namespace: str = "") -> dict[str, Any] | None:
        del namespace
        if kind is NODE:
            return {"status": {"volumesInUse": self.in_use[name]}} if name in self.in_use else None
        drivers = {"data": self.driver, **self.more_disks}
        if kind is PVC and name in drivers:
            return {"spec": {"volumeName": f"pv-{name}"}}
        claim = name.removeprefix("pv-")
        if kind is PV and claim in drivers:
            csi = {"driver": drivers[claim], "volumeHandle": f"disk-{claim}"}
            return {"metadata": {"name": name}, "spec": {"csi": csi} if drivers[claim] else {"nfs": {}}}
        return None

    def list(self, kind: object, namespace: object = None, labels: Mapping[str, str] | None = None) -> list[Any]:
        del namespace
        ours = kind is POD and (labels or {}).items() <= LABELS.items()
        pods = [_pod(node, parked) for node, parked in self.nodes.items()] if ours else []
        for pod in pods:
            for claim in self.more_disks:
                pod["spec"]["volumes"].append({"name": claim, "persistentVolumeClaim": {"claimName": claim}})
            if self.inline:
                pod["spec"]["volumes"].append({"name": "inline", **self.inline})
                pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "inline", "mountPath": "/i"}]
            if pod["spec"]["nodeName"] in self.terminating:
                pod["metadata"]["deletionTimestamp"] = "now"
        return pods


def _pod(node: str, parked: bool) -> dict[str, Any]:
    marks = {"hamgr.io/parked": "true"} if parked else {}
    ready = [] if parked else [{"type": "Ready", "status": "True"}]
    return {
        "metadata": {"name": f"db-{node}", "namespace": "default", "uid": node, "annotations": marks, "labels": LABELS},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "c"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        },
        "status": {"phase": "Pending" if parked else "Running", "conditions": ready},
    }


def parking_of(world: World, pods: Pods | None) -> Parking:
    cache: Any = pods
    executor: Any = world.executor
    return Parking(world.leader, REGISTRY, executor, cache, "test", clock=lambda: world.time, now=lambda: world.time)


def orders(world: World, pods: Pods | None, parking: Parking | None = None) -> list[tuple[str, str]]:
    """What parking has done once the leader is at rest."""
    (parking or parking_of(world, pods)).advance()
    return [(op.task, op.node) for op in world.executor.in_flight]


def at_rest(*standby: str, text: str = FILE) -> World:
    world = World(text)
    overrides = world.leader.cluster_state.overrides
    for node in standby:
        overrides = overrides.node_attribute(node, "standby", "on")
    world.leader.cluster_state.set_overrides(overrides)
    world.leader.touch("test")
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


@pytest.mark.parametrize(
    ("driver", "ordered"), [("ebs.csi.aws.com", [("park", "n2")]), ("rbd.csi.ceph.com", []), ("", [])]
)
def test_every_disk_of_a_pod_counts(driver: str, ordered: list[tuple[str, str]]) -> None:
    pods = Pods(n1=False)
    pods.more_disks["logs"] = driver  # empty: it is no CSI volume
    assert orders(at_rest("n3"), pods) == ordered


@pytest.mark.parametrize(
    ("source", "ordered"),
    [
        ({"nfs": {"server": "s", "path": "/"}}, []),
        ({"hostPath": {"path": "/x"}}, []),
        ({"nfs": {"server": "s", "path": "/", "readOnly": True}}, [("park", "n2")]),
        ({"emptyDir": {}}, [("park", "n2")]),
    ],
)
def test_no_pod_waits_that_writes_to_what_no_detach_takes_away(
    source: dict[str, Any], ordered: list[tuple[str, str]]
) -> None:
    pods = Pods(n1=False)
    pods.inline = source
    assert orders(at_rest("n3"), pods) == ordered


def test_a_parked_pod_leaves_a_node_in_standby_also_when_no_other_would_take_over() -> None:
    world = at_rest("n2", "n3")
    assert orders(world, Pods(n1=False, n2=True)) == [("unpark", "n2")]


def test_what_is_ordered_is_the_agents_with_the_parameters_of_that_node() -> None:
    world = at_rest("n3")
    orders(world, Pods(n1=False))
    (op,) = world.executor.in_flight
    assert (op.resource, op.agent, op.key) == ("db", "pod", PARK)
    assert (op.params["image"], op.params["claim"]) == ("db:1", "data")


@pytest.mark.parametrize(
    "text",
    [
        FILE.replace("mount_path: /data", 'mount_path: /data, park: "false"'),
        FILE.replace("{id: db, agent: pod", "{id: db, agent: dummy").replace(
            ', params: {image: "db:1", claim: data, mount_path: /data}', ""
        ),
    ],
    ids=["not wanted", "an agent that cannot"],
)
def test_only_what_wants_to_be_parked_is(text: str) -> None:
    assert orders(at_rest("n3", text=text), Pods(n1=False)) == []


@pytest.mark.parametrize("pods", [Pods(), Pods(n1=True), Pods(n1=False, n2=False), None])
def test_beside_no_active_pod_or_several_nothing_is_parked(pods: Pods | None) -> None:
    assert orders(at_rest("n3"), pods) == []


def test_it_looks_again_when_something_has_changed_or_after_ten_seconds() -> None:
    world, pods = at_rest("n3"), Pods(n1=False)
    parking = parking_of(world, pods)

    def looks() -> bool:
        found = bool(orders(world, pods, parking))
        world.executor.in_flight.clear()
        return found

    assert [looks(), looks()] == [True, False]
    world.time += 9.9
    assert not looks()
    world.time += 0.1
    assert looks()
    world.leader.cluster_state.set_membership("n3", MembershipState.LOST)
    assert looks()
    assert not looks()


def test_a_busy_leader_does_not_park() -> None:
    world = at_rest("n3")
    world.leader.touch("something has happened")
    assert orders(world, Pods(n1=False)) == []


# --- the standby that takes over -----------------------------------------------------------------------------------

IN_USE = "kubernetes.io/csi/disk.sandbox.hamgr.io^disk-data"


def test_a_standby_is_a_parked_pod_whose_disk_its_kubelet_has_reported() -> None:
    world, pods = at_rest(), Pods(n1=False, n2=True)
    parking = parking_of(world, pods)
    assert parking.standby_of("db") == ""  # nothing is known of the node
    pods.in_use = {"n1": [IN_USE], "n2": ["kubernetes.io/csi/other^x"]}
    assert parking.standby_of("db") == ""
    pods.in_use["n2"].append(IN_USE)
    assert parking.standby_of("db") == "n2"
    assert parking.standby_of("web") == ""
    assert parking_of(world, None).standby_of("db") == ""
    pods.more_disks["logs"] = pods.driver
    assert parking.standby_of("db") == ""
    pods.in_use["n2"].append(IN_USE.replace("data", "logs"))
    assert parking.standby_of("db") == "n2"
    pods.more_disks["logs"] = ""
    assert parking.standby_of("db") == ""
    pods.more_disks.clear()
    pods.terminating.add("n2")
    assert parking.standby_of("db") == ""


def test_parked_pods_elsewhere_make_way_once_for_each_transition_that_starts_theirs() -> None:
    """They would win the disk that is meant for another node."""
    world = World(FILE)
    world.until(lambda: bool(world.ops("start", "db")))
    world.executor.in_flight.clear()
    parking = parking_of(world, Pods(n1=True, n2=True, n3=False))
    parking.clear_the_way()
    assert [(op.task, op.node, op.resource, op.agent) for op in world.executor.in_flight] == [
        ("unpark", "n2", "db", "pod")
    ]
    world.executor.in_flight.clear()
    parking.clear_the_way()
    assert world.executor.in_flight == []


def test_where_nothing_is_under_way_nobody_has_to_make_way() -> None:
    world = at_rest()
    parking_of(world, Pods(n1=False, n2=True)).clear_the_way()
    assert world.executor.in_flight == []


def test_many_databases_are_looked_after_a_slice_a_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each costs a question to the scheduler: a hundred of them took three times the leader's deadline in one round."""
    line = '  - {{id: db{0}, agent: pod, params: {{image: "db:1", claim: data{0}, mount_path: /data}}}}\n'
    world = World("cluster: test\nnodes: [n1, n2, n3]\nresources:\n" + "".join(line.format(n) for n in range(10)))
    world.settle()
    parking = parking_of(world, Pods())
    asked: list[str] = []

    def look_after(primitive: Any, _cache: object) -> None:
        asked.append(primitive.id)
        world.time += 0.2

    monkeypatch.setattr(parking, "_look_after", look_after)
    rounds = []
    while len(asked) < 10:
        before = len(asked)
        parking.advance()
        rounds.append(len(asked) - before)
    assert rounds == [2, 2, 2, 2, 2]
    assert sorted(asked) == [f"db{n}" for n in range(10)]
    parking.advance()
    assert len(asked) == 10  # and then not again for a while


def test_what_is_stopped_leaves_no_parked_pod_behind() -> None:
    world = at_rest("n3")
    world.apply(FILE.replace("agent: pod,", "agent: pod, meta: {target-role: Stopped},"))
    world.until(lambda: bool(world.ops("stop", "db")))
    parking = parking_of(world, Pods(n1=False, n2=True))
    parking.clear_the_way()
    assert [(op.node, dict(op.params)) for op in world.ops("unpark")] == [("n2", {"namespace": "default"})]
    (stop,) = world.ops("stop", "db")
    assert stop.meta["parked_may_stay"] == ""  # what the stop itself waits for


def test_the_parked_pod_may_stay_where_the_resource_moves_to() -> None:
    world = at_rest("n3")
    world.leader.cluster_state.set_overrides(world.leader.cluster_state.overrides.ban("db", "n1", "", None))
    world.leader.touch("test")
    world.until(lambda: bool(world.ops("stop", "db")))
    parking_of(world, Pods(n1=False, n2=True)).clear_the_way()
    assert world.ops("unpark") == []
    assert world.ops("stop", "db")[0].meta["parked_may_stay"] == "db-n2"


@pytest.mark.parametrize("text", [FILE.replace("id: db", "id: other").replace("resource: db", "resource: other"), FILE])
def test_a_parked_pod_without_anything_to_take_over_goes(text: str) -> None:
    """Of what is not configured any more, or stopped: as soon as its disk is free it would run."""
    world = at_rest("n3")
    for node in ("n1", "n2", "n3"):
        world.leader.cluster_state.update(node, lambda state: replace(state, resources=()))
    world.leader.configure(cluster_file(text))
    assert orders(world, Pods(n2=True)) == [("unpark", "n2")]


def test_nothing_is_parked_once_something_is_decided() -> None:
    """A parked pod that came after it was looked for would get the disk that is being released."""
    world = at_rest("n3")
    orders(world, Pods(n1=False))
    assert [op.task for op in world.executor.in_flight] == ["park"]
    world.apply(FILE.replace("agent: pod,", "agent: pod, meta: {target-role: Stopped},"))
    world.until(lambda: bool(world.ops("stop", "db")))
    assert world.ops("park") == []


def test_a_fence_says_which_parked_pod_may_stay() -> None:
    world = at_rest("n3")
    world.lose("n1")
    world.until(lambda: bool(world.fencer.running))
    (record,) = world.fencer.running.values()
    assert "db-n2" in (record.target.parked_may_stay or ())
    assert "db-n3" not in (record.target.parked_may_stay or ())


def test_a_fence_that_an_operator_orders_says_so_as_well() -> None:
    world = at_rest("n3")
    pod = PodTarget("default", "db-n1", "db", "n1")
    record = world.leader.fence_pod(pod, reason("operator", user="me"), "me")
    assert "db-n2" in (record.target.parked_may_stay or ())
    assert "db-n3" not in (record.target.parked_may_stay or ())
    assert world.leader.target("n2").parked_may_stay == ()  # nothing starts elsewhere because of that


def _taken_out(world: World) -> None:
    world.apply("cluster: test\nnodes: [n1, n2, n3]\nresources: [{id: web, agent: dummy}]\n")


def _all_in_standby(world: World) -> None:
    overrides = world.leader.cluster_state.overrides
    for node in ("n1", "n2", "n3"):
        overrides = overrides.node_attribute(node, "standby", "on")
    world.leader.cluster_state.set_overrides(overrides)
    world.leader.touch("test")


def _banned_everywhere(world: World) -> None:
    overrides = world.leader.cluster_state.overrides
    for node in ("n1", "n2", "n3"):
        overrides = overrides.ban("db", node, "", None)
    world.leader.cluster_state.set_overrides(overrides)
    world.leader.touch("test")


def _disabled_by_an_operator(world: World) -> None:
    world.leader.cluster_state.set_overrides(
        world.leader.cluster_state.overrides.resource_meta("db", "target-role", "Stopped")
    )
    world.leader.touch("test")


def _failed_with_on_fail_stop(world: World) -> None:
    (monitor,) = [op for op in world.executor.monitors.values() if op.name == "db"]
    world.report(monitor, 1)


@pytest.mark.parametrize(
    "ended",
    [_taken_out, _all_in_standby, _banned_everywhere, _disabled_by_an_operator, _failed_with_on_fail_stop],
)
def test_however_it_ends_no_parked_pod_may_have_the_disk(ended: Callable[[World], None]) -> None:
    world = at_rest(text=FILE.replace("mount_path: /data}", MONITORED))
    ended(world)
    world.until(lambda: bool(world.ops("stop", "db")))
    assert "db-" not in world.ops("stop", "db")[0].meta["parked_may_stay"]


def test_when_it_starts_nowhere_no_parked_pod_may_have_the_disk_in_the_end() -> None:
    world = World(FILE)
    stays = []
    for _ in range(100):
        world.advance()
        for op in list(world.executor.in_flight):
            if op in world.executor.in_flight:
                world.end(op, rc=1 if (op.task, op.name) == ("start", "db") else None)
                stays += [op.meta["parked_may_stay"]] if (op.task, op.name) == ("stop", "db") else []
    assert len(stays) == 3
    assert stays[-1] == ""
