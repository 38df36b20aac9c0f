"""How long a fence holds back because its target carries the more important resources: priority-fencing-delay.

As Pacemaker's scheduler decides it (node_priority_fencing_delay in pe_actions.c, and "Cluster Options" of Pacemaker
Explained): only for a node that is lost, only while no more than half of the nodes are online, and only for one of the
highest priority, unless all have the same.
"""

from __future__ import annotations

from hamgr.cib.model import Cib
from hamgr.scheduler.unpack.status import unpack


def priority_delay_s(cib: Cib, node: str, now: int) -> float:
    """Seconds to hold back before the node is fenced. now: seconds since the epoch."""
    work = unpack(cib, now)
    delay_s = work.options.priority_fencing_delay_ms / 1000
    nodes = [entry for entry in work.nodes if not (entry.remote or entry.guest)]
    target = next((entry for entry in nodes if entry.name == node), None)
    if delay_s <= 0 or target is None or target.online:
        return 0.0
    if sum(entry.online for entry in nodes) * 2 > len(nodes):
        return 0.0
    priorities = [entry.priority for entry in nodes]
    return delay_s if min(priorities) < max(priorities) == target.priority else 0.0
