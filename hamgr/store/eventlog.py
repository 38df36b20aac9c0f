"""The bounded log of decisions behind `hamgr events`: numbered entries in etcd, written by the leader alone."""

from __future__ import annotations

import re
import threading

from hamgr.store.leadership import Leadership
from hamgr.store.store import Store
from hamgr.store.values import Json

EVENTS = "events/"
_DIGITS = re.compile(r"0[0-9]{11}")  # a leader writes no larger ones in a thousand years
DEFAULT_KEEP = 1000


class EventLog:
    """The leader's end. Thread-safe."""

    def __init__(self, store: Store, leadership: Leadership, keep: int = DEFAULT_KEEP) -> None:
        """`keep` is the number of entries that stay."""
        self._store = store
        self._leadership = leadership
        self._keep = keep
        self._lock = threading.Lock()
        self._next: int | None = None

    def append(self, *events: Json) -> None:
        """Write events, dropping the oldest beyond `keep`. Raises Deposed, StoreUnavailable."""
        puts, deletes = self.stage(*events)
        self._leadership.fenced_txn(puts=puts, deletes=deletes)

    def stage(self, *events: Json) -> tuple[dict[str, Json], list[str]]:
        """The puts and deletes of `append`, for a caller that writes them together with something else.

        Numbers that are staged and never written leave gaps, which is fine.
        """
        with self._lock:
            if self._next is None:
                self._next = self._last_number() + 1
            first = self._next
            self._next += len(events)
        numbers = range(first, first + len(events))
        puts = {_key(number): event for number, event in zip(numbers, events, strict=True)}
        return puts, [_key(number - self._keep) for number in numbers if number > self._keep]

    def forget_position(self) -> None:
        """To be called on winning leadership: others may have written in between."""
        with self._lock:
            self._next = None

    def _last_number(self) -> int:
        return max((number for key in self._store.read(EVENTS).entries if (number := _number(key))), default=0)


def read_events(store: Store) -> list[tuple[int, Json]]:
    """All events that are kept, oldest first, with their numbers."""
    entries = store.read(EVENTS).entries
    numbered = [(number, entry.value) for key, entry in entries.items() if (number := _number(key))]
    return sorted(numbered, key=lambda item: item[0])


def _number(key: str) -> int:
    """The number of an event's key; 0 for a key that no leader has written."""
    digits = key.removeprefix(EVENTS)
    return int(digits) if _DIGITS.fullmatch(digits) else 0


def _key(number: int) -> str:
    return f"{EVENTS}{number:012d}"
