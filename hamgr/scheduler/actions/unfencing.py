"""Unfencing: nodes that have to be let in by a device ("on") before resources may use them.

Implements "Unfencing" of Pacemaker Explained, for fence devices that provide it.
"""

from __future__ import annotations

from hamgr.scheduler.actions import fencing, orderings
from hamgr.scheduler.state.constants import O_IMPLIES_FIRST, O_IMPLIES_THEN_ON_NODE, O_OPTIONAL, O_SAME_NODE
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def unfenced(node: Node) -> bool:
    """Whether a node has been let in since it joined."""
    return node.attributes.get("#node-unfenced", "0") not in ("", "0")


def on_action(work: WorkingSet, node: Node, optional: bool, reason: str = "") -> Action:
    return fencing.fence_op(work, node, "on", optional, reason)


def order(work: WorkingSet, rsc: Resource, node: Node, action: Action, flags: int) -> None:
    """Order an action after the unfencing of its node (Pacemaker's pcmk__order_vs_unfence).

    Fence devices wait too: many cannot even be probed by a node that has not been let in.
    """
    if not (rsc.settings.needs_unfencing or rsc.settings.fence_device) or not work.options.enable_unfencing:
        return
    unfence = on_action(work, node, True)
    orderings.order(unfence, action, flags)
    if not unfenced(node) and _may_unfence(node):
        on_action(work, node, False, f"required by {rsc.id} {action.task}")


def after_stop(work: WorkingSet, stop: Action, node: Node) -> None:
    orderings.order(stop, on_action(work, node, True), O_IMPLIES_FIRST)


def internal_constraints(work: WorkingSet, rsc: Resource) -> None:
    """On each node: stop, then unfencing, then start; unfencing restarts what runs there."""
    for node in rsc.allowed:
        unfence = on_action(work, node, True)
        stop_key, start_key = orderings.key_of(rsc, "stop"), orderings.key_of(rsc, "start")
        flags = O_OPTIONAL | O_SAME_NODE
        orderings.new_ordering(work, rsc, stop_key, None, None, unfence.key, unfence, flags)
        flags = O_IMPLIES_THEN_ON_NODE | O_SAME_NODE
        orderings.new_ordering(work, None, unfence.key, unfence, rsc, start_key, None, flags)


def trigger(work: WorkingSet, rsc: Resource, node: Node | None, reason: str) -> None:
    """A changed fence device has to unfence again."""
    if not work.options.enable_unfencing or not rsc.settings.fence_device or node is None:
        return
    for place in (node,) if _may_unfence(node) else rsc.allowed:
        if _may_unfence(place):
            on_action(work, place, False, reason)


def _may_unfence(node: Node) -> bool:
    return node.online and not node.unclean and not node.shutdown
