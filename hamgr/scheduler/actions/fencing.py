"""Fencing: which nodes have to be fenced, and whether that is possible.

Implements "Fencing" of Pacemaker Explained. The graph's stonith actions come from here; how a device does it is the
fencer's business.
"""

from __future__ import annotations

from hamgr.scheduler.actions import cluster_actions
from hamgr.scheduler.state.constants import OPTIONAL
from hamgr.scheduler.state.entities import Action, Node
from hamgr.scheduler.state.working_set import WorkingSet


def can_fence(work: WorkingSet, node: Node | None) -> bool:
    """Whether a node could be fenced at all (for None: some node)."""
    if node is not None and node.guest:
        # A guest is fenced by recovering its container, which needs its hosts to be fenceable or clean.
        container = node.remote_rsc.container if node.remote_rsc else None
        hosts = container.running_on if container else []
        return all(host.online or can_fence(work, host) for host in hosts)
    if not work.options.fencing:
        return False
    if not work.have_stonith_resource and not work.options.have_watchdog:
        return False
    if work.quorum or work.options.quorum_policy == "ignore":
        return True
    return node is not None and node.online


def fence_op(work: WorkingSet, node: Node, task: str, optional: bool, reason: str) -> Action:
    """The stonith action for a node."""
    task = task or work.options.stonith_action
    action = cluster_actions.make(work, f"stonith-{node.name}-{task}", "stonith", node, True)
    action.meta["stonith_action"] = task
    if not optional and can_fence(work, node):
        action.flags &= ~OPTIONAL
    action.reason = action.reason or reason
    return action


def fence_node(work: WorkingSet, node: Node, reason: str, priority_delay: bool) -> None:
    """Mark a node as needing to be fenced (Pacemaker's pe_fence_node); guests by recovering their container."""
    connection = node.remote_rsc
    if node.guest:
        container = connection.container if connection else None
        if container is not None and not container.failed and container.managed:
            node.remote_requires_reset = True
            container.failed = container.recorded.stop_required = True
            work.because("guest-recovery", container, node, why=reason)
    elif node.remote and connection is not None and connection.recorded.orphan_container_filler:
        # What is left of a guest node whose container is gone.
        connection.failed = connection.recorded.stop_required = True
    elif node.remote:
        if connection is None or connection.managed:
            node.remote_requires_reset = True
        node.unclean = True
        fence_op(work, node, "", True, reason)
        work.because("unclean", None, node, why=reason)
    elif not node.unclean:
        node.unclean = True
        action = fence_op(work, node, "", True, reason)
        if priority_delay:
            action.meta["priority_delay"] = "true"
        work.because("unclean", None, node, why=reason)
