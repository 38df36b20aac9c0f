"""Leadership on real etcd: one leader, tokens that grow, late writes that do nothing."""

import threading
import time

import pytest
from fixtures.etcd import EtcdServer
from fixtures.waiting import wait_until

from hamgr.clock import boottime
from hamgr.store import CompareFailed, Deposed, Leadership, Leased, LeaseLost, Store, StoreUnavailable

pytestmark = pytest.mark.etcd


class SteppedClock:
    """The store's clock plus what a test adds to it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return boottime() + self.ahead


def sleep_for(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernel's clocks show after the machine has been suspended: CLOCK_MONOTONIC has stood still."""
    real = time.clock_gettime
    monkeypatch.setattr(time, "clock_gettime", lambda which: real(which) + seconds * (which == time.CLOCK_BOOTTIME))


def leading(store: Store, node: str = "n1", **settings: object) -> Leadership:
    leadership = Leadership(store, node, **settings)  # type: ignore[arg-type]
    assert leadership.campaign() is not None
    return leadership


def test_one_leads_and_the_other_does_not(store: Store) -> None:
    first = leading(store)
    second = Leadership(store, "n2")
    assert second.campaign() is None
    assert (first.valid(), second.valid()) == (True, False)
    current = first.current()
    assert current is not None
    assert first.token is not None
    assert (current["node"], current["token"]) == ("n1", first.token.revision)


def test_a_leader_that_slept_for_longer_than_its_lease_leads_no_more(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    leadership = leading(store)
    assert leadership.valid()
    sleep_for(60, monkeypatch)
    assert not leadership.valid()
    with pytest.raises(Deposed):
        leadership.renew()


def test_the_last_look_goes_by_etcd_and_not_by_our_own_clock(store: Store) -> None:
    first = leading(store)
    assert first.confirmed()
    assert 3 < first.left_s() <= 4
    assert first.token is not None
    store.transact(creates={"leader": first.token.revision}, deletes=("leader",))
    second = leading(store, "n2")
    assert first.valid(), "the local deadline alone has not noticed"
    assert (first.confirmed(), second.confirmed()) == (False, True)


def test_the_same_token_of_another_leader_is_not_ours(store: Store) -> None:
    """An etcd that was restored gives the same revisions again, and so the same token to somebody else."""
    leadership = leading(store)
    lease, _ = store.grant(5)
    other = {"node": "n2", "id": "another", "since": 0.0, "lease": lease}
    store.transact(puts={"leader": Leased(other, lease)})
    assert not leadership.confirmed()
    with pytest.raises(Deposed, match="the leader key is another's"):
        leadership.fenced_txn({"state/x": 1}, compares={"state/y": 7})
    assert leadership.token is None


def test_a_deposed_leaders_write_changes_nothing(store: Store) -> None:
    old = leading(store)
    old.fenced_txn(puts={"state/x": "old"})
    assert old.token is not None
    store.transact(deletes=["leader"])  # as if the lease had expired, unnoticed by the old leader
    new = leading(store, "n2")
    assert new.token is not None
    assert new.token.revision > old.token.revision
    new.fenced_txn(puts={"state/x": "new"})
    assert old.valid()
    with pytest.raises(Deposed):
        old.fenced_txn(puts={"state/x": "late"}, deletes=["state/y"])
    assert store.read("state/").values == {"state/x": "new"}
    assert not old.valid()


def test_a_past_leaders_write_changes_nothing_though_nobody_has_succeeded_it(store: Store) -> None:
    old = leading(store)
    old.fenced_txn(puts={"state/x": "old"})
    store.transact(deletes=["leader"])
    with pytest.raises(Deposed, match="the leader key is another's"):
        old.fenced_txn(puts={"state/x": "late", "state/y": "late"})
    assert store.read("state/").values == {"state/x": "old"}
    assert not old.valid()


def test_of_two_that_find_the_seat_free_one_leads(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    rival = Leadership(store, "n2")
    original = store.grant

    def overtaken(ttl_s: int) -> tuple[int, float]:
        monkeypatch.setattr(store, "grant", original)
        assert rival.campaign() is not None
        return original(ttl_s)

    monkeypatch.setattr(store, "grant", overtaken)
    late = Leadership(store, "n1")
    assert late.campaign() is None
    assert (late.valid(), late.token) == (False, None)
    rival.fenced_txn(puts={"state/x": 1})
    assert store.read("state/").values == {"state/x": 1}


def test_a_write_that_was_carried_out_before_its_repeat_is_done(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answer was lost: the repeat finds what the first one compared already changed."""
    leadership = leading(store)
    revision = store.compare_and_put("config", 1, 0)
    original = store.transact

    def repeated(**asked: object) -> object:
        original(**asked)  # type: ignore[arg-type]
        return original(**asked)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(store, "transact", repeated)
        written = leadership.fenced_txn(puts={"config": 2}, compares={"config": revision})
    entry = store.get("config")
    assert entry is not None
    assert (entry.value, entry.mod_revision) == (2, written)
    leadership.fenced_txn(puts={"config": 3}, compares={"config": written})


def test_a_copy_of_an_older_write_that_arrives_late_does_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    leadership = leading(store)
    original = store.transact
    copies = []

    def copied(**asked: object) -> object:
        copies.append(asked)
        return original(**asked)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(store, "transact", copied)
        leadership.fenced_txn(puts={"state/x": "older"})
    leadership.fenced_txn(puts={"state/x": "newer"})
    for copy in copies:
        assert not original(**copy).succeeded  # type: ignore[arg-type]
    assert store.read("state/").values == {"state/x": "newer"}


def test_a_leaders_first_write_is_refused_like_any_other(store: Store) -> None:
    leadership = leading(store)
    with pytest.raises(CompareFailed):
        leadership.fenced_txn(puts={"state/x": 1}, compares={"config": 1})
    assert store.read("state/").values == {}


@pytest.mark.parametrize("margin_s", [-1.0, 0.0, 5.0, 6.0])
def test_a_margin_that_leaves_no_time_to_lead_is_refused(store: Store, margin_s: float) -> None:
    with pytest.raises(ValueError, match="the leader's margin must be between 0 and its TTL of 5 s"):
        Leadership(store, "n1", ttl_s=5, margin_s=margin_s)


def test_the_same_node_elected_again_has_another_token(store: Store) -> None:
    first = leading(store)
    old_token = first.token
    first.resign()
    assert first.campaign() not in (None, old_token)


def test_who_stepped_down_by_its_own_clock_may_lead_again_without_waiting_for_its_lease(store: Store) -> None:
    clock = SteppedClock()
    leadership = leading(store, ttl_s=60, margin_s=1.0, clock=clock)
    old_token = leadership.token
    clock.ahead = 100.0
    with pytest.raises(Deposed):
        leadership.renew()
    clock.ahead = 0.0
    assert not leadership.valid()
    assert Leadership(store, "n2").campaign() is None
    token = leadership.campaign()
    assert token is not None
    assert old_token is not None
    assert token.revision > old_token.revision
    leadership.fenced_txn(puts={"state/x": 1})


def test_guarded_compares_keys_of_others(store: Store) -> None:
    leadership = leading(store)
    revision = store.compare_and_put("config", 1, 0)
    leadership.fenced_txn(puts={"seen": 1}, compares={"config": revision})
    store.compare_and_put("config", 2, revision)
    with pytest.raises(CompareFailed):
        leadership.fenced_txn(puts={"seen": 2}, compares={"config": revision})
    assert store.read("seen").values == {"seen": 1}
    leadership.fenced_txn(puts={"seen": 3})
    assert store.read("seen").values == {"seen": 3}


def test_a_put_on_a_lost_lease_is_told_apart(store: Store) -> None:
    leadership = leading(store)
    lease, _ = store.grant(30)
    store.revoke(lease)
    with pytest.raises(LeaseLost):
        leadership.fenced_txn(puts={"responses/x": Leased(1, lease)})
    assert leadership.valid()


def test_no_write_after_the_local_deadline(store: Store) -> None:
    clock = SteppedClock()
    leadership = leading(store, ttl_s=5, margin_s=1.0, clock=clock)
    clock.ahead = 4.1
    assert not leadership.valid()
    with pytest.raises(Deposed, match="has not renewed its leadership in time"):
        leadership.fenced_txn(puts={"state/x": 1})
    with pytest.raises(Deposed, match="ran out"):
        leadership.renew()
    assert store.read("state/").values == {}


def test_renewal_moves_the_deadline_and_outlives_the_ttl(store: Store) -> None:
    leadership = leading(store, ttl_s=2, margin_s=0.5)
    first_deadline = leadership.deadline
    until = time.monotonic() + 3.0
    while time.monotonic() < until:
        assert leadership.renew()
        time.sleep(0.05)
    assert leadership.deadline > first_deadline
    leadership.fenced_txn(puts={"state/x": 1})


def test_a_leader_that_does_not_renew_is_succeeded(store: Store) -> None:
    hung = leading(store, ttl_s=1, margin_s=0.3)
    assert hung.token is not None
    vacant = threading.Event()
    successor = Leadership(store, "n2")
    watch = successor.watch_vacancy(vacant.set)
    assert vacant.wait(30)
    watch.stop()
    token = successor.campaign()
    assert token is not None
    assert token.revision > hung.token.revision
    with pytest.raises(Deposed):
        hung.fenced_txn(puts={"state/x": "late"})
    assert store.read("state/").values == {}


def test_renewal_notices_a_revoked_lease_and_a_deleted_key(store: Store) -> None:
    clock = SteppedClock()
    leadership = leading(store, clock=clock)
    store.revoke(store.read("leader").entries["leader"].lease)
    clock.ahead = 1.5
    with pytest.raises(Deposed, match="lease of n1 has expired"):
        leadership.renew()
    again = leading(store, clock=clock)
    store.transact(deletes=["leader"])
    clock.ahead = 3.0
    with pytest.raises(Deposed, match="key of n1 is gone"):
        again.renew()


def test_resigning_hands_over_at_once(store: Store) -> None:
    leadership = leading(store, ttl_s=60)
    vacant = threading.Event()
    successor = Leadership(store, "n2")
    watch = successor.watch_vacancy(vacant.set)
    assert successor.campaign() is None
    leadership.resign()
    assert vacant.wait(30)
    watch.stop()
    assert successor.campaign() is not None


def test_resigning_does_not_remove_a_successor(store: Store) -> None:
    old = leading(store)
    store.transact(deletes=["leader"])
    new = leading(store, "n2")
    old.resign()
    assert new.current() is not None
    new.fenced_txn(puts={"state/x": 1})


def test_a_write_whose_answer_is_lost_takes_effect_once_and_never_late(etcd_server: EtcdServer, store: Store) -> None:
    leadership = leading(store, ttl_s=60, margin_s=1.0)
    leadership.fenced_txn(puts={"state/x": 1})
    etcd_server.freeze()
    with pytest.raises(StoreUnavailable):
        leadership.fenced_txn(puts={"state/x": 2})
    etcd_server.thaw()
    leadership.fenced_txn(puts={"state/x": 3})
    for number in range(4, 10):
        leadership.fenced_txn(puts={"state/x": number})
        assert store.read("state/").values == {"state/x": number}


def test_leadership_survives_a_restart_of_etcd_within_its_lease(etcd_server: EtcdServer, store: Store) -> None:
    leadership = leading(store, ttl_s=30)
    token = leadership.token
    etcd_server.kill()
    etcd_server.start()
    leadership.fenced_txn(puts={"state/x": 1})
    assert leadership.token == token


def test_threads_share_one_leadership(store: Store) -> None:
    leadership = leading(store, ttl_s=60)
    failures: list[BaseException] = []

    def write(name: str) -> None:
        try:
            for number in range(25):
                leadership.fenced_txn(puts={f"state/{name}": number})
        except BaseException as error:  # noqa: BLE001  (a thread's failure must reach the test)
            failures.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.read("state/").values == {f"state/{name}": 24 for name in "abcd"}


def test_etcds_leader_may_die_without_deposing_ours(etcd_cluster: list[EtcdServer], open_store) -> None:  # type: ignore[no-untyped-def]
    store = open_store(*etcd_cluster, request_timeout_s=15.0)
    leadership = leading(store, ttl_s=30)
    for victim in etcd_cluster:
        victim.kill()
        leadership.fenced_txn(puts={f"state/{victim.name}": 1})
        assert leadership.renew()
        victim.start()
        wait_until(lambda: store.read("state/").value(f"state/{victim.name}") == 1)  # noqa: B023
    assert len(store.read("state/").values) == 3
