"""What makes a node better or worse for one resource alone: shutdown locks, locations, stickiness, failures, discovery.

Pacemaker calls them node-specific criteria; what resources want of each other comes with their assignment.
"""

from __future__ import annotations

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import failures, resource_actions
from hamgr.scheduler.placement import node_scores
from hamgr.scheduler.state.constants import Variant
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def apply(work: WorkingSet) -> None:
    """Bring what is known of nodes and resources by themselves into the scores, before anything is placed."""
    _shutdown_locks(work)
    for location in work.locations:
        work.variants[location.rsc.variant].apply_location(work, location.rsc, location)
    for rsc in work.resources:
        _stickiness(work, rsc)
    for node in work.nodes:
        for rsc in work.resources:
            _failure_ban(work, rsc, node)
            _exclusive_discovery(rsc, node)


def _shutdown_locks(work: WorkingSet) -> None:
    if not work.options.shutdown_lock:
        return
    for top in work.resources:
        _shutdown_lock(work, top)


def _shutdown_lock(work: WorkingSet, rsc: Resource) -> None:
    """Hold a resource on the node that was shut down cleanly with it ("shutdown-lock")."""
    if rsc.variant > Variant.GROUP or (
        rsc.primitive is not None and (rsc.settings.fence_device or rsc.settings.is_remote_node)
    ):
        return
    if rsc.children:
        for child in rsc.children:
            _shutdown_lock(work, child)
        locked = [child for child in rsc.children if child.recorded.lock_node is not None]
        if locked:
            for child in rsc.children:
                child.recorded.lock_node, child.recorded.lock_time = (
                    locked[0].recorded.lock_node,
                    locked[0].recorded.lock_time,
                )
                _apply_lock(work, child)
        return
    if rsc.recorded.lock_node is None:
        node = rsc.current_node()
        if len(rsc.running_on) == 1 and node is not None and node.online and node.shutdown and not node.unclean:
            rsc.recorded.lock_node = node
    elif rsc.running_on:
        # It runs somewhere, so there is nothing to hold.
        rsc.recorded.lock_node = None
    if rsc.parent is None or rsc.parent.variant != Variant.GROUP:
        _apply_lock(work, rsc)


def _apply_lock(work: WorkingSet, rsc: Resource) -> None:
    held = rsc.recorded.lock_node
    if held is None:
        return
    for node in work.nodes:
        if node is not held:
            node_scores.ban(work, rsc, node, "shutdown-lock")


def _stickiness(work: WorkingSet, rsc: Resource) -> None:
    """A resource that runs would rather stay where it is."""
    if rsc.children:
        for child in rsc.children:
            _stickiness(work, child)
        return
    if not rsc.managed or rsc.settings.stickiness < 1 or len(rsc.running_on) != 1:
        return
    node = rsc.running_on[0]
    if work.options.symmetric or node in rsc.allowed:
        node_scores.prefer(work, rsc, node, rsc.settings.stickiness, "stickiness")


def _failure_ban(work: WorkingSet, rsc: Resource, node: Node) -> None:
    """A resource that failed ``migration-threshold`` times on a node has to leave it."""
    if not node.has_fail_counts and not rsc.fillers:
        return
    if rsc.children:
        for child in rsc.children:
            _failure_ban(work, child, node)
        return
    if resource_actions.find(rsc, f"{rsc.id}_clear_failcount_0", node) is not None:
        # The count is about to be cleared.
        return
    failed = failures.threshold_reached(work, rsc, node)
    if failed is not None:
        node_scores.ban(work, failed, node, "migration-threshold")


def _exclusive_discovery(rsc: Resource, node: Node) -> None:
    """Where a location constraint says ``resource-discovery=exclusive``, all other nodes are out of the question."""
    if rsc.placing.exclusive_discovery or rsc.top().placing.exclusive_discovery:
        for child in rsc.children:
            _exclusive_discovery(child, node)
        if node in rsc.allowed and rsc.placing.discovery.get(node) != "exclusive":
            rsc.allowed[node] = -INFINITY
