"""Bundles: containers that run replicas of a resource.

Implements "Bundles - Containerized Resources" of Pacemaker Explained. `unpack.bundle_resources` makes the parts of a
bundle. Here they are placed, ordered and probed. To other resources, a bundle's instances are its containers: addresses
and connections follow them, and what runs inside follows the connections.
"""

from __future__ import annotations

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import failures, orderings, resource_actions
from hamgr.scheduler.constraints import colocations, unpack_constraints
from hamgr.scheduler.placement import assignment, colocation_scores
from hamgr.scheduler.state import parts
from hamgr.scheduler.state.constants import (
    O_IMPLIES_FIRST,
    O_IMPLIES_FIRST_PRINTED,
    O_IMPLIES_THEN_PRINTED,
    O_OPTIONAL,
    O_PRESERVE,
    O_PROBE,
    O_RUNNABLE_LEFT,
    O_SAME_NODE,
    PROMOTED,
    UNPROMOTED,
    Variant,
)
from hamgr.scheduler.state.entities import Action, BundleData, Colocation, Location, Node, NodeScores, Replica, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.variants import instance_actions, instance_assignment, promotion


def _data(rsc: Resource) -> BundleData:
    assert rsc.bundle is not None
    return rsc.bundle


class BundleMethods:
    def assign(self, work: WorkingSet, rsc: Resource, preferred: Node | None) -> Node | None:
        # As in Pacemaker, colocations that lead back here enter once more: what is being placed already is left alone,
        # and the others are placed before it.
        data = _data(rsc)
        rsc.placing.allocating = True
        containers = parts.instances(rsc)
        instance_assignment.sort_instances(containers, lambda a, b: instance_assignment.compare_instances(work, a, b))
        instance_assignment.distribute(work, rsc, containers, len(data.replicas), data.replicas_per_host)
        for replica in data.replicas:
            _assign_replica(work, replica, preferred)
        if data.child is not None:
            own = {replica.node for replica in data.replicas}
            for node in data.child.allowed:
                data.child.allowed[node] = 0 if node in own else -INFINITY
            work.variants[data.child.variant].assign(work, data.child, preferred)
        rsc.placing.allocating = False
        rsc.placing.provisional = False
        return None

    def create_actions(self, work: WorkingSet, rsc: Resource) -> None:
        data = _data(rsc)
        for replica in data.replicas:
            for part in (replica.ip, replica.container, replica.remote):
                if part is not None:
                    work.variants[part.variant].create_actions(work, part)
        instance_actions.create_pseudo_actions(work, rsc, parts.instances(rsc))
        if data.child is None:
            return
        work.variants[data.child.variant].create_actions(work, data.child)
        if data.child.settings.promotable:
            for task, done in (("promote", "promoted"), ("demote", "demoted")):
                resource_actions.rsc_pseudo(work, rsc, task, optional=True)
                resource_actions.rsc_pseudo(work, rsc, done, optional=True).priority = INFINITY

    def create_probe(self, work: WorkingSet, rsc: Resource, node: Node) -> bool:
        probed = [_probe_replica(work, _data(rsc), replica, node) for replica in _data(rsc).replicas]
        return any(probed)

    def internal_constraints(self, work: WorkingSet, rsc: Resource) -> None:
        data = _data(rsc)
        if data.child is not None:
            orderings.order_starts(work, rsc, data.child, O_IMPLIES_FIRST_PRINTED)
            orderings.order_stops(work, rsc, data.child, O_IMPLIES_FIRST_PRINTED)
            orderings.order_tasks(work, data.child, "running", rsc, "running", O_IMPLIES_THEN_PRINTED)
            orderings.order_tasks(work, data.child, "stopped", rsc, "stopped", O_IMPLIES_THEN_PRINTED)
        for replica in data.replicas:
            _order_replica(work, rsc, replica)
        if data.child is not None:
            work.variants[data.child.variant].internal_constraints(work, data.child)
            if data.child.settings.promotable:
                _order_promotion(work, rsc, data.child)

    def apply_colocation(
        self, work: WorkingSet, dependent: Resource, primary: Resource, constraint: Colocation, for_dependent: bool
    ) -> None:
        if primary.placing.provisional:
            return
        if constraint.dependent.variant > Variant.GROUP:
            _pair(work, dependent, primary, constraint)
        elif constraint.score < INFINITY:
            for container in parts.instances(primary):
                work.variants[container.variant].apply_colocation(work, dependent, container, constraint, False)
        else:
            replicas = _data(primary).replicas
            hosts = {replica.container.assigned_to for replica in replicas if _ready(replica, constraint)}
            for node in dependent.allowed:
                if node not in hosts:
                    dependent.allowed[node] = -INFINITY

    def add_scores(
        self, work: WorkingSet, rsc: Resource, table: NodeScores, attribute: str, factor: float, mode: int
    ) -> NodeScores:
        return colocation_scores.add_scores(work, rsc, table, attribute, factor, mode)

    def apply_location(self, work: WorkingSet, rsc: Resource, constraint: Location) -> None:
        data = _data(rsc)
        unpack_constraints.apply_to_scores(work, rsc, constraint)
        for replica in data.replicas:
            for part in (replica.container, replica.ip):
                if part is not None:
                    work.variants[part.variant].apply_location(work, part, constraint)
        if data.child is not None and constraint.role in (UNPROMOTED, PROMOTED):
            work.variants[data.child.variant].apply_location(work, data.child, constraint)
            data.child.placing.locations.insert(0, constraint)

    def action_flags(self, work: WorkingSet, action: Action, node: Node | None) -> int:
        assert action.rsc is not None
        child = _data(action.rsc).child
        if child is not None and action.task in _TASKS_INSIDE:
            return instance_actions.summed_flags(work, action, child.children, node)
        return instance_actions.summed_flags(work, action, parts.instances(action.rsc), node)

    def update_ordered(
        self, work: WorkingSet, first: Action, then: Action, node: Node | None, flags: int, filter_: int, type_: int
    ) -> int:
        return instance_actions.update_ordered(work, first, then, node, flags, filter_, type_)

    def add_to_graph(self, work: WorkingSet, rsc: Resource) -> None:
        return


# What only the resource in a container can do.
_TASKS_INSIDE = frozenset(("notify", "notified", "promote", "promoted", "demote", "demoted"))


# --- placement ----------------------------------------------------------------------------------------


def _assign_replica(work: WorkingSet, replica: Replica, preferred: Node | None) -> None:
    """Once its container has a place: a replica's address, its connection, and what runs inside."""
    if replica.ip is not None:
        work.variants[replica.ip.variant].assign(work, replica.ip, preferred)
    host = replica.container.assigned_to
    if replica.remote is not None:
        if host is not None and host.remote and host.remote_rsc is not None:
            # A host that is a remote node itself takes one connection only, so both have to come from one node.
            name = "child-remote-with-docker-remote"
            colocations.add(work, name, replica.remote, host.remote_rsc, INFINITY, influence=True)
        work.variants[replica.remote.variant].assign(work, replica.remote, preferred)
    child = replica.child
    if child is None or child.parent is None:
        return
    for node in child.allowed:
        if node is not replica.node:
            child.allowed[node] = -INFINITY
        elif failures.threshold_reached(work, child, node) is None:
            child.allowed[node] = INFINITY
    child.parent.placing.allocating = True
    work.variants[child.variant].assign(work, child, replica.node)
    child.parent.placing.allocating = False


def _pair(work: WorkingSet, dependent: Resource, primary: Resource, constraint: Colocation) -> None:
    """Colocate an instance of a clone or bundle with the container that will be where it can be."""
    container = parts.compatible(dependent, primary, False)
    if container is not None:
        work.variants[dependent.variant].apply_colocation(work, dependent, container, constraint, True)
    elif constraint.score >= INFINITY:
        assignment.set_assigned(work, dependent, None, True)


def _ready(replica: Replica, constraint: Colocation) -> bool:
    """Whether a mandatory dependent may go where this replica is."""
    if replica.container.assigned_to is None or parts.blocked(replica.container):
        return False
    if constraint.primary_role < PROMOTED:
        return True
    return replica.child is not None and replica.child.next_role >= PROMOTED


# --- orderings ----------------------------------------------------------------------------------------


def _order_replica(work: WorkingSet, bundle: Resource, replica: Replica) -> None:
    container = replica.container
    work.variants[container.variant].internal_constraints(work, container)
    orderings.order_starts(work, bundle, container, O_RUNNABLE_LEFT | O_IMPLIES_FIRST_PRINTED)
    if replica.child is not None:
        orderings.order_stops(work, bundle, replica.child, O_IMPLIES_FIRST_PRINTED)
    orderings.order_stops(work, bundle, container, O_IMPLIES_FIRST_PRINTED)
    orderings.order_tasks(work, container, "start", bundle, "running", O_IMPLIES_THEN_PRINTED)
    orderings.order_tasks(work, container, "stop", bundle, "stopped", O_IMPLIES_THEN_PRINTED)
    if replica.ip is not None:
        work.variants[replica.ip.variant].internal_constraints(work, replica.ip)
        orderings.order_starts(work, replica.ip, container, O_RUNNABLE_LEFT | O_PRESERVE)
        orderings.order_stops(work, container, replica.ip, O_IMPLIES_FIRST | O_PRESERVE)
        colocations.add(work, "ip-with-docker", replica.ip, container, INFINITY, influence=True)
    if replica.remote is not None:
        # Its order and place relative to the container are those of any guest node's connection.
        work.variants[replica.remote.variant].internal_constraints(work, replica.remote)


def _order_promotion(work: WorkingSet, bundle: Resource, child: Resource) -> None:
    promotion.order_phases(work, bundle)
    orderings.order_tasks(work, child, "demoted", bundle, "demoted", O_IMPLIES_THEN_PRINTED)
    orderings.order_tasks(work, bundle, "demote", child, "demote", O_IMPLIES_FIRST_PRINTED)
    orderings.order_tasks(work, child, "promoted", bundle, "promoted", O_IMPLIES_THEN_PRINTED)
    orderings.order_tasks(work, bundle, "promote", child, "promote", O_IMPLIES_FIRST_PRINTED)


# --- probes -------------------------------------------------------------------------------------------


def _probe_replica(work: WorkingSet, data: BundleData, replica: Replica, node: Node) -> bool:
    container, child, remote = replica.container, replica.child, replica.remote
    probed = replica.ip is not None and work.variants[replica.ip.variant].create_probe(work, replica.ip, node)
    if child is not None and node is replica.node and work.variants[child.variant].create_probe(work, child, node):
        probed = True
    if work.variants[container.variant].create_probe(work, container, node):
        probed = True
        if data.replicas_per_host == 1:
            _before_peers_start(work, data, replica)
    if remote is not None and work.variants[remote.variant].create_probe(work, remote, node):
        probed = True
        # Where the container runs may tell the address to look for.
        probe = resource_actions.find_task(remote, "monitor", node)
        key = orderings.key_of(container, "start")
        orderings.new_ordering(work, container, key, None, remote, "", probe, O_PROBE)
    return probed


def _before_peers_start(work: WorkingSet, data: BundleData, replica: Replica) -> None:
    """Where a host has room for one replica, none starts before it is known that no other is there."""
    for other in data.replicas:
        if other is not replica:
            flags = O_OPTIONAL | O_SAME_NODE
            orderings.order_tasks(work, replica.container, "monitor", other.container, "start", flags)
