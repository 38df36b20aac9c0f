"""An operator's wish that a resource be stopped or promoted, as far as it means anything for that resource."""

from __future__ import annotations

import pytest
from fixtures.term_world import World

from hamgr.controller.operator import Operator, Refusal
from hamgr.store.requests import Request


def ask(world: World, resource: str, role: str | None) -> None:
    operator = Operator(world.term, None, None, lambda: world.time)
    operator.carry_out(Request("1", "target-role", {"resource": resource, "role": role}, "root@n2", 0.0))


def test_a_resource_is_stopped_for_good() -> None:
    world = World()
    ask(world, "db", "Stopped")
    assert "db" in world.term.recorded.overrides.to_json()["resources"]


def test_fencing_is_not_stopped_by_stopping_what_stands_for_it() -> None:
    """Nodes would be fenced all the same; who reads `Stopped` would believe that they are not."""
    world = World()
    before = world.term.recorded.overrides
    with pytest.raises(Refusal, match="stonith-enabled: false") as refused:
        ask(world, "fencing", "Stopped")
    assert refused.value.code == 1
    assert world.term.recorded.overrides == before
    ask(world, "fencing", None)  # to take an earlier wish back is always right


def test_a_lost_node_is_fenced_though_what_stands_for_fencing_is_stopped() -> None:
    world = World()
    world.settle()
    recorded = world.term.recorded
    recorded.set_overrides(recorded.overrides.resource_meta("fencing", "target-role", "Stopped"))
    world.lose("n1")
    world.advance()
    assert [record.target.node for record in world.fencer.running.values()] == ["n1"]
