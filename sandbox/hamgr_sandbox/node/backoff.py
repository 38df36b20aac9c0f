"""When a container that ended may start again: Kubernetes' crash loop back-off, as values.

Follows ``flowcontrol.Backoff`` of client-go as the kubelet uses it: the first restart is immediate and leaves a delay
of 10 s behind, each further one doubles it up to 300 s, and a run of more than twice the maximum forgives everything.
"""

from __future__ import annotations

from dataclasses import dataclass

INITIAL_S, MAXIMUM_S = 10.0, 300.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay that the last restart of a container left behind. Times are seconds of one monotonic clock."""

    delay_s: float
    updated_at: float

    def _forgiven(self, finished_at: float) -> bool:
        return finished_at - self.updated_at > 2 * MAXIMUM_S


def remaining_s(backoff: Backoff | None, finished_at: float, now: float) -> float:
    """How long a container that ended at ``finished_at`` still has to wait; 0 when it may start now."""
    if backoff is None or backoff._forgiven(finished_at):
        return 0.0
    return max(0.0, finished_at + backoff.delay_s - now)


def after_restart(backoff: Backoff | None, finished_at: float, now: float) -> Backoff:
    """The state to keep when the container that ended at ``finished_at`` is started again ``now``."""
    if backoff is None or backoff._forgiven(finished_at):
        return Backoff(INITIAL_S, now)
    return Backoff(min(backoff.delay_s * 2, MAXIMUM_S), now)
