"""What is put on record before an action begins, and who carries it out, action by action."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fixtures.leader_world import REGISTRY, ModelEtcd, ModelExecutor, ModelLeadership, World

from hamgr.cib import history
from hamgr.cib.history import Result
from hamgr.cib.model import Agent
from hamgr.controller.state.cluster_state import ClusterState, WriteQueue
from hamgr.controller.transition.limits import Limits
from hamgr.controller.transition.performer import ActionPerformer
from hamgr.controller.transition.run import TransitionRun
from hamgr.executor.ocf import ExecStatus, Ocf
from hamgr.executor.operations import Op, OpResult
from hamgr.fencer.reasons import reason
from hamgr.scheduler.transition import GraphAction, Transition

POD = Agent("ocf", "pod", "hamgr")
DEVICE = Agent("stonith", "fence_x")
START = GraphAction(
    1, "rsc", "db_start_0", "start", "n1", "db", "db", agent=POD, timeout_ms=5_000, params={"image": "i"}
)
MONITOR = replace(START, key="db_monitor_10000", task="monitor", interval_ms=10_000)


class DemoCluster:
    """One performer with its records, and an executor that only remembers."""

    def __init__(self) -> None:
        nobody: Callable[[Op], None] = lambda _op: None  # noqa: E731
        self.executor = ModelExecutor(nobody, nobody)
        self.world = World()
        self.cluster_state = ClusterState(WriteQueue(ModelLeadership(ModelEtcd())))  # type: ignore[arg-type]
        self.performer = ActionPerformer(
            "n3",
            self.cluster_state,
            self.executor,  # type: ignore[arg-type]
            self.world.leader.fences,
            cib=self.world.leader.cib,
            now=lambda: 1000.9,
            agents=REGISTRY,
            configured=lambda: self.world.leader.configured,
        )

    def carry_out(self, action: GraphAction) -> TransitionRun:
        run = TransitionRun.of(4, Transition(actions=(action,)), 0.0, "a test", "leader-7", Limits())
        run.graph.fire(action.id)
        self.performer.carry_out(run, action)
        return run

    def record(self, operation: str, resource: str = "db", agent: Agent = POD, **fields: Any) -> None:
        result = Result(resource, agent, operation, "n1", call_id=self.cluster_state.next_call_id(), **fields)
        self.cluster_state.update("n1", lambda state: history.record_result(state, result))

    @property
    def operations(self) -> dict[str, list[tuple[str, int, int]]]:
        """What is on record of each resource: (operation, its status, its exit code)."""
        found = self.cluster_state.state("n1").resources
        return {entry.id: [(op.operation, op.op_status, op.rc) for op in entry.ops] for entry in found}


@pytest.fixture
def stage() -> DemoCluster:
    return DemoCluster()


@pytest.mark.parametrize("task", ["start", "stop", "promote", "demote", "migrate_to", "reload-agent"])
def test_what_changes_an_instance_is_on_record_before_it_begins(stage: DemoCluster, task: str) -> None:
    action = replace(START, task=task)
    run = TransitionRun.of(4, Transition(actions=(action,)), 0.0, "a test", "leader-7", Limits())
    stage.performer.record_intent(run, action)
    assert [status for _, status, _ in stage.operations["db"]] == [history.PENDING]


@pytest.mark.parametrize(
    "action",
    [
        MONITOR,
        replace(MONITOR, interval_ms=0),
        replace(START, interval_ms=10_000),
        *(replace(START, task=task) for task in ("cancel", "delete", "notify")),
        replace(START, kind="pseudo"),
        replace(START, kind="crm", task="stonith"),
    ],
    ids=lambda action: f"{action.kind} {action.task} {action.interval_ms}",
)
def test_what_changes_nothing_is_not(stage: DemoCluster, action: GraphAction) -> None:
    run = TransitionRun.of(4, Transition(actions=(action,)), 0.0, "a test", "leader-7", Limits())
    stage.performer.record_intent(run, action)
    assert stage.operations == {}


def test_an_operation_is_the_executors_with_all_that_it_needs(stage: DemoCluster) -> None:
    action = replace(START, resource="db:1", history_id="db", meta={"notify": "false"})
    run = stage.carry_out(action)
    assert stage.executor.in_flight == [
        Op(
            "db",
            "pod",
            "start",
            "n1",
            instance="db:1",
            timeout_ms=5_000,
            params={"image": "i"},
            meta={"notify": "false", "history_id": "db"},
            key="1:4:0:leader-7",
        )
    ]
    assert run.graph.in_flight == {1}
    assert stage.executor.monitors == {}


def test_what_is_not_said_has_a_default(stage: DemoCluster) -> None:
    stage.carry_out(replace(START, history_id="", timeout_ms=0))
    (op,) = stage.executor.in_flight
    assert (op.timeout_ms, op.meta["history_id"]) == (20_000, "db")


@pytest.mark.parametrize(
    ("agent", "name"),
    [(POD, "pod"), (Agent("ocf", "pod"), "pod"), (Agent("ocf", "pod", "acme"), "acme:pod")],
)
def test_agents_of_others_are_named_with_their_provider(stage: DemoCluster, agent: Agent, name: str) -> None:
    stage.carry_out(replace(START, agent=agent))
    assert [op.agent for op in stage.executor.in_flight] == [name]


def test_a_recurring_operation_is_begun_and_its_later_results_are_told_by_its_first_record(stage: DemoCluster) -> None:
    run = stage.carry_out(MONITOR)
    (op,) = stage.executor.monitors.values()
    assert op.interval_ms == 10_000
    result = OpResult(op, Ocf.NOT_RUNNING, ExecStatus.DONE, started_at=2000.0, finished_at=2001.0)
    first = stage.performer.executed(run, MONITOR, result)
    assert (first.operation, first.rc, first.status) == ("monitor", 7, history.DONE)
    for gone in ((None, None), (run, None), (None, MONITOR)):
        later = stage.performer.executed(*gone, result)
        assert (later.operation, later.rc, later.op_digest) == ("monitor", 7, first.op_digest)
        assert later.call_id == stage.cluster_state.next_call_id() - 1


def test_what_needs_a_restart_is_recorded_of_our_own_agents_alone(stage: DemoCluster) -> None:
    run = stage.carry_out(START)
    (op,) = stage.executor.in_flight
    result = OpResult(op, Ocf.OK, ExecStatus.DONE, started_at=2000.0, finished_at=2001.0)
    assert stage.performer.executed(run, START, result).op_force_restart == REGISTRY.force_restart("pod")
    foreign = replace(START, agent=Agent("ocf", "pod", "acme"))
    assert stage.performer.executed(run, foreign, result).op_force_restart is None


def test_a_cancel_ends_the_monitor_and_its_record(stage: DemoCluster) -> None:
    stage.record("start")
    stage.record("monitor", interval_ms=10_000)
    stage.carry_out(MONITOR)
    stage.executor.in_flight.clear()
    cancel = replace(MONITOR, task="cancel", cancel_task="monitor")
    run = stage.carry_out(cancel)
    assert stage.executor.monitors == {}
    assert stage.operations == {"db": [("start", 0, 0)]}
    assert run.graph.complete


def test_a_delete_forgets_the_resource_on_that_node(stage: DemoCluster) -> None:
    stage.record("start")
    stage.record("start", "web")
    assert stage.carry_out(replace(START, task="delete")).graph.complete
    assert list(stage.operations) == ["web"]


def test_failures_are_cleared_where_the_scheduler_says_so(stage: DemoCluster) -> None:
    counts = {f"fail-count-{name}#start_0": "2" for name in ("db", "web")}
    stage.cluster_state.update("n1", lambda state: history.set_attributes(state, dict(counts)))
    assert stage.carry_out(replace(START, kind="crm", task="clear_failcount")).graph.complete
    assert list(stage.cluster_state.state("n1").attributes) == ["fail-count-web#start_0"]


@pytest.mark.parametrize("action", [replace(START, kind="pseudo"), replace(START, kind="crm", task="do_shutdown")])
def test_what_nobody_carries_out_is_done_at_once(stage: DemoCluster, action: GraphAction) -> None:
    assert stage.carry_out(action).graph.complete
    assert (stage.executor.in_flight, stage.operations) == ([], {})


@pytest.mark.parametrize(("why", "told"), [("db could not be stopped", "db could not be stopped"), ("", "a test")])
def test_a_fence_is_asked_for_with_the_schedulers_reason(stage: DemoCluster, why: str, told: str) -> None:
    run = stage.carry_out(GraphAction(1, "crm", "stonith-n1-off", "stonith", "n1", fence="off", reason=why))
    (record,) = stage.world.fencer.running.values()
    assert (record.target.node, record.requested_by) == ("n1", "n3")
    assert record.reason == reason("scheduler", why=told)
    assert run.graph.in_flight == {1}


@pytest.mark.parametrize(
    ("task", "interval_ms", "rc"), [("monitor", 0, 7), ("monitor", 10_000, 0), ("start", 0, 0), ("stop", 0, 0)]
)
def test_a_fence_device_has_nothing_to_run(stage: DemoCluster, task: str, interval_ms: int, rc: int) -> None:
    """As a resource it is on record alone; a probe finds what is there: nothing yet."""
    device = replace(
        START, resource="pdu", history_id="pdu", agent=DEVICE, task=task, interval_ms=interval_ms, target_rc=rc
    )
    assert stage.carry_out(device).graph.complete
    assert stage.executor.in_flight == []
    assert stage.operations == {"pdu": [(task, history.DONE, rc)]}
