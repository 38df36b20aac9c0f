"""Instances that nobody has started: a late request of a past leader, a pod that somebody applied by hand."""

from __future__ import annotations

from typing import Any

from fixtures.leader_world import World

FILE = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - {id: db, agent: pod, params: {image: i, claim: data, mount_path: /x}}
"""


def pod(node: str, **metadata: Any) -> dict[str, Any]:
    labels = {"hamgr.io/cluster": "test", "hamgr.io/resource": "db", "hamgr.io/node": node}
    return {
        "metadata": {"name": f"db-{node}", "namespace": "default", "uid": f"uid-{node}", "labels": labels, **metadata},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "containerStatuses": [{"name": "c", "state": {"running": {}}}]},
    }


def seen(world: World, pod: dict[str, Any]) -> None:
    world.leader.audit([pod], "test")


def at_rest() -> tuple[World, str, str]:
    """A cluster at rest, where the database runs, and where it does not."""
    world = World(FILE)
    world.settle()
    (node,) = world.where("db")
    return world, node, next(name for name in ("n1", "n2", "n3") if name != node)


def test_a_pod_that_belies_the_records_is_found_and_one_instance_is_left() -> None:
    world, _, elsewhere = at_rest()
    world.truth.add(("db", elsewhere))
    world.violations.clear()
    seen(world, pod(elsewhere))
    world.settle()
    assert len(world.where("db")) == 1
    assert "stray_instance" in {code for code, _ in world.told}


def test_each_pod_is_looked_for_once() -> None:
    world, _, elsewhere = at_rest()
    for _ in range(2):
        seen(world, pod(elsewhere))
        world.settle()
    assert [code for code, _ in world.told].count("stray_instance") == 1


def test_what_is_where_it_should_be_or_on_its_way_out_is_left_alone() -> None:
    world, node, elsewhere = at_rest()
    changes = world.leader.changes
    seen(world, pod(node))
    seen(world, pod(elsewhere, deletionTimestamp="t"))
    seen(world, pod(elsewhere, annotations={"hamgr.io/parked": "true"}))
    seen(world, pod(elsewhere) | {"status": {"phase": "Succeeded"}})
    assert world.leader.changes == changes


def test_what_is_being_started_is_left_alone() -> None:
    world = World(FILE)
    world.until(lambda: bool(world.ops("start", "db")))
    changes = world.leader.changes
    seen(world, pod(world.ops("start", "db")[0].node))
    assert world.leader.changes == changes
