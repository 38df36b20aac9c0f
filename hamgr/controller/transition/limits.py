"""How many actions of a transition may be under way at once: batch-limit, node-action-limit, migration-limit. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from hamgr.cib.options import Values
from hamgr.scheduler.transition import GraphAction

_MIGRATIONS = ("migrate_to", "migrate_from")
_AT_ONCE = ("cancel", "delete")  # change records, and are over when they have begun


@dataclass(frozen=True, slots=True)
class Limits:
    """0: no limit. per_node: actions on one node; migrations: live migrations from or to one node."""

    batch: int = 0
    per_node: int = 0
    migrations: int = 0

    @classmethod
    def of(cls, options: Values) -> Self:
        """The limits that are configured; below 1 there is none."""
        names = ("batch-limit", "node-action-limit", "migration-limit")
        return cls(*(max(0, options.integer(name)) for name in names))

    def admit(self, ready: Sequence[GraphAction], in_flight: Iterable[GraphAction]) -> list[GraphAction]:
        """Which of the ready actions may begin beside those in flight, in their order.

        Only resources' operations count. Fences never wait for anything but their own order: until they are done,
        something is down.
        """
        under_way = [action for action in in_flight if _counts(action)]
        total = len(under_way)
        nodes = Counter(action.node for action in under_way)
        migrating = Counter(node for action in under_way for node in _ends(action))
        chosen = []
        for action in ready:
            if _counts(action):
                ends = _ends(action)
                full = _full(total, self.batch) or _full(nodes[action.node], self.per_node)
                if full or any(_full(migrating[node], self.migrations) for node in ends):
                    continue
                total += 1
                nodes[action.node] += 1
                migrating.update(ends)
            chosen.append(action)
        return chosen


def _counts(action: GraphAction) -> bool:
    waits = action.interval_ms and "start-delay" in action.meta  # nothing of it is under way yet
    return action.kind == "rsc" and action.task not in _AT_ONCE and not waits


def _ends(action: GraphAction) -> tuple[str, ...]:
    """The nodes that a live migration is between; none of another action."""
    return (action.migrate_source, action.migrate_target) if action.task in _MIGRATIONS else ()


def _full(number: int, limit: int) -> bool:
    return 0 < limit <= number
