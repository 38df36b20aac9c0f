"""Takes out of an imported configuration what a cluster file cannot say, so that one bad value does not cost the rest.

Pacemaker reads on after a value that it cannot use; its configurations have some.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from hamgr.clusterfile.source import Problem

# Without these a resource or a constraint would be another one, or none.
_ESSENTIAL = frozenset({"agent", "cluster", "first", "id", "name", "node", "resource", "resources", "then", "with"})
_STEP = re.compile(r"\[(\d+)\]|([^.\[\]]+)")


def without(section: dict[str, Any], problems: Iterable[Problem]) -> list[str]:
    """Remove what the problems are about from the file's raw values; a note on each removal.

    A rule goes together with what depends on it, which would otherwise hold always. Empty when one of the problems is
    about more than a value that may be missing: that is for a person to solve.
    """
    notes = []
    for problem in sorted(problems, key=lambda one: (one.line, one.column), reverse=True):  # so that indices stay true
        steps = [int(number) if number else name for number, name in _STEP.findall(problem.path)]
        if "rule" in steps:
            steps = steps[: steps.index("rule")]
        elif not steps or steps[-1] in _ESSENTIAL or isinstance(steps[-1], int):
            return []
        way = _way(section, steps)
        if len(way) < 2:
            return []
        del way[-2][steps[-1]]
        notes.append(f"{_owner(way[:-1], steps)}: not imported; {problem.message}")
    return notes[::-1]


def _way(section: Any, steps: list[int | str]) -> list[Any]:
    """The values on the way to the last step; empty when there is no such place."""
    way = [section]
    for step in steps:
        try:
            way.append(way[-1][step])
        except (KeyError, IndexError, TypeError):
            return []
    return way


def _owner(way: list[Any], steps: list[int | str]) -> str:
    """Whose value it is: the innermost thing with a name on the way there, and the rest of the way."""
    for depth in range(len(way) - 1, 0, -1):
        value = way[depth]
        name = next((value[key] for key in ("id", "name") if key in value), "") if isinstance(value, dict) else ""
        if isinstance(name, str) and name:
            rest = " ".join(str(step) for step in steps[depth:] if isinstance(step, str))
            return f"{name}: {rest}" if rest else str(name)
    return " ".join(str(step) for step in steps)
