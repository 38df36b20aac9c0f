"""What may run on a node and write to a disk there, whether or not an object of Kubernetes still tells of it."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fixtures.leader_world import World, cluster_file

from hamgr.cib.model import Agent, Bundle, Primitive
from hamgr.controller.fencing.targets import PodTarget, claims, companions, find_pod, homes, node_target, patterns
from hamgr.controller.nodes.observations import NodeObservations
from hamgr.controller.tree import primitives
from hamgr.fencer.records import Target
from hamgr.store.values import Change, Entry, Snapshot

FILE = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - id: db
    agent: pod
    params:
      template: {containers: [{name: c, image: i}], volumes: [{name: share, nfs: {server: s, path: /}}]}
  - {id: cache, agent: pod, params: {image: i, claim: scratch, mount_path: /x, namespace: other}}
  - {id: app, agent: mariadb, params: {template_from: statefulset/app}}
  - {id: web, agent: service, params: {service: web, resource: app}}
"""


def volumes(world: World, node: str) -> dict[str, list[str]]:
    return {
        f"{pattern.namespace}/{pattern.name}": [
            *(key for volume in json.loads(pattern.volumes) for key in volume if key != "name"),
            *([pattern.workload] if pattern.workload else []),
        ]
        for pattern in world.leader.target(node).patterns
    }


EVERYTHING = {
    "default/db-n1": ["nfs"],
    "other/cache-n1": ["persistentVolumeClaim"],
    "default/app-n1": ["statefulset/app"],
}


def test_on_a_node_of_which_nothing_is_on_record_anything_may_run() -> None:
    assert volumes(World(FILE), "n1") == EVERYTHING


def test_only_what_is_on_record_as_not_active_there_is_left_out() -> None:
    world = World(FILE)
    world.settle()
    for node in ("n1", "n2", "n3"):
        here = {name for name in ("db", "cache", "app") if world.where(name) == [node]}
        assert {name.rpartition("/")[2].removesuffix(f"-{node}") for name in volumes(world, node)} == here
    (node,) = world.where("db")
    world.lose(node)
    world.until(lambda: bool(world.fencer.running))
    assert "db" in {name.rpartition("/")[2].removesuffix(f"-{node}") for name in volumes(world, node)}


def test_what_was_being_started_when_the_leader_died_may_run() -> None:
    world = World(FILE)
    world.until(lambda: bool(world.ops("start", "db")))
    (op,) = world.ops("start", "db")
    assert f"default/db-{op.node}" in volumes(world, op.node)
    world.lead()
    assert f"default/db-{op.node}" in volumes(world, op.node)


# --- what belongs together -----------------------------------------------------------------------------------------

TREE = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - group: database
    members:
      - {id: disk, agent: volume, params: {claim: data, namespace: shop}}
      - {id: db, agent: pod, params: {image: "db:1", claim: data, mount_path: /data, namespace: shop}}
  - clone: everywhere
    of: {id: log, agent: volume, params: {claim: logs}}
  - clone: pairs
    of:
      group: pair
      members:
        - {id: left, agent: volume, params: {claim: logs}}
        - {id: right, agent: dummy}
  - {id: bare, agent: volume, params: {pv: pv-9, claim: ""}}
"""
CIB = cluster_file(TREE).to_cib()


def test_primitives_are_found_in_groups_and_clones() -> None:
    found = [primitive.id for primitive in primitives(CIB)]
    assert [name for name in found if name != "fencing"] == ["disk", "db", "log", "left", "right", "bare"]


def test_what_a_bundle_runs_is_found_in_it() -> None:
    inside = Primitive("db", Agent("ocf", "pod", "hamgr"))
    bundles = (Bundle("empty"), Bundle("full", primitive=inside))
    assert list(primitives(replace(CIB, resources=bundles))) == [inside]


@pytest.mark.parametrize(
    ("resource", "together"),
    [("db", ("disk", "db")), ("right", ("left", "right")), ("log", ("log",)), ("bare", ("bare",))],
)
def test_the_members_of_a_group_live_and_move_together(resource: str, together: tuple[str, ...]) -> None:
    assert companions(CIB, resource) == together


def test_the_disks_of_volumes_are_told_once_each() -> None:
    assert claims(CIB) == (("shop", "data"), ("default", "logs"))
    assert claims(CIB, ("disk", "db")) == (("shop", "data"),)
    assert claims(CIB, ("db",)) == ()


def test_what_a_pod_of_one_container_mounts_is_its_claim() -> None:
    (pattern,) = patterns(CIB, "n1", 0)
    assert (pattern.namespace, pattern.name, pattern.workload) == ("shop", "db-n1", "")
    assert json.loads(pattern.volumes) == [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    assert patterns(CIB, "n1", 0, only=("db",)) == (pattern,)
    assert patterns(CIB, "n1", 0, only=("disk",)) == ()


@pytest.mark.parametrize(
    "params",
    ["{image: i}", "{template: {containers: [{name: c, image: i}]}, claim: data}"],
    ids=["no claim", "no image"],
)
def test_without_both_image_and_claim_nothing_is_mounted(params: str) -> None:
    text = f"cluster: t\nnodes: [n1]\nresources: [{{id: a, agent: pod, params: {params}}}]"
    (pattern,) = patterns(cluster_file(text).to_cib(), "n1", 0)
    assert (pattern.namespace, json.loads(pattern.volumes)) == ("default", [])


@pytest.mark.parametrize("template", ["{", "{spec: text}", "{volumes: [{name: a, nfs: {}}]}"])
def test_a_template_that_makes_no_pod_has_no_volumes(template: str) -> None:
    text = f"cluster: t\nnodes: [n1]\nresources: [{{id: a, agent: pod, params: {{template: {json.dumps(template)}}}}}]"
    assert [json.loads(pattern.volumes) for pattern in patterns(cluster_file(text).to_cib(), "n1", 0)] == [[]]


@pytest.mark.parametrize(
    "template",
    [
        "{containers: [], volumes: [{name: a, nfs: {}}, text]}",
        "{metadata: {}, spec: {containers: [], volumes: [{name: a, nfs: {}}, text]}}",
    ],
)
def test_a_templates_volumes_are_found_in_a_workloads_form_and_in_a_bare_spec(template: str) -> None:
    text = f"cluster: t\nnodes: [n1]\nresources: [{{id: a, agent: pod, params: {{template: {json.dumps(template)}}}}}]"
    (pattern,) = patterns(cluster_file(text).to_cib(), "n1", 0)
    assert json.loads(pattern.volumes) == [{"name": "a", "nfs": {}}]


# --- a node --------------------------------------------------------------------------------------------------------


def test_a_node_is_fenced_with_its_disks_and_by_what_it_promises_now() -> None:
    member, promise = {"node": "n1", "boot_id": "boot-7", "id": "x"}, {"self_fence": 4.0, "ttl_s": 5}
    observations = NodeObservations(
        Snapshot("members/", 1, {"members/n1": Entry(member, 1, 1)}),
        None,
        None,
        promises=Snapshot("promises/", 1, {"promises/n1": Entry(promise | {"boot_id": "boot-7"}, 1, 1)}),
    )
    disks, may_run = claims(CIB), patterns(CIB, "n1", 0)
    known = homes(CIB)
    assert node_target("n1", disks, may_run, known, observations) == Target(
        "n1",
        claims=disks,
        patterns=may_run,
        self_fence_s=4.0,
        member_ttl_s=5.0,
        boot_id="boot-7",
        homes=tuple(sorted(known)),
    )
    assert node_target("n2", (), (), (), observations) == Target("n2", self_fence_s=None, member_ttl_s=0.0, homes=())


def test_a_kubelets_report_of_an_earlier_boot_is_known_as_such() -> None:
    reported: Any = SimpleNamespace(get=lambda *_: {"status": {"nodeInfo": {"bootID": "boot-1"}}})
    observations = NodeObservations(Snapshot("members/", 1, {}), reported, None)
    for boot in ("boot-1", "boot-2"):
        observations.note([Change("members/n1", Entry({"node": "n1", "boot_id": boot, "id": boot}, 1, 1))])
    target = node_target("n1", (), (), (), observations)
    assert (target.boot_id, target.outdated_boot_id) == ("boot-2", "boot-1")


def test_ours_are_the_pods_of_configured_resources_in_their_namespaces_and_of_orphans_there() -> None:
    """Anybody may carry our labels in a namespace of his own."""
    world = World(FILE)
    configured = {("default", "db"), ("other", "cache"), ("default", "app")}
    assert set(world.leader.target("n1").homes or ()) == configured
    world.settle()
    world.apply("cluster: test\nnodes: [n1, n2, n3]\nresources: [{id: app, agent: pod, params: {image: i}}]\n")
    known = set(world.leader.target("n1").homes or ())
    assert known >= configured, "what was configured a moment ago may still run"
    assert ("tenant", "db") not in known


SPACED = "cluster: test\nnodes: [n1, n2]\nresources: [{id: app, agent: pod, params: {image: i, namespace: %s}}]\n"


def parked_in(namespace: str) -> dict[str, Any]:
    labels = {"hamgr.io/cluster": "test", "hamgr.io/resource": "app"}
    meta = {"namespace": namespace, "name": "app-n2", "uid": "u", "labels": labels}
    return {"metadata": meta, "spec": {"nodeName": "n2"}, "status": {"phase": "Pending"}}


def test_the_namespaces_of_earlier_configurations_are_known_to_the_next_leader() -> None:
    """Nothing that was started tells of a pod that is parked there."""
    world = World(SPACED % "old")
    world.apply(SPACED % "new")
    world.settle()
    world.lead()
    assert {("old", "app"), ("new", "app")} <= set(world.leader.target("n1").homes or ())
    assert "old" in world.leader.namespaces


def test_an_earlier_namespace_is_forgotten_once_no_pod_is_left_there() -> None:
    world = World(SPACED % "old")
    world.settle()
    world.apply(SPACED % "new")
    world.leader.audit([parked_in("old")], "test")
    assert "old" in world.leader.namespaces
    world.settle()
    world.leader.audit([parked_in("old")], "test")
    assert "old" in world.leader.namespaces
    world.settle()
    world.leader.audit([], "test")
    world.leader.audit([], "test")
    world.settle()
    assert ["new", "app"] in world.etcd.values["state/homes"]
    assert ["old", "app"] not in world.etcd.values["state/homes"]


# --- a pod by its name ---------------------------------------------------------------------------------------------


def pod(namespace: str, name: str, **labels: str) -> dict[str, Any]:
    labels["hamgr.io/cluster"] = "shop"
    return {"metadata": {"namespace": namespace, "name": name, "labels": labels}, "spec": {"nodeName": "n1"}}


PODS = [
    pod("default", "web-n1"),
    pod("default", "db-n1", **{"hamgr.io/resource": "db"}),
    pod("tenant", "db-n1", **{"hamgr.io/resource": "db"}),
    pod("shop", "db-n1", **{"hamgr.io/resource": "db"}),
]


KNOWN = {("default", "db"), ("shop", "db")}


def listed(_kind: object, namespace: str | None) -> list[dict[str, Any]]:
    return [entry for entry in PODS if namespace in (None, entry["metadata"]["namespace"])]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("db-n1", PodTarget("default", "db-n1", "db", "n1")),
        ("shop/db-n1", PodTarget("shop", "db-n1", "db", "n1")),
        ("other/db-n1", None),
        ("web-n1", None),  # not hamgr's
        ("tenant/db-n1", None),  # our label, in a namespace of somebody else's
        ("db", None),
    ],
)
def test_a_pod_of_ours_by_its_name(name: str, found: PodTarget | None) -> None:
    cache: Any = SimpleNamespace(list=listed)
    assert find_pod(cache, name, KNOWN, "shop") == found
    assert find_pod(cache, name, KNOWN, "another") is None
    assert find_pod(None, name, KNOWN, "shop") is None


# --- what the file plans, and what was started ------------------------------------------------------------------------

STARTED = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - group: database
    members:
      - {id: disk, agent: volume, params: {claim: %(claim)s}}
      - {id: db, agent: pod, params: {image: "db:1", claim: %(claim)s, mount_path: /data}}
  - {id: app, agent: pod, params: {template_from: deployment/%(app)s}}
"""


def planned_of(world: World, node: str) -> tuple[set[str], set[str], dict[str, bool]]:
    """All claims of a node's target, those of them that are planned, and whether each pod's pattern is."""
    target = world.leader.target(node)
    told = {pattern.volumes + pattern.workload: pattern.planned for pattern in target.patterns}
    return {claim for _, claim in target.claims}, {claim for _, claim in target.planned}, told


def mounts(claim: str) -> str:
    return json.dumps([{"name": "data", "persistentVolumeClaim": {"claimName": claim}}])


def test_before_anything_was_started_all_is_planned() -> None:
    assert planned_of(World(STARTED % {"claim": "data", "app": "app"}), "n1") == (
        {"data"},
        {"data"},
        {mounts("data"): True, "[]deployment/app": True},
    )


def test_what_was_started_has_to_be_proved_and_what_the_file_has_come_to_name_since_is_planned() -> None:
    world = World(STARTED % {"claim": "data", "app": "app"})
    world.settle()
    (node,) = world.where("db")
    claims_now, planned, told = planned_of(world, node)
    assert (claims_now, planned) == ({"data"}, set())
    assert told[mounts("data")] is False
    world.leader.configure(cluster_file(STARTED % {"claim": "missing", "app": "gone"}))
    claims_now, planned, told = planned_of(world, node)
    assert (claims_now, planned) == ({"data", "missing"}, {"missing"})
    assert (told[mounts("data")], told[mounts("missing")]) == (False, True)
    (app,) = world.where("app")
    told = planned_of(world, app)[2]
    assert (told["[]deployment/app"], told["[]deployment/gone"]) == (False, True)


def test_the_definition_is_believed_of_what_was_started_without_a_record() -> None:
    world = World(STARTED % {"claim": "data", "app": "app"})
    world.settle()
    (node,) = world.where("db")
    for name in world.leader.nodes:
        state = world.leader.cluster_state.state(name)
        bare = tuple(replace(entry, started=None) for entry in state.resources)
        world.leader.cluster_state.set_state(replace(state, resources=bare))
    _, planned, told = planned_of(world, node)
    assert planned == set()
    assert told[mounts("data")] is False


def test_a_start_under_way_is_on_record() -> None:
    world = World(STARTED % {"claim": "data", "app": "app"})
    world.until(lambda: bool(world.ops("start", "disk")))
    (op,) = world.ops("start", "disk")
    assert planned_of(world, op.node)[1] == set()


def test_a_pod_has_its_own_and_its_groups_claims_planned() -> None:
    world = World(STARTED % {"claim": "data", "app": "app"})
    target = world.leader.pod_target(PodTarget("default", "db-n1", "db", "n1"))
    assert target.planned == (("default", "data"),)
