"""What a fence leaves on record of what ran where it was."""

from __future__ import annotations

from dataclasses import replace

import pytest
from fixtures.fences import a_record
from fixtures.term_world import ModelEtcd, ModelLeadership, World

from hamgr.cib import history
from hamgr.cib.history import Result
from hamgr.cib.model import Agent, OpRecord
from hamgr.controller.aftermath import Aftermath
from hamgr.controller.membership import Standing
from hamgr.controller.recorded import Journal, Recorded
from hamgr.fencer.records import Outcome

VOLUME, POD = Agent("ocf", "volume", "hamgr"), Agent("ocf", "pod", "hamgr")


@pytest.fixture
def recorded() -> Recorded:
    """A node on which a disk, a database that is monitored and a web server were started."""
    made = Recorded(Journal(ModelLeadership(ModelEtcd())))  # type: ignore[arg-type]
    for resource, agent in (("disk", VOLUME), ("db", POD), ("web", POD)):
        start = Result(resource, agent, "start", "n1", call_id=made.next_call_id(), last_rc_change=10)
        made.update("n1", lambda state, start=start: history.record_result(state, start))
    monitor = Result("db", POD, "monitor", "n1", interval_ms=10_000, call_id=made.next_call_id())
    made.update("n1", lambda state: history.record_result(state, monitor))
    return made


@pytest.fixture
def aftermath(recorded: Recorded) -> Aftermath:
    return Aftermath(recorded, World().term.fences, "leader-7", lambda: 1000.9)


def operations(recorded: Recorded) -> dict[str, list[str]]:
    return {entry.id: [op.operation for op in entry.ops] for entry in recorded.state("n1").resources}


def last_of(recorded: Recorded, resource: str) -> OpRecord:
    (entry,) = [entry for entry in recorded.state("n1").resources if entry.id == resource]
    return entry.ops[-1]


def test_what_a_detach_has_stopped_is_on_record_as_stopped(recorded: Recorded, aftermath: Aftermath) -> None:
    aftermath.stopped("n1", ("disk", "db"), detached=True)
    assert {name: last_of(recorded, name).operation for name in ("disk", "db", "web")} == {
        "disk": "stop",
        "db": "stop",
        "web": "start",
    }
    assert "monitor" not in operations(recorded)["db"]
    assert (last_of(recorded, "db").rc, last_of(recorded, "db").op_status) == (0, history.DONE)


def test_a_disk_that_an_orderly_stop_has_left_attached_is_still_on_record_as_there(
    recorded: Recorded, aftermath: Aftermath
) -> None:
    """Else the scheduler would have it attached elsewhere before it is detached here."""
    aftermath.stopped("n1", ("disk", "db"), detached=False)
    assert (last_of(recorded, "disk").operation, last_of(recorded, "db").operation) == ("start", "stop")


def test_of_what_is_not_on_record_nothing_is_put_there(recorded: Recorded, aftermath: Aftermath) -> None:
    before = recorded.state("n1")
    aftermath.stopped("n1", ("unheard-of",), detached=True)
    assert recorded.state("n1") == before


def test_the_stop_is_the_newest_operation_and_this_leaders(recorded: Recorded, aftermath: Aftermath) -> None:
    aftermath.stopped("n1", ("db",), detached=True)
    stop = last_of(recorded, "db")
    assert stop.call_id == 5
    assert stop.last_rc_change == 1000
    assert "leader-7" in stop.transition_key


def test_a_ban_keeps_a_resource_away_until_somebody_cleans_up(recorded: Recorded, aftermath: Aftermath) -> None:
    aftermath.ban("db", "n1")
    assert recorded.state("n1").attributes == {
        "fail-count-db#monitor_0": "INFINITY",
        "last-failure-db#monitor_0": "1000",
    }


def test_a_fenced_node_is_down_with_nothing_on_it_and_that_fence_is_settled(recorded: Recorded) -> None:
    fences = World().term.fences
    fence = replace(a_record(), outcome=Outcome.SUCCEEDED)
    fences.note(fence)
    Aftermath(recorded, fences, "leader-7", lambda: 1000.9).fenced("n1")
    assert (recorded.state("n1").resources, recorded.standing("n1")) == ((), Standing.FENCED)
    assert recorded.settled_fence("n1") == fence.id


def test_a_node_that_was_fenced_by_nobody_we_know_of_is_settled_all_the_same(
    recorded: Recorded, aftermath: Aftermath
) -> None:
    aftermath.fenced("n1")
    assert (recorded.standing("n1"), recorded.settled_fence("n1")) == (Standing.FENCED, "")
