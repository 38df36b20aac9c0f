"""A leader frozen just before its request and thawed much later: its effects change nothing any more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.fence_world import OTHER_IN_USE, World
from fixtures.fences import a_record

from hamgr.fencer import FenceRecord, Level, observe
from hamgr.fencer.effects import carry_out, remove_own_taint, taint_patch, untaint_patch
from hamgr.fencer.machine import Act, Effect, Seen
from hamgr.fencer.observe import node_seen
from hamgr.kube.errors import Conflict, Invalid
from hamgr.kube.objects import LABEL_ROLE, NODE, POD, VOLUME_ATTACHMENT


@pytest.fixture
def record(world: World) -> FenceRecord:
    """What the frozen leader knew."""
    pod = world.kube.get(POD.path("db-n1", "default"))
    attachment = world.kube.get(VOLUME_ATTACHMENT.path(world.volume.attachment_name("n1")))
    base = a_record(Level.VOLUME)
    volume = replace(
        base.volumes[0], attachment=attachment["metadata"]["name"], attachment_uid=attachment["metadata"]["uid"]
    )
    return replace(base, pods=(observe.pod_ref(pod),), volumes=(volume,))


def look(world: World, record: FenceRecord) -> Seen:
    """What the machine judges by."""
    pods, _ = observe.see_pods(world.kube, record, "t")
    return Seen(pods=pods, attachments=observe.see_attachments(world.kube, record))


def recreate(world: World) -> None:
    """Meanwhile another leader has fenced n1, and the resource has come back to it, under the same names."""
    world.attacher.allowed.set()
    pod = world.kube.get(POD.path("db-n1", "default"))
    world.kube.delete(POD.path("db-n1", "default"), uid=pod["metadata"]["uid"], grace=0)
    path = VOLUME_ATTACHMENT.path(world.volume.attachment_name("n1"))
    found = world.kube.get(path)
    world.kube.patch_merge(path, {"metadata": {"finalizers": None}})
    world.kube.delete(path, uid=found["metadata"]["uid"], grace=0)
    world.pod()
    world.attach()
    world.set_node("n1", ready="True", boot="boot-2")


@pytest.mark.parametrize("effect", [Effect.CUT_CLIENTS, Effect.STOP_POD, Effect.DELETE_POD, Effect.DELETE_ATTACHMENT])
def test_effects_on_objects_that_were_replaced(world: World, record: FenceRecord, effect: Effect) -> None:
    seen = look(world, record)
    recreate(world)
    carry_out(world.kube, record, Act(effect, pods=record.pods, volumes=record.volumes), seen)
    pod = world.kube.get(POD.path("db-n1", "default"))
    assert pod["metadata"]["labels"][LABEL_ROLE] == "active"
    attachment = world.kube.get(VOLUME_ATTACHMENT.path(world.volume.attachment_name("n1")))
    assert "deletionTimestamp" not in pod["metadata"]
    assert "deletionTimestamp" not in attachment["metadata"]


@pytest.mark.parametrize("effect", [Effect.CUT_CLIENTS, Effect.STOP_POD, Effect.DELETE_POD, Effect.DELETE_ATTACHMENT])
def test_effects_on_objects_that_the_next_leader_has_stamped(world: World, record: FenceRecord, effect: Effect) -> None:
    seen = look(world, record)
    paths = POD.path("db-n1", "default"), VOLUME_ATTACHMENT.path(world.volume.attachment_name("n1"))
    stamped = [world.kube.patch_merge(path, {"metadata": {"annotations": {"hamgr.io/leader": "7"}}}) for path in paths]
    act = Act(effect, pods=record.pods, volumes=record.volumes)
    carry_out(world.kube, record, act, seen)
    assert [world.kube.get(path) for path in paths] == stamped
    carry_out(world.kube, record, act, look(world, record))
    left = [*world.kube.list(POD.collection("default")).items, *world.kube.list(VOLUME_ATTACHMENT.collection()).items]
    assert [entry["metadata"] for entry in left] != [entry["metadata"] for entry in stamped], "nor when it is not late"


def test_release_of_a_node_that_was_written_to_since(world: World, record: FenceRecord) -> None:
    seen = Seen(node=observe.see_node(world.kube, "n1"))
    recreate(world)
    carry_out(world.kube, record, Act(Effect.REMOVE_IN_USE, volumes=record.volumes), seen)
    assert world.in_use() == [OTHER_IN_USE, world.volume.unique_name]
    now = Seen(node=observe.see_node(world.kube, "n1"))
    carry_out(world.kube, record, Act(Effect.REMOVE_IN_USE, volumes=record.volumes), now)
    assert world.in_use() == [OTHER_IN_USE]


def test_the_mark_of_a_release_takes_the_place_of_our_volume_alone(world: World, record: FenceRecord) -> None:
    seen = Seen(node=observe.see_node(world.kube, "n1"))
    recreate(world)
    mark = Act(Effect.MARK_IN_USE, volumes=record.volumes)
    carry_out(world.kube, record, mark, seen)
    assert world.in_use() == [OTHER_IN_USE, world.volume.unique_name]
    carry_out(world.kube, record, mark, Seen(node=observe.see_node(world.kube, "n1")))
    assert world.in_use() == [OTHER_IN_USE, world.volume.released_mark]


def test_taint_of_a_node_that_has_become_ready_since(world: World, record: FenceRecord) -> None:
    world.set_node("n1", ready="Unknown")
    seen = Seen(node=observe.see_node(world.kube, "n1"))
    world.set_node("n1", ready="True", boot="boot-2")
    carry_out(world.kube, record, Act(Effect.TAINT), seen)
    assert not world.get_node("n1")["spec"].get("taints")
    world.set_node("n1", ready="Unknown", boot="boot-2")
    carry_out(world.kube, record, Act(Effect.TAINT), Seen(node=observe.see_node(world.kube, "n1")))
    assert [taint["key"] for taint in world.get_node("n1")["spec"]["taints"]] == ["node.kubernetes.io/out-of-service"]


def test_a_taint_that_a_later_fence_has_put_there_is_not_removed_by_a_late_look(world: World) -> None:
    """The leader was frozen between its judgement that the node is back and the removal."""
    world.set_node("n1", ready="True", boot="boot-2")
    world.kube.patch_json(NODE.path("n1"), taint_patch(world.get_node("n1"), node_seen(world.get_node("n1")), "first"))
    judged = world.get_node("n1")
    world.set_node("n1", ready="Unknown", boot="boot-2")  # lost and fenced again meanwhile
    with pytest.raises((Conflict, Invalid)):
        remove_own_taint(world.kube, judged)
    assert [taint["key"] for taint in world.get_node("n1")["spec"]["taints"]] == ["node.kubernetes.io/out-of-service"]
    assert remove_own_taint(world.kube, world.get_node("n1"))
    assert not remove_own_taint(world.kube, world.get_node("n1"))


def test_taint_and_annotation_go_together(world: World) -> None:
    world.kube.patch_json(NODE.path("n1"), taint_patch(world.get_node("n1"), node_seen(world.get_node("n1")), "first"))
    patch = untaint_patch(world.get_node("n1"))
    assert [edit["op"] for edit in patch] == ["test", "test", "add", "remove"]
    world.kube.patch_merge(NODE.path("n1"), {"spec": {"taints": None}})  # somebody has removed the taint by hand
    assert remove_own_taint(world.kube, world.get_node("n1"))
    assert "hamgr.io/out-of-service" not in world.get_node("n1")["metadata"].get("annotations", {})
