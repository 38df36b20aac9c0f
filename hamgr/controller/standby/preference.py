"""Drawing a lost instance to the standby that waits for it, where that is the sooner way back; see `standby`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

import structlog

from hamgr.cib.model import Cib
from hamgr.controller.standby import preference_rule
from hamgr.controller.state.cluster_state import ClusterState

log = structlog.get_logger(__name__)


class StandbyPreference:
    """Sets standbys' marks and takes them away. Used by the control thread alone."""

    def __init__(self, cluster_state: ClusterState, cib: Callable[[], Cib], now: Callable[[], float]) -> None:
        """cib: configuration and recorded state. now: seconds since the epoch."""
        self._cluster_state = cluster_state
        self._cib = cib
        self._now = now
        self.standby_of: Callable[[str], str] = lambda _resource: ""  # where a parked pod waits; empty: nowhere

    def prefer_standby(self, resource: str, node: str) -> None:
        """An instance is gone: where a standby waits with everything but the disk, it is back sooner than in place.
        Unless it would be moved back from there, which costs a second outage."""
        waiting = self.standby_of(resource)
        if not waiting or waiting == node:
            return
        before = self._cluster_state.state(waiting)
        self._cluster_state.set_state(preference_rule.mark(before, resource))
        try:
            stays = preference_rule.would_stay(self._cib(), resource, waiting, datetime.fromtimestamp(self._now(), UTC))
        except Exception:  # a scheduler that fails must not end the round; without the standby it takes longer, no more
            log.exception("scheduler_failed")
            stays = False
        if not stays:
            self._cluster_state.set_state(before)

    def forget_standbys(self, resource: str = "") -> None:
        """The standby that drew a resource (or any has, without one) must not draw it a second time, later on."""
        for node in self._cluster_state.memberships:
            if preference_rule.is_marked(self._cluster_state.state(node), resource):
                self._cluster_state.update(node, partial(preference_rule.unmark, resource=resource))
