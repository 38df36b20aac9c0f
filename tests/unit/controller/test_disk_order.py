"""What the scheduler cannot know: who used a disk under another name, and in which order a former group goes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from fixtures.leader_world import World

from hamgr.controller.transition.disk_order import disks_of

WITH_CLAIM = {
    "spec": {
        "containers": [{"name": "c", "image": "i"}],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
    }
}


def text(*resources: Any) -> str:
    return yaml.safe_dump({"cluster": "test", "nodes": ["n1", "n2", "n3"], "resources": list(resources)})


def pod(name: str, **params: Any) -> dict[str, Any]:
    return {"id": name, "agent": "pod", "params": params or {"template": WITH_CLAIM}}


def running(*resources: Any) -> World:
    world = World(text(*resources))
    world.settle()
    return world


@pytest.mark.parametrize(
    "after",
    [
        pod("new"),
        pod("new", image="i", claim="data", mount_path="/d"),
        {"id": "new", "agent": "volume", "params": {"claim": "data"}},
    ],
    ids=["template", "claim", "volume"],
)
def test_what_was_renamed_is_started_when_what_it_was_has_stopped(after: dict[str, Any]) -> None:
    world = running(pod("old"))
    world.apply(text(after))
    world.until(lambda: bool(world.ops("stop", "old")))
    for _ in range(3):
        for probe in world.ops("monitor", "new"):
            world.end(probe)
        world.advance()
        assert not world.ops("start", "new")
    world.end(world.ops("stop", "old")[0])
    world.advance()
    assert world.ops("start", "new")


def test_a_stop_that_fails_lets_nothing_start_beside_it() -> None:
    world = running(pod("old"))
    world.apply(text(pod("new")))
    world.until(lambda: bool(world.ops("stop", "old")))
    world.end(world.ops("stop", "old")[0], rc=1)
    for _ in range(5):
        for probe in world.ops("monitor"):
            world.end(probe)
        world.advance()
    assert not world.ops("start", "new")
    assert world.fencer.running  # of the node, as for any stop that fails
    world.settle()
    assert world.where("new")
    assert world.where("old") == []


def waits_for_the_stop_of(world: World, old: str, new: str) -> None:
    """Until what it was has stopped, nothing of the new one is started; then it is."""
    world.until(lambda: bool(world.ops("stop", old)))
    for _ in range(3):
        for probe in world.ops("monitor"):
            world.end(probe)
        world.advance()
        assert not world.ops("start", new)
    world.end(world.ops("stop", old)[0])
    world.until(lambda: bool(world.ops("start", new)))


def test_a_template_that_is_elsewhere_is_the_same_workload_under_both_names() -> None:
    world = running(pod("old", template_from="deployment/app"))
    world.apply(text(pod("new", template_from="deployment/app")))
    waits_for_the_stop_of(world, "old", "new")


def test_a_member_that_was_renamed_waits_for_what_it_was() -> None:
    disk = {"id": "disk", "agent": "volume", "params": {"claim": "data"}}
    world = running({"group": "g", "members": [disk, pod("old", template_from="deployment/app")]})
    world.apply(text({"group": "g", "members": [disk, pod("new", template_from="deployment/other")]}))
    waits_for_the_stop_of(world, "old", "new")


def test_a_disk_that_a_probe_finds_attached_is_still_the_one_it_was() -> None:
    """Attached to the node is the disk of both names. Taken for the new one's, the pod would start on it, and the stop
    of the old one wait for that pod."""
    world = running({"id": "olddisk", "agent": "volume", "params": {"claim": "data"}})
    (node,) = world.where("olddisk")
    world.truth.add(("newdisk", node))  # what its probe will find
    world.apply(text({"id": "newdisk", "agent": "volume", "params": {"claim": "data"}}))
    world.until(lambda: bool(world.ops("monitor", "newdisk")))
    world.truth.add(("newdisk", node))
    waits_for_the_stop_of(world, "olddisk", "newdisk")


def test_what_uses_other_disks_does_not_wait() -> None:
    """It is known already where it runs: what was never probed is decided in the transition after this one."""
    new = pod("new", image="i", claim="other", mount_path="/d")
    world = running(pod("old"), {**new, "meta": {"target-role": "Stopped"}})
    world.apply(text(new))
    world.until(lambda: bool(world.ops("stop", "old")))
    world.advance()
    assert world.ops("start", "new")
    assert world.ops("stop", "old")


def test_two_that_swap_their_disks_let_go_before_either_takes() -> None:
    def one(name: str, claim: str) -> dict[str, Any]:
        return {"id": name, "agent": "volume", "params": {"claim": claim}}

    world = running(one("a", "x"), one("b", "y"))
    world.apply(text(one("a", "y"), one("b", "x")))
    world.until(lambda: len(world.ops("stop")) == 2)
    world.end(world.ops("stop", "a")[0])
    world.advance()
    assert not world.ops("start")
    world.settle()
    assert world.where("a")
    assert world.where("b")


def test_the_members_of_a_former_group_are_stopped_in_reverse_order() -> None:
    members = [
        {"id": "disk", "agent": "volume", "params": {"claim": "data"}},
        pod("db"),
        {"id": "ip", "agent": "dummy"},
    ]
    world = running({"group": "database", "members": members})
    world.apply(text({"id": "web", "agent": "dummy"}))
    order = []
    for _ in members:
        world.until(lambda: bool(world.ops("stop")))
        (op,) = world.ops("stop")
        order.append(op.name)
        world.end(op)
    assert order == ["ip", "db", "disk"]


def test_disks_are_read_from_whatever_parameters_there_are() -> None:
    assert disks_of({}) == frozenset()
    assert disks_of({"claim": "a", "namespace": "shop"}) == {("shop", "a")}
    assert disks_of({"template": yaml.safe_dump(WITH_CLAIM)}) == {("default", "data")}
    assert disks_of({"template": "{persistentVolumeClaim: ["}) == frozenset()
