"""Clones: instances of a resource on several nodes.

Implements "Clones - Resources That Can Have Multiple Active Instances" of Pacemaker Explained. Instances are placed
in `instance_assignment`, their roles chosen in `promotion`, notifications made in `notifications`.
"""

from __future__ import annotations

import itertools

from hamgr.cib.booleans import is_true
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import orderings, resource_actions
from hamgr.scheduler.constraints import unpack_constraints
from hamgr.scheduler.placement import assignment, colocation_scores
from hamgr.scheduler.state.constants import (
    O_IMPLIES_FIRST_PRINTED,
    O_IMPLIES_THEN_PRINTED,
    O_OPTIONAL,
    O_RUNNABLE_LEFT,
    OPTIONAL,
    PROMOTED,
    UNKNOWN,
    Variant,
)
from hamgr.scheduler.state.entities import Action, Colocation, Location, Node, NodeScores, Resource
from hamgr.scheduler.state.parts import blocked, compatible, instances, number
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.variants import promotion
from hamgr.scheduler.variants.instance_actions import create_pseudo_actions, summed_flags, update_ordered
from hamgr.scheduler.variants.instance_assignment import compare_instances, distribute, sort_instances


class CloneMethods:
    def assign(self, work: WorkingSet, rsc: Resource, preferred: Node | None) -> Node | None:
        if not rsc.placing.provisional or rsc.placing.allocating:
            return None
        data = rsc.clone
        assert data is not None
        if rsc.settings.promotable:
            promotion.add_scores(work, rsc)
        rsc.placing.allocating = True
        for constraint in colocation_scores.with_primaries(rsc):
            work.variants[constraint.primary.variant].assign(work, constraint.primary, preferred)
        for constraint in colocation_scores.with_dependents(rsc):
            if colocation_scores.has_influence(constraint):
                colocation_scores.add_dependent_scores(work, rsc, constraint, positive=True)
        sort_instances(rsc.children, lambda a, b: compare_instances(work, a, b))
        distribute(work, rsc, rsc.children, data.clone_max, data.clone_node_max)
        if rsc.settings.promotable:
            promotion.choose(work, rsc)
        rsc.placing.provisional = False
        rsc.placing.allocating = False
        return None

    def create_actions(self, work: WorkingSet, rsc: Resource) -> None:
        for child in rsc.children:
            work.variants[child.variant].create_actions(work, child)
        create_pseudo_actions(work, rsc, rsc.children)
        _order_required(rsc)
        if rsc.settings.promotable:
            promotion.create_actions(work, rsc)

    def create_probe(self, work: WorkingSet, rsc: Resource, node: Node) -> bool:
        rsc.children.sort(key=number)
        if rsc.placing.exclusive_discovery and node in rsc.allowed and rsc.placing.discovery.get(node) != "exclusive":
            del rsc.allowed[node]
            return False
        if rsc.settings.unique:
            probed = [work.variants[child.variant].create_probe(work, child, node) for child in rsc.children]
            return any(probed)
        if not rsc.children:
            return False
        child = next(
            (c for c in rsc.children if any(node in leaf.known_on for leaf in c.leaves())),
            next((c for c in rsc.children if c.location(current=False) is node), rsc.children[0]),
        )
        return work.variants[child.variant].create_probe(work, child, node)

    def internal_constraints(self, work: WorkingSet, rsc: Resource) -> None:
        assert rsc.clone is not None
        orderings.order_tasks(work, rsc, "stopped", rsc, "start", O_OPTIONAL)
        orderings.order_tasks(work, rsc, "start", rsc, "running", O_RUNNABLE_LEFT)
        orderings.order_tasks(work, rsc, "stop", rsc, "stopped", O_RUNNABLE_LEFT)
        if rsc.settings.promotable:
            orderings.order_tasks(work, rsc, "demoted", rsc, "stop", O_OPTIONAL)
            orderings.order_tasks(work, rsc, "running", rsc, "promote", O_RUNNABLE_LEFT)
        if rsc.clone.ordered:
            rsc.children.sort(key=number)
        last: Resource | None = None
        for child in rsc.children:
            work.variants[child.variant].internal_constraints(work, child)
            orderings.order_starts(work, rsc, child, O_RUNNABLE_LEFT | O_IMPLIES_FIRST_PRINTED)
            orderings.order_tasks(work, child, "start", rsc, "running", O_IMPLIES_THEN_PRINTED)
            orderings.order_stops(work, rsc, child, O_IMPLIES_FIRST_PRINTED)
            orderings.order_tasks(work, child, "stop", rsc, "stopped", O_IMPLIES_THEN_PRINTED)
            if rsc.clone.ordered and last is not None:
                orderings.order_starts(work, last, child, O_OPTIONAL)
                orderings.order_stops(work, child, last, O_OPTIONAL)
            last = child
        if rsc.settings.promotable:
            promotion.internal_constraints(work, rsc)

    def apply_colocation(
        self, work: WorkingSet, dependent: Resource, primary: Resource, constraint: Colocation, for_dependent: bool
    ) -> None:
        if primary.placing.provisional:
            return
        if primary.settings.promotable and constraint.primary_role != UNKNOWN:
            if dependent.placing.provisional:
                promotion.place_with(dependent, primary, constraint)
                return
            if constraint.dependent_role == PROMOTED:
                promotion.prioritize_with(dependent, primary, constraint)
                return
        if _interleaved(constraint):
            instance = compatible(dependent, primary, False)
            if instance is not None:
                work.variants[dependent.variant].apply_colocation(work, dependent, instance, constraint, True)
            elif constraint.score >= INFINITY:
                assignment.keep_down(work, dependent)
            return
        if constraint.score >= INFINITY:
            nodes = {
                node
                for child in instances(primary)
                if not blocked(child) and (node := child.location(current=False)) is not None
            }
            for node in dependent.allowed:
                if node not in nodes:
                    dependent.allowed[node] = -INFINITY
            return
        for child in instances(primary):
            work.variants[child.variant].apply_colocation(work, dependent, child, constraint, False)

    def add_scores(
        self, work: WorkingSet, rsc: Resource, table: NodeScores, attribute: str, factor: float, mode: int
    ) -> NodeScores:
        return colocation_scores.add_scores(work, rsc, table, attribute, factor, mode)

    def apply_location(self, work: WorkingSet, rsc: Resource, constraint: Location) -> None:
        unpack_constraints.apply_to_scores(work, rsc, constraint)
        for child in rsc.children:
            work.variants[child.variant].apply_location(work, child, constraint)

    def action_flags(self, work: WorkingSet, action: Action, node: Node | None) -> int:
        assert action.rsc is not None
        return summed_flags(work, action, action.rsc.children, node)

    def update_ordered(
        self, work: WorkingSet, first: Action, then: Action, node: Node | None, flags: int, filter_: int, type_: int
    ) -> int:
        return update_ordered(work, first, then, node, flags, filter_, type_)

    def add_to_graph(self, work: WorkingSet, rsc: Resource) -> None:
        return


def _per_node(rsc: Resource) -> int:
    if rsc.bundle is not None:
        return rsc.bundle.replicas_per_host
    return rsc.clone.clone_node_max if rsc.clone is not None else 0


def _interleaved(constraint: Colocation) -> bool:
    dependent = constraint.dependent
    return (
        dependent.variant > Variant.GROUP
        and is_true(dependent.meta.get("interleave"))
        and _per_node(dependent) == _per_node(constraint.primary)
    )


def _order_required(clone: Resource) -> None:
    """Instances of an ordered clone that stop, or that start, do so one after the other, whatever lies between them."""
    if clone.clone is None or not clone.clone.ordered:
        return
    clone.children.sort(key=number)
    for task, backwards in (("stop", True), ("start", False)):
        found = [action for child in clone.children if (action := resource_actions.find_task(child, task)) is not None]
        required = [action for action in found if not action.flags & OPTIONAL]
        for earlier, later in itertools.pairwise(reversed(required) if backwards else required):
            orderings.order(earlier, later, O_OPTIONAL)
