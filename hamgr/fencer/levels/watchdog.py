"""The level `watchdog`: wait until the node must have fenced itself.

A node known to self-fence stops its instances, or is reset by its watchdog, `self_fence_s` after its last successful
renewal at the latest. Its member key vanishes one TTL after that renewal or later (etcd may keep a lease for longer,
never for shorter), so since we saw the key vanish `self_fence_s - ttl + margin` have to pass.
"""

from __future__ import annotations

from collections.abc import Callable

from hamgr.fencer.machine import Isolation
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import FenceRecord, Proof, Target


def watchdog_wait_s(target: Target, margin_s: float) -> float:
    """How long the member key has to be gone: what the node's bound exceeds the TTL by, and the margin."""
    return max(0.0, (target.self_fence_s or 0.0) - target.member_ttl_s) + margin_s


class WatchdogMeans:
    """Waiting, with the node's own promise. `lost_for_s(node)`: seconds since this process saw its lease gone."""

    def __init__(self, lost_for_s: Callable[[str], float | None], margin_s: float) -> None:
        self._lost_for_s = lost_for_s
        self._margin_s = margin_s

    def look(self, record: FenceRecord) -> Isolation:
        """Whether the time is over."""
        node = record.target.node
        bound = record.target.self_fence_s
        if bound is None:
            return Isolation(failure=reason("no-self-fence", node=node))
        lost_for = self._lost_for_s(node)
        if lost_for is None:
            return Isolation(waiting=reason("node-alive", node=node))
        remaining = watchdog_wait_s(record.target, self._margin_s) - lost_for
        if remaining > 0:
            return Isolation(waiting=reason("waiting-self-fence", seconds=remaining, node=node))
        told = f"its member lease is gone for {lost_for:.1f} s; it fences itself {bound:g} s after its last renewal"
        return Isolation(proof=Proof("self-fenced", node, told))

    def act(self, record: FenceRecord) -> Isolation:
        """There is nothing to do."""
        return self.look(record)

    def power_on(self, record: FenceRecord) -> None:
        """The node comes back by itself."""
