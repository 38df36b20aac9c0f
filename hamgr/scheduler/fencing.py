"""Fencing: which nodes have to be fenced, whether that is possible, and what waits for it.

Implements "Fencing" of Pacemaker Explained. The graph's stonith actions come from here; how a device does it is the
fencer's business.
"""

from __future__ import annotations

from hamgr.scheduler import actions, notifications
from hamgr.scheduler.state.action import O_OPTIONAL, O_PRESERVE, O_RUNNABLE_LEFT, OPTIONAL, PSEUDO, RUNNABLE, Act
from hamgr.scheduler.state.node import NodeRt
from hamgr.scheduler.state.resource import Rsc
from hamgr.scheduler.state.vocabulary import Needs
from hamgr.scheduler.state.work import Work


def can_fence(work: Work, node: NodeRt | None) -> bool:
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


def fence_op(work: Work, node: NodeRt, task: str, optional: bool, reason: str) -> Act:
    """The stonith action for a node."""
    task = task or work.options.stonith_action
    action = actions.make(work, None, f"stonith-{node.name}-{task}", "stonith", node, True)
    action.meta["stonith_action"] = task
    if not optional and can_fence(work, node):
        action.flags &= ~OPTIONAL
    action.reason = action.reason or reason
    return action


def fence_node(work: Work, node: NodeRt, reason: str, priority_delay: bool) -> None:
    """Mark a node as needing to be fenced (Pacemaker's pe_fence_node); guests by recovering their container."""
    connection = node.remote_rsc
    if node.guest:
        container = connection.container if connection else None
        if container is not None and not container.failed and container.managed:
            node.remote_requires_reset = True
            container.failed = container.stop_required = True
            work.because("guest-recovery", container, node, why=reason)
    elif node.remote and connection is not None and connection.orphan_container_filler:
        # What is left of a guest node whose container is gone.
        connection.failed = connection.stop_required = True
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


# --- scheduling ---------------------------------------------------------------------------------------


def schedule(work: Work) -> None:
    """Make fencing and shutdown actions, and order what depends on them."""
    managed = any(rsc.managed for rsc in _all(work.resources))
    dc_down: Act | None = None
    fences: list[Act] = []
    shutdowns: list[Act] = []
    for node in work.nodes:
        if node.guest:
            if node.remote_requires_reset and managed and can_fence(work, node):
                from hamgr.scheduler import remote_ordering

                remote_ordering.fence_guest(work, node)
            continue
        if managed and node.unclean and can_fence(work, node):
            fence = fence_op(work, node, "", False, "node is unclean")
            order_dependents(work, fence)
            if node.is_dc:
                dc_down = fence
            else:
                if fences and not work.options.concurrent_fencing:
                    actions.order(fences[-1], fence, O_OPTIONAL)
                fences.append(fence)
            continue
        if node.online and node.shutdown and not node.remote:
            down = _shutdown(work, node)
            if node.is_dc:
                dc_down = down
            else:
                shutdowns.append(down)
        if node.unclean:
            work.warn(f"Node {node.name} is unclean but cannot be fenced.")
    if dc_down is not None:
        if dc_down.task == "do_shutdown":
            for down in shutdowns:
                actions.order(down, dc_down, O_OPTIONAL)
        for fence in fences if work.options.concurrent_fencing else fences[-1:]:
            actions.order(fence, dc_down, O_OPTIONAL)


def _all(resources: list[Rsc]) -> list[Rsc]:
    found = []
    for rsc in resources:
        found.append(rsc)
        found += _all(rsc.children)
    return found


def _shutdown(work: Work, node: NodeRt) -> Act:
    down = actions.make(work, None, f"do_shutdown-{node.name}", "do_shutdown", node, False)
    for action in list(work.actions):
        rsc = action.rsc
        if rsc is None or action.node is not node or action.task != "stop":
            continue
        if rsc.maintenance or node.maintenance or not (rsc.managed or rsc.blocked):
            continue
        action.flags &= ~OPTIONAL
        actions.new_ordering(work, rsc, "", action, None, "do_shutdown", down, O_OPTIONAL | O_RUNNABLE_LEFT)
    return down


def order_dependents(work: Work, fence: Act) -> None:
    """Starts wait for a fencing; stops and demotes on the fenced node are implied by it."""
    for rsc in list(work.resources):
        for leaf in list(rsc.leaves()):
            if leaf.managed:
                _order_starts(leaf, fence)
                _order_stops(work, leaf, fence)


def _order_starts(rsc: Rsc, fence: Act) -> None:
    target = fence.node
    assert target is not None
    for action in rsc.action_list:
        if action.needs == Needs.FENCING:
            actions.order(fence, action, O_OPTIONAL)
        elif (
            action.needs == Needs.QUORUM
            and action.task == "start"
            and target in rsc.allowed
            and not _known_on(rsc, target)
        ):
            # What is not known about the node to be fenced might be the resource running there.
            actions.order(fence, action, O_OPTIONAL | O_RUNNABLE_LEFT)


def _known_on(rsc: Rsc, node: NodeRt) -> bool:
    """Whether it is known if a resource (or any instance of its anonymous clone) is active on a node."""
    parent = rsc.parent
    anonymous = parent is not None and parent.is_clone() and not parent.unique
    return node in rsc.known_on or (anonymous and parent is not None and node in parent.known_on)


def _order_stops(work: Work, rsc: Rsc, fence: Act) -> None:
    target = fence.node
    assert target is not None
    implicit = rsc.needs == Needs.FENCING or target.guest
    top = rsc.top()
    for stop in actions.all_of(rsc, "stop", target):
        stop.flags |= PSEUDO | RUNNABLE
        if implicit:
            if not rsc.in_bundle():
                actions.order(fence, stop, O_PRESERVE)
            actions.order(fence, next(reversed(actions.all_of(top, "stop")), None), O_PRESERVE)
        if rsc.notify:
            notifications.after_fencing(work, rsc, fence)
    for demote in actions.all_of(rsc, "demote", target):
        if not target.online or target.unclean or rsc.failed:
            demote.flags |= PSEUDO | RUNNABLE
            if implicit and not rsc.in_bundle():
                actions.order(fence, demote, O_PRESERVE | O_OPTIONAL)
