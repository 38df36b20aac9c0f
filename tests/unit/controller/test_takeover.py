"""Whether an instance that is gone is drawn to the standby that waits for it."""

from __future__ import annotations

import pytest
from fixtures.term_world import NODES, World

from hamgr.controller.standby import mark


def settled(standby: str = "") -> tuple[World, str]:
    """A cluster at rest and the node where the database runs; `standby` counts on from there."""
    world = World()
    world.settle()
    (node,) = world.where("db")
    others = {"here": node, "elsewhere": next(name for name in NODES if name != node)}
    world.term.takeover.standby_of = lambda _resource: others.get(standby, "")
    return world, node


def marked(world: World) -> list[str]:
    """The nodes that draw something."""
    states = world.term.cib().node_states
    return [state.name for state in states if any(name.startswith("parked-") for name in state.attributes)]


def test_a_standby_elsewhere_draws_it() -> None:
    world, node = settled("elsewhere")
    world.term.takeover.prefer_standby("db", node)
    (standby,) = marked(world)
    assert standby != node


@pytest.mark.parametrize("standby", ["", "here"])
def test_without_a_standby_elsewhere_nothing_is_put_on_record(standby: str) -> None:
    world, node = settled(standby)
    world.term.takeover.prefer_standby("db", node)
    assert marked(world) == []
    assert world.term.leaving == ()  # nor of a node that is none


def test_a_scheduler_that_fails_leaves_it_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world, node = settled("elsewhere")
    monkeypatch.setattr("hamgr.controller.standby.schedule", lambda *_: 1 / 0)
    world.term.takeover.prefer_standby("db", node)
    assert marked(world) == []


def test_a_mark_is_taken_back_with_its_resource_alone() -> None:
    world, node = settled("elsewhere")
    takeover = world.term.takeover
    takeover.prefer_standby("db", node)
    takeover.forget_standbys("disk")
    (standby,) = marked(world)
    world.term.recorded.update(standby, lambda state: mark(state, "web"))
    takeover.forget_standbys("db")
    assert dict(world.term.recorded.state(standby).attributes) == {"parked-web": "INFINITY"}
    takeover.prefer_standby("db", node)
    takeover.forget_standbys()
    assert marked(world) == []
