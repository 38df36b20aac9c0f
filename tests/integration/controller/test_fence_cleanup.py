"""The leader goes on with what a fence has left, and tells of it until it is done."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fixtures.fence_world import World, api_server, world
from fixtures.waiting import wait_until

from hamgr.controller.fencing.cleanup import FenceCleanup
from hamgr.fencer import Confirmation, Level, LevelConfig, Outcome, Phase, Proof, Target, reason
from hamgr.fencer.observe import discover, merged
from hamgr.fencer.records import FenceRecord, StepTime, new_record
from hamgr.kube.errors import Unavailable

__all__ = ["api_server", "world"]

LATE = StepTime("manual", "detach", 1.0, "release-late", {"waiting": "x"})


@pytest.fixture
def record(world: World) -> FenceRecord:
    """A fence that has stepped over all that comes after its proof."""
    world.attacher.allowed.clear()
    world.set_node("n1", ready="Unknown")
    word = Confirmation("root@n2", "", 1.0)
    begun = new_record(
        Target("n1"), reason("node-lost", node="n1"), "x", (LevelConfig(Level.MANUAL),), confirmation=word
    )
    proofs = (Proof("confirmed", "n1", "x"),)
    ended = replace(begun, outcome=Outcome.SUCCEEDED, phase=Phase.DONE, proofs=proofs, steps=(LATE,))
    return merged(ended, discover(world.kube, begun.target, "t"))


@pytest.fixture
def fence_cleanup(world: World) -> Iterator[FenceCleanup]:
    with closing(FenceCleanup(world.kube, "t", lambda: True, clock=_Hours().clock)) as made:
        yield made


class _Hours:
    """A clock by which it is time to look again, whenever that is asked."""

    def __init__(self) -> None:
        self._now = 0.0

    def clock(self) -> float:
        self._now += 3600.0
        return self._now


def test_it_is_done_and_told_until_it_is_done(world: World, fence_cleanup: FenceCleanup, record: FenceRecord) -> None:
    def told(wanted: str) -> bool:
        fence_cleanup.look(record)
        return fence_cleanup.of(record) == wanted

    assert fence_cleanup.of(record) == ""
    wait_until(lambda: told("the CSI driver has not confirmed the detach of pv-1 from n1"))
    assert world.pods() == []
    world.attacher.allowed.set()
    wait_until(lambda: told(""))
    assert world.attachments() == []
    assert world.volume.unique_name not in world.in_use()


def test_a_fence_that_has_left_nothing_is_not_looked_at(
    world: World, fence_cleanup: FenceCleanup, record: FenceRecord
) -> None:
    other = replace(record, id="other", steps=())
    fence_cleanup.look(other)
    fence_cleanup.look(record)  # the looks are taken one after the other
    wait_until(lambda: fence_cleanup.of(record) != "")
    assert fence_cleanup.of(other) == ""


def test_an_api_server_that_does_not_answer_is_what_holds_it_up(record: FenceRecord) -> None:
    def get(_path: str) -> None:
        raise Unavailable(503, "Unavailable", "no answer")

    kube: Any = SimpleNamespace(get=get)
    with closing(FenceCleanup(kube, "t", lambda: True)) as fence_cleanup:
        fence_cleanup.look(record)
        wait_until(lambda: fence_cleanup.of(record) == "no answer")


def test_whoever_does_not_lead_leaves_it_to_who_does(world: World, record: FenceRecord) -> None:
    asked: list[bool] = []

    def may_act() -> bool:
        asked.append(False)
        return False

    with closing(FenceCleanup(world.kube, "t", may_act, clock=_Hours().clock)) as fence_cleanup:
        fence_cleanup.look(record)
        wait_until(lambda: asked)
    assert fence_cleanup.of(record) == ""
    assert world.pods() == ["db-n1"]
