"""Probes: finding out whether a resource is active where that is not known, before anything is started.

Implements "resource discovery" of Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib.booleans import is_true
from hamgr.scheduler.actions import cluster_actions, fencing, orderings, remote_connections, resource_actions, unfencing
from hamgr.scheduler.state import parts
from hamgr.scheduler.state.constants import (
    O_ANTI_COLOCATION,
    O_APPLY_FIRST_NON_MIGRATABLE,
    O_IMPLIES_THEN,
    O_LOAD,
    O_NONE,
    O_OPTIONAL,
    O_RUNNABLE_LEFT,
    O_SAME_NODE,
    OPTIONAL,
    PROMOTED,
    PSEUDO,
    RUNNABLE,
    STOPPED,
    Variant,
)
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def schedule(work: WorkingSet) -> None:
    """Probe each resource on each node where its state is not known."""
    for node in work.nodes:
        if not node.online:
            if (
                node.remote
                and not node.guest
                and node.remote_rsc is not None
                and remote_connections.state_of(node) == "failed"
            ):
                fencing.fence_node(work, node, "the connection is unrecoverable", priority_delay=False)
            continue
        if node.unclean or not node.discovery_enabled:
            continue
        probed = node.attributes.get("probe_complete")
        if probed is not None and not is_true(probed):
            cluster_actions.make(work, f"probe_complete-{node.name}", "probe_complete", node, False)
            continue
        for rsc in work.resources:
            work.variants[rsc.variant].create_probe(work, rsc, node)


def _not_needed(work: WorkingSet, rsc: Resource, node: Node, top: Resource) -> bool:
    if not work.options.startup_probes:
        return True
    if node.remote and (
        rsc.settings.fence_device
        or rsc.settings.is_remote_node
        or (node.guest and any(f.settings.is_remote_node for f in rsc.fillers))
    ):
        return True
    if (rsc.container is not None and not rsc.settings.is_remote_node) or rsc.orphan or node in rsc.known_on:
        return True
    discovery = rsc.placing.discovery.get(node, "")
    if (rsc.placing.exclusive_discovery or top.placing.exclusive_discovery) and discovery != "exclusive":
        return True
    if discovery == "never" or (node.bundle and discovery != "exclusive"):
        return True
    return node.guest and _guest_down(work, node, top)


def _guest_down(work: WorkingSet, node: Node, top: Resource) -> bool:
    guest = node.remote_rsc.container if node.remote_rsc else None
    if guest is None:
        return False
    if guest.role == STOPPED:
        if guest.assigned_to is not None and guest.assigned_to not in guest.known_on:
            orderings.order_tasks(work, guest, "monitor", top, "start", O_OPTIONAL)
        return True
    if (
        node.remote_requires_reset
        or node.unclean
        or guest.failed
        or guest.next_role == STOPPED
        or (guest.assigned_to is not None and guest.assigned_to not in guest.running_on)
    ):
        orderings.order_tasks(work, guest, "stop", top, "start", O_OPTIONAL)
        return True
    return False


def probe_primitive(work: WorkingSet, rsc: Resource, node: Node) -> bool:
    """Probe a primitive on a node if its state there is not known."""
    top = rsc.top()
    if _not_needed(work, rsc, node, top):
        return False
    probe = resource_actions.make(work, rsc, orderings.key_of(rsc, "monitor"), "monitor", node, False)
    probe.flags &= ~OPTIONAL
    unfencing.order(work, rsc, node, probe, O_OPTIONAL)
    if node not in rsc.running_on:
        probe.target_rc = 7
    elif rsc.role == PROMOTED:
        probe.target_rc = 8
    else:
        probe.target_rc = 0
    # A cloned device that unfences its own node does not wait for what becomes of the others.
    unfences = rsc.settings.fence_device and work.options.enable_unfencing
    waiting = top if top.is_clone() and not unfences else rsc
    # A probe that cannot run keeps what is inactive from starting, but stops nothing that is active.
    blocks = not probe.flags & RUNNABLE and not rsc.running_on
    flags = O_OPTIONAL | (O_RUNNABLE_LEFT if blocks else 0)
    orderings.new_ordering(work, rsc, "", probe, waiting, orderings.key_of(waiting, "start"), None, flags)
    orderings.new_ordering(work, rsc, "", probe, waiting, orderings.key_of(waiting, "reload-agent"), None, O_OPTIONAL)
    return True


# --- what waits for probes ----------------------------------------------------------------------------


def order(work: WorkingSet) -> None:
    """Order what depends on a probed resource after its probes."""
    tracked: set[Action] = set()
    for top in work.resources:
        for rsc in top.leaves():
            for probe in resource_actions.all_of(rsc, "monitor"):
                for link in list(probe.after):
                    tracked.clear()
                    _restart_orderings(probe, link.action, tracked)
    _before_dependents_of_stops(work)


def _before_dependents_of_stops(work: WorkingSet) -> None:
    for ordering in work.orderings:
        first_rsc = ordering.first_rsc
        if ordering.flags == O_NONE or first_rsc is None or ordering.then_rsc is first_rsc:
            continue
        if not ordering.first_task.endswith("_stop_0") and (ordering.first is None or ordering.first.task != "stop"):
            continue
        then = ordering.then
        if ordering.then_rsc is None and (then is None or not then.flags & PSEUDO):
            # The fencing or shutdown of a node.
            continue
        if first_rsc.container is ordering.then_rsc and ordering.then_task.endswith("_stop_0"):
            continue
        probes = resource_actions.all_of(first_rsc, "monitor")
        if not probes:
            continue
        flags = O_OPTIONAL | (ordering.flags & (O_APPLY_FIRST_NON_MIGRATABLE | O_SAME_NODE))
        if ordering.flags in (O_ANTI_COLOCATION, O_LOAD):
            flags = ordering.flags
        if then is not None:
            thens = [then]
        elif ordering.then_rsc is not None:
            thens = list(ordering.then_rsc.actions.get(ordering.then_task, ()))
        else:
            thens = []
        for probe in probes:
            for action in thens:
                orderings.order(probe, action, flags)


def _restart_orderings(probe: Action, after: Action, tracked: set[Action]) -> None:
    """Whatever would be restarted because the probed resource starts is not stopped before the probe."""
    if probe.rsc is None:
        return
    stack = [after]
    while stack:
        action = stack.pop()
        if action in tracked:
            continue
        tracked.add(action)
        rsc = action.rsc
        if rsc is not None and rsc.variant == Variant.PRIMITIVE and rsc is not probe.rsc:
            counter = {"start": "stop", "promote": "demote"}.get(action.task)
            for then in resource_actions.all_of(rsc, counter) if counter else ():
                if not then.flags & PSEUDO:
                    orderings.order(probe, then, O_OPTIONAL)
        interleave = rsc is not None and rsc.variant > Variant.GROUP and is_true(rsc.meta.get("interleave"))
        partner = parts.compatible(probe.rsc, rsc, current=False) if rsc is not None and interleave else None
        for link in action.after:
            follower = link.action.rsc
            if not link.flags & O_IMPLIES_THEN:
                if (
                    rsc is None
                    or rsc.variant < Variant.GROUP
                    or probe.rsc.parent is rsc
                    or follower is None
                    or follower.variant > Variant.GROUP
                    or rsc is not follower.parent
                ):
                    continue
                if rsc.variant > Variant.GROUP and interleave and (partner is None or partner is not follower):
                    continue
            stack.append(link.action)
