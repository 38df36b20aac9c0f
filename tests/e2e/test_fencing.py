"""Fences that people ask for, and a fence that outlives the hamgrd that began it."""

from __future__ import annotations

import pytest
from fixtures.live_cluster import stays

from hamgr.fencer.records import Outcome, Phase

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.timeout(200)]


def test_fencing_a_healthy_pod_moves_it_with_proof_and_cleanup_lets_it_come_back(live):
    host, fences = live.host(), len(live.fences())
    name = live.active_pod()["metadata"]["name"]
    with live.writing("fence-pod") as writer:
        done = live.hamgr("fence", name, "--yes")
        assert done.returncode == 0, done.stderr
        last = done.stdout.strip().splitlines()[-1]
        assert last.startswith("proof: ")
        live.wait(lambda: live.moved_from(host))
        live.await_more(writer)
    (record,) = live.fences()[fences:]
    assert record.outcome is Outcome.SUCCEEDED
    assert record.proofs
    assert record.target.pods == (("default", name),)
    live.await_whole()
    assert live.node(host).online  # the node itself was left alone
    assert any(
        (count.resource, count.node, count.count) == ("kv", host, "INFINITY") for count in live.status().failcounts
    )

    cleaned = live.hamgr("cleanup", "kv")
    assert cleaned.stdout.splitlines() == [f"cleaned up kv on {host}"]
    with live.writing("cleanup"):
        assert live.hamgr("move", "database", host).returncode == 0
        live.wait(lambda: live.active_pod() and live.host() == host)
    assert live.hamgr("clear", "database").returncode == 0


def test_fencing_a_healthy_node_moves_what_runs_there_and_it_takes_part_again(live):
    host, fences = live.host(), len(live.fences())
    with live.writing("fence-node") as writer:
        done = live.hamgr("fence", host, "--yes")
        assert done.returncode == 0, done.stderr
        assert "succeeded by level volume" in done.stdout
        live.wait(lambda: live.moved_from(host))
        live.await_more(writer)
        live.await_whole()
    (record,) = live.fences()[fences:]
    assert (record.target.node, record.target.pods, record.outcome) == (host, None, Outcome.SUCCEEDED)
    assert [proof.kind for proof in record.proofs] == ["detached"]
    assert live.node(host).online


def test_a_dry_run_names_the_objects_and_touches_nothing(live):
    before, fences = live.identity(), len(live.fences())
    done = live.hamgr("fence", live.host(), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "VolumeAttachment" in done.stdout
    assert done.stdout.splitlines()[-1] == "nothing was done"
    assert live.identity() == before
    assert len(live.fences()) == fences


def test_a_hamgrd_killed_in_the_middle_of_a_fence_leaves_it_to_the_next_leader(live):
    host, before, fences = live.host(), live.identity(), len(live.fences())
    with live.writing("middle") as writer:
        live.sandbox.storage.hang("detach")
        try:
            live.sandbox.crash(host)
            live.wait(lambda: [r.phase for r in live.fences()[fences:]] == [Phase.DETACH])
            first = live.store.get("leader").create_revision
            live.sandbox.kill_hamgrd(live.leader())
            live.wait(lambda: (key := live.store.get("leader")) and key.create_revision > first)
            second = live.store.get("leader").create_revision
            live.wait(lambda: second in live.fences()[-1].tokens)  # taken over
            # Nothing starts before the proof, whoever leads.
            assert stays(lambda: live.identity()[0] in ("", before[0]) and live.fences()[-1].outcome is Outcome.PENDING)
        finally:
            live.sandbox.storage.clear()
        live.wait(lambda: live.identity()[0] not in ("", before[0]))
        live.await_more(writer)
        (record,) = live.fences()[fences:]  # one fence, begun by one and ended by another
        assert (record.target.node, record.outcome) == (host, Outcome.SUCCEEDED)
        assert [proof.kind for proof in record.proofs] == ["detached"]
        assert first in record.tokens
        assert record.proofs[0].token >= second
        live.sandbox.start(host)
        live.await_whole()
