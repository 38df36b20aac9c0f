"""When a node fences itself: the settings' arithmetic, who may live again, and the guard's judgement."""

from dataclasses import replace
from pathlib import Path

import pytest

from hamgr.daemon.selffence.bound import bound_of, guard_options, may_live
from hamgr.daemon.selffence.killer import GuardOptions, KillState
from hamgr.daemon.settings import Settings, SettingsError
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import Outcome, Target, new_record
from hamgr.fencer.topology import Level, LevelConfig


def settings(mode, ttl="5s", **more):
    values = {"cluster": "t", "node": "n1", "etcd": {"endpoints": ["127.0.0.1:1"]}, "times": {"member-ttl": ttl}}
    return Settings.model_validate({**values, "self-fencing": mode, "self-fence": more})


@pytest.mark.parametrize("mode", ["off", False])
def test_off_promises_nothing(mode):
    assert bound_of(settings(mode)) is None


@pytest.mark.parametrize(
    ("mode", "ttl", "more", "act_s", "over_s"),
    [
        ("kill", "5s", {}, 3.0, 4.0),
        ("kill", "10s", {"kill-time": "2s"}, 6.0, 8.0),
        ("watchdog", "5s", {}, 2.0, 4.0),
        ("watchdog", "10s", {"kill-time": "3s", "watchdog-timeout": "2s"}, 5.0, 8.0),
    ],
)
def test_it_is_over_before_the_lease_can_expire(mode, ttl, more, act_s, over_s):
    bound = bound_of(settings(mode, ttl, **more))
    assert (bound.act_s, bound.over_s) == pytest.approx((act_s, over_s))


@pytest.mark.parametrize(
    ("mode", "ttl", "more", "told"),
    [
        ("kill", "2s", {}, "member-ttl of 2s and self-fence.kill-time of 1s .* set times.member-ttl to 3s or more"),
        ("watchdog", "5s", {"watchdog-timeout": "3s"}, "watchdog-timeout of 3s .* to 8s or more"),
    ],
)
def test_what_cannot_be_kept_is_refused_with_what_would_do(mode, ttl, more, told):
    with pytest.raises(SettingsError, match=told):
        bound_of(settings(mode, ttl, **more))


@pytest.mark.parametrize(("mode", "ttl", "more"), [("kill", "3s", {}), ("watchdog", "8s", {"watchdog-timeout": "3s"})])
def test_what_the_refusal_names_does(mode, ttl, more):
    assert bound_of(settings(mode, ttl, **more)).over_s > 0


@pytest.mark.parametrize(
    ("mode", "more", "proves"),
    [
        ("kill", {}, False),
        ("kill", {"kill-suffices": True}, True),
        ("watchdog", {}, True),
        ("watchdog", {"kill-suffices": True}, True),
    ],
)
def test_to_others_killing_is_no_proof_unless_somebody_says_so(mode, more, proves):
    """What a killed process had written may still be in the kernel's memory; only a reset ends that."""
    assert bound_of(settings(mode, **more)).proves is proves


@pytest.mark.parametrize(("mode", "device", "timeout_s"), [("watchdog", "/dev/wd7", 2), ("kill", "", 0)])
def test_what_the_guard_is_started_with(mode, device, timeout_s):
    chosen = {"watchdog-device": "/dev/wd7", "watchdog-timeout": "2s", "state-dir": "guard", "find": ["mounts"]}
    options = guard_options(settings(mode, **chosen), Path("/run/hamgr"), "boot-1")
    assert options == GuardOptions("n1", "/run/hamgr/guard", options.find, device, timeout_s, "boot-1")
    assert tuple(options.find) == ("mounts",)
    assert GuardOptions.from_text(options.to_text()) == options


# --- who may live again ------------------------------------------------------------------------------------------


def fence(node, outcome):
    record = new_record(Target(node), reason("operator", user="x"), "x", (LevelConfig(Level.WATCHDOG),))
    return replace(record, outcome=outcome)


def pod(uid, **metadata):
    return {"metadata": {"uid": uid, **metadata}}


def test_a_pod_that_nobody_deleted_may_live_again():
    there = [pod("a"), pod("b", deletionTimestamp="now"), pod("c")]
    assert may_live({"a", "b", "gone"}, "n1", [fence("n1", Outcome.SUCCEEDED)], there) == {"a"}


def test_nothing_may_live_while_the_node_is_being_fenced():
    assert may_live({"a"}, "n1", [fence("n1", Outcome.PENDING)], [pod("a")]) == set()
    assert may_live({"a"}, "n1", [fence("n2", Outcome.PENDING)], [pod("a")]) == {"a"}
    several = [fence("n2", Outcome.PENDING), fence("n1", Outcome.PENDING), fence("n1", Outcome.FAILED)]
    assert may_live({"a"}, "n1", several, [pod("a")]) == set()


# --- the guard's judgement ---------------------------------------------------------------------------------------


def test_time_decides_and_only_a_pardon_ends_it():
    charge = KillState()
    assert charge.judge(1e9) == set()  # nobody has said anything yet
    charge.take({"until": 10.0, "pods": ["a"]})
    assert charge.judge(9.9) == set()
    assert charge.judge(10.0) == {"a"}
    charge.take({"until": 20.0, "pods": ["a", "b"]})
    assert charge.judge(11.0) == {"a"}  # a member again: b may live, a was condemned
    charge.take({"pardon": ["a"]})
    assert charge.judge(12.0) == set()


def test_words_from_before_a_freeze_count_for_no_more_than_they_did():
    charge = KillState()
    for until in (10.0, 11.0, 12.0):  # queued while the guard was stopped
        charge.take({"until": until, "pods": ["a"]})
    assert charge.judge(50.0) == {"a"}


def test_it_looks_four_times_a_second_and_oftener_while_there_is_something_to_kill():
    charge = KillState()
    assert charge.pause_s(0.0, killed_at=float("-inf")) == 0.25
    charge.take({"until": 100.0, "pods": ["a"]})
    assert charge.pause_s(50.0, killed_at=float("-inf")) == 0.25
    charge.judge(100.0)
    assert charge.pause_s(105.0, killed_at=100.0) == 0.05
    assert charge.pause_s(110.0, killed_at=100.0) == 0.25
    charge.take({"until": 200.0, "pardon": ["a"]})
    assert charge.pause_s(110.0, killed_at=109.9) == 0.25


def test_once_released_it_stays_so():
    charge = KillState()
    charge.take({"pods": ["a"]})
    assert not charge.released
    charge.take({"release": True})
    charge.take({"until": 1.0})
    assert charge.released


@pytest.mark.parametrize("pods", [set(), {"a"}])
def test_it_rests_between_looks_however_long_the_time_is_over(pods):
    # It runs at real-time priority: on one processor, without a rest, hamgrd could never renew the lease again.
    charge = KillState()
    assert charge.pause_s(90.0, killed_at=float("-inf")) > 0.01
    charge.take({"until": 100.0, "pods": sorted(pods)})
    assert 0.0 < charge.pause_s(99.9, killed_at=float("-inf")) <= 0.1  # on time
    for late_s in (0.0, 0.1, 5.0, 500.0):
        charge.judge(100.0 + late_s)
        assert charge.pause_s(100.0 + late_s, killed_at=float("-inf")) > 0.01
        assert charge.pause_s(100.0 + late_s, killed_at=100.0 + late_s) > 0.01
