"""An executor whose leader has been deposed: nothing new begins, and what runs is told to end."""

from __future__ import annotations

import threading

from hamgr_agents.dummy import DummyAgent

from hamgr.executor.agent import ActionContext, ActionResult
from hamgr.executor.executor import Executor, ExecutorDeps
from hamgr.executor.ocf import Ocf
from hamgr.executor.operations import Op, OpResult
from hamgr.executor.registry import Registry


class Waiting(DummyAgent):
    """Starts until it is told to end."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()

    def start(self, ctx: ActionContext) -> ActionResult:
        self.begun.set()
        while not ctx.over():
            threading.Event().wait(0.01)
        return ActionResult(Ocf.ERR_GENERIC, "told to end")


def test_a_deposed_leaders_actions_are_told_to_end_and_no_others_begin() -> None:
    leading, ended, agent = threading.Event(), threading.Event(), Waiting()
    leading.set()
    results: list[OpResult] = []

    def on_result(result: OpResult) -> None:
        results.append(result)
        ended.set()

    executor = Executor(Registry({"dummy": agent}), on_result, ExecutorDeps(), workers=8, may_act=leading.is_set)
    try:
        executor.run(Op("db", "dummy", "start", "n1", timeout_ms=60_000))
        assert agent.begun.wait(10)
        leading.clear()
        assert ended.wait(10)
        assert results[0].reason == "told to end"
        agent.begun.clear()
        executor.run(Op("web", "dummy", "start", "n1", timeout_ms=60_000))
        assert not agent.begun.wait(0.2)
    finally:
        executor.close(5)
