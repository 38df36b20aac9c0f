"""When a fence is held back."""

from dataclasses import replace

import pytest

from hamgr.fencer.guard import GuardLimits, GuardView, PastFence, doubt, may_fence

FINE = GuardView("n1", etcd_staleness_s=0.1, api_staleness_s=0.1, total=3, bad=1)
LIMITS = GuardLimits(max_fences=2, interval_s=300.0, loop_interval_s=3600.0)


def test_one_bad_node_of_three_is_fenced() -> None:
    assert may_fence(FINE, LIMITS) is None


@pytest.mark.parametrize(
    ("view", "code"),
    [
        (replace(FINE, etcd_staleness_s=3.1), "etcd-stale"),
        (replace(FINE, api_staleness_s=5.1), "api-stale"),
        (replace(FINE, bad=2), "most-nodes-bad"),
        (replace(FINE, maintenance=True), "maintenance"),
        (replace(FINE, node_maintenance=True), "node-maintenance"),
        (replace(FINE, total=9, past=(PastFence("n2", 10.0), PastFence("n3", 20.0))), "storm"),
        (replace(FINE, past=tuple(PastFence("n1", ago) for ago in (10.0, 100.0, 200.0))), "fence-loop"),
    ],
)
def test_what_holds_it_back(view: GuardView, code: str) -> None:
    why = may_fence(view, LIMITS)
    assert why is not None
    assert why.code == code
    assert "{" not in str(why)


@pytest.mark.parametrize(("total", "bad", "allowed"), [(2, 1, True), (4, 2, True), (4, 3, False), (5, 2, True)])
def test_more_than_half_bad_is_our_own_fault(total: int, bad: int, allowed: bool) -> None:
    assert (may_fence(replace(FINE, total=total, bad=bad), LIMITS) is None) == allowed


def test_doubt_about_ourselves_is_all_that_holds_an_operators_order_back() -> None:
    assert doubt(3.0, 5.0) is None
    for stale, code in (((3.1, 0.0), "etcd-stale"), ((0.0, 5.1), "api-stale")):
        why = doubt(*stale)
        assert why is not None
        assert why.code == code


def test_a_storm_counts_other_nodes_within_the_interval_once() -> None:
    past = (PastFence("n2", 10.0), PastFence("n2", 20.0), PastFence("n3", 300.0), PastFence("n1", 5.0))
    assert may_fence(replace(FINE, past=past), LIMITS) is None


def test_a_storm_says_when_it_is_over() -> None:
    past = (PastFence("n2", 10.0), PastFence("n2", 200.0), PastFence("n3", 60.0), PastFence("n4", 120.0))
    view = replace(FINE, total=9, past=past)
    over = [(limit, may_fence(view, replace(LIMITS, max_fences=limit))) for limit in (1, 2, 3)]
    assert [(limit, why and why.data["retry_in"]) for limit, why in over] == [(1, 290.0), (2, 240.0), (3, 180.0)]


def test_a_loop_backs_off_longer_each_time_and_ends() -> None:
    three = tuple(PastFence("n1", 60.0 + number) for number in range(3))
    assert may_fence(replace(FINE, past=three), LIMITS) is None
    early = may_fence(replace(FINE, past=(*three[1:], PastFence("n1", 59.5))), LIMITS)
    assert early is not None
    assert early.data["retry_in"] == pytest.approx(0.5)
    four = (*three, PastFence("n1", 90.0))
    why = may_fence(replace(FINE, past=four), LIMITS)
    assert why is not None
    assert why.data["retry_in"] == pytest.approx(120.0 - 60.0)


def test_fences_of_more_than_an_hour_ago_make_no_loop() -> None:
    past = (PastFence("n1", 10.0), PastFence("n1", 3599.0), PastFence("n1", 3600.0), PastFence("n1", 7000.0))
    assert may_fence(replace(FINE, past=past), LIMITS) is None
    recent = may_fence(replace(FINE, past=(*past, PastFence("n1", 3500.0))), LIMITS)
    assert recent is not None
    assert (recent.code, recent.data["count"]) == ("fence-loop", 3)


def failures(*over: float) -> tuple[PastFence, ...]:
    """Fences of n1 that failed at once, by how long ago."""
    return tuple(PastFence("n1", ago + 0.1, failed=True, over_s=ago) for ago in over)


def test_fences_that_failed_are_no_loop() -> None:
    """Nothing came of them: that they were many is no reason to leave the node alone for a minute and more."""
    assert may_fence(replace(FINE, past=failures(31.0, 40.0, 50.0, 60.0, 70.0, 80.0)), LIMITS) is None
    mixed = (*failures(100.0, 200.0, 300.0), PastFence("n1", 10.0), PastFence("n1", 20.0))
    assert may_fence(replace(FINE, past=mixed), LIMITS) is None


def test_a_fence_that_failed_is_tried_again_soon_and_less_often_each_time() -> None:
    waits = []
    for count in range(1, 9):
        why = may_fence(replace(FINE, past=failures(*(0.0,) * count)), LIMITS)
        assert why is not None
        assert (why.code, why.data["count"]) == ("fences-failed", count)
        waits.append(why.data["retry_in"])
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]
    assert may_fence(replace(FINE, past=failures(4.0, 5.0, 6.0)), LIMITS) is None


def test_it_is_tried_again_at_once_when_something_has_changed() -> None:
    past = failures(5.0, 10.0, 20.0, 40.0, 80.0)
    held = replace(FINE, past=past)
    assert may_fence(held, LIMITS) is not None
    assert may_fence(replace(held, changed_s=4.0), LIMITS) is None
    later = may_fence(replace(held, changed_s=5.5, past=failures(0.5, *(fence.over_s for fence in past))), LIMITS)
    assert later is not None
    assert (later.data["count"], later.data["retry_in"]) == (2, 1.5)


def test_a_fence_that_succeeded_begins_the_count_anew() -> None:
    past = (*failures(0.5, 60.0, 61.0, 62.0), PastFence("n1", 30.0))
    why = may_fence(replace(FINE, past=past), LIMITS)
    assert why is not None
    assert (why.data["count"], why.data["retry_in"]) == (1, 0.5)


def test_another_nodes_failures_hold_nothing_back() -> None:
    past = tuple(replace(fence, node="n2") for fence in failures(0.1, 0.2))
    assert may_fence(replace(FINE, past=past), LIMITS) is None
