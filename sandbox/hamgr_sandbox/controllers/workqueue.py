"""A queue of keys to reconcile, each at most once at a time, with back-off for those that fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from hamgr_sandbox.client import ApiError

log = logging.getLogger(__name__)
K = TypeVar("K", bound=Hashable)

_FIRST_RETRY_S, _LAST_RETRY_S = 0.005, 30.0


class WorkQueue(Generic[K]):
    """Keys wait here in order of arrival; a key that is added while it waits is kept once.

    ``reconcile(key)`` is called by ``run`` for one key after the other. When it raises, the key comes back after 5 ms,
    doubled with each failure in a row up to 30 s (client-go's per-item back-off with a shorter end).
    """

    def __init__(self, name: str, reconcile: Callable[[K], Awaitable[None]]) -> None:
        self._name = name
        self._reconcile = reconcile
        self._waiting: dict[K, None] = {}
        self._arrived = asyncio.Event()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}

    def add(self, key: K) -> None:
        self._waiting[key] = None
        self._arrived.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Add the key later; an earlier timer of the same key stays."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds and not timer.cancelled():
            return
        if timer is not None:
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def run(self) -> None:
        while True:
            await self._arrived.wait()
            while self._waiting:
                key = next(iter(self._waiting))
                del self._waiting[key]
                await self._one(key)
            self._arrived.clear()

    async def _one(self, key: K) -> None:
        try:
            await self._reconcile(key)
        except Exception as error:
            failures = self._failures[key] = self._failures.get(key, 0) + 1
            if isinstance(error, ApiError):
                # Conflicts are everyday: someone else wrote first, the next look is at the newer object.
                level = logging.DEBUG if error.code in (404, 409) else logging.WARNING
                log.log(level, "%s: %s: %s; trying again", self._name, key, error)
            else:
                log.exception("%s: %s failed", self._name, key)
            self.add_after(key, min(_FIRST_RETRY_S * 2 ** (failures - 1), _LAST_RETRY_S))
        else:
            self._failures.pop(key, None)
