"""Connections to Pacemaker Remote nodes: whether actions can count on them."""

from __future__ import annotations

from hamgr.scheduler.actions import fencing, orderings
from hamgr.scheduler.state.constants import O_OPTIONAL, STOPPED
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def state_of(node: Node) -> str:
    """What actions on a remote node can count on: its connection is alive, resting, stopped, failed or unknown."""
    rsc = node.remote_rsc
    if rsc is None:
        return "unknown"
    host = rsc.current_node()
    if rsc.next_role == STOPPED or rsc.assigned_to is None:
        if host is not None and host.unclean:
            return "failed"
        if not rsc.failed:
            return "stopped"
        waiting = rsc.next_role == STOPPED and rsc.settings.remote_reconnect_ms and node.remote_was_fenced
        if waiting and node.attributes.get("shutdown", "0") == "0":
            # Whether it can be recovered will be known once the reconnect interval is over.
            return "unknown"
        return "failed"
    if host is None:
        return "unknown"
    if host.unclean or not host.online:
        return "resting"
    if len(rsc.running_on) > 1 and rsc.recorded.partial_migration_source and rsc.recorded.partial_migration_target:
        return "resting"
    return "alive"


def order_after_fencing(work: WorkingSet, action: Action, rsc: Resource) -> None:
    """Clearing a connection's failure waits for its node's fencing."""
    node = work.node(rsc.id)
    if node is not None:
        fence = fencing.fence_op(work, node, "", True, "")
        orderings.order(fence, action, O_OPTIONAL)


def connection_assigned(work: WorkingSet, rsc: Resource) -> None:
    """Once a connection's place is known, so is whether its node is going to be there."""
    node = work.nodes_by_name.get(rsc.id)
    if node is None:
        return
    if rsc.assigned_to is not None and rsc.next_role != STOPPED:
        node.online = True
        if node.unseen:
            # Not fenced: the connection is about to be established again.
            node.unclean = False
    else:
        node.shutdown = True
