"""Whether the fence devices work: asked every few minutes, beside the control loop, before they are needed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

EVERY_S = 180.0

log = structlog.get_logger(__name__)


class DeviceWatch:
    """Monitors the registered devices of one configuration. `look` is for the control thread."""

    def __init__(self, monitor: Callable[[], dict[str, str]], clock: Callable[[], float] = time.monotonic) -> None:
        """`monitor`: device to what is wrong with it, empty when nothing is; it blocks."""
        self._monitor = monitor
        self._clock = clock
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._running = False
        self._found: dict[str, str] = {}
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="fence devices")

    def look(self) -> None:
        """Begin to ask, unless that was done a while ago or is under way."""
        with self._lock:
            if self._running or self._clock() - self._asked_at < EVERY_S:
                return
            self._asked_at, self._running = self._clock(), True
        self._pool.submit(self._ask)

    def found(self) -> dict[str, str]:
        """Device to what was wrong with it when last asked."""
        with self._lock:
            return dict(self._found)

    def close(self) -> None:
        """End the asking."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self) -> None:
        found: dict[str, str] | None = None
        try:
            found = self._monitor()
        except Exception:
            log.exception("fence_devices_not_monitored")
        with self._lock:
            self._running = False
            if found is None:
                return
            news = {name: text for name, text in found.items() if text != self._found.get(name, "")}
            self._found = found
        for name, text in news.items():
            if text:
                log.error("fence_device_failed", device=name, error=text)
            else:
                log.info("fence_device_works", device=name)
