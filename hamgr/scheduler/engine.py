"""The stages of a scheduler run, in Pacemaker's order.

Unpack the status; unpack constraints; compare the history with the configuration; place resources; make actions;
schedule fencing; apply orderings; make the graph. Each stage reads what those before it left in the working state.
"""

from __future__ import annotations

import sys

from hamgr.cib.model import Cib
from hamgr.cib.scores import INFINITY
from hamgr.scheduler import (
    actions,
    bundles,
    clones,
    config_check,
    constraints,
    failures,
    fencing,
    graph,
    groups,
    health,
    ordering,
    placement,
    primitives,
    probes,
    remotes,
    status,
    summary,
)
from hamgr.scheduler.state import O_OPTIONAL, NodeRt, Rsc, Variant, Work
from hamgr.scheduler.transition import Transition

TYPE_CHECKING = False  # as typing has it; neither that nor datetime is cheap enough to import for an annotation
if TYPE_CHECKING:
    from datetime import datetime

# Importing these modules registers what their kind of resource does.
_KINDS = (primitives, groups, clones, bundles)


def effective_time(cib: Cib, now: datetime | int) -> int:
    """The time of the decision in seconds since the epoch: the CIB's execution date if it has one."""
    if cib.execution_date is not None:
        return cib.execution_date
    if isinstance(now, int):
        return now
    from hamgr.cib import dates

    return dates.seconds(now)


def schedule(cib: Cib, now: datetime | int) -> Transition:
    """Decide what has to be done to bring a cluster to its configured state.

    ``cib`` is the configuration with all recorded state; ``now`` the time that rules and failure timeouts see (a number
    is seconds since the epoch). Pure: the same arguments give the same transition.
    """
    work = run(cib, now)
    made, edges = graph.build(work)
    return Transition(made, edges, summary.lines(work), tuple(work.warnings), tuple(work.reasons))


def run(cib: Cib, now: datetime | int, explain: bool = False) -> Work:
    """All stages up to the applied orderings; the working state, for those who want to look at it.

    ``explain``: let each step of a score leave its reason as well, which takes time.
    """
    work = status.unpack(cib, effective_time(cib, now))
    work.explain = explain
    # Placement follows chains of colocations, a few calls for each resource of the chain.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 2000 + 20 * len(work.by_id)))
    health.apply(work)
    constraints.unpack(work)
    _apply_node_criteria(work)
    for rsc in list(work.resources):
        rsc.behavior.internal_constraints(work, rsc)
    config_check.check_all(work)
    _assign(work)
    _create_actions(work)
    remotes.order_actions(work)
    fencing.schedule(work)
    ordering.apply(work)
    return work


def _apply_node_criteria(work: Work) -> None:
    _shutdown_locks(work)
    for location in work.locations:
        location.rsc.behavior.apply_location(work, location.rsc, location)
    for rsc in work.resources:
        _stickiness(work, rsc)
    for node in work.nodes:
        for rsc in work.resources:
            _failure_ban(work, rsc, node)
            _exclusive_discovery(rsc, node)


def _shutdown_locks(work: Work) -> None:
    if not work.options.shutdown_lock:
        return
    for top in work.resources:
        _shutdown_lock(work, top)


def _shutdown_lock(work: Work, rsc: Rsc) -> None:
    """Hold a resource on the node that was shut down cleanly with it ("shutdown-lock")."""
    if rsc.variant > Variant.GROUP or (rsc.primitive is not None and (rsc.fence_device or rsc.is_remote_node)):
        return
    if rsc.children:
        for child in rsc.children:
            _shutdown_lock(work, child)
        locked = [child for child in rsc.children if child.lock_node is not None]
        if locked:
            for child in rsc.children:
                child.lock_node, child.lock_time = locked[0].lock_node, locked[0].lock_time
                _apply_lock(work, child)
        return
    if rsc.lock_node is None:
        node = rsc.current_node()
        if len(rsc.running_on) == 1 and node is not None and node.online and node.shutdown and not node.unclean:
            rsc.lock_node = node
    elif rsc.running_on:
        # It runs somewhere, so there is nothing to hold.
        rsc.lock_node = None
    if rsc.parent is None or rsc.parent.variant != Variant.GROUP:
        _apply_lock(work, rsc)


def _apply_lock(work: Work, rsc: Rsc) -> None:
    held = rsc.lock_node
    if held is None:
        return
    for node in work.nodes:
        if node is not held:
            placement.ban(work, rsc, node, "shutdown-lock")


def _stickiness(work: Work, rsc: Rsc) -> None:
    if rsc.children:
        for child in rsc.children:
            _stickiness(work, child)
        return
    if not rsc.managed or rsc.stickiness < 1 or len(rsc.running_on) != 1:
        return
    node = rsc.running_on[0]
    if work.options.symmetric or node in rsc.allowed:
        placement.prefer(work, rsc, node, rsc.stickiness, "stickiness")


def _failure_ban(work: Work, rsc: Rsc, node: NodeRt) -> None:
    if not node.has_fail_counts and not rsc.fillers:
        return
    if rsc.children:
        for child in rsc.children:
            _failure_ban(work, child, node)
        return
    if actions.find(rsc, f"{rsc.id}_clear_failcount_0", node) is not None:
        # The count is about to be cleared.
        return
    failed = failures.threshold_reached(work, rsc, node)
    if failed is not None:
        placement.ban(work, failed, node, "migration-threshold")


def _exclusive_discovery(rsc: Rsc, node: NodeRt) -> None:
    if rsc.exclusive_discovery or rsc.top().exclusive_discovery:
        for child in rsc.children:
            _exclusive_discovery(child, node)
        if node in rsc.allowed and rsc.discovery.get(node) != "exclusive":
            rsc.allowed[node] = -INFINITY


def _assign(work: Work) -> None:
    if work.options.placement != "default":
        from hamgr.scheduler import utilization

        utilization.sort_resources(work)
    # Connections come first, since what runs on remote nodes depends on them.
    if work.have_remote_nodes:
        for rsc in work.resources:
            if rsc.is_remote_node:
                rsc.behavior.assign(work, rsc, rsc.partial_migration_target)
    for rsc in work.resources:
        if not rsc.is_remote_node:
            rsc.behavior.assign(work, rsc, None)


def _create_actions(work: Work) -> None:
    config_check.check_postponed(work)
    if work.options.startup_probes:
        probes.schedule(work)
    for rsc in work.resources:
        _clear_orphan(work, rsc)
    for rsc in list(work.resources):
        rsc.behavior.create_actions(work, rsc)


def _clear_orphan(work: Work, rsc: Rsc) -> None:
    """The fail counts of a resource that is no longer configured go with it."""
    if not rsc.orphan:
        return
    for node in work.nodes:
        if node.online and failures.fail_count(work, rsc, node, effective=True)[0]:
            action = failures.clear(work, rsc, node, "it is orphaned")
            actions.new_ordering(work, rsc, "", action, rsc, actions.key_of(rsc, "stop"), None, O_OPTIONAL)


__all__ = ["run", "schedule"]
