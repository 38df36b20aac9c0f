"""What may run on a node and write to a disk there, whether or not an object of Kubernetes still tells of it."""

from __future__ import annotations

import json

from fixtures.term_world import World

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
        for pattern in world.term.target(node).patterns
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
