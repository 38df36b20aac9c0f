"""How a lost instance is drawn to the standby that waits for it: a node attribute and a location that reads it.

The mark is recorded like everything that decides, so `hamgr simulate --live` sees it too; it is taken away as soon as
the resource has started again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from hamgr.cib import history
from hamgr.cib.model import Cib, Expression, Location, NodeState, Rule
from hamgr.scheduler import schedule
from hamgr.scheduler.simulator import execute

_PREFIX = "parked-"


def attribute(resource: str) -> str:
    """The name of a resource's mark."""
    return f"{_PREFIX}{resource}"


def mark(state: NodeState, resource: str) -> NodeState:
    """The state of the node whose standby is to take a resource over."""
    return history.set_attributes(state, {attribute(resource): "INFINITY"})


def unmark(state: NodeState, resource: str = "") -> NodeState:
    """The state without a resource's mark, or without any."""
    return history.set_attributes(state, dict.fromkeys(_marks(state, resource)))


def is_marked(state: NodeState, resource: str = "") -> bool:
    """Whether the node has a resource's mark, or any."""
    return bool(_marks(state, resource))


def drawn(cib: Cib) -> Cib:
    """The CIB with a location for each mark: score INFINITY where the attribute is."""
    marked = {name for state in cib.node_states for name in _marks(state)}
    return replace(cib, constraints=(*cib.constraints, *(_location(name) for name in sorted(marked))))


def would_stay(cib: Cib, resource: str, node: str, now: datetime) -> bool:
    """Whether a resource that its mark draws to a node would be left there once it is up and the mark is gone."""
    there = execute(cib, schedule(cib, now), now).cib
    without = replace(there, node_states=tuple(unmark(state, resource) for state in there.node_states))
    return not any(
        action.resource == resource and action.node == node and action.task in ("stop", "migrate_to")
        for action in schedule(without, now).actions
    )


def _marks(state: NodeState, resource: str = "") -> list[str]:
    return [name for name in state.attributes if name == attribute(resource) or (not resource and _is_mark(name))]


def _is_mark(name: str) -> bool:
    return name.startswith(_PREFIX)


def _location(name: str) -> Location:
    rule = Rule(f"{name}-rule", (Expression(name, "defined"),), score_attribute=name)
    return Location(name, name.removeprefix(_PREFIX), rules=(rule,))
