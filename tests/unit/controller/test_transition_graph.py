"""The walk over a transition graph, with values."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from hamgr.controller.transition.graph import TransitionGraph


@dataclass(frozen=True)
class Step:
    id: int


def graph(count: int, *edges: tuple[int, int]) -> TransitionGraph:
    return TransitionGraph([Step(i) for i in range(1, count + 1)], edges)


def run(w: TransitionGraph, action_id: int) -> None:
    w.fire(action_id)
    w.confirm(action_id)


def test_actions_without_inputs_are_ready_at_once() -> None:
    assert graph(3, (1, 3)).ready() == [1, 2]


def test_an_action_waits_for_all_its_inputs() -> None:
    w = graph(3, (1, 3), (2, 3))
    run(w, 1)
    assert w.ready() == [2]
    run(w, 2)
    assert w.ready() == [3]


def test_an_action_in_flight_is_not_offered_again_and_releases_nothing() -> None:
    w = graph(2, (1, 2))
    w.fire(1)
    assert w.ready() == []
    assert w.in_flight == {1}
    assert not w.finished


def test_a_failed_action_holds_back_what_waits_for_it() -> None:
    w = graph(3, (1, 2))
    w.fire(1)
    w.fail(1)
    run(w, 3)
    assert w.finished
    assert not w.complete


def test_an_aborted_walk_ends_when_the_actions_in_flight_have_ended() -> None:
    w = graph(3, (1, 2))
    w.fire(1)
    w.abort("node lost")
    w.abort("later reason")
    assert w.ready() == []
    assert not w.finished
    w.confirm(1)
    assert w.finished
    assert w.abort_reason == "node lost"


def test_a_walk_is_complete_only_when_everything_was_confirmed() -> None:
    w = graph(2, (1, 2))
    run(w, 1)
    assert not w.complete
    run(w, 2)
    assert w.complete
    assert w.finished


@pytest.mark.parametrize("failed", [True, False])
def test_an_action_that_failed_or_has_not_ended_leaves_a_walk_incomplete(failed: bool) -> None:
    w = graph(4, (3, 4))
    run(w, 1)
    run(w, 2)
    w.fire(3)
    if failed:
        w.fail(3)
    assert (w.complete, w.confirmed, w.failed, w.waiting) == (False, 2, {3} if failed else set(), {4})


def test_an_action_that_was_not_begun_after_all_is_offered_again() -> None:
    w = graph(2, (1, 2))
    w.fire(1)
    w.unfire(1)
    assert (w.in_flight, w.waiting, w.ready()) == (set(), {1, 2}, [1])
    run(w, 1)
    assert w.ready() == [2]


def test_what_waits_for_no_action_of_the_transition_is_never_fired() -> None:
    """The scheduler names there what would be needed and cannot be: a start after a stop that nobody can carry out."""
    w = graph(2, (99, 1))
    assert w.ready() == [2]
    w.fire(2)
    w.confirm(2)
    assert w.finished
    assert not w.complete


def test_firing_an_action_twice_is_a_programming_error() -> None:
    w = graph(1)
    w.fire(1)
    with pytest.raises(KeyError):
        w.fire(1)
