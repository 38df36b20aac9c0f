"""Groups: members in order on one node.

Implements "Groups - A Syntactic Shortcut" of Pacemaker Explained: a group is orderings and colocations between its
members plus pseudo-actions (start, running, stop, stopped) that stand for the whole.
"""

from __future__ import annotations

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import action_relations, orderings, resource_actions
from hamgr.scheduler.constraints import colocations, unpack_constraints
from hamgr.scheduler.placement import colocation_scores
from hamgr.scheduler.state import parts
from hamgr.scheduler.state.constants import (
    O_IMPLIES_FIRST_PRINTED,
    O_IMPLIES_THEN,
    O_IMPLIES_THEN_PRINTED,
    O_NONE,
    O_OPTIONAL,
    O_RESTART,
    O_RUNNABLE_LEFT,
    OPTIONAL,
    PSEUDO,
    RUNNABLE,
)
from hamgr.scheduler.state.entities import Action, Colocation, Location, Node, NodeScores, Resource
from hamgr.scheduler.state.working_set import WorkingSet


class GroupMethods:
    def assign(self, work: WorkingSet, rsc: Resource, preferred: Node | None) -> Node | None:
        if not rsc.placing.provisional:
            return rsc.assigned_to
        if rsc.placing.allocating:
            return None
        if not rsc.children:
            rsc.placing.provisional = False
            return None
        rsc.placing.allocating = True
        first, last = rsc.children[0], rsc.children[-1]
        rsc.role = first.role
        first.placing.with_primaries = first.placing.with_primaries + colocation_scores.with_primaries(rsc)
        rsc.placing.with_primaries = []
        last.placing.with_dependents = last.placing.with_dependents + colocation_scores.with_dependents(rsc)
        rsc.placing.with_dependents = []
        node: Node | None = None
        mandatory = [c for c in first.placing.with_primaries if c.score >= INFINITY and c.dependent is not first]
        held = True
        for member in rsc.children:
            if not held:
                # An unmanaged member holds nobody in place, so those that follow have to see to it themselves.
                member.placing.with_primaries = member.placing.with_primaries + mandatory
            held = held and member.managed
            chosen = work.variants[member.variant].assign(work, member, preferred)
            node = node or chosen
        rsc.next_role = first.next_role
        rsc.placing.allocating = False
        rsc.placing.provisional = False
        if not rsc.settings.colocated:
            return None
        rsc.assigned_to = node
        return node

    def create_actions(self, work: WorkingSet, rsc: Resource) -> None:
        for member in rsc.children:
            work.variants[member.variant].create_actions(work, member)
        tasks = ["start", "running", "stop", "stopped"]
        if rsc.top().settings.promotable:
            tasks += ["demote", "demoted", "promote", "promoted"]
        for task in tasks:
            resource_actions.rsc_pseudo(work, rsc, task, optional=True)

    def create_probe(self, work: WorkingSet, rsc: Resource, node: Node) -> bool:
        probed = [work.variants[member.variant].create_probe(work, member, node) for member in rsc.children]
        return any(probed)

    def internal_constraints(self, work: WorkingSet, rsc: Resource) -> None:
        promotable = rsc.top().settings.promotable
        orderings.order_tasks(work, rsc, "stopped", rsc, "start", O_OPTIONAL)
        orderings.order_tasks(work, rsc, "start", rsc, "running", O_RUNNABLE_LEFT)
        orderings.order_tasks(work, rsc, "stop", rsc, "stopped", O_RUNNABLE_LEFT)
        last: Resource | None = None
        last_active: Resource | None = None
        for member in rsc.children:
            work.variants[member.variant].internal_constraints(work, member)
            self._order_member(work, rsc, member, last, promotable)
            if member.running_on:
                # A group that is only partly active still shuts down in sequence.
                if rsc.settings.ordered and last and not last.running_on and last_active and last_active.running_on:
                    orderings.order_stops(work, member, last_active, O_OPTIONAL)
                last_active = member
            last = member

    def _order_member(
        self, work: WorkingSet, rsc: Resource, member: Resource, last: Resource | None, promotable: bool
    ) -> None:
        down, downed = O_NONE, O_IMPLIES_THEN_PRINTED
        up = O_IMPLIES_THEN | O_RUNNABLE_LEFT
        upped = up | O_IMPLIES_THEN_PRINTED
        printed = O_IMPLIES_FIRST_PRINTED
        if last is None:
            if rsc.settings.ordered:
                down, downed = O_OPTIONAL, O_IMPLIES_THEN
        elif rsc.settings.colocated:
            colocations.add(
                work, "group:internal_colocation", member, last, INFINITY, influence=member.settings.critical
            )
        # In this order: an ordering makes the action that it begins with, and misses one that it should end with.
        if promotable:
            orderings.order_tasks(work, rsc, "demote", member, "demote", down | printed)
            orderings.order_tasks(work, member, "demote", rsc, "demoted", downed)
            orderings.order_tasks(work, member, "promote", rsc, "promoted", upped)
            orderings.order_tasks(work, rsc, "promote", member, "promote", printed)
        orderings.order_tasks(work, rsc, "stop", member, "stop", down | printed)
        orderings.order_tasks(work, member, "stop", rsc, "stopped", downed)
        orderings.order_tasks(work, rsc, "start", member, "start", printed)
        orderings.order_tasks(work, member, "start", rsc, "running", upped)
        if not rsc.settings.ordered:
            orderings.order_tasks(work, rsc, "start", member, "start", up | printed)
            if promotable:
                orderings.order_tasks(work, rsc, "promote", member, "promote", up | printed)
        elif last is not None:
            orderings.order_tasks(work, last, "start", member, "start", up)
            orderings.order_tasks(work, member, "stop", last, "stop", O_OPTIONAL | O_RESTART)
            if promotable:
                orderings.order_tasks(work, last, "promote", member, "promote", up)
                orderings.order_tasks(work, member, "demote", last, "demote", O_OPTIONAL)

    def apply_colocation(
        self, work: WorkingSet, dependent: Resource, primary: Resource, constraint: Colocation, for_dependent: bool
    ) -> None:
        if for_dependent:
            members = dependent.children[:1] if dependent.settings.colocated else dependent.children
            if dependent.settings.colocated or constraint.score < INFINITY:
                for member in members:
                    work.variants[member.variant].apply_colocation(work, member, primary, constraint, True)
            return
        if primary.placing.provisional or not primary.children:
            return
        if primary.settings.colocated:
            # All of the group must be up for a mandatory colocation, any of it will do for another.
            member = primary.children[-1] if constraint.score >= INFINITY else primary.children[0]
            work.variants[member.variant].apply_colocation(work, dependent, member, constraint, False)
        elif constraint.score < INFINITY:
            for member in primary.children:
                work.variants[member.variant].apply_colocation(work, dependent, member, constraint, False)

    def add_scores(
        self, work: WorkingSet, rsc: Resource, table: NodeScores, attribute: str, factor: float, mode: int
    ) -> NodeScores:
        if rsc.placing.merging or not rsc.children:
            return table
        rsc.placing.merging = True
        first, last = rsc.children[0], rsc.children[-1]
        merged = work.variants[first.variant].add_scores(work, first, table, attribute, factor, mode)
        # What is with the group counts from when the group is assigned: its last member has taken that over then.
        constraints = colocation_scores.with_dependents(last)
        merged = colocation_scores.add_scores_of(work, rsc, constraints, table, merged, factor, mode)
        rsc.placing.merging = False
        return merged

    def apply_location(self, work: WorkingSet, rsc: Resource, constraint: Location) -> None:
        unpack_constraints.apply_to_scores(work, rsc, constraint)
        score_once = constraint
        for member in rsc.children:
            work.variants[member.variant].apply_location(work, member, score_once)
            if rsc.settings.colocated and score_once is constraint:
                # The first member carries the score; the others follow it anyway.
                score_once = Location(constraint.id, constraint.rsc, constraint.role, constraint.discovery)
                score_once.nodes = [(node, 0) for node, _ in constraint.nodes]

    def action_flags(self, work: WorkingSet, action: Action, node: Node | None) -> int:
        flags = OPTIONAL | RUNNABLE | PSEUDO
        rsc = action.rsc
        assert rsc is not None
        for member in rsc.children:
            task = parts.part_task(member, action.task)
            member_action = resource_actions.find_task(member, task, node)
            if member_action is not None:
                member_flags = work.variants[member.variant].action_flags(work, member_action, node)
                if flags & OPTIONAL and not member_flags & OPTIONAL:
                    flags &= ~OPTIONAL
                    action.flags &= ~OPTIONAL
                if task != action.task and flags & RUNNABLE and not member_flags & RUNNABLE:
                    flags &= ~RUNNABLE
                    action.flags &= ~RUNNABLE
            elif task not in ("stop", "demote"):
                flags &= ~RUNNABLE
        return flags

    def update_ordered(
        self, work: WorkingSet, first: Action, then: Action, node: Node | None, flags: int, filter_: int, type_: int
    ) -> int:
        changed = action_relations.update_primitive(work, first, then, flags, filter_, type_)
        for member in then.rsc.children if then.rsc else ():
            member_action = resource_actions.find_task(member, then.task, node)
            if member_action is not None:
                changed |= work.variants[member.variant].update_ordered(
                    work, first, member_action, node, flags, filter_, type_
                )
        return changed

    def add_to_graph(self, work: WorkingSet, rsc: Resource) -> None:
        for member in rsc.children:
            work.variants[member.variant].add_to_graph(work, member)
