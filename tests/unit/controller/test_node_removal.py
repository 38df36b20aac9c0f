"""Nodes that are taken out of the cluster file: emptied first, fenced if they are silent, and only then forgotten."""

from __future__ import annotations

import pytest
from fixtures.leader_world import FILE, NODES, World

from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.requests.overrides import Overrides


def without(node: str) -> str:
    return FILE.replace("nodes: [n1, n2, n3]", f"nodes: [{', '.join(n for n in NODES if n != node)}]")


def settled() -> tuple[World, str]:
    """A cluster at rest, and the node on which the database runs."""
    world = World()
    world.settle()
    (node,) = world.where("db")
    return world, node


def test_what_runs_on_a_node_that_leaves_is_stopped_there_before_it_starts_elsewhere() -> None:
    world, node = settled()
    world.apply(without(node))
    world.until(lambda: bool(world.ops("stop", "db")))
    assert [op.node for op in world.ops("stop", "db")] == [node]
    world.settle()
    assert world.where("db") not in ([], [node])
    assert world.violations == []


def test_a_node_that_is_empty_is_forgotten_and_said_to_be() -> None:
    world, node = settled()
    world.apply(without(node))
    assert world.leader.leaving == (node,)
    assert node in world.leader.nodes
    world.settle()
    assert world.leader.leaving == ()
    world.advance()
    assert not [key for key in world.etcd.values if f"/{node}" in key]
    assert {"node_leaving", "node_forgotten"} <= {code for code, _ in world.told}


def test_a_silent_node_is_fenced_though_it_is_not_configured_any_more() -> None:
    world, node = settled()
    world.lose(node)
    world.apply(without(node))
    world.until(lambda: bool(world.fencer.running), rounds=5)
    assert [record.target.node for record in world.fencer.running.values()] == [node]
    assert world.ops("start") == []
    world.settle()
    assert world.where("db") not in ([], [node])
    assert world.leader.leaving == ()
    assert world.violations == []


def test_the_next_leader_knows_of_it_as_well() -> None:
    world, node = settled()
    world.apply(without(node))
    world.advance()
    world.lead()
    assert world.leader.leaving == (node,)
    world.settle()
    assert world.where("db") not in ([], [node])
    assert world.violations == []


def test_what_may_not_be_stopped_keeps_its_node() -> None:
    world, node = settled()
    world.leader.cluster_state.set_overrides(world.leader.cluster_state.overrides.option("maintenance-mode", "true"))
    world.apply(without(node))
    world.settle()
    assert world.leader.leaving == (node,)
    assert "db" in world.leader.why_kept(node)
    assert world.where("db") == [node]


def test_a_node_that_is_back_in_the_file_takes_part_again() -> None:
    world, node = settled()
    world.apply(without(node))
    world.advance()
    world.apply(FILE)
    assert world.leader.leaving == ()
    world.settle()
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER
    assert len(world.where("db")) == 1
    assert world.violations == []


def test_an_old_fence_of_a_node_that_was_forgotten_says_nothing_of_its_new_life() -> None:
    """Taken for news by the next leader, it would have the database called stopped that runs there by now."""
    world, node = settled()
    world.lose(node)
    world.settle()
    assert world.leader.cluster_state.membership(node) is MembershipState.FENCED
    world.apply(without(node))
    world.settle()
    assert world.leader.leaving == ()
    world.apply(FILE)
    world.join(node)
    others = [other for other in NODES if other != node]
    for other in others:
        world.leader.cluster_state.set_overrides(
            world.leader.cluster_state.overrides.node_attribute(other, "standby", "on")
        )
    world.settle()
    assert world.where("db") == [node]
    world.leader.cluster_state.set_overrides(Overrides())
    world.lead()
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER
    world.settle()
    assert world.violations == []


@pytest.mark.parametrize("end", ["its Node object is gone", "an handlers has unfenced it"])
def test_a_fenced_node_is_kept_until_it_is_back_or_gone_for_good(end: str) -> None:
    """What was fenced may still run there; forgotten and added again, it would take part as if nothing had been."""
    world, node = settled()
    exists: dict[str, dict[str, object]] = {node: {"metadata": {"name": node}}}
    world.leader.observations.node_object = exists.get  # type: ignore[method-assign]
    unfenced: set[str] = set()
    world.leader.fences.cleared = unfenced.__contains__  # type: ignore[method-assign]
    world.lose(node)
    world.settle()
    world.apply(without(node))
    world.settle()
    assert world.leader.leaving == (node,)
    assert "unfence" in world.leader.why_kept(node)
    if end == "its Node object is gone":
        exists.clear()
    else:
        unfenced.add(node)
    world.leader.touch(end)
    world.settle()
    assert world.leader.leaving == ()


RACKS = (
    FILE.replace(
        "nodes: [n1, n2, n3]",
        "nodes:\n" + "".join(f"  - {{name: {node}, attributes: {{rack: of-{node}}}}}\n" for node in NODES),
    )
    + """\
fencing:
  levels: [volume]
  topology:
    - {attribute: rack, value: of-n1, levels: [manual]}
    - {attribute: rack, value: of-n2, levels: [manual]}
    - {attribute: rack, value: of-n3, levels: [manual]}
"""
)


def levels_of(world: World, node: str) -> list[str]:
    return [str(level.level) for level in world.leader.fences.config.levels_for(node)]


def racks_without(node: str) -> str:
    return RACKS.replace(f"  - {{name: {node}, attributes: {{rack: of-{node}}}}}\n", "")


def test_a_node_that_leaves_keeps_its_permanent_attributes_until_it_is_forgotten() -> None:
    """Levels are chosen by them: without, it would be fenced by others than those that can prove it off."""
    world = World(text=RACKS)
    world.settle()
    (node,) = world.where("db")
    world.leader.cluster_state.set_overrides(world.leader.cluster_state.overrides.option("maintenance-mode", "true"))
    world.apply(racks_without(node))
    world.advance()
    for _ in range(2):
        assert world.leader.leaving == (node,)
        assert world.leader.node_attributes(node)["rack"] == f"of-{node}"
        assert levels_of(world, node) == ["manual"]
        world.lead()
    world.leader.cluster_state.set_overrides(Overrides())
    world.settle()
    assert world.leader.leaving == ()
    world.apply(FILE)
    world.settle()
    assert "rack" not in world.leader.node_attributes(node)
    world.apply(without(node))
    assert "rack" not in world.leader.node_attributes(node)


def test_an_attribute_that_is_changed_in_the_file_is_what_a_leaving_node_has() -> None:
    world = World(text=RACKS)
    world.settle()
    (node,) = world.where("db")
    world.apply(RACKS.replace(f"{{rack: of-{node}}}", "{rack: other}"))
    world.advance()
    world.lead()
    world.apply(racks_without(node))
    assert world.leader.node_attributes(node)["rack"] == "other"


def test_a_node_in_maintenance_is_left_alone_when_it_leaves() -> None:
    world, node = settled()
    world.leader.cluster_state.set_overrides(
        world.leader.cluster_state.overrides.node_attribute(node, "maintenance", "true")
    )
    world.apply(without(node))
    world.settle()
    assert world.where("db") == [node]
    assert world.leader.leaving == (node,)


def test_what_leaves_is_in_standby_whatever_somebody_has_said_before() -> None:
    world, node = settled()
    world.leader.cluster_state.set_overrides(
        world.leader.cluster_state.overrides.node_attribute(node, "standby", "off")
    )
    world.apply(without(node))
    world.settle()
    assert world.where("db") not in ([], [node])
    assert world.leader.leaving == ()
