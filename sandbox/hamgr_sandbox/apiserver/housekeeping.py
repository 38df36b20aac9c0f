"""The part of a control plane that the API server's own promises need: garbage, namespaces, definitions.

It works a moment after the writes, as controllers do, in the server's event loop. The controllers that make
decisions about nodes, volumes and pods are processes of their own (hamgr_sandbox.controllers).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import Protocol

from hamgr_sandbox.apiserver.storage import Event, Storage

_log = logging.getLogger(__name__)


class Handler(Protocol):
    """Somebody who reacts to changes by writing."""

    def handle(self, stored_as: str, event: Event) -> None: ...


class Housekeeping:
    """Hands every event, in order, to every handler."""

    def __init__(self, storage: Storage, first: Handler, handlers: tuple[Handler, ...]) -> None:
        self._first = first
        self._handlers = handlers
        self._pending: deque[tuple[str, Event]] = deque()
        self._scheduled = False
        self._storage = storage
        storage.listeners.append(self._note)

    def review(self) -> None:
        """Look at every object as if it were new: after a restart, so that what was begun is ended."""
        for stored_as in self._storage.kinds():
            for obj in self._storage.items(stored_as):
                metadata = obj["metadata"]
                key = (metadata.get("namespace", ""), metadata["name"])
                self._note(stored_as, Event(self._storage.revision, key, None, obj))

    def _note(self, stored_as: str, event: Event) -> None:
        self._call(self._first, stored_as, event)
        self._pending.append((stored_as, event))
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._work)

    def _work(self) -> None:
        self._scheduled = False
        for _ in range(len(self._pending)):  # what this causes comes in the next turn, after the requests that wait
            stored_as, event = self._pending.popleft()
            for handler in self._handlers:
                self._call(handler, stored_as, event)

    @staticmethod
    def _call(handler: Handler, stored_as: str, event: Event) -> None:
        try:
            handler.handle(stored_as, event)
        except Exception:  # noqa: BLE001 (one odd object must not stop the housekeeping of all others)
            _log.exception("housekeeping failed on %s %s", stored_as, "/".join(event.key))
