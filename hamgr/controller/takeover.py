"""Drawing a lost instance to the standby that waits for it, where that is the sooner way back; see `standby`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import structlog

from hamgr.cib.model import Cib
from hamgr.controller import standby
from hamgr.controller.recorded import Recorded

log = structlog.get_logger(__name__)


class Takeover:
    """Sets standbys' marks and takes them away. Used by the control thread alone."""

    def __init__(self, recorded: Recorded, cib: Callable[[], Cib], now: Callable[[], float]) -> None:
        """cib: configuration and recorded state. now: seconds since the epoch."""
        self._recorded = recorded
        self._cib = cib
        self._now = now
        self.standby_of: Callable[[str], str] = lambda _resource: ""  # where a parked pod waits; empty: nowhere

    def prefer_standby(self, resource: str, node: str) -> None:
        """An instance is gone: where a standby waits with everything but the disk, it is back sooner than in place.
        Unless it would be moved back from there, which costs a second outage."""
        waiting = self.standby_of(resource)
        if not waiting or waiting == node:
            return
        before = self._recorded.state(waiting)
        self._recorded.set_state(standby.mark(before, resource))
        try:
            stays = standby.would_stay(self._cib(), resource, waiting, datetime.fromtimestamp(self._now(), UTC))
        except Exception:  # a scheduler that fails must not end the round; without the standby it takes longer, no more
            log.exception("scheduler_failed")
            stays = False
        if not stays:
            self._recorded.set_state(before)

    def forget_standbys(self, resource: str = "") -> None:
        """The standby that drew a resource (or any has, without one) must not draw it a second time, later on."""
        for node in self._recorded.standings:
            if standby.is_marked(self._recorded.state(node), resource):
                self._recorded.update(node, partial(standby.unmark, resource=resource))
