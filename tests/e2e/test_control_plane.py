"""etcd, the API server and hamgrd's own stumbling: nobody is fenced for it, and nothing that runs is stopped."""

from __future__ import annotations

import pytest
from fixtures.live_cluster import stays
from hamgr_sandbox import processes

from hamgr.fencer.records import Outcome

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.timeout(200)]


def leads_again(live, after):
    entry = live.store.get("leader") if live.leader() else None
    return entry is not None and entry.create_revision > after


def test_api_server_killed_and_back(live):
    identity, fences = live.identity(), len(live.fences())
    with live.writing("api"):
        live.sandbox.kill_program("apiserver")
        # Longer than api-stale: leaders notice that they are blind.
        assert stays(lambda: len(live.fences()) == fences, 120)
        live.sandbox.start("apiserver")
        live.wait(lambda: live.identity() == identity)
        live.await_whole()
    assert live.identity() == identity
    assert len(live.fences()) == fences


@pytest.mark.parametrize("how", ["killed", "frozen"])
def test_etcd_away_for_longer_than_every_lease(live, how):
    identity, fences = live.identity(), len(live.fences())
    token = live.store.get("leader").create_revision
    with live.writing(f"etcd-{how}") as writer:
        if how == "killed":
            live.sandbox.kill_program("etcd")
        else:
            live.sandbox.freeze("etcd")
        assert stays(lambda: live.identity() == identity, 80)
        live.await_more(writer)  # clients notice nothing
        if how == "killed":
            live.sandbox.start("etcd")
        else:
            live.sandbox.thaw("etcd")
        live.wait(lambda: live.leader())
        live.await_whole()
    assert live.identity() == identity
    assert len(live.fences()) == fences
    assert live.store.get("leader").create_revision >= token


def test_a_leader_stopped_past_its_lease_changes_nothing_when_it_goes_on(live):
    """Its node is fenced, as it may be dead; what its hamgrd had under way must not act afterwards."""
    leader, fences = live.leader(), len(live.fences())
    if live.host() != leader:
        assert live.hamgr("move", "database", leader).returncode == 0
        live.wait(lambda: live.active_pod() and live.host() == leader)
        assert live.hamgr("clear", "database").returncode == 0
        live.await_whole()
    before = live.identity()
    token = live.store.get("leader").create_revision
    daemon = live.sandbox.host(leader).service("hamgrd")
    with live.writing("stopped") as writer:
        processes.freeze(daemon)
        try:
            live.wait(lambda: leads_again(live, token))
            live.wait(lambda: live.identity()[0] not in ("", before[0]))
            live.await_more(writer)
            after = live.identity()
        finally:
            processes.thaw(daemon)
        live.await_whole()
        assert live.identity() == after
    (record,) = live.fences()[fences:]
    assert (record.target.node, record.outcome) == (leader, Outcome.SUCCEEDED)
    assert all(each > token for each in record.tokens)  # the stopped leader had no hand in it
