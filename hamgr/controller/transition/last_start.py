"""With what instances were started: recorded before each start, and what their stop goes by.

The configuration says how an instance is to be started next. The one that runs was made by an earlier one, whose
namespace, claim or template may be another, or gone: stopping it by the new one stops something else, or nothing, and
says that all is well. So Pacemaker's controller keeps the parameters of the last start for the stop (stop_params in
controld_execd.c). Here they are part of the history, because the leader that stops is often not the one that started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from hamgr.cib import history
from hamgr.cib.digest import digest
from hamgr.cib.durations import parse_ms
from hamgr.cib.model import Agent, Cib, NodeState, NvSet, Primitive, ResourceHistory, Started
from hamgr.controller.tree import Configured
from hamgr.executor.agent import Agent as Runner
from hamgr.executor.agent import without_passwords
from hamgr.executor.registry import UnknownAgent
from hamgr.scheduler.transition import GraphAction

STARTS = frozenset({"start", "migrate_from"})
STOPS = frozenset({"stop", "demote"})
_TIMED = ("stop", "demote")
_DEFAULT_TIMEOUT_MS = 20_000
_FOUND = (0, 8)  # exit codes of a monitor that found the instance


class Agents(Protocol):
    """The installed agents; `hamgr.executor.registry.Registry`."""

    def get(self, name: str) -> Runner:
        """Raises UnknownAgent."""


def started_with(configured: Configured, action: GraphAction, agents: Agents) -> Started:
    """What is recorded when an action starts (or finds) an instance: its parameters, its time-outs as configured."""
    assert action.agent is not None
    resource = _base(action.resource)
    primitive = configured.primitives.get(resource)
    return Started(
        action.agent,
        recorded_params(action.agent, action.params, agents),
        {} if primitive is None else _timeouts(configured.cib, primitive),
        action.op_digest,
        configured.groups.get(resource, ""),
    )


def recorded_params(agent: Agent, params: Mapping[str, str], agents: Agents) -> dict[str, str]:
    """Of an instance's parameters those that are put on record."""
    runner = _runner(agent, agents)
    return without_passwords(params) if runner is None else runner.to_record(params)


def found(action: GraphAction, rc: int) -> bool:
    """Whether a probe has found an instance."""
    return action.task == "monitor" and not action.interval_ms and rc in _FOUND


def as_started(action: GraphAction, started: Started | None, agents: Agents) -> GraphAction:
    """A stop or demotion as it is to be carried out: of the instance that was started, by the agent that started it.

    What is private is on no record: it is taken from the configuration, as far as that still has it.
    """
    if started is None or action.task not in STOPS or action.agent is None:
        return action
    public = recorded_params(action.agent, action.params, agents)
    private = {name: value for name, value in action.params.items() if name not in public}
    return replace(action, agent=started.agent, params={**private, **started.params})


def timeout_ms(configured: Configured, action: GraphAction, started: Started | None, agents: Agents) -> int:
    """How long an action may take. One on what is not configured any more: as long as when it was, else as long as its
    agent advises. The scheduler, which knows neither, gives it 20 s, and a stop that fails costs the node."""
    if _base(action.resource) in configured.primitives or action.agent is None:
        return action.timeout_ms or _DEFAULT_TIMEOUT_MS
    if started is not None and action.task in started.timeouts:
        return started.timeouts[action.task]
    runner = _runner(action.agent, agents)
    advised = [] if runner is None else [a.timeout_s for a in runner.metadata.actions if a.name == action.task]
    return max([action.timeout_ms or _DEFAULT_TIMEOUT_MS, *(round(seconds * 1000) for seconds in advised)])


def is_findable(configured: Configured, entry: ResourceHistory, agents: Agents) -> bool:
    """Whether a probe, which goes by the configuration, looks for the instance that is on record.

    Parameters that depend on rules are taken for unchanged.
    """
    primitive = configured.primitives.get(_base(entry.id))
    if primitive is None:
        return False
    if entry.started is None or any(nvset.rule is not None for nvset in primitive.params):
        return True
    plain = dict(pair for nvset in reversed(primitive.params) for pair in nvset.pairs)
    now = (primitive.agent, recorded_params(primitive.agent, plain, agents))
    return now == (entry.started.agent, dict(entry.started.params))


def completed(configured: Configured, state: NodeState, agents: Agents) -> NodeState:
    """A node's state, in which what runs, and whose start was recorded without its parameters (by an earlier version),
    has those of the configuration, if they are the ones that it was started with."""
    for entry in state.resources:
        primitive = configured.primitives.get(_base(entry.id))
        if entry.started is not None or primitive is None or not history.is_active(entry):
            continue
        if any(nvset.rule is not None for nvset in primitive.params) or primitive.agent != entry.agent:
            continue
        plain = dict(pair for nvset in reversed(primitive.params) for pair in nvset.pairs)
        if any(op.op_digest not in ("", digest(plain)) for op in entry.ops if not op.interval_ms):
            continue
        action = GraphAction(
            0,
            "rsc",
            "",
            "start",
            state.name,
            entry.id,
            entry.id,
            agent=primitive.agent,
            params=plain,
            op_digest=digest(plain),
        )
        state = history.note_started(state, entry.id, started_with(configured, action, agents))
    return state


def _timeouts(cib: Cib, primitive: Primitive) -> dict[str, int]:
    """The configured time-outs of what ends an instance, in milliseconds; without those that nobody has set."""
    found: dict[str, int] = {}
    for task in _TIMED:
        op = next((op for op in primitive.ops if op.name == task and not op.interval_ms), None)
        own = {} if op is None else {**_plain(op.meta), **op.attributes}
        text = own.get("timeout") or _plain(cib.op_defaults).get("timeout")
        if text and (ms := parse_ms(text)) > 0:
            found[task] = ms
    return found


def _plain(nvsets: tuple[NvSet, ...]) -> dict[str, str]:
    return dict(pair for nvset in reversed(nvsets) if nvset.rule is None for pair in nvset.pairs)


def _base(instance: str) -> str:
    return instance.partition(":")[0]


def _runner(agent: Agent, agents: Agents) -> Runner | None:
    try:
        return agents.get(agent.type if agent.provider in ("", "hamgr") else f"{agent.provider}:{agent.type}")
    except UnknownAgent:
        return None
