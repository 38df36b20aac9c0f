"""The objects and their recent history: one revision counter, every change an event, watchers that follow.

Objects are never changed in place; a change stores a new one. The last `window` events of every kind are kept: a
watch may start anywhere in them and a list may be paged at the revision at which it began. What is older is gone, and
the request gets 410, as from a real API server after compaction.

Everything runs on one event loop and no operation here awaits, so each is atomic.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Obj = dict[str, Any]
Key = tuple[str, str]  # namespace ("" for cluster scope), name


def dumps(obj: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(slots=True)
class Event:
    """One change of one object: `old` is None when it was created, `new` None when it was deleted.

    `gone` is the deleted object with the revision of its deletion.
    """

    revision: int
    key: Key
    old: Obj | None
    new: Obj | None
    gone: Obj | None = None
    encoded: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Shelf:
    """The objects of one kind and the window of its events. `base` is the sequence number of the first one kept."""

    floor: int
    objects: dict[Key, Obj] = field(default_factory=dict)
    events: list[Event] = field(default_factory=list)
    base: int = 0
    watchers: set[asyncio.Event] = field(default_factory=set)


class TooOld(Exception):
    """The history before `floor` is no longer known."""

    def __init__(self, asked: int, floor: int) -> None:
        super().__init__(f"too old resource version: {asked} ({floor})")
        self.asked = asked
        self.floor = floor


class Follower:
    """A place in the history of one kind; `next` yields what has happened since, without losing anything."""

    def __init__(self, shelf: _Shelf, position: int) -> None:
        self._shelf = shelf
        self._position = position
        self._wake = asyncio.Event()
        shelf.watchers.add(self._wake)

    def close(self) -> None:
        self._shelf.watchers.discard(self._wake)

    def behind(self) -> bool:
        """Whether something has happened that `next` has not yet told."""
        return self._position < self._shelf.base + len(self._shelf.events)

    async def next(self, timeout: float) -> list[Event]:
        """The events since the last call; waits up to `timeout` seconds for the first. Raises TooOld when too slow."""
        shelf = self._shelf
        if not self.behind():
            self._wake.clear()
            try:
                await asyncio.wait_for(self._wake.wait(), timeout)
            except TimeoutError:
                return []
        if self._position < shelf.base:
            raise TooOld(self._position, shelf.floor)
        found = shelf.events[self._position - shelf.base :]
        self._position = shelf.base + len(shelf.events)
        return found


class Storage:
    """All objects, by kind (a string such as "apps/deployments") and key.

    `listeners` are called with the kind and every event, in the writer's own call: they only take note.
    """

    def __init__(self, window: int = 5000) -> None:
        self.revision = 1
        self._window = window
        self._shelves: dict[str, _Shelf] = {}
        self._start = 1
        self.listeners: list[Callable[[str, Event], None]] = []

    def begin_history(self) -> None:
        """Forget the events up to now (the objects that exist at start), as a server's watch cache starts empty."""
        self._start = self.revision
        for shelf in self._shelves.values():
            shelf.floor, shelf.base = self.revision, shelf.base + len(shelf.events)
            shelf.events.clear()

    def _shelf(self, kind: str) -> _Shelf:
        shelf = self._shelves.get(kind)
        if shelf is None:
            shelf = self._shelves[kind] = _Shelf(floor=self._start)
        return shelf

    def get(self, kind: str, key: Key) -> Obj | None:
        return self._shelf(kind).objects.get(key)

    def items(self, kind: str, namespace: str = "") -> list[Obj]:
        """The objects of a kind, of one namespace or of all, in the order of their keys."""
        return [obj for _, obj in self._sorted(self._shelf(kind).objects, namespace)]

    def count(self, kind: str) -> int:
        return len(self._shelf(kind).objects)

    def kinds(self) -> Iterator[str]:
        yield from list(self._shelves)

    @staticmethod
    def _sorted(objects: dict[Key, Obj], namespace: str) -> list[tuple[Key, Obj]]:
        return sorted(
            ((key, obj) for key, obj in objects.items() if not namespace or key[0] == namespace),
            key=lambda item: item[0],
        )

    def snapshot(self, kind: str, revision: int, namespace: str = "") -> list[tuple[Key, Obj]]:
        """The objects as they were at a revision, by undoing later events; raises TooOld."""
        shelf = self._shelf(kind)
        if revision < shelf.floor:
            raise TooOld(revision, shelf.floor)
        objects = shelf.objects
        if shelf.events and shelf.events[-1].revision > revision:
            objects = dict(objects)
            for event in reversed(shelf.events):
                if event.revision <= revision:
                    break
                if event.old is None:
                    objects.pop(event.key, None)
                else:
                    objects[event.key] = event.old
        return self._sorted(objects, namespace)

    def put(self, kind: str, key: Key, obj: Obj) -> Obj:
        """Store a new state of an object and tell the watchers; returns it with its new resourceVersion."""
        shelf = self._shelf(kind)
        stored = self._stamp(obj)
        event = Event(self.revision, key, shelf.objects.get(key), stored)
        shelf.objects[key] = stored
        self._publish(kind, shelf, event)
        return stored

    def remove(self, kind: str, key: Key) -> Obj:
        """Delete an object and tell the watchers; returns its last state with the revision of the deletion."""
        shelf = self._shelf(kind)
        old = shelf.objects.pop(key)
        gone = self._stamp(old)
        self._publish(kind, shelf, Event(self.revision, key, old, None, gone))
        return gone

    def restore(self, kind: str, key: Key, obj: Obj | None, revision: int) -> None:
        """Take over an object (or its absence) from an earlier life, as no event."""
        objects = self._shelf(kind).objects
        if obj is None:
            objects.pop(key, None)
        else:
            objects[key] = obj
        self.revision = max(self.revision, revision)

    def _stamp(self, obj: Obj) -> Obj:
        self.revision += 1
        return {**obj, "metadata": {**obj["metadata"], "resourceVersion": str(self.revision)}}

    def _publish(self, kind: str, shelf: _Shelf, event: Event) -> None:
        shelf.events.append(event)
        if len(shelf.events) >= 2 * self._window:
            dropped = len(shelf.events) - self._window
            shelf.floor = shelf.events[dropped - 1].revision
            del shelf.events[:dropped]
            shelf.base += dropped
        for watcher in shelf.watchers:
            watcher.set()
        for listener in self.listeners:
            listener(kind, event)

    def follow(self, kind: str, since: int) -> Follower:
        """Follow the changes of a kind after a revision, the future included; raises TooOld."""
        shelf = self._shelf(kind)
        if since < shelf.floor:
            raise TooOld(since, shelf.floor)
        position = shelf.base + len(shelf.events)
        for event in reversed(shelf.events):
            if event.revision <= since:
                break
            position -= 1
        return Follower(shelf, position)

    def watchers(self) -> int:
        """How many follow at the moment."""
        return sum(len(shelf.watchers) for shelf in self._shelves.values())

    def wake_all(self) -> None:
        """Wake every watcher, so that it notices that the server stops."""
        for shelf in self._shelves.values():
            for watcher in shelf.watchers:
                watcher.set()
