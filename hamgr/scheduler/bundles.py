"""Bundles: containers that run replicas of a resource, as implicit resources and constraints.

Implements "Bundles - Containerized Resources" of Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib import model
from hamgr.scheduler.state import BundleData, Rsc, Work


def unpack(work: Work, rsc: Rsc, config: model.Bundle) -> None:
    """Make a bundle's implicit resources."""
    rsc.bundle = BundleData(config)
