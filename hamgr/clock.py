"""The clock by which leases are counted: it goes on while the machine sleeps, as it does for everybody else.

CLOCK_MONOTONIC, which Python's time.monotonic reads on Linux, stands still then: a machine that was suspended for an
hour would hold its lease, and what hangs on it, for as long as it was to last before.
"""

from __future__ import annotations

import time


def boottime() -> float:
    """Seconds since boot, time asleep included: a clock that no one sets, the same in all processes."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
