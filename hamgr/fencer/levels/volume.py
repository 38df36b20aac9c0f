"""The level `volume`: take the disk away from the node, and have the CSI driver's word that it is done.

It proves something only for drivers that detach at the storage without the node's help, and only if nothing else that
the pod can write to is shared. Both are checked before the first effect, and the refusal says what to configure.
"""

from __future__ import annotations

from hamgr.fencer.observe import Discovery
from hamgr.fencer.reasons import Reason, reason


def unfit(found: Discovery, drivers: frozenset[str]) -> Reason | None:
    """Why the detach of the volumes would not prove that the writer is gone; None: it would. `drivers`: the trusted."""
    if found.obstacles:
        return found.obstacles[0]
    for volume in found.volumes:
        if volume.driver in found.passive_drivers:
            return reason("driver-does-not-attach", driver=volume.driver, pv=volume.pv)
        if volume.driver not in drivers:
            return reason("driver-not-listed", driver=volume.driver, pv=volume.pv)
    return None
