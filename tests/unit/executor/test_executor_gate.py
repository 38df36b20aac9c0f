"""What an action that was called off may still change: nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from hamgr_agents.dummy import DummyAgent

from hamgr.executor.agent import ActionContext, ActionResult
from hamgr.executor.executor import Executor, ExecutorDeps
from hamgr.executor.ocf import Ocf
from hamgr.executor.operations import Op
from hamgr.executor.registry import Registry
from hamgr.kube.errors import Barred


class Gates:
    """Stands in for the gateway: keeps the gates that requests would pass."""

    def __init__(self, *gates: Callable[[str, float], float]) -> None:
        self.gates = gates

    def behind(self, gate: Callable[[str, float], float]) -> Gates:
        return Gates(gate, *self.gates)

    def ask(self) -> None:
        for gate in self.gates:
            gate("DELETE /x", 5.0)


class Late(DummyAgent):
    """Wakes up after it was called off, and goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.thawed, self.ended = threading.Event(), threading.Event(), threading.Event()
        self.refused = False

    def start(self, ctx: ActionContext) -> ActionResult:
        kube: Any = ctx.kube
        kube.ask()
        self.begun.set()
        self.thawed.wait(10)
        try:
            with pytest.raises(Barred, match="called off"):
                kube.ask()
            self.refused = True
        finally:
            self.ended.set()
        return ActionResult(Ocf.OK)


def test_an_action_that_was_called_off_passes_no_gate_though_we_still_lead() -> None:
    agent, gates = Late(), Gates()
    kube: Any = gates
    executor = Executor(Registry({"dummy": agent}), lambda _: None, ExecutorDeps(kube=kube), workers=8)
    try:
        executor.run(Op("db", "dummy", "start", "n1", timeout_ms=60_000))
        assert agent.begun.wait(10)
        executor.abandon("n1")
        agent.thawed.set()
        assert agent.ended.wait(10)
        assert agent.refused
    finally:
        agent.thawed.set()
        executor.close(5)
