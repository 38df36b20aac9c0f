"""Which agents are installed: found by the entry point group ``hamgr.agents``, loaded when they are first needed."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points

from hamgr.clusterfile.agents import AgentSpec
from hamgr.executor.agent import Agent

GROUP = "hamgr.agents"


class UnknownAgent(LookupError):
    """No agent of that name is installed, or it cannot be loaded; the message says which, and what there is."""


class Registry:
    """The installed agents by name. Thread-safe; ``agents`` given here take precedence (for tests)."""

    def __init__(self, agents: Mapping[str, Agent] | None = None) -> None:
        self._loaded: dict[str, Agent] = dict(agents or {})
        self._found: dict[str, EntryPoint] = {point.name: point for point in entry_points(group=GROUP)}
        self._lock = threading.Lock()

    def names(self) -> tuple[str, ...]:
        """The names of all agents, sorted."""
        return tuple(sorted(self._found.keys() | self._loaded.keys()))

    def get(self, name: str) -> Agent:
        """The agent of that name. Raises UnknownAgent."""
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load(name)
            return self._loaded[name]

    def specs(self) -> Mapping[str, AgentSpec]:
        """All agents in the words of the cluster file's reader. Raises UnknownAgent when one cannot be loaded."""
        return {name: self.get(name).metadata.spec(name) for name in self.names()}

    def force_restart(self, name: str) -> str | None:
        """`Metadata.force_restart` of that agent; None as well when there is no such agent."""
        try:
            return self.get(name).metadata.force_restart
        except UnknownAgent:
            return None

    def _load(self, name: str) -> Agent:
        point = self._found.get(name)
        if point is None:
            raise UnknownAgent(f"there is no agent {name!r}; installed are {', '.join(self.names()) or 'none'}")
        try:
            agent = point.load()()
        except Exception as error:  # somebody else's package may fail in any way
            raise UnknownAgent(f"agent {name!r} ({point.value}) cannot be loaded: {error}") from error
        if not isinstance(agent, Agent):
            raise UnknownAgent(f"agent {name!r} ({point.value}) is not a subclass of hamgr.executor.agent.Agent")
        return agent
