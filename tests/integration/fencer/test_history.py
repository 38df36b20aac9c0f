"""Fence records in etcd under the leader's token: bounded, resumed by the next leader, closed to the last one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from fixtures.etcd import EtcdServer
from fixtures.fence_world import OTHER_IN_USE, World
from fixtures.fences import a_record
from fixtures.waiting import wait_until

from hamgr.fencer import (
    EtcdRecords,
    Fencer,
    FencerDeps,
    FencingConfig,
    NotOurs,
    Outcome,
    Phase,
    Target,
    reason,
    records_of,
)
from hamgr.store import Leadership, Store, StoreConfig

pytestmark = pytest.mark.etcd


@pytest.fixture
def store(etcd_server: EtcdServer) -> Iterator[Store]:
    opened = Store(StoreConfig((etcd_server.endpoint,), cluster="t", attempt_timeout_s=0.5, request_timeout_s=1.0))
    yield opened
    opened.close()


def leader(store: Store, node: str) -> Leadership:
    leadership = Leadership(store, node, ttl_s=60)
    assert leadership.campaign() is not None
    return leadership


def test_history_is_bounded_and_pending_fences_are_kept(store: Store) -> None:
    records = EtcdRecords(store, leader(store, "n1"), keep=3)
    pending = replace(a_record(), id="0-pending")
    records.save(pending)
    for number in range(1, 7):
        records.save(replace(a_record(), id=f"{number}-ended", outcome=Outcome.SUCCEEDED))
    assert [record.id for record in records.load()] == ["0-pending", "4-ended", "5-ended", "6-ended"]
    again = EtcdRecords(store, leader_again(store), keep=3)
    again.load()
    again.save(replace(pending, outcome=Outcome.FAILED))
    assert [record.id for record in again.load()] == ["0-pending", "5-ended", "6-ended"]


def test_the_order_is_etcds_not_the_clocks(store: Store) -> None:
    """Ids begin with the time; the clock was set back between these two."""
    records = EtcdRecords(store, leader(store, "n1"), keep=1)
    for number in ("9-first", "1-second"):
        failed = replace(a_record(), id=number, outcome=Outcome.FAILED, target=Target("n1", (("default", "db-n1"),)))
        records.save(replace(failed, outcome=Outcome.PENDING))
    assert [record.id for record in records.load()] == ["9-first", "1-second"]
    for number in ("9-first", "1-second"):
        records.save(replace(a_record(), id=number, outcome=Outcome.FAILED))
    assert [record.id for record in records.load()] == ["1-second"]


def test_the_last_fence_of_a_node_is_kept_for_as_long_as_somebody_may_ask_whether_it_is_back(store: Store) -> None:
    records = EtcdRecords(store, leader(store, "n1"), keep=2)
    records.save(replace(a_record(), id="n9", outcome=Outcome.SUCCEEDED, target=Target("n9")))
    for number in range(5):
        records.save(replace(a_record(), id=f"{number}-ended", outcome=Outcome.SUCCEEDED))
    assert [record.id for record in records.load()] == ["n9", "3-ended", "4-ended"]


def leader_again(store: Store) -> Leadership:
    store.transact(deletes=["leader"])
    return leader(store, "n2")


def test_a_record_that_is_none_does_not_hide_the_others(store: Store) -> None:
    records = EtcdRecords(store, leader(store, "n1"))
    records.save(a_record())
    store.transact(puts={"fences/odd": {"what": "is this"}})
    assert len(records_of(store.read("fences/"))) == 1


def test_a_deposed_leader_cannot_write_a_record(store: Store) -> None:
    old = EtcdRecords(store, leader(store, "n1"))
    assert old.still_ours()
    new = leader_again(store)
    with pytest.raises(NotOurs):
        old.save(a_record())
    assert not old.still_ours()
    assert store.read("fences/").values == {}
    assert new.valid()


def test_the_next_leader_ends_what_a_deposed_one_began(store: Store, world: World) -> None:
    first = EtcdRecords(store, leader(store, "n3"))
    world.attacher.allowed.clear()
    abandoned = Fencer(FencerDeps(world.kube, first, FencingConfig(), "t", "n3", {}))
    record = abandoned.fence(Target("n1"), reason("node-lost", node="n1"), "hamgrd n3")
    wait_until(lambda: [r.phase for r in records_of(store.read("fences/"))] == [Phase.DETACH] and not world.pods())
    first_token = first.token
    second = EtcdRecords(store, leader_again(store))
    (left,) = second.load()
    assert left.outcome is Outcome.PENDING
    successor = Fencer(FencerDeps(world.kube, second, FencingConfig(), "t", "n2", {}))
    assert successor.resume(left)
    assert not successor.resume(left)
    world.attacher.allowed.set()
    wait_until(lambda: records_of(store.read("fences/"))[0].outcome is Outcome.SUCCEEDED)
    wait_until(lambda: not abandoned.active())
    (ended,) = records_of(store.read("fences/"))
    assert (ended.id, ended.executed_by, ended.proofs[0].by) == (record.id, "n2", "n2")
    assert ended.tokens == (first_token, second.token)
    assert world.in_use() == [OTHER_IN_USE, world.volume.released_mark]
    abandoned.close()
    successor.close()


def test_a_fence_waits_out_a_hang_of_etcd(etcd_server: EtcdServer, store: Store, world: World) -> None:
    leadership = leader(store, "n2")
    records = EtcdRecords(store, leadership)
    world.attacher.allowed.clear()
    fencer = Fencer(FencerDeps(world.kube, records, FencingConfig(), "t", "n2", {}))
    fencer.fence(Target("n1"), reason("node-lost", node="n1"), "hamgrd n2")
    wait_until(lambda: [r.phase for r in records_of(store.read("fences/"))] == [Phase.DETACH] and not world.pods())
    etcd_server.freeze()
    world.attacher.allowed.set()
    wait_until(lambda: world.attachments() == [] and store.staleness_s() > 1.5)
    assert world.volume.unique_name in world.in_use()  # no release before the proof is written down
    etcd_server.thaw()
    wait_until(lambda: records_of(store.read("fences/"))[0].outcome is Outcome.SUCCEEDED)
    assert world.in_use() == [OTHER_IN_USE, world.volume.released_mark]
    fencer.close()
