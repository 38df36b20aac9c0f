"""A watch: what exists, then every change as it happens, as one JSON document a line.

An object that begins or ceases to match the selectors is told as added or deleted; the deletion carries its last
matching state with the new revision, as a real API server does.
"""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from hamgr_sandbox.apiserver import schema
from hamgr_sandbox.apiserver.errors import ApiFailure, expired
from hamgr_sandbox.apiserver.kinds import Kind
from hamgr_sandbox.apiserver.registry import ListOptions, Registry
from hamgr_sandbox.apiserver.storage import Event, Follower, TooOld, dumps

Obj = dict[str, Any]
Render = Callable[[Obj], Obj]

_BOOKMARK_BEFORE_END_S = 2.0


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What a watch asks for. `timeout_s` is when the server ends it; `render` turns an object into what is sent,
    `form` names that rendering, under which events keep it for other watchers ("" when it is for this one alone)."""

    select: ListOptions
    timeout_s: float
    bookmarks: bool = False
    initial_events: bool | None = None
    bookmark_interval_s: float = 60.0
    render: Render = lambda obj: obj
    form: str = "json"


def _line(event_type: str, obj: Obj) -> bytes:
    return dumps({"type": event_type, "object": obj}) + b"\n"


def _failure_line(failure: ApiFailure) -> bytes:
    return _line("ERROR", failure.body())


class Watch:
    """One running watch."""

    def __init__(self, registry: Registry, kind: Kind, options: WatchOptions) -> None:
        self._registry = registry
        self._kind = kind
        self._options = options
        self.stopped: Callable[[], bool] = lambda: False

    def _start(self) -> tuple[int, bool]:
        """The revision after which events are sent, and whether what exists is sent first."""
        options = self._options
        asked = self._registry.parse_revision(options.select.resource_version)
        current = self._registry.storage.revision
        if options.initial_events is not None:
            return current, options.initial_events
        return (asked, False) if asked else (current, True)

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """The lines to send, in order, until the timeout or until the watcher has fallen behind."""
        storage = self._registry.storage
        revision, existing = self._start()
        try:
            follower = storage.follow(self._kind.stored_as, revision)
        except TooOld as error:
            yield _failure_line(expired(str(error)))
            return
        try:
            if existing:
                for line in self._existing():
                    yield line
            async for line in self._changes(follower, revision):
                yield line
        except TooOld as error:
            yield _failure_line(expired(str(error)))
        finally:
            follower.close()

    def _existing(self) -> list[bytes]:
        storage, options = self._registry.storage, self._options
        revision = storage.revision
        found = [
            _line("ADDED", options.render(self._shown(obj)))
            for obj in storage.items(self._kind.stored_as, options.select.namespace)
            if self._matches(obj)
        ]
        if options.initial_events and options.bookmarks:
            annotations = {"k8s.io/initial-events-end": "true"}
            found.append(self._bookmark(revision, annotations))
        return found

    async def _changes(self, follower: Follower, revision: int) -> AsyncIterator[bytes]:
        end = time.monotonic() + self._options.timeout_s
        bookmark_at = self._next_bookmark(end)
        delivered = revision
        while (now := time.monotonic()) < end:
            events = await follower.next(max(0.001, min(end, bookmark_at) - now))
            if self.stopped():
                return
            lines = [line for event in events if event.revision > revision and (line := self._event_line(event))]
            delivered = max([delivered, *(event.revision for event in events)])
            if lines:
                yield b"".join(lines)
            if time.monotonic() >= bookmark_at:
                # More may have happened while the client took the lines above: a promise must not pass that.
                yield self._bookmark(delivered if follower.behind() else self._registry.storage.revision)
                bookmark_at = self._next_bookmark(end)

    def _next_bookmark(self, end: float) -> float:
        """Every minute, and once shortly before the end, so that a client can go on where it was."""
        now, before_end = time.monotonic(), end - _BOOKMARK_BEFORE_END_S
        if not self._options.bookmarks or now >= before_end:
            return math.inf
        return min(now + self._options.bookmark_interval_s, before_end)

    def _bookmark(self, revision: int, annotations: Obj | None = None) -> bytes:
        metadata: Obj = {"resourceVersion": str(revision)}
        if annotations:
            metadata["annotations"] = annotations
        empty = schema.zero(self._kind.model) if self._kind.model else {}
        empty.pop("metadata", None)
        obj = {"kind": self._kind.kind, "apiVersion": self._kind.api_version, "metadata": metadata, **empty}
        return _line("BOOKMARK", self._options.render(obj))

    def _shown(self, obj: Obj) -> Obj:
        return self._registry.shown(self._kind, obj)

    def _matches(self, obj: Obj) -> bool:
        return self._registry.matches(self._kind, self._options.select, obj)

    def _event_line(self, event: Event) -> bytes | None:
        before = event.old is not None and self._matches(event.old)
        after = event.new is not None and self._matches(event.new)
        if not before and not after:
            return None
        if after:
            event_type, obj = ("MODIFIED" if before else "ADDED"), event.new
        else:
            event_type, obj = "DELETED", event.gone or _at_revision(event.old, event.revision)
        if not self._options.form:
            return _line(event_type, self._options.render(self._shown(obj or {})))
        cache_key = f"{event_type}/{self._kind.api_version}/{self._options.form}"
        encoded = event.encoded.get(cache_key)
        if encoded is None:
            encoded = event.encoded[cache_key] = _line(event_type, self._options.render(self._shown(obj or {})))
        return encoded


def _at_revision(obj: Obj | None, revision: int) -> Obj:
    known = obj or {}
    return {**known, "metadata": {**known.get("metadata", {}), "resourceVersion": str(revision)}}
