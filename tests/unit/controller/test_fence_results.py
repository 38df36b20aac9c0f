"""What a fence leaves on record of what ran where it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.fences import a_record
from fixtures.leader_world import ModelEtcd, ModelLeadership, World

from hamgr.cib import history
from hamgr.cib.history import Result
from hamgr.cib.model import Agent, OpRecord
from hamgr.controller.fencing.results import FenceResults
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.state.cluster_state import ClusterState, WriteQueue
from hamgr.fencer.records import Outcome

VOLUME, POD = Agent("ocf", "volume", "hamgr"), Agent("ocf", "pod", "hamgr")


@pytest.fixture
def cluster_state() -> ClusterState:
    """A node on which a disk, a database that is monitored and a web server were started."""
    made = ClusterState(WriteQueue(ModelLeadership(ModelEtcd())))  # type: ignore[arg-type]
    for resource, agent in (("disk", VOLUME), ("db", POD), ("web", POD)):
        start = Result(resource, agent, "start", "n1", call_id=made.next_call_id(), last_rc_change=10)
        made.update("n1", lambda state, start=start: history.record_result(state, start))
    monitor = Result("db", POD, "monitor", "n1", interval_ms=10_000, call_id=made.next_call_id())
    made.update("n1", lambda state: history.record_result(state, monitor))
    return made


@pytest.fixture
def fence_results(cluster_state: ClusterState) -> FenceResults:
    return FenceResults(cluster_state, World().leader.fences, "leader-7", lambda: 1000.9)


def operations(cluster_state: ClusterState) -> dict[str, list[str]]:
    return {entry.id: [op.operation for op in entry.ops] for entry in cluster_state.state("n1").resources}


def last_of(cluster_state: ClusterState, resource: str) -> OpRecord:
    (entry,) = [entry for entry in cluster_state.state("n1").resources if entry.id == resource]
    return entry.ops[-1]


def test_what_a_detach_has_stopped_is_on_record_as_stopped(
    cluster_state: ClusterState, fence_results: FenceResults
) -> None:
    fence_results.stopped("n1", ("disk", "db"), detached=True)
    assert {name: last_of(cluster_state, name).operation for name in ("disk", "db", "web")} == {
        "disk": "stop",
        "db": "stop",
        "web": "start",
    }
    assert "monitor" not in operations(cluster_state)["db"]
    assert (last_of(cluster_state, "db").rc, last_of(cluster_state, "db").op_status) == (0, history.DONE)


def test_a_disk_that_an_orderly_stop_has_left_attached_is_still_on_record_as_there(
    cluster_state: ClusterState, fence_results: FenceResults
) -> None:
    """Else the scheduler would have it attached elsewhere before it is detached here."""
    fence_results.stopped("n1", ("disk", "db"), detached=False)
    assert (last_of(cluster_state, "disk").operation, last_of(cluster_state, "db").operation) == ("start", "stop")


def test_of_what_is_not_on_record_nothing_is_put_there(
    cluster_state: ClusterState, fence_results: FenceResults
) -> None:
    before = cluster_state.state("n1")
    fence_results.stopped("n1", ("unheard-of",), detached=True)
    assert cluster_state.state("n1") == before


def test_the_stop_is_the_newest_operation_and_this_leaders(
    cluster_state: ClusterState, fence_results: FenceResults
) -> None:
    fence_results.stopped("n1", ("db",), detached=True)
    stop = last_of(cluster_state, "db")
    assert stop.call_id == 5
    assert stop.last_rc_change == 1000
    assert "leader-7" in stop.transition_key


def test_a_ban_keeps_a_resource_away_until_somebody_cleans_up(
    cluster_state: ClusterState, fence_results: FenceResults
) -> None:
    fence_results.ban("db", "n1")
    assert cluster_state.state("n1").attributes == {
        "fail-count-db#monitor_0": "INFINITY",
        "last-failure-db#monitor_0": "1000",
    }


def test_a_fenced_node_is_down_with_nothing_on_it_and_that_fence_is_settled(cluster_state: ClusterState) -> None:
    fences = World().leader.fences
    fence = replace(a_record(), outcome=Outcome.SUCCEEDED)
    fences.note(fence)
    FenceResults(cluster_state, fences, "leader-7", lambda: 1000.9).fenced("n1")
    assert (cluster_state.state("n1").resources, cluster_state.membership("n1")) == ((), MembershipState.FENCED)
    assert cluster_state.settled_fence("n1") == fence.id


def test_a_node_that_was_fenced_by_nobody_we_know_of_is_settled_all_the_same(
    cluster_state: ClusterState, fence_results: FenceResults
) -> None:
    fence_results.fenced("n1")
    assert (cluster_state.membership("n1"), cluster_state.settled_fence("n1")) == (MembershipState.FENCED, "")
