"""Level watchdog: how long is waited for a node that fences itself, and when there is nothing to wait for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hamgr.fencer.levels.watchdog import WatchdogMeans, watchdog_wait_s
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import FenceRecord, Target
from hamgr.fencer.topology import Level, LevelConfig

RECORD = FenceRecord(
    id="1",
    target=Target("n1", self_fence_s=4.0, member_ttl_s=5.0),
    reason=reason("scheduler", why="n1 fell silent"),
    requested_by="n2",
    levels=(LevelConfig(Level.WATCHDOG),),
    started_at=1.0,
)


class Sight:
    """What this process sees of the member lease, and its clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.lost_for: float | None = None
        self.promise_stands = True
        self.means = WatchdogMeans(
            lambda _node: self.lost_for, lambda _target: self.promise_stands, margin_s=2.0, clock=lambda: self.now
        )

    def after(self, seconds: float) -> tuple[str, str]:
        """What the level says that much later: which of proof, failure and waiting, and its code."""
        self.now += seconds
        found = self.means.look(RECORD)
        if found.proof:
            return "proof", found.proof.kind
        if found.failure:
            return "failure", found.failure.code
        assert found.waiting
        return "waiting", found.waiting.code


def test_a_node_whose_lease_is_gone_long_enough_has_fenced_itself() -> None:
    sight = Sight()
    sight.lost_for = 1.9
    assert sight.after(0.0) == ("waiting", "waiting-self-fence")
    sight.lost_for = 2.0
    assert sight.after(0.1) == ("proof", "self-fenced")


@pytest.mark.parametrize(
    ("self_fence_s", "ttl_s", "wait_s"),
    [(4.0, 5.0, 2.0), (5.0, 5.0, 2.0), (8.0, 5.0, 5.0), (8.0, 10.0, 2.0), (20.0, 5.0, 17.0), (None, 5.0, 2.0)],
)
def test_what_the_bound_exceeds_the_ttl_by_is_waited_for_and_the_margin(
    self_fence_s: float | None, ttl_s: float, wait_s: float
) -> None:
    target = Target("n1", self_fence_s=self_fence_s, member_ttl_s=ttl_s)
    assert watchdog_wait_s(target, 2.0) == wait_s


def test_what_nobody_promised_is_not_waited_for() -> None:
    sight = Sight()
    sight.lost_for = 1000.0
    nothing_promised = replace(RECORD, target=Target("n1", member_ttl_s=5.0))
    found = sight.means.act(nothing_promised)
    assert (found.proof, found.failure) == (None, reason("no-self-fence", node="n1"))


def test_a_promise_that_was_taken_back_while_the_fence_was_under_way_proves_nothing() -> None:
    """The node was back meanwhile, with other settings or blind for its own pods, and fell silent again."""
    sight = Sight()
    sight.promise_stands = False
    sight.lost_for = 2.1
    assert sight.after(0.0) == ("failure", "promise-gone")


def test_a_lease_that_may_just_not_have_run_out_yet_is_waited_for() -> None:
    sight = Sight()
    assert sight.after(0.0) == ("waiting", "node-alive")
    assert sight.after(9.0) == ("waiting", "node-alive")  # etcd starts it anew when its own leader changes
    sight.lost_for = 2.5
    assert sight.after(1.0) == ("proof", "self-fenced")


def test_a_node_that_keeps_its_lease_is_not_waited_for_until_the_level_times_out() -> None:
    sight = Sight()
    assert sight.after(0.0) == ("waiting", "node-alive")
    assert sight.after(10.0) == ("waiting", "node-alive")
    assert sight.after(0.1) == ("failure", "node-renews")


def test_a_node_that_is_back_is_watched_from_its_return_on() -> None:
    sight = Sight()
    assert sight.after(0.0) == ("waiting", "node-alive")
    sight.lost_for = 0.1
    assert sight.after(8.0) == ("waiting", "waiting-self-fence")
    sight.lost_for = None
    assert sight.after(8.0) == ("waiting", "node-alive")
    assert sight.after(10.1) == ("failure", "node-renews")
