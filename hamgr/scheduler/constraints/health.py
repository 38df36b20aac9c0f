"""Node health: what monitoring of the machines themselves says about them, as colors or scores in node attributes.

Implements "Tracking Node Health" of Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.cib.booleans import is_true
from hamgr.scheduler.constraints import unpack_constraints
from hamgr.scheduler.state.entities import Node
from hamgr.scheduler.state.working_set import WorkingSet

_STRATEGIES = ("migrate-on-red", "only-green", "progressive", "custom")


def _worth(work: WorkingSet) -> dict[str, int]:
    """What each color counts; empty where nothing is made of health."""
    strategy = work.options.health_strategy
    if strategy not in _STRATEGIES:
        return {}
    colors = {"green": 0, "yellow": 0, "red": -scores.INFINITY}
    if strategy == "only-green":
        colors["yellow"] = -scores.INFINITY
    elif strategy in ("progressive", "custom"):
        for color in colors:
            colors[color] = work.options.score(f"node-health-{color}")
    return colors


def apply(work: WorkingSet) -> None:
    """Turn node health attributes into location constraints."""
    colors = _worth(work)
    if not colors:
        return
    strategy = work.options.health_strategy
    base = work.options.score("node-health-base") if strategy == "progressive" else 0
    for node in work.nodes:
        health = base
        for name, value in node.attributes.items():
            if name.startswith("#health"):
                health = scores.add(health, colors[value] if value in colors else scores.parse(value))
        if health == 0:
            continue
        for rsc in work.resources:
            if health < 0 and is_true(rsc.meta.get("allow-unhealthy-nodes")):
                continue
            unpack_constraints.new_location(work, strategy, rsc, [(node, health)])


def color(work: WorkingSet, node: Node) -> str:
    """ "red" or "yellow" as the worst health attribute of a node; empty when all are green."""
    colors = _worth(work)
    worst = ""
    for name, value in node.attributes.items() if colors else ():
        if not name.startswith("#health"):
            continue
        named = value.lower() in colors
        score = scores.parse(value)
        if value.lower() == "red" or (not named and score <= colors["red"]):
            return "red"
        # Where yellow counts as much as green, a score alone does not tell which of them is meant.
        below = colors["yellow"] != colors["green"] and score <= colors["yellow"]
        if value.lower() == "yellow" or (not named and below):
            worst = "yellow"
    return worst
