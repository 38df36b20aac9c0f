"""The level `watchdog`: wait until the node must have fenced itself.

A node known to self-fence stops its instances, or is reset by its watchdog, `self_fence_s` after its last successful
renewal at the latest. Its member key vanishes one TTL after that renewal or later (etcd may keep a lease for longer,
never for shorter), so since we saw the key vanish `self_fence_s - ttl + margin` have to pass.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from hamgr.fencer.machine import Isolation
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import FenceRecord, Proof, Target


def watchdog_wait_s(target: Target, margin_s: float) -> float:
    """How long the member key has to be gone: what the node's bound exceeds the TTL by, and the margin."""
    return max(0.0, (target.self_fence_s or 0.0) - target.member_ttl_s) + margin_s


class WatchdogMeans:
    """Waiting, with the node's own promise.

    lost_for_s(node): seconds since this process saw its lease gone, None while it is there. promise_stands(target):
    whether the node still promises what the record says. clock: monotonic seconds.
    """

    def __init__(
        self,
        lost_for_s: Callable[[str], float | None],
        promise_stands: Callable[[Target], bool],
        margin_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lost_for_s = lost_for_s
        self._promise_stands = promise_stands
        self._margin_s = margin_s
        self._clock = clock
        self._held_since: float | None = None

    def look(self, record: FenceRecord) -> Isolation:
        """Whether the time is over. It fails when the node keeps its lease, and so has no reason to fence itself."""
        node = record.target.node
        bound = record.target.self_fence_s
        if bound is None:
            return Isolation(failure=reason("no-self-fence", node=node))
        lost_for = self._lost_for_s(node)
        if lost_for is None:
            now = self._clock()
            self._held_since = now if self._held_since is None else self._held_since
            # A dead node's lease lasts for one TTL, and for one more when etcd's own leader changes meanwhile.
            if now - self._held_since > 2 * record.target.member_ttl_s:
                return Isolation(failure=reason("node-renews", node=node))
            return Isolation(waiting=reason("node-alive", node=node))
        self._held_since = None
        remaining = watchdog_wait_s(record.target, self._margin_s) - lost_for
        if remaining > 0:
            return Isolation(waiting=reason("waiting-self-fence", seconds=remaining, node=node))
        if not self._promise_stands(record.target):
            return Isolation(failure=reason("promise-gone", node=node))
        told = f"its member lease is gone for {lost_for:.1f} s; it fences itself {bound:g} s after its last renewal"
        return Isolation(proof=Proof("self-fenced", node, told))

    def act(self, record: FenceRecord) -> Isolation:
        """There is nothing to do."""
        return self.look(record)

    def power_on(self, record: FenceRecord) -> None:
        """The node comes back by itself."""
