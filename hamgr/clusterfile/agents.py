"""What the cluster file must know of an agent to check a resource and to fill in what was left out.

The agents themselves live further up (`hamgr.executor`); whoever reads a cluster file hands their descriptions in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hamgr.cib import model


@dataclass(frozen=True, slots=True)
class ParameterSpec:
    """One parameter of an agent."""

    name: str
    required: bool = False
    type: str = "string"  # string, integer, boolean, duration, select, object (a YAML mapping or list, kept as JSON)
    choices: tuple[str, ...] = ()  # of type select
    summary: str = ""
    unique: bool = False  # no two resources of the agent may have the same value


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """One action of an agent with the times that its author advises; an interval above 0 makes it a monitor."""

    name: str
    timeout_ms: int = 0  # 0: no advice
    interval_ms: int = 0
    role: str = ""


@dataclass(frozen=True, slots=True)
class AgentSpec:
    """One agent, by the name that the cluster file uses for it."""

    name: str
    parameters: Mapping[str, ParameterSpec] = field(default_factory=dict)
    actions: tuple[ActionSpec, ...] = ()
    # Groups of parameters of which exactly one must be given, such as (template, template-from).
    exactly_one_of: tuple[tuple[str, ...], ...] = ()


def agent_of(name: str) -> model.Agent:
    """A cluster file's agent name as class, provider and type; a bare name is one of hamgr's own agents."""
    standard, _, rest = name.partition(":")
    if not rest:
        return model.Agent("ocf", name, "hamgr")
    provider, _, kind = rest.rpartition(":")
    return model.Agent(standard, kind, provider)


def name_of(agent: model.Agent) -> str:
    """The inverse of `agent_of`."""
    if (agent.standard, agent.provider) == ("ocf", "hamgr"):
        return agent.type
    return ":".join(part for part in (agent.standard, agent.provider, agent.type) if part)
