"""Waiting of agents: an action that is over carries out nothing more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hamgr_agents.observation import settle

from hamgr.executor.agent import ActionContext, ActionResult, ActionTimeout
from hamgr.executor.ocf import Ocf
from hamgr.kube.errors import Conflict


class Cache:
    """Stands in for the watch cache: each wait ends at once, after ``meanwhile``."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.pauses: list[float] = []

    def wait_for(self, look: object, timeout_s: float, cancelled: object) -> None:
        self.pauses.append(timeout_s)
        self.meanwhile()


class World:
    """What an action sees: whether it was called off, and the time."""

    def __init__(self) -> None:
        self.called_off = False
        self.now = 0.0
        self.steps = 0

    def context(self, cache: Cache) -> ActionContext:
        unused: Any = object()
        seen: Any = cache
        return ActionContext(
            "db",
            "n1",
            kube=unused,
            cache=seen,
            cancelled=lambda: self.called_off,
            deadline=10.0,
            clock=lambda: self.now,
        )

    def step(self) -> ActionResult | str:
        self.steps += 1
        return "the disk is not free yet"

    def call_off(self) -> None:
        self.called_off = True

    def let_time_pass(self) -> None:
        self.now += 20


@pytest.mark.parametrize("ends", ["call_off", "let_time_pass"])
def test_no_step_is_taken_after_the_action_was_called_off_while_it_waited(ends: str) -> None:
    world = World()
    with pytest.raises(ActionTimeout, match="the disk is not free yet"):
        settle(world.context(Cache(getattr(world, ends))), world.step, lambda: None)
    assert world.steps == 1


def test_an_action_that_was_called_off_before_it_began_takes_no_step() -> None:
    world = World()
    world.call_off()
    with pytest.raises(ActionTimeout):
        settle(world.context(Cache()), world.step, lambda: None)
    assert world.steps == 0


def test_what_changed_under_our_hands_is_judged_anew_at_once_and_then_less_often() -> None:
    world, cache = World(), Cache()

    def step() -> ActionResult:
        world.steps += 1
        if world.steps < 9:
            raise Conflict(409, "Conflict", "it has changed")
        return ActionResult(Ocf.OK)

    assert settle(world.context(cache), step, lambda: None).rc is Ocf.OK
    assert cache.pauses[0] <= 0.02
    assert cache.pauses[-1] == 0.25
