"""Nodes that were taken out of the cluster file while something may still run there: in standby until they are empty.

Forgetting such a node at once would leave its instances to run unwatched, with their disks, while the scheduler starts
them elsewhere. Pacemaker keeps a node that still runs something as well, and its permanent attributes with it. A
leaving node is one that is on record and not configured, so the next leader, and `hamgr simulate --live`, see the same.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from hamgr.cib.model import Cib, Node, NvSet
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.unpack.status import unpack


def leaving(cib: Cib, cluster_state: Iterable[str]) -> tuple[str, ...]:
    """The recorded nodes that the configuration does not name any more, sorted."""
    return tuple(sorted(set(cluster_state) - {node.name for node in cib.nodes}))


def kept(cib: Cib, attributes: Mapping[str, Mapping[str, str]]) -> Cib:
    """The configuration with these nodes added, each with the permanent attributes that it had in it last."""
    added = (
        Node(name, attributes=(NvSet(tuple(values.items()), id=f"{name}-attributes"),))
        for name, values in attributes.items()
    )
    return replace(cib, nodes=(*cib.nodes, *added))


def in_standby(cib: Cib, names: Collection[str]) -> Cib:
    """The configuration with these nodes in standby, whatever else is said of them."""
    standby = NvSet((("standby", "on"),), id="leaving", score=INFINITY)  # of the same score the last one counts
    nodes = (
        replace(node, attributes=(*node.attributes, standby)) if node.name in names else node for node in cib.nodes
    )
    return replace(cib, nodes=tuple(nodes))


def running_on(cib: Cib, node: str, now: int) -> tuple[str, ...]:
    """What runs on a node, as the scheduler reads its history. now: seconds since the epoch."""
    return tuple(rsc.id for entry in unpack(cib, now).nodes if entry.name == node for rsc in entry.running)


def why_kept(node: str, runs: Collection[str], *, away: bool) -> str:
    """Why a leaving node cannot be forgotten yet; empty: it can.

    runs: what runs there. away: it was fenced, is not back, and still exists.
    """
    if runs:
        return f"{', '.join(runs)} must be stopped there first"
    if away:
        return f"it was fenced and is not back: bring it back, delete the Node object, or `hamgr unfence {node}`"
    return ""
