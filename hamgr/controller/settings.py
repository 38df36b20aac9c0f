"""What of the controller can be set, with the defaults and the reasons for them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Times in seconds.

    node: the name of the node that this daemon runs on; also who it is as a leader.
    lease_age_s: a node without hamgrd counts as lost when its Kubernetes Lease has not moved for so long.
    settle_s: after an interruption of our own view of etcd, a missing member means nothing for so long (its hamgrd
        needs one renewal to be back).
    join_wait_s: a new cluster's first leader waits so long for configured nodes that were never seen.
    api_stale_s: a leader that cannot see the API server for so long hands over to one that may.
    workers: so many agents' actions may be under way at the same time.
    """

    node: str
    lease_age_s: float = 25.0
    settle_s: float = 4.0
    join_wait_s: float = 15.0
    api_stale_s: float = 10.0
    workers: int = 32
