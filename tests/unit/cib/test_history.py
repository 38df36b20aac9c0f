"""Recorded history: what an executed operation leaves behind, with values."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from hamgr.cib import history
from hamgr.cib.history import Result
from hamgr.cib.history import record_result as record
from hamgr.cib.model import Agent, NodeState

AGENT = Agent("ocf", "dummy", "hamgr")
N1 = NodeState("n1")


def executed(task: str, **kw: object) -> Result:
    base = Result("db", AGENT, task, "n1", call_id=1, transition=1, action=1, controller="uuid", last_rc_change=100)
    return replace(base, **kw)  # type: ignore[arg-type]


def ids(state: NodeState) -> list[str]:
    return [op.id for resource in state.resources for op in resource.ops]


def test_a_success_is_the_last_operation_and_counts_nothing() -> None:
    state = record(N1, executed("start"))
    assert ids(state) == ["db_last_0"]
    assert state.attributes == {}
    assert state.resources[0].ops[0].transition_magic == "0:0;1:1:0:uuid"
    assert state.resources[0].ops[0].on_node == "n1"


def test_a_failed_start_is_fatal_unless_told_otherwise() -> None:
    state = record(N1, executed("start", rc=1))
    assert ids(state) == ["db_last_0", "db_last_failure_0"]
    assert state.attributes == {"fail-count-db#start_0": "INFINITY", "last-failure-db#start_0": "100"}
    lenient = record(N1, executed("start", rc=1), start_failure_is_fatal=False)
    assert lenient.attributes["fail-count-db#start_0"] == "1"


def test_a_failed_stop_counts_infinity() -> None:
    assert record(N1, executed("stop", rc=1)).attributes["fail-count-db#stop_0"] == "INFINITY"


def test_a_failed_monitor_counts_up_and_keeps_the_record_of_the_running_monitor() -> None:
    state = record(N1, executed("monitor", interval_ms=10000))
    state = record(state, executed("monitor", interval_ms=10000, rc=7, call_id=2))
    state = record(state, executed("monitor", interval_ms=10000, rc=7, call_id=3))
    assert ids(state) == ["db_monitor_10000", "db_last_failure_0"]
    assert history.fail_counts(state) == {"db": 2}


def test_a_probe_that_finds_what_was_not_expected_counts_nothing() -> None:
    state = record(N1, executed("monitor", target_rc=7, rc=0))
    assert "db_last_0" in ids(state)
    assert state.attributes == {}


def test_a_timeout_is_a_failure_whatever_the_exit_code() -> None:
    assert executed("start", rc=0, status=2).failed


def test_a_pending_operation_is_no_failure_and_is_what_a_new_leader_forgets() -> None:
    state = record(N1, executed("start", status=history.PENDING))
    state = record(state, replace(executed("start"), resource="other"))
    after, probed, assumed = history.forget_pending(state)
    assert (probed, assumed) == (("db",), ())
    assert [resource.id for resource in after.resources] == ["other"]


def test_clearing_failures_leaves_other_resources_and_other_operations_alone() -> None:
    state = record(N1, executed("start", rc=1))
    state = record(state, executed("monitor", interval_ms=10000, rc=7))
    state = record(state, replace(executed("start", rc=1), resource="db2"))
    one = history.clear_failures(state, "db", "start", 0)
    assert history.fail_counts(one) == {"db": 1, "db2": 1000000}
    everything = history.clear_failures(state, "db")
    assert history.fail_counts(everything) == {"db2": 1000000}
    assert "db_last_failure_0" not in ids(everything)
    assert "db2_last_failure_0" in ids(everything)


def test_recurring_operations_end_with_their_leader_and_failures_stay() -> None:
    state = record(N1, executed("start"))
    state = record(state, executed("monitor", interval_ms=10000))
    state = record(state, executed("monitor", interval_ms=10000, rc=7))
    assert ids(history.forget_recurring(state)) == ["db_last_0", "db_last_failure_0"]


def test_a_fenced_node_is_remembered_as_down_with_nothing_on_it() -> None:
    state = history.member_lost(record(history.member_up(N1), executed("start", rc=1)))
    assert (state.in_ccm, state.crmd, state.expected) == (False, False, "member")
    down = history.member_fenced(state)
    assert (down.join, down.expected, down.resources, down.attributes) == ("down", "down", (), {})


def test_state_survives_the_way_through_json() -> None:
    state = record(history.member_up(N1), executed("monitor", interval_ms=10000, rc=7, exit_reason="no answer"))
    state = record(state, executed("stop"))
    assert history.from_json(json.loads(json.dumps(history.to_json(state)))) == state
    lost = history.member_lost(state)
    assert history.from_json(history.to_json(lost)) == lost


def test_a_state_without_a_name_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="name"):
        history.from_json({"attributes": {}})


def test_what_no_probe_would_find_counts_as_running_when_its_stop_is_pending() -> None:
    state = record(N1, executed("start"))
    state = record(state, executed("stop", status=history.PENDING))
    after, probed, assumed = history.forget_pending(state, lambda _entry: False)
    assert (probed, assumed) == ((), ("db",))
    (entry,) = after.resources
    assert [(op.operation, op.op_status, op.rc, op.transition_magic[:4]) for op in entry.ops] == [
        ("start", history.DONE, 0, "0:0;")
    ]
