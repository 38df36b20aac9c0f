"""A monitoring system beside a schedule: whether CLUSTER OK was ever said while nobody was served."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from hamgr.api.status import StatusDoc, verdict
from hamgr_sandbox.campaign.client import KvClient
from hamgr_sandbox.campaign.harness import Harness, leaves

_EVERY_S = 0.5


@dataclass(slots=True)
class Stretch:
    """The longest time in which it was always said to be OK, and no write was acknowledged. Monotonic seconds."""

    longest_s: float = 0.0
    _since: float | None = None

    def note(self, now: float, *, ok: bool, served_at: float) -> None:
        """One look. served_at: when a client was served last."""
        if not ok:
            self._since = None
            return
        self._since = max(now if self._since is None else self._since, served_at)
        self.longest_s = max(self.longest_s, now - self._since)


class Onlooker:
    """Looks from a thread of its own, until stopped."""

    def __init__(self, harness: Harness, client: KvClient) -> None:
        self._harness = harness
        self._client = client
        self._stop = threading.Event()
        self._stretch = Stretch()
        self._thread = threading.Thread(target=self._run, name="onlooker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> float:
        """End it; the longest time in seconds. May be called again."""
        self._stop.set()
        self._thread.join()
        return self._stretch.longest_s

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            status = self._harness.status()
            ok = status is not None and is_configured(status) and not verdict(status.found)
            self._stretch.note(time.monotonic(), ok=ok, served_at=self._client.last_at())


def is_configured(status: StatusDoc) -> bool:
    """Whether there is anything to be served by; it may have been taken out of the cluster file."""
    return any(leaf.agent == "hamgr:pod" for leaf in leaves(status.resources))
