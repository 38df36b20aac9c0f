"""Carrying out a transition's actions: what is put on record before each begins, who does it, and what it became.

Resources' operations go to the executor, fences to the fencer; the rest changes records and is done at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hamgr.cib import history
from hamgr.cib.durations import parse_ms
from hamgr.cib.history import Result
from hamgr.cib.model import Agent, Cib
from hamgr.controller.fencing.fences import Fences
from hamgr.controller.fencing.priority_delay import priority_delay_s
from hamgr.controller.state.cluster_state import ClusterState
from hamgr.controller.transition.last_start import STARTS, as_started, started_with, timeout_ms
from hamgr.controller.transition.run import TransitionRun, concluded
from hamgr.controller.tree import Configured
from hamgr.executor.agent import PARKED_MAY_STAY
from hamgr.executor.executor import Executor
from hamgr.executor.operations import Op, OpResult
from hamgr.executor.registry import Registry
from hamgr.fencer.reasons import reason
from hamgr.scheduler.transition import GraphAction

_OURS = "hamgr"  # the provider of agents that the executor runs


class ActionPerformer:
    """Does what the walk of a course allows. Used by the control thread alone."""

    def __init__(
        self,
        me: str,
        cluster_state: ClusterState,
        executor: Executor,
        fences: Fences,
        *,
        cib: Callable[[], Cib],
        now: Callable[[], float],
        agents: Registry,
        configured: Callable[[], Configured],
    ) -> None:
        """me: this node's name. cib: configuration and recorded state. now: seconds since the epoch."""
        self._me = me
        self._cluster_state = cluster_state
        self._executor = executor
        self._fences = fences
        self._cib = cib
        self._now = now
        self._agents = agents
        self._configured = configured
        self._recurring: dict[tuple[str, str, int, str], Result] = {}  # operation's identity: its record when it began

    def record_intent(self, run: TransitionRun, action: GraphAction) -> None:
        """An action on a resource is on record before it begins, so that the next leader knows to look."""
        if action.kind != "rsc" or action.interval_ms or action.task in ("cancel", "delete", "notify"):
            return
        if action.task == "monitor":
            return
        pending = self._record_of(run, action)
        self._cluster_state.update(action.node, lambda state: history.record_result(state, pending))
        if action.task in STARTS:
            self.note_started(action)

    def note_started(self, action: GraphAction) -> None:
        """Put on record with what an instance is started now, or was found or reloaded just now."""
        started = started_with(self._configured(), action, self._agents)
        self._cluster_state.update(action.node, lambda state: history.note_started(state, _entry(action), started))

    def carry_out(self, run: TransitionRun, action: GraphAction) -> None:
        """Begin an action; one that is done at once is confirmed at once."""
        match action.kind, action.task:
            case "pseudo", _:
                run.graph.confirm(action.id)
            case "crm", "stonith":
                why = reason("scheduler", why=action.reason or run.why)
                delay_s = priority_delay_s(self._cib(), action.node, int(self._now()))
                self._fences.fence_node(action.node, why, self._me, delay_s=delay_s)
            case "crm", "clear_failcount":
                self._cluster_state.update(action.node, lambda s: history.clear_failures(s, action.history_id))
                run.graph.confirm(action.id)
            case "crm", _:
                run.graph.confirm(action.id)
            case _, "cancel":
                self._executor.cancel_recurring(action.resource, action.cancel_task, action.interval_ms, action.node)
                forget = (action.history_id, action.cancel_task, action.interval_ms)
                self._cluster_state.update(action.node, lambda s: history.forget_operation(s, *forget))
                run.graph.confirm(action.id)
            case _, "delete":
                self._cluster_state.update(action.node, lambda s: history.forget_resource(s, action.history_id))
                run.graph.confirm(action.id)
            case _ if action.agent is not None and action.agent.standard == "stonith":
                self._device_action(run, action)
            case _:
                self._start_operation(run, action)

    def executed(self, run: TransitionRun | None, action: GraphAction | None, result: OpResult) -> Result:
        """An operation's record now that it has ended; without an action of this course it is a recurring one that an
        earlier transition began."""
        if action is not None and run is not None:
            return concluded(self._record_of(run, action), result)
        # with its digests: a record without them is taken for one of another definition
        begun = replace(self._recurring[result.op.identity], call_id=self._cluster_state.next_call_id())
        return concluded(begun, result)

    def _device_action(self, run: TransitionRun, action: GraphAction) -> None:
        """A fencing device is the fencer's; as a resource it has nothing to run. A probe finds what is on record."""
        rc = 7 if action.task == "monitor" and not action.interval_ms else 0
        done = replace(self._record_of(run, action), status=history.DONE, rc=rc)
        self._cluster_state.update(action.node, lambda state: history.record_result(state, done))
        run.graph.confirm(action.id)

    def _start_operation(self, run: TransitionRun, action: GraphAction) -> None:
        """Have the executor do it: what ends an instance by what is on record of its start."""
        started = history.last_start(self._cluster_state.state(action.node), _entry(action))
        key = run.key_of(action)
        timeout = timeout_ms(self._configured(), action, started, self._agents)
        record = self._record_of(run, action) if action.interval_ms else None
        action = as_started(action, started, self._agents)
        assert action.agent is not None
        op = Op(
            resource=action.resource.split(":")[0],
            agent=action.agent.type if _is_ours(action.agent) else f"{action.agent.provider}:{action.agent.type}",
            task=action.task,
            node=action.node,
            instance=action.resource,
            interval_ms=action.interval_ms,
            timeout_ms=timeout,
            params=action.params,
            meta={**action.meta, "history_id": _entry(action), **_release(run, action)},
            key=key,
            start_delay_ms=parse_ms(action.meta.get("start-delay")) if action.interval_ms else 0,
        )
        if record is not None:
            self._recurring[op.identity] = record
            self._executor.schedule_recurring(op)
        else:
            self._executor.run(op)

    def _record_of(self, run: TransitionRun, action: GraphAction) -> Result:
        """An action's record while it is under way."""
        ours = action.agent is not None and _is_ours(action.agent)
        force_restart = self._agents.force_restart(action.agent.type) if action.agent is not None and ours else None
        return run.record_of(action, self._cluster_state.next_call_id(), int(self._now()), force_restart)


def _release(run: TransitionRun, action: GraphAction) -> dict[str, str]:
    """For a stop: which parked pods may have what it releases."""
    return {PARKED_MAY_STAY: " ".join(run.pods_to_start())} if action.task == "stop" else {}


def _entry(action: GraphAction) -> str:
    """Under which an action is on record."""
    return action.history_id or action.resource


def _is_ours(agent: Agent) -> bool:
    return agent.provider in ("", _OURS)
