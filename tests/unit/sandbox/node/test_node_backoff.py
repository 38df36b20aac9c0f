"""The crash loop back-off, at the values that Kubernetes documents."""

from hamgr_sandbox.node.backoff import Backoff, after_restart, remaining_s


def test_the_first_restart_is_immediate_and_the_following_double_up_to_five_minutes() -> None:
    backoff, now, waits = None, 1000.0, []
    for _ in range(8):
        waits.append(remaining_s(backoff, finished_at=now, now=now))
        now += waits[-1]
        backoff = after_restart(backoff, finished_at=now - waits[-1], now=now)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300]


def test_waiting_counts_from_the_end_of_the_container() -> None:
    assert remaining_s(Backoff(20.0, updated_at=100.0), finished_at=110.0, now=123.0) == 7.0
    assert remaining_s(Backoff(20.0, updated_at=100.0), finished_at=110.0, now=131.0) == 0.0


def test_a_run_of_more_than_ten_minutes_forgives_everything() -> None:
    backoff = Backoff(300.0, updated_at=1000.0)
    assert remaining_s(backoff, finished_at=1600.0, now=1600.0) == 300.0
    assert remaining_s(backoff, finished_at=1600.1, now=1600.1) == 0.0
    assert after_restart(backoff, finished_at=1600.1, now=1600.1) == Backoff(10.0, 1600.1)
