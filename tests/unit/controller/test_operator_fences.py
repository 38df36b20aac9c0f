"""An operator's order to fence, and the leader's doubts about its own view."""

from __future__ import annotations

import pytest
from fixtures.term_world import World

from hamgr.controller.operator import Operator, Refusal
from hamgr.fencer.reasons import reason
from hamgr.store.requests import Request

STALE = reason("api-stale", seconds=7.0)


def ask(world: World, **body: object) -> object:
    operator = Operator(world.term, None, None, lambda: world.time)
    return operator.carry_out(Request("1", "fence", {"target": "n1", "level": "", **body}, "root@n2", 0.0))


def reasons(world: World) -> list[str]:
    return [str(record.reason) for record in world.fencer.running.values()]


def test_with_a_fresh_view_it_is_carried_out() -> None:
    world = World()
    ask(world)
    assert reasons(world) == ["asked for by root@n2"]


def test_with_a_stale_view_it_is_refused_with_what_is_stale() -> None:
    world = World()
    world.doubt = STALE
    with pytest.raises(Refusal, match=r"the Kubernetes API is 7\.0 s old") as refused:
        ask(world)
    assert refused.value.code == 69
    assert reasons(world) == []


def test_the_override_is_recorded() -> None:
    world = World()
    world.doubt = STALE
    ask(world, anyway=True)
    assert reasons(world) == [f"asked for by root@n2, who was told that {STALE}"]


def confirm(world: World, **body: object) -> object:
    operator = Operator(world.term, None, None, lambda: world.time)
    return operator.carry_out(Request("1", "confirm", {"node": "n1", "reason": "", **body}, "root@n2", 0.0))


def test_a_node_that_is_alive_is_not_off_whatever_somebody_says() -> None:
    world = World()
    world.settle()
    with pytest.raises(Refusal, match="its hamgrd holds its lease"):
        confirm(world)
    assert reasons(world) == []
    world.refusals["n1"] = "most-nodes-bad"
    world.lose("n1")
    world.advance()
    confirm(world)
    assert reasons(world) == ["asked for by root@n2"]


def test_a_node_that_was_fenced_and_lives_is_not_off_either() -> None:
    """Its disks were taken from it; the word would have it wait for a restart that nobody has a reason to make."""
    world = World()
    world.settle()
    world.lose("n1")
    world.settle()
    world.join("n1")
    with pytest.raises(Refusal, match="its hamgrd holds its lease"):
        confirm(world)


def test_a_kubelet_that_was_heard_of_since_its_node_is_lost_speaks_against_it_being_off() -> None:
    world = World()
    world.settle()
    world.refusals["n1"] = "maintenance"
    world.lose("n1")
    world.advance()
    renewed_at = world.time + 1.0
    world.term.views.renewed_within = lambda _node, seconds: world.time - renewed_at < seconds  # type: ignore[method-assign]
    world.time += 2.0
    with pytest.raises(Refusal, match="renewed its Lease since the node is lost"):
        confirm(world)
    world.time += 30.0
    confirm(world)
    assert reasons(world) == ["asked for by root@n2"]


def test_what_runs_for_a_node_that_is_called_off_all_the_same_is_given_up() -> None:
    world = World()
    world.until(lambda: bool(world.ops("start")))
    (node,) = {op.node for op in world.ops("start", "disk")}
    operator = Operator(world.term, None, None, lambda: world.time)
    operator.carry_out(Request("1", "confirm", {"node": node, "reason": "", "anyway": True}, "root@n2", 0.0))
    assert not [op for op in world.executor.in_flight if op.node == node]
    world.advance()
    assert not [op for op in world.executor.in_flight if op.node == node]
    world.settle()
    assert world.violations == []


def test_a_level_that_somebody_names_is_tried_though_the_node_is_being_fenced_by_others() -> None:
    """As when a detach hangs: the answer must not be the fence that hangs."""
    world = World()
    world.settle()
    first, again, named = (ask(world, level=level) for level in ("", "", "node"))
    assert first == again != named
    by_levels = [[str(level.level) for level in record.levels] for record in world.fencer.running.values()]
    assert by_levels == [["volume"], ["node"]]
