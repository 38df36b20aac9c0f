"""Starts that wait for something outside: a Secret, a claim, a quota. No failures, and no node is the worse for them.

A start whose agent says so (`ActionResult.waiting`) has begun nothing. Its resource is started nowhere until the
agent's action ``may-start`` finds that what was missing is there: every two seconds it asks for the named objects.
Where the agent cannot see what was missing (the API server had refused the pod) the start itself is tried again, after
a pause that doubles up to half a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from hamgr.controller.placement.node_constraints import WAITS, NodeRule
from hamgr.executor.executor import Executor
from hamgr.executor.ocf import ExecStatus, Ocf
from hamgr.executor.operations import Op, OpResult

MAY_START = "may-start"  # the task, and the key of operations that belong to no transition
_ASK_S = 2.0
_LONGEST_S = 30.0
_TIMEOUT_MS = 10_000


@dataclass(slots=True)
class _Wait:
    op: Op
    why: str
    due: float  # monotonic seconds; infinite while the agent is being asked
    pause_s: float
    lifted: bool = False  # its start may be tried: what comes of it decides


class Waiting:
    """The resources that wait. Used by the control thread alone."""

    def __init__(self, executor: Executor, clock: Callable[[], float]) -> None:
        self._executor = executor
        self._clock = clock
        self._waits: dict[str, _Wait] = {}

    def begin(self, op: Op, why: str) -> bool:
        """A start has said that it waits; False: it has said the same before."""
        known = self._waits.get(op.resource)
        pause_s = _ASK_S if known is None else min(known.pause_s * 2, _LONGEST_S)
        self._waits[op.resource] = _Wait(op, why, self._clock() + pause_s, pause_s)
        return known is None or known.why != why

    def end(self, resource: str) -> None:
        """The resource has started, or its start has failed by itself."""
        self._waits.pop(resource, None)

    def forget(self) -> None:
        """Everything may be tried again at once: the configuration is another one, or an operator has asked for it."""
        self._waits.clear()

    def ask(self) -> None:
        """Have the agents look whose time has come."""
        now = self._clock()
        for wait in self._waits.values():
            if not wait.lifted and now >= wait.due:
                wait.due = float("inf")
                self._executor.run(replace(wait.op, task=MAY_START, key=MAY_START, timeout_ms=_TIMEOUT_MS))

    def answered(self, result: OpResult) -> bool:
        """What an agent has found; True: the start may be tried."""
        wait = self._waits.get(result.op.resource)
        if wait is None or wait.lifted:
            return False
        if result.exec_status is ExecStatus.DONE and result.rc is Ocf.OK:
            wait.lifted = True
            return True
        wait.due = self._clock() + _ASK_S
        if result.exec_status is ExecStatus.DONE and result.reason:
            wait.why = result.reason
        return False

    def rules(self) -> tuple[NodeRule, ...]:
        """That none of them is started on any node."""
        return tuple(NodeRule(WAITS, name, "", wait.why) for name, wait in self._waits.items() if not wait.lifted)
