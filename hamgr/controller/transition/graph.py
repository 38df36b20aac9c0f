"""Which actions of a transition may run now: the bookkeeping of one walk over the graph, without any I/O.

Implements the rules of Pacemaker's graph engine: an action fires once all actions before it are confirmed; a failed
action releases nothing behind it; an aborted walk fires nothing more and ends when the actions in flight have ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Protocol


class GraphAction(Protocol):
    """What the walk needs to know of an action."""

    @property
    def id(self) -> int: ...


class TransitionGraph:
    """The progress of one transition.

    Every action is in exactly one of four states: waiting, in flight, confirmed or failed.
    """

    def __init__(self, actions: Iterable[GraphAction], edges: Iterable[tuple[int, int]]) -> None:
        """Start a walk over `actions` by id, where an edge (first, then) lets `then` wait for `first`.

        What waits for something that is none of the actions is never fired: the scheduler says by such an edge that
        it must not happen without something that cannot happen.
        """
        self._unmet: dict[int, set[int]] = {action.id: set() for action in actions}
        self._behind: dict[int, list[int]] = defaultdict(list)
        for first, then in edges:
            if then in self._unmet:
                self._unmet[then].add(first)
                self._behind[first].append(then)
        self._waiting = set(self._unmet)
        self._in_flight: set[int] = set()
        self._failed: set[int] = set()
        self.abort_reason: str | None = None

    def ready(self) -> list[int]:
        """The ids that may fire now, lowest first; none once the walk is aborted."""
        if self.abort_reason is not None:
            return []
        return sorted(i for i in self._waiting if not self._unmet[i])

    def fire(self, action_id: int) -> None:
        """Note that an action was started; raises KeyError when it was not waiting."""
        self._waiting.remove(action_id)
        self._in_flight.add(action_id)

    def unfire(self, action_id: int) -> None:
        """Take back a `fire`: the action was not begun after all and waits again."""
        self._in_flight.remove(action_id)
        self._waiting.add(action_id)

    def confirm(self, action_id: int) -> None:
        """Note that an action ended as expected, which releases what waits for it."""
        self._in_flight.remove(action_id)
        for then in self._behind[action_id]:
            self._unmet[then].discard(action_id)

    def fail(self, action_id: int) -> None:
        """Note that an action ended otherwise: what waits for it will not run in this walk."""
        self._in_flight.remove(action_id)
        self._failed.add(action_id)

    def abort(self, reason: str) -> None:
        """Fire nothing more; the first reason is kept."""
        if self.abort_reason is None:
            self.abort_reason = reason

    @property
    def in_flight(self) -> frozenset[int]:
        """The actions that were started and have not ended."""
        return frozenset(self._in_flight)

    @property
    def failed(self) -> frozenset[int]:
        """The actions that ended otherwise than expected."""
        return frozenset(self._failed)

    @property
    def waiting(self) -> frozenset[int]:
        """The actions that were not started."""
        return frozenset(self._waiting)

    @property
    def confirmed(self) -> int:
        """How many actions ended as expected."""
        return len(self._unmet) - len(self._in_flight) - len(self._waiting) - len(self._failed)

    @property
    def finished(self) -> bool:
        """Whether nothing is in flight and nothing more can fire."""
        return not self._in_flight and not self.ready()

    @property
    def complete(self) -> bool:
        """Whether every action was confirmed."""
        return not (self._in_flight or self._waiting or self._failed)
