"""Whether an instance that is gone is drawn to the standby that waits for it."""

from __future__ import annotations

import pytest
from fixtures.leader_world import NODES, World

from hamgr.controller.standby.preference_rule import mark


def settled(standby: str = "") -> tuple[World, str]:
    """A cluster at rest and the node where the database runs; `standby` counts on from there."""
    world = World()
    world.settle()
    (node,) = world.where("db")
    others = {"here": node, "elsewhere": next(name for name in NODES if name != node)}
    world.leader.standby_preference.standby_of = lambda _resource: others.get(standby, "")
    return world, node


def marked(world: World) -> list[str]:
    """The nodes that draw something."""
    states = world.leader.cib().node_states
    return [state.name for state in states if any(name.startswith("parked-") for name in state.attributes)]


def test_a_standby_elsewhere_draws_it() -> None:
    world, node = settled("elsewhere")
    world.leader.standby_preference.prefer_standby("db", node)
    (standby,) = marked(world)
    assert standby != node


@pytest.mark.parametrize("standby", ["", "here"])
def test_without_a_standby_elsewhere_nothing_is_put_on_record(standby: str) -> None:
    world, node = settled(standby)
    world.leader.standby_preference.prefer_standby("db", node)
    assert marked(world) == []
    assert world.leader.leaving == ()  # nor of a node that is none


def test_a_scheduler_that_fails_leaves_it_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world, node = settled("elsewhere")
    monkeypatch.setattr("hamgr.controller.standby.preference_rule.schedule", lambda *_: 1 / 0)
    world.leader.standby_preference.prefer_standby("db", node)
    assert marked(world) == []


def test_a_mark_is_taken_back_with_its_resource_alone() -> None:
    world, node = settled("elsewhere")
    standby_preference = world.leader.standby_preference
    standby_preference.prefer_standby("db", node)
    standby_preference.forget_standbys("disk")
    (standby,) = marked(world)
    world.leader.cluster_state.update(standby, lambda state: mark(state, "web"))
    standby_preference.forget_standbys("db")
    assert dict(world.leader.cluster_state.state(standby).attributes) == {"parked-web": "INFINITY"}
    standby_preference.prefer_standby("db", node)
    standby_preference.forget_standbys()
    assert marked(world) == []
