"""What is recorded about operations, and that the scheduler understands it."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hamgr.cib import history
from hamgr.cib.model import Agent, Cib, Node, NodeState, NvSet, Op, Primitive
from hamgr.scheduler import schedule

AGENT = Agent("ocf", "Dummy", "pacemaker")
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def result(operation: str, rc: int = 0, target: int = 0, interval: int = 0, call: int = 1) -> history.Result:
    return history.Result("A", AGENT, operation, "n1", interval, rc, target, call_id=call, last_rc_change=1_700_000_000)


def cluster() -> Cib:
    up = tuple(history.member_up(NodeState(name)) for name in ("n1", "n2"))
    return Cib(
        nodes=(Node("n1"), Node("n2")),
        resources=(Primitive("A", AGENT, ops=(Op("monitor", 10_000),)),),
        options=(NvSet((("stonith-enabled", "false"),)),),
        node_states=up,
        have_quorum=True,
    )


def keys(cib: Cib) -> set[tuple[str, str]]:
    return {(a.key, a.node) for a in schedule(cib, NOW).actions}


def test_a_fresh_cluster_is_probed_before_the_start() -> None:
    assert keys(cluster()) == {
        ("A_monitor_0", "n1"),
        ("A_monitor_0", "n2"),
        ("A_start_0", "n1"),
        ("A_monitor_10000", "n1"),
    }


def test_nothing_is_left_to_do_after_everything_was_recorded() -> None:
    cib = cluster()
    for _ in range(2):
        transition = schedule(cib, NOW)
        for call, action in enumerate(
            sorted(transition.actions, key=lambda a: (a.task != "monitor" or a.interval_ms, a.interval_ms)), 1
        ):
            assert action.agent is not None
            cib = history.record(
                cib,
                history.Result(
                    action.history_id,
                    action.agent,
                    action.task,
                    action.node,
                    action.interval_ms,
                    action.target_rc,
                    action.target_rc,
                    call_id=call,
                    op_digest=action.op_digest,
                ),
            )
    assert schedule(cib, NOW).actions == ()


def test_a_failed_monitor_counts_and_is_kept_as_last_failure() -> None:
    state = history.record_result(NodeState("n1"), result("monitor", 7, 0, 10_000))
    assert state.attributes["fail-count-A#monitor_10000"] == "1"
    assert state.attributes["last-failure-A#monitor_10000"] == "1700000000"
    assert [op.id for op in state.resources[0].ops] == ["A_last_failure_0"]
    again = history.record_result(state, result("monitor", 7, 0, 10_000, call=2))
    assert again.attributes["fail-count-A#monitor_10000"] == "2"


def test_a_failed_start_is_fatal_unless_told_otherwise() -> None:
    assert history.record_result(NodeState("n1"), result("start", 1)).attributes["fail-count-A#start_0"] == "INFINITY"
    mild = history.record_result(NodeState("n1"), result("start", 1), start_failure_is_fatal=False)
    assert mild.attributes["fail-count-A#start_0"] == "1"


def test_a_probe_that_finds_something_does_not_count_as_failure() -> None:
    state = history.record_result(NodeState("n1"), result("monitor", 0, 7))
    assert state.attributes == {}


def test_operations_without_interval_replace_each_other() -> None:
    state = history.record_result(NodeState("n1"), result("start"))
    state = history.record_result(state, result("monitor", interval=10_000, call=2))
    state = history.record_result(state, result("stop", call=3))
    assert {op.operation for op in state.resources[0].ops} == {"stop", "monitor"}


def test_clearing_forgets_counts_and_the_failure() -> None:
    state = history.record_result(NodeState("n1"), result("monitor", 7, 0, 10_000))
    state = history.clear_failures(state, "A")
    assert state.attributes == {}
    assert state.resources[0].ops == ()


def test_clearing_one_operation_leaves_the_others() -> None:
    state = history.record_result(NodeState("n1"), result("monitor", 7, 0, 10_000))
    state = history.record_result(state, result("start", 1, call=2))
    state = history.clear_failures(state, "A", "monitor", 10_000)
    assert set(state.attributes) == {"fail-count-A#start_0", "last-failure-A#start_0"}


def test_fencing_forgets_everything_and_leaving_keeps_history() -> None:
    state = history.record_result(history.member_up(NodeState("n1", attributes={"x": "1"})), result("start"))
    fenced, left = history.member_fenced(state), history.member_left(state)
    assert (fenced.resources, fenced.attributes, fenced.expected) == ((), {}, "down")
    assert left.resources == state.resources
    assert left.attributes == {}


def test_a_node_state_survives_json() -> None:
    state = history.record_result(history.member_up(NodeState("n1", "1")), result("monitor", 7, 0, 10_000))
    assert history.from_json(json.loads(json.dumps(history.to_json(state)))) == state
