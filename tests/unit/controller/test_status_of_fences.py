"""What the status says at night: of a fenced node that stays away, of fencing that is held back, of a dead device."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fixtures.leader_world import World

from hamgr.api.status import NodeStatus, StatusDoc
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.status.report import Reporter
from hamgr.fencer.reasons import Reason, reason


def document(world: World) -> StatusDoc:
    leadership: Any = SimpleNamespace(token=SimpleNamespace(revision=7), node="n1")
    return Reporter(world.leader, leadership, None, clock=lambda: world.time, now=lambda: world.time).document()


def node(world: World, name: str) -> NodeStatus:
    return next(node for node in document(world).nodes if node.name == name)


def with_n3_fenced() -> World:
    world = World()
    world.settle()
    world.lose("n3")
    world.settle()
    return world


def test_a_node_that_stays_away_says_since_when_and_by_what_it_is_fenced() -> None:
    world = with_n3_fenced()
    shown = node(world, "n3")
    assert shown.fenced_at.startswith("1970-01-01T00:16:4")
    assert shown.fenced_by == "volume"
    assert shown.away == "nothing was heard of it since: bring it back when it suits you"
    assert (node(world, "n1").fenced_at, node(world, "n1").away) == ("", "")


SAME_BOOT = reason("same-boot", node="n3")


def test_a_node_that_shows_life_and_is_not_back_says_why_and_what_to_do() -> None:
    world = with_n3_fenced()
    world.rejoin.unclean.add("n3")
    world.rejoin.whys["n3"] = str(SAME_BOOT)
    world.join("n3")
    world.advance()
    assert node(world, "n3").away == str(SAME_BOOT)
    assert "reboot it, or `hamgr unfence n3`" in str(SAME_BOOT)


def test_a_node_that_is_back_says_nothing_of_its_fence() -> None:
    world = with_n3_fenced()
    world.join("n3")
    world.settle()
    assert (node(world, "n3").fenced_at, node(world, "n3").away) == ("", "")


HELD = {
    "storm": (reason("storm", count=2, interval=300.0, retry_in=120.0), "`hamgr fence n2` does not wait"),
    "loop": (
        reason("fence-loop", node="n2", count=3, interval=3600.0, retry_in=60.0),
        "`hamgr fence n2` does not wait",
    ),
    "network": (reason("most-nodes-bad", bad=2, total=3), "`hamgr fence n2` does not wait"),
    "maintenance": (reason("maintenance"), "`hamgr fence n2` does not wait"),
    "stale": (reason("api-stale", seconds=7.0), "`hamgr fence --anyway n2`"),
}


@pytest.mark.parametrize(("why", "advice"), HELD.values(), ids=HELD)
def test_fencing_that_is_held_back_says_of_what_why_and_what_to_do(why: Reason, advice: str) -> None:
    world = World()
    world.settle()
    world.held["n2"] = why
    world.lose("n2")
    world.until(lambda: bool(world.leader.held), rounds=5)
    (warning,) = [text for text in document(world).warnings if text.startswith("fencing of n2")]
    assert warning.startswith(f"fencing of n2 has to wait: {why}")
    assert advice in warning
    assert node(world, "n2").held == str(why)
    assert node(world, "n1").held == ""


def test_a_storm_says_which_option_it_is_and_when_it_is_over() -> None:
    told = str(reason("storm", count=2, interval=300.0, retry_in=120.4))
    assert told == "2 nodes were fenced within 300 s, as many as fencing.max-fences allows: next one in 120 s"


def test_what_held_fencing_back_is_forgotten_with_the_need_for_it() -> None:
    world = World()
    world.settle()
    world.held["n2"] = reason("maintenance")
    world.lose("n2")
    world.until(lambda: bool(world.leader.held), rounds=5)
    world.join("n2")
    world.settle()
    assert world.leader.held == {}
    assert document(world).warnings == ()


def test_a_device_that_does_not_work_is_told_once_with_the_nodes_that_it_is_for() -> None:
    world = World()
    world.settle()
    sick = {"rack": "fence device rack: it is dark"}
    world.leader.fences.sick_devices = lambda: sick  # type: ignore[method-assign]
    for _ in range(3):
        world.advance()
    sick = {}
    for _ in range(3):
        world.advance()
    told = [text for code, text in world.told if code == "fence_device"]
    assert told == ["fence device rack: it is dark", "fence device rack works again"]


def test_a_fence_that_is_forgotten_leaves_a_fenced_node_without_details() -> None:
    world = with_n3_fenced()
    world.fences.clear()
    world.lead()
    assert world.leader.cluster_state.membership("n3") is MembershipState.FENCED
    assert (node(world, "n3").fenced_at, node(world, "n3").fenced_by) == ("", "")
    assert node(world, "n3").away != ""
