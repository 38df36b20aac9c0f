"""Members on real etcd: leases that are kept, lost, and refused to a second process of the same name."""

import threading
from dataclasses import asdict, replace
from typing import Any

import pytest
from fixtures.etcd import EtcdServer
from fixtures.waiting import wait_until

from hamgr.clock import boottime
from hamgr.store import DuplicateMember, Leased, MemberInfo, Membership, Store, StoreUnavailable, members_of
from hamgr.store.membership import is_dead_predecessor, process_identity

pytestmark = pytest.mark.etcd


def info(node: str = "n1", **fields: object) -> MemberInfo:
    return replace(MemberInfo(node, "boot-1", ttl_s=1), **fields)  # type: ignore[arg-type]


def test_a_member_stays_longer_than_its_ttl(store: Store) -> None:
    membership = Membership(store, info(version="1.0"))
    membership.join()
    first = membership.renewed_until()
    assert first > boottime()
    wait_until(lambda: membership.renewed_until() > first + 1.5)
    assert members_of(store.read("members/")) == {"n1": membership.info}
    membership.leave()


def test_leaving_cleanly_is_announced_before_the_key_goes(store: Store) -> None:
    membership = Membership(store, info())
    membership.join()
    seen: list[object] = []
    watch = store.watch(store.read("members/"), lambda changes, _rev: seen.extend(c.value for c in changes))
    membership.leave()
    wait_until(lambda: seen and seen[-1] is None)
    watch.stop()
    assert [isinstance(value, dict) and value["leaving"] for value in seen] == [True, False]
    assert membership.renewed_until() < 0


def test_a_member_that_stops_renewing_vanishes(store: Store) -> None:
    membership = Membership(store, info())
    membership.join()
    membership.leave(clean=False)
    assert members_of(store.read("members/"))["n1"].leaving is False
    wait_until(lambda: not store.read("members/").entries)


def test_a_second_live_process_of_the_same_name_is_refused(store: Store) -> None:
    first = Membership(store, info())
    first.join()
    second = Membership(store, info(id="other", process="pid:[1]/1/1", boot_id="boot-2"))
    with pytest.raises(DuplicateMember, match="node name 'n1' is held by another live hamgrd"):
        second.join(wait_s=0.5)
    assert members_of(store.read("members/"))["n1"].id == first.info.id
    first.leave()


def test_the_lease_of_a_crashed_predecessor_is_waited_for(store: Store) -> None:
    lease, _ = store.grant(1)
    old = asdict(info(boot_id="boot-0", process=""))
    store.transact(puts={"members/n1": Leased(old, lease)})
    membership = Membership(store, info())
    membership.join()
    assert members_of(store.read("members/"))["n1"].boot_id == "boot-1"
    membership.leave()


def test_a_dead_predecessor_of_this_boot_is_replaced_without_a_gap(store: Store) -> None:
    lease, _ = store.grant(60)
    namespace = process_identity().split("/")[0]
    old = asdict(info(pid=2**22 + 1, process=f"{namespace}/{2**22 + 1}/1"))
    store.transact(puts={"members/n1": Leased(old, lease)})
    seen: list[object] = []
    watch = store.watch(store.read("members/"), lambda changes, _rev: seen.extend(c.value for c in changes))
    membership = Membership(store, info())
    membership.join(wait_s=0.0)
    wait_until(lambda: seen)
    watch.stop()
    assert None not in seen
    membership.leave()


def test_an_entry_whose_writing_was_not_answered_is_not_taken_away_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others conclude from a missing entry that its last renewal is at least a TTL ago."""
    membership = Membership(store, info(ttl_s=60))
    transact = store.transact

    def unanswered(*args: Any, **options: Any) -> Any:
        transact(*args, **options)
        raise StoreUnavailable("the answer was lost")

    monkeypatch.setattr(store, "transact", unanswered)
    with pytest.raises(StoreUnavailable):
        membership.join()
    monkeypatch.undo()
    snapshot = store.read("members/")
    assert members_of(snapshot) == {"n1": membership.info}
    seen: list[object] = []
    watch = store.watch(snapshot, lambda changes, _rev: seen.extend(c.value for c in changes))
    again = Membership(store, membership.info)
    again.join(wait_s=0.0)
    wait_until(lambda: seen)
    watch.stop()
    assert None not in seen
    again.leave()


def test_predecessor_is_dead_only_by_proof() -> None:
    me = info(process="pid:[7]/10/500")
    assert not is_dead_predecessor(me, me)
    assert not is_dead_predecessor(replace(me, boot_id="boot-0", process="pid:[7]/11/400"), me)
    assert not is_dead_predecessor(replace(me, process=""), me)
    assert not is_dead_predecessor(replace(me, process="pid:[8]/11/400"), me)
    alive = replace(me, process=process_identity(), pid=info().pid)
    assert not is_dead_predecessor(alive, replace(alive, process=alive.process.split("/")[0] + "/1/1"))


def test_loss_is_told_once_and_ends_the_membership(store: Store) -> None:
    reasons: list[str] = []
    told = threading.Event()
    membership = Membership(store, info(), lambda reason: (reasons.append(reason), told.set()))  # type: ignore[arg-type,func-returns-value]
    membership.join()
    store.revoke(store.read("members/n1").entries["members/n1"].lease)
    assert told.wait(30)
    assert len(reasons) == 1
    assert membership.renewed_until() == float("-inf")
    membership.leave()


@pytest.mark.parametrize("taken", [False, True], ids=["deleted", "taken over"])
def test_a_lease_that_lives_without_its_key_is_no_membership(store: Store, taken: bool) -> None:
    """Others go by the key: a member that only looked at its lease would go on for ever, seen by nobody."""
    told = threading.Event()
    membership = Membership(store, info(), lambda _reason: told.set())
    membership.join()
    if taken:
        lease, _ = store.grant(60)
        store.transact(puts={"members/n1": Leased(asdict(info(id="other", boot_id="boot-2")), lease)})
    else:
        store.transact(deletes=["members/n1"])
    assert told.wait(30)
    assert membership.renewed_until() == float("-inf")
    membership.leave(clean=False)


def test_renewal_survives_a_hang_shorter_than_the_lease(etcd_server: EtcdServer, store: Store) -> None:
    lost: list[str] = []
    membership = Membership(store, info(ttl_s=10), lost.append)
    membership.join()
    before = membership.renewed_until()
    etcd_server.freeze()
    wait_until(lambda: store.staleness_s() > 2.5)
    frozen_at = membership.renewed_until()
    etcd_server.thaw()
    wait_until(lambda: membership.renewed_until() > frozen_at)
    assert membership.renewed_until() > before
    assert lost == []
    membership.leave()


def test_update_is_seen_by_others_and_keeps_the_lease(store: Store) -> None:
    membership = Membership(store, info())
    membership.join()
    membership.update(replace(membership.info, self_fence=3.5))
    assert members_of(store.read("members/"))["n1"].self_fence == 3.5
    membership.leave()
    assert members_of(store.read("members/")) == {}


def test_a_goodbye_outlives_the_member_for_a_leader_yet_to_come_and_ends_with_the_next_membership(store: Store) -> None:
    """A leader that was stopped is missed by nobody before the next one leads, who would have had its node fenced."""
    membership = Membership(store, info())
    membership.join()
    assert store.read("goodbyes/").entries == {}
    membership.leave()
    assert set(store.read("goodbyes/").entries) == {"goodbyes/n1"}
    again = Membership(store, info())
    again.join()
    assert store.read("goodbyes/").entries == {}
    again.leave(clean=False)
    assert store.read("goodbyes/").entries == {}
