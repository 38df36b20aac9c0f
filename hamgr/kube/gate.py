"""Who may change something in Kubernetes, and for how long: asked right before each request that would.

The API server knows nothing of our leadership. So a request of the leader's is sent only while etcd itself says that we
lead, and is given no more time than the leadership has left. What is sent all the same just before this process freezes
carries preconditions, which the next leader makes void by its stamps (`hamgr.controller.stamping`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from hamgr.kube.errors import Barred

SPARE_S = 0.2
"""Of the leadership's time, kept back from the requests."""
LEAST_S = 1.0
"""A request that would get less is not sent: its answer would hardly come in time."""

Gate: TypeAlias = Callable[[str, float], float]
"""(what is asked, seconds it wants) -> seconds it gets. Raises Barred."""


@dataclass(frozen=True, slots=True)
class LeadersGate:
    """The gate of one term of leadership.

    left_s: how long the leadership lasts if it is not renewed. confirmed: a linearizable read of the leader key.
    closed: why nothing may be changed yet; empty: it may.
    """

    left_s: Callable[[], float]
    confirmed: Callable[[], bool]
    closed: Callable[[], str] = lambda: ""

    def __call__(self, asked: str, wanted_s: float) -> float:
        """Seconds that the request gets. Raises Barred."""
        if why := self.closed():
            raise Barred(f"{asked} has to wait: {why}")
        if not self.confirmed():
            raise Barred(f"{asked} was not sent: this hamgrd does not lead any more, or cannot make sure that it does")
        left_s = self.left_s() - SPARE_S
        if left_s < LEAST_S:
            raise Barred(f"{asked} was not sent: the leadership ends too soon, in {max(left_s + SPARE_S, 0):.1f} s")
        return min(wanted_s, left_s)


def unless_called_off(allowed: Callable[[], bool]) -> Gate:
    """The gate of one action: open until the action is called off."""

    def gate(asked: str, wanted_s: float) -> float:
        if not allowed():
            raise Barred(f"{asked} was not sent: its action was called off")
        return wanted_s

    return gate
