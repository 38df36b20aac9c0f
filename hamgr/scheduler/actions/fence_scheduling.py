"""Makes the fencing and shutdown actions of a transition, and orders what waits for them."""

from __future__ import annotations

from hamgr.scheduler.actions import cluster_actions, fencing, notifications, orderings, resource_actions
from hamgr.scheduler.state.constants import (
    O_IMPLIES_THEN,
    O_OPTIONAL,
    O_PRESERVE,
    O_RUNNABLE_LEFT,
    OPTIONAL,
    PSEUDO,
    RUNNABLE,
    Needs,
)
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def schedule(work: WorkingSet) -> None:
    """Make fencing and shutdown actions, and order what depends on them."""
    managed = any(rsc.managed for rsc in _all(work.resources))
    dc_down: Action | None = None
    fences: list[Action] = []
    shutdowns: list[Action] = []
    for node in work.nodes:
        if node.guest:
            if node.remote_requires_reset and managed and fencing.can_fence(work, node):
                fence_guest(work, node)
            continue
        if managed and node.unclean and fencing.can_fence(work, node):
            fence = fencing.fence_op(work, node, "", False, "node is unclean")
            order_dependents(work, fence)
            if node.is_dc:
                dc_down = fence
            else:
                if fences and not work.options.concurrent_fencing:
                    orderings.order(fences[-1], fence, O_OPTIONAL)
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
                orderings.order(down, dc_down, O_OPTIONAL)
        for fence in fences if work.options.concurrent_fencing else fences[-1:]:
            orderings.order(fence, dc_down, O_OPTIONAL)


def _all(resources: list[Resource]) -> list[Resource]:
    found = []
    for rsc in resources:
        found.append(rsc)
        found += _all(rsc.children)
    return found


def _shutdown(work: WorkingSet, node: Node) -> Action:
    down = cluster_actions.make(work, f"do_shutdown-{node.name}", "do_shutdown", node, False)
    for action in list(work.actions):
        rsc = action.rsc
        if rsc is None or action.node is not node or action.task != "stop":
            continue
        if rsc.maintenance or node.maintenance or not (rsc.managed or rsc.blocked):
            continue
        action.flags &= ~OPTIONAL
        orderings.new_ordering(work, rsc, "", action, None, "do_shutdown", down, O_OPTIONAL | O_RUNNABLE_LEFT)
    return down


def order_dependents(work: WorkingSet, fence: Action) -> None:
    """Starts wait for a fencing; stops and demotes on the fenced node are implied by it."""
    for rsc in list(work.resources):
        for leaf in list(rsc.leaves()):
            if leaf.managed:
                _order_starts(leaf, fence)
                _order_stops(work, leaf, fence)


def _order_starts(rsc: Resource, fence: Action) -> None:
    target = fence.node
    assert target is not None
    for action in rsc.action_list:
        if action.needs == Needs.FENCING:
            orderings.order(fence, action, O_OPTIONAL)
        elif (
            action.needs == Needs.QUORUM
            and action.task == "start"
            and target in rsc.allowed
            and not _known_on(rsc, target)
        ):
            # What is not known about the node to be fenced might be the resource running there.
            orderings.order(fence, action, O_OPTIONAL | O_RUNNABLE_LEFT)


def _known_on(rsc: Resource, node: Node) -> bool:
    """Whether it is known if a resource (or any instance of its anonymous clone) is active on a node."""
    parent = rsc.parent
    anonymous = parent is not None and parent.is_clone() and not parent.settings.unique
    return node in rsc.known_on or (anonymous and parent is not None and node in parent.known_on)


def _order_stops(work: WorkingSet, rsc: Resource, fence: Action) -> None:
    target = fence.node
    assert target is not None
    implicit = rsc.settings.needs == Needs.FENCING or target.guest
    top = rsc.top()
    for stop in resource_actions.all_of(rsc, "stop", target):
        stop.flags |= PSEUDO | RUNNABLE
        if implicit:
            if not rsc.in_bundle():
                orderings.order(fence, stop, O_PRESERVE)
            orderings.order(fence, next(reversed(resource_actions.all_of(top, "stop")), None), O_PRESERVE)
        if rsc.settings.notify:
            notifications.after_fencing(work, rsc, fence)
    for demote in resource_actions.all_of(rsc, "demote", target):
        if not target.online or target.unclean or rsc.failed:
            demote.flags |= PSEUDO | RUNNABLE
            if implicit and not rsc.in_bundle():
                orderings.order(fence, demote, O_PRESERVE | O_OPTIONAL)


def fence_guest(work: WorkingSet, node: Node) -> None:
    """A pseudo-fencing of a guest node, which is really the recovery of its container."""
    connection = node.remote_rsc
    container = connection.container if connection else None
    stop: Action | None = None
    task = "off"
    if container is not None:
        stop = next((a for a in reversed(container.action_list) if a.task == "stop"), None)
        if any(a.task == "start" for a in container.action_list):
            task = "reboot"
    fence = fencing.fence_op(work, node, task, False, "guest is unclean")
    fence.flags |= PSEUDO | RUNNABLE
    if stop is not None and stop.flags & PSEUDO and stop.node is not None:
        host = fencing.fence_op(work, stop.node, "", False, "")
        orderings.order(host, fence, O_RUNNABLE_LEFT | O_IMPLIES_THEN)
    elif stop is not None:
        orderings.order(stop, fence, O_RUNNABLE_LEFT | O_IMPLIES_THEN)
    elif connection is not None:
        # It may only seem to be stopped because its history was cleaned; its connection's stop waits for a probe.
        stop = next((a for a in reversed(connection.action_list) if a.task == "stop"), None)
        orderings.order(stop, fence, O_OPTIONAL)
    order_dependents(work, fence)
