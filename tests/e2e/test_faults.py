"""The story's five faults: nothing acknowledged is lost, there are never two writers, and the cluster becomes whole."""

from __future__ import annotations

import pytest

from hamgr.fencer.records import Outcome

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.timeout(200)]


def test_pod_deleted(live):
    before, fences = live.identity(), len(live.fences())
    with live.writing("deleted") as writer:
        name = live.active_pod()["metadata"]["name"]
        live.request("delete", f"/api/v1/namespaces/default/pods/{name}")
        live.wait(lambda: live.identity()[0] not in ("", before[0]))
        live.await_more(writer)
    live.await_whole()
    assert len(live.fences()) == fences


def test_container_killed(live):
    uid, restarts = live.identity()
    fences = len(live.fences())
    with live.writing("killed") as writer:
        live.sandbox.kill_container(live.active_pod()["metadata"]["name"])
        live.wait(lambda: live.identity() not in ((uid, restarts), ("", 0)))
        live.await_more(writer)
    live.await_whole()
    assert len(live.fences()) == fences


def test_leading_hamgrd_killed(live):
    identity, leader, fences = live.identity(), live.leader(), len(live.fences())
    token = live.store.get("leader").create_revision
    with live.writing("leader"):
        live.sandbox.kill_hamgrd(leader)
        live.wait(lambda: (key := live.store.get("leader")) and key.create_revision > token)
    live.await_whole()
    assert live.identity() == identity  # nothing was touched
    assert len(live.fences()) == fences


def test_host_crashed(live):
    host, before, fences = live.host(), live.identity(), len(live.fences())
    with live.writing("crashed") as writer:
        live.sandbox.crash(host)
        live.wait(lambda: live.identity()[0] not in ("", before[0]))
        live.await_more(writer)
        assert live.host() != host
        live.sandbox.start(host)
        live.await_whole()  # the node that returned takes part again
    (record,) = live.fences()[fences:]
    assert (record.target.node, record.outcome) == (host, Outcome.SUCCEEDED)
    assert [proof.kind for proof in record.proofs] == ["detached"]


def test_host_partitioned_with_the_application_still_running_there(live):
    host, before, fences = live.host(), live.identity(), len(live.fences())
    with live.writing("outside") as writer, live.insider("inside") as inside:
        live.sandbox.partition(host)
        live.wait(lambda: live.identity()[0] not in ("", before[0]))
        live.await_more(writer)
        assert live.host() != host
    assert inside, "nobody wrote on the far side"
    live.judge([*writer.promises, *inside])  # what the cut-off server promised was kept as well
    live.sandbox.heal(host)
    live.await_whole()
    (record,) = live.fences()[fences:]
    assert (record.target.node, record.outcome) == (host, Outcome.SUCCEEDED)
    found = live.audit([])
    assert found.writers.count(before[0]) == 1  # it did not open the log again
