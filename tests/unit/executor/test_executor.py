"""The executor: nothing blocks anything else, monitors report changes, and what is over is over."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping

import pytest
from fixtures.waiting import wait_until

from hamgr.executor.agent import ActionContext, ActionResult, ActionTimeout, Agent
from hamgr.executor.executor import Executor, ExecutorDeps
from hamgr.executor.metadata import Action, Metadata, Parameter
from hamgr.executor.ocf import ExecStatus, Ocf
from hamgr.executor.operations import Op, OpResult
from hamgr.executor.registry import Registry
from hamgr.kube.errors import Forbidden, Unavailable

Behavior = Callable[[ActionContext], ActionResult]
OK = ActionResult(Ocf.OK)


class Scripted(Agent):
    """Does what the test says; counts calls."""

    metadata = Metadata(
        name="scripted",
        version="1",
        shortdesc="s",
        longdesc="l",
        parameters=(Parameter("size", "Size", default="7"),),
        actions=(Action("start", 20),),
    )

    def __init__(self) -> None:
        self.behaviors: dict[str, Behavior] = {}
        self.calls: list[tuple[str, str, str]] = []

    def _do(self, task: str, ctx: ActionContext) -> ActionResult:
        self.calls.append((task, ctx.instance, ctx.node))
        return self.behaviors.get(task, lambda _: OK)(ctx)

    def start(self, ctx: ActionContext) -> ActionResult:
        return self._do("start", ctx)

    def stop(self, ctx: ActionContext) -> ActionResult:
        return self._do("stop", ctx)

    def monitor(self, ctx: ActionContext) -> ActionResult:
        return self._do("monitor", ctx)


class Bench:
    """An executor with a scripted agent and a queue of its results."""

    def __init__(self, workers: int = 8) -> None:
        self.agent = Scripted()
        self.results: queue.Queue[OpResult] = queue.Queue()
        self.executor = Executor(
            Registry({"scripted": self.agent}), self.results.put, ExecutorDeps(cluster="c"), workers=workers
        )
        self.gates: list[threading.Event] = []

    def gate(self) -> threading.Event:
        """Something to wait for, opened at the end of the test at the latest."""
        self.gates.append(threading.Event())
        return self.gates[-1]

    def result(self) -> OpResult:
        return self.results.get(timeout=20)

    def silent(self) -> bool:
        return self.results.empty()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    for gate in made.gates:
        gate.set()
    made.executor.close(5)


def op(task: str, resource: str = "r", node: str = "n1", **more: object) -> Op:
    values: dict[str, object] = {"timeout_ms": 20_000} | more
    return Op(resource=resource, agent="scripted", task=task, node=node, **values)  # type: ignore[arg-type]


def stuck(gate: threading.Event) -> Behavior:
    def wait(_: ActionContext) -> ActionResult:
        gate.wait(60)
        return OK

    return wait


def test_a_result_carries_what_history_needs(bench: Bench) -> None:
    seen: list[Mapping[str, str]] = []

    def start(ctx: ActionContext) -> ActionResult:
        seen.append(ctx.params)
        return ActionResult(Ocf.OK, "up", {"a": "b"})

    bench.agent.behaviors["start"] = start
    bench.executor.run(op("start", key="3:1:0:uuid", params={"x": "y"}))
    result = bench.result()
    assert (result.rc, result.exec_status, result.reason, result.attributes) == (
        Ocf.OK,
        ExecStatus.DONE,
        "up",
        {"a": "b"},
    )
    assert result.op.key == "3:1:0:uuid"
    assert 0 < result.started_at <= result.finished_at
    assert seen == [{"size": "7", "x": "y"}]


def test_a_hung_action_holds_up_nobody_and_is_timed_out(bench: Bench) -> None:
    bench.agent.behaviors["start"] = stuck(bench.gate())
    bench.executor.run(op("start", "hung", timeout_ms=300))
    bench.executor.run(op("monitor", "other"))
    assert bench.result().op.resource == "other"
    late = bench.result()
    assert (late.op.resource, late.rc, late.exec_status) == ("hung", Ocf.ERR_GENERIC, ExecStatus.TIMEOUT)
    assert late.reason == "start of hung on n1 did not end within 0.3 s"
    bench.gates[0].set()
    bench.executor.run(op("monitor", "hung"))
    assert bench.result().op.task == "monitor"
    assert bench.silent()


def test_hung_actions_do_not_use_up_the_workers() -> None:
    bench = Bench(workers=2)
    try:
        bench.agent.behaviors["start"] = stuck(bench.gate())
        for number in range(4):
            bench.executor.run(op("start", f"hung{number}", timeout_ms=200))
        bench.executor.run(op("monitor", "other"))
        assert {bench.result().op.resource for _ in range(5)} == {"hung0", "hung1", "hung2", "hung3", "other"}
    finally:
        bench.gates[0].set()
        bench.executor.close(5)


def test_an_agent_that_gives_up_in_time_explains_itself(bench: Bench) -> None:
    def start(ctx: ActionContext) -> ActionResult:
        wait_until(ctx.over)
        raise ActionTimeout("the disk is still at n2")

    bench.agent.behaviors["start"] = start
    bench.executor.run(op("start", timeout_ms=400))
    result = bench.result()
    assert (result.exec_status, result.reason) == (ExecStatus.TIMEOUT, "the disk is still at n2")


def test_failures_of_all_sorts_become_results(bench: Bench) -> None:
    def refuse(_: ActionContext) -> ActionResult:
        raise Forbidden(403, "Forbidden", "pods is forbidden")

    def explode(_: ActionContext) -> ActionResult:
        raise ZeroDivisionError("oops")

    bench.agent.behaviors |= {"start": refuse, "stop": explode}
    for task, status, words in (
        ("start", ExecStatus.DONE, "pods is forbidden"),
        ("stop", ExecStatus.ERROR, "agent scripted failed in stop of r: ZeroDivisionError: oops"),
        ("promote", ExecStatus.DONE, "has no action 'promote'"),
    ):
        bench.executor.run(op(task))
        result = bench.result()
        assert result.exec_status is status
        assert words in result.reason
        assert result.rc in (Ocf.ERR_GENERIC, Ocf.ERR_UNIMPLEMENTED)
    bench.executor.run(Op(resource="r", agent="nope", task="start", node="n1"))
    unknown = bench.result()
    assert (unknown.rc, unknown.exec_status) == (Ocf.ERR_INSTALLED, ExecStatus.NOT_INSTALLED)


def test_an_api_server_that_does_not_answer_says_nothing_about_a_resource(bench: Bench) -> None:
    down = threading.Event()
    down.set()

    def ask(_: ActionContext) -> ActionResult:
        if down.is_set():
            raise Unavailable(0, "Refused", "the API server refuses connections")
        return OK

    bench.agent.behaviors |= {"monitor": ask, "start": ask}
    bench.executor.run(op("start", "short", timeout_ms=500))
    given_up = bench.result()
    assert (given_up.exec_status, given_up.reason) == (ExecStatus.TIMEOUT, "the API server refuses connections")
    bench.executor.schedule_recurring(op("monitor", interval_ms=10))
    bench.executor.run(op("start", "patient"))
    wait_until(lambda: [call[1] for call in bench.agent.calls].count("r") > 3)
    assert bench.silent()
    down.clear()
    assert {bench.result().rc for _ in range(2)} == {Ocf.OK}


def test_actions_of_one_instance_run_one_after_another(bench: Bench) -> None:
    gate = bench.gate()
    bench.agent.behaviors["start"] = stuck(gate)
    bench.executor.run(op("start"))
    bench.executor.run(op("stop"))
    bench.executor.run(op("stop", node="n2"))
    assert bench.result().op.node == "n2"
    assert [o.task for o in bench.executor.busy()] == ["start", "stop"]
    gate.set()
    assert [bench.result().op.task for _ in range(2)] == ["start", "stop"]
    assert [call[0] for call in bench.agent.calls if call[2] == "n1"] == ["start", "stop"]


def test_the_same_action_asked_for_twice_runs_once(bench: Bench) -> None:
    gate = bench.gate()
    bench.agent.behaviors["start"] = stuck(gate)
    bench.executor.run(op("start", key="first"))
    bench.executor.run(op("start", key="second"))
    bench.executor.run(op("start", key="third", params={"size": "8"}))
    gate.set()
    assert [bench.result().op.key for _ in range(3)] == ["first", "second", "third"]
    assert len(bench.agent.calls) == 2


def test_a_monitor_reports_first_and_then_changes_alone(bench: Bench) -> None:
    outcome = [Ocf.OK]
    bench.agent.behaviors["monitor"] = lambda _: ActionResult(outcome[0])
    bench.executor.schedule_recurring(op("monitor", interval_ms=10))
    assert bench.result().rc is Ocf.OK
    wait_until(lambda: len(bench.agent.calls) > 5)
    assert bench.silent()
    outcome[0] = Ocf.NOT_RUNNING
    assert bench.result().rc is Ocf.NOT_RUNNING
    outcome[0] = Ocf.OK
    assert bench.result().rc is Ocf.OK
    assert bench.silent()


def test_a_monitor_asked_for_again_reports_again(bench: Bench) -> None:
    bench.executor.schedule_recurring(op("monitor", interval_ms=60_000, key="old"))
    assert bench.result().op.key == "old"
    bench.executor.schedule_recurring(op("monitor", interval_ms=60_000, key="new"))
    assert bench.result().op.key == "new"
    assert len(bench.executor.recurring()) == 1


def test_poke_runs_the_monitor_at_once_and_once(bench: Bench) -> None:
    bench.executor.schedule_recurring(op("monitor", interval_ms=3_600_000))
    bench.result()
    for _ in range(20):
        bench.executor.poke("r")
    wait_until(lambda: len(bench.agent.calls) == 2)
    bench.executor.poke("another")
    bench.executor.run(op("start"))
    bench.result()
    assert len([call for call in bench.agent.calls if call[0] == "monitor"]) <= 3


def test_a_nodes_monitors_can_be_poked_together(bench: Bench) -> None:
    for name, node in (("r", "n1"), ("s", "n1"), ("t", "n2")):
        bench.executor.schedule_recurring(op("monitor", name, node=node, interval_ms=3_600_000))
        bench.result()
    bench.executor.poke_node("n1")
    wait_until(lambda: len(bench.agent.calls) == 5)
    assert sorted(call[1:] for call in bench.agent.calls[3:]) == [("r", "n1"), ("s", "n1")]


def test_what_was_heard_of_a_node_counts_from_when_it_was_asked(bench: Bench) -> None:
    gate = bench.gate()
    assert bench.executor.heard_s("n1") is None
    bench.executor.schedule_recurring(op("monitor", interval_ms=3_600_000))
    bench.result()
    assert bench.executor.heard_s("n1") is None  # nothing there has said so itself
    asked: list[float] = []

    def answered(ctx: ActionContext) -> ActionResult:
        asked.append(ctx.clock())
        gate.wait(20)
        return ActionResult(Ocf.ERR_GENERIC, heard=True)

    bench.agent.behaviors["monitor"] = answered
    bench.executor.poke("r")
    wait_until(lambda: len(asked) == 1)
    time.sleep(0.1)  # the answer comes later than the question
    answered_at = time.monotonic()
    gate.set()
    wait_until(lambda: bench.executor.heard_s("n1") is not None)
    heard_s = bench.executor.heard_s("n1")
    assert heard_s is not None
    assert time.monotonic() - heard_s < answered_at
    assert bench.executor.heard_s("n2") is None


def test_a_poke_during_a_run_causes_another(bench: Bench) -> None:
    first = bench.gate()
    bench.agent.behaviors["monitor"] = stuck(first)
    bench.executor.schedule_recurring(op("monitor", interval_ms=3_600_000))
    wait_until(lambda: len(bench.agent.calls) == 1)
    bench.executor.poke("r")
    first.set()
    wait_until(lambda: len(bench.agent.calls) == 2)


def test_a_hung_monitor_is_reported_once_and_not_piled_up(bench: Bench) -> None:
    gate = bench.gate()
    bench.agent.behaviors["monitor"] = stuck(gate)
    bench.executor.schedule_recurring(op("monitor", interval_ms=10, timeout_ms=100))
    assert bench.result().exec_status is ExecStatus.TIMEOUT
    bench.executor.run(op("start", "other", timeout_ms=20_000))
    assert bench.result().op.resource == "other"
    assert [call[0] for call in bench.agent.calls].count("monitor") == 1
    gate.set()
    recovered = bench.result()
    assert (recovered.exec_status, recovered.rc) == (ExecStatus.DONE, Ocf.OK)


def test_a_stop_ends_the_monitors_of_its_instance_alone(bench: Bench) -> None:
    gate = bench.gate()
    bench.executor.schedule_recurring(op("monitor", interval_ms=3_600_000))
    bench.executor.schedule_recurring(op("monitor", interval_ms=3_600_000, node="n2"))
    bench.result(), bench.result()
    bench.agent.behaviors["monitor"] = stuck(gate)
    bench.executor.poke("r")
    wait_until(lambda: len(bench.agent.calls) == 4)
    bench.executor.run(op("stop"))
    assert bench.result().op.task == "stop"  # not held up by the monitor that hangs
    assert [o.node for o in bench.executor.recurring()] == ["n2"]
    gate.set()
    assert bench.silent()


def test_cancelling_a_monitor_drops_its_result(bench: Bench) -> None:
    gate, cancelled = bench.gate(), threading.Event()

    def monitor(ctx: ActionContext) -> ActionResult:
        gate.wait(60)
        if ctx.cancelled():
            cancelled.set()
        return OK

    bench.agent.behaviors["monitor"] = monitor
    bench.executor.schedule_recurring(op("monitor", interval_ms=10))
    wait_until(lambda: bench.agent.calls)
    assert bench.executor.cancel_recurring("r", "monitor", 10, "n1")
    assert not bench.executor.cancel_recurring("r", "monitor", 10, "n1")
    gate.set()
    assert cancelled.wait(20)
    assert bench.executor.close(5)
    assert bench.silent()


def test_a_recurring_operation_needs_an_interval(bench: Bench) -> None:
    with pytest.raises(ValueError, match="has no interval"):
        bench.executor.schedule_recurring(op("monitor"))


def test_a_callback_that_fails_costs_its_own_result_alone() -> None:
    agent, good = Scripted(), threading.Event()

    def take(result: OpResult) -> None:
        if result.op.resource == "bad":
            raise ZeroDivisionError
        good.set()

    executor = Executor(Registry({"scripted": agent}), take, ExecutorDeps(), workers=8)
    executor.run(op("start", "bad"))
    executor.run(op("start", "good"))
    assert good.wait(20)
    assert executor.close(5)


def test_closing_cancels_and_silences(bench: Bench) -> None:
    def start(ctx: ActionContext) -> ActionResult:
        wait_until(ctx.cancelled)
        return OK

    bench.agent.behaviors["start"] = start
    bench.executor.run(op("start"))
    wait_until(lambda: bench.agent.calls)
    assert bench.executor.close(20)
    assert bench.silent()
    stubborn = Bench()
    stubborn.agent.behaviors["start"] = stuck(stubborn.gate())
    stubborn.executor.run(op("start"))
    wait_until(lambda: stubborn.agent.calls)
    assert not stubborn.executor.close(0.1)
    stubborn.gates[0].set()


def test_an_action_for_which_there_is_no_thread_runs_once_there_is_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([True] * 3)
    start = threading.Thread.start

    def scarce(thread: threading.Thread) -> None:
        if thread.name.startswith("r-") and next(refusals, False):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", scarce)
    bench.executor.run(op("start"))
    assert bench.results.get(timeout=30).rc is Ocf.OK
    bench.executor.run(op("stop"))
    assert bench.results.get(timeout=30).rc is Ocf.OK
    assert next(refusals, None) is None


def test_an_odd_round_does_not_end_the_executor(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter([True])
    dispatch = Executor._dispatch

    def odd(executor: Executor, now: float) -> None:
        if next(failures, False):
            raise ValueError("odd")
        dispatch(executor, now)

    monkeypatch.setattr(Executor, "_dispatch", odd)
    bench.executor.run(op("start"))
    assert bench.results.get(timeout=30).rc is Ocf.OK
    assert next(failures, None) is None


def test_a_recurring_operation_waits_for_its_delay_before_its_first_run() -> None:
    time = Clock(100.0)
    agent, results = Scripted(), queue.Queue[OpResult]()
    executor = Executor(Registry({"scripted": agent}), results.put, ExecutorDeps(), workers=8, clock=time.now)
    try:
        executor.schedule_recurring(op("monitor", "late", interval_ms=10_000, start_delay_ms=5_000))
        executor.schedule_recurring(op("monitor", "now", interval_ms=10_000))
        assert results.get(timeout=20).op.resource == "now"
        time.value += 3.0
        executor.schedule_recurring(
            op("monitor", "late", interval_ms=10_000, start_delay_ms=5_000)
        )  # no sooner, no later
        assert results.empty()
        time.value += 2.0
        executor.poke("now")  # whoever sets the clock has to wake it
        assert results.get(timeout=20).op.resource == "late"
    finally:
        executor.close(5)


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self, value: float) -> None:
        self.value = value

    def now(self) -> float:
        return self.value
