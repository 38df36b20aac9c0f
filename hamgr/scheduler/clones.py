"""Clones: instances of a resource on several nodes.

Implements "Clones - Resources That Can Have Multiple Active Instances" of Pacemaker Explained. Roles of promotable
clones are chosen in `promotion`, notifications are made in `notifications`.
"""

from __future__ import annotations

import itertools

from hamgr.cib import scores
from hamgr.cib.scores import INFINITY
from hamgr.cib.xml import is_true
from hamgr.scheduler import actions, colocation, consequences, constraints, placement, primitives, promotion
from hamgr.scheduler.behavior import BEHAVIORS
from hamgr.scheduler.groups import first_action, part_task
from hamgr.scheduler.state import (
    MERGE_POSITIVE,
    MIGRATE_RUNNABLE,
    O_IMPLIES_FIRST_PRINTED,
    O_IMPLIES_THEN,
    O_IMPLIES_THEN_PRINTED,
    O_OPTIONAL,
    O_RUNNABLE_LEFT,
    OPTIONAL,
    PROMOTED,
    PSEUDO,
    RUNNABLE,
    UNKNOWN,
    Act,
    Colocation,
    LocationRt,
    NodeRt,
    NodeScores,
    Rsc,
    Variant,
    Work,
)

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable


def instances(rsc: Rsc) -> list[Rsc]:
    """A clone's instances, or a bundle's containers."""
    if rsc.bundle is not None:
        return [replica.container for replica in rsc.bundle.replicas]
    return rsc.children


def next_role(rsc: Rsc) -> int:
    if rsc.variant == Variant.PRIMITIVE:
        return rsc.next_role
    return max((next_role(child) for child in rsc.children), default=UNKNOWN)


def current_role(rsc: Rsc) -> int:
    if rsc.variant == Variant.PRIMITIVE:
        return rsc.role
    return max((current_role(child) for child in rsc.children), default=UNKNOWN)


# --- order of instances -------------------------------------------------------------------------------


def _failed(rsc: Rsc) -> bool:
    return rsc.failed or any(_failed(child) for child in rsc.children)


def _number(rsc: Rsc) -> int:
    """An instance's number: that of a clone's is after a colon, that of a bundle's container after a dash."""
    return scores.leading_int(rsc.id.rpartition(":" if ":" in rsc.id else "-")[2])


def sort_instances(instances: list[Rsc], compare: Callable[[Rsc, Rsc], int]) -> None:
    """Sort by a comparison that says whether the first comes before (negative) or after (positive) the second."""
    if len(instances) > 1:
        from functools import cmp_to_key  # slow to import for clusters that have no clones

        instances.sort(key=cmp_to_key(compare))


def compare_instances(work: Work, a: Rsc, b: Rsc) -> int:
    """Which of two instances is assigned first (Pacemaker's pcmk__cmp_instance)."""
    node_a, count_a, _ = primitives.active_node(a)
    node_b, count_b, _ = primitives.active_node(b)
    if count_a and count_b and count_a != count_b:
        return -1 if count_a < count_b else 1
    ok_a = node_a is None or a.allowed.get(node_a, -INFINITY) >= 0
    ok_b = node_b is None or b.allowed.get(node_b, -INFINITY) >= 0
    if ok_a != ok_b:
        return -1 if ok_a else 1
    if a.priority != b.priority:
        return -1 if a.priority > b.priority else 1
    # Where an instance may not stay, it counts as inactive from here on.
    node_a, node_b = node_a if ok_a else None, node_b if ok_b else None
    if node_a is None or node_b is None:
        return (node_a is None) - (node_b is None)
    ok_a, ok_b = placement.available(node_a), placement.available(node_b)
    if ok_a != ok_b:
        return -1 if ok_a else 1
    top = a.parent or a
    listed_a, listed_b = node_a in top.allowed, node_b in top.allowed
    if not (listed_a and listed_b):
        return listed_b - listed_a
    if top.counts.get(node_a, 0) != top.counts.get(node_b, 0):
        return -1 if top.counts.get(node_a, 0) < top.counts.get(node_b, 0) else 1
    failed_a, failed_b = _failed(a), _failed(b)
    if failed_a != failed_b:
        return 1 if failed_a else -1
    order = _compare_by_colocation(work, a, b, node_a, node_b)
    if order:
        return order
    return (_number(a) > _number(b)) - (_number(a) < _number(b))


def _compare_by_colocation(work: Work, a: Rsc, b: Rsc, node_a: NodeRt, node_b: NodeRt) -> int:
    parent = a.parent
    assert parent is not None
    sums = []
    for rsc in (a, b):
        table: NodeScores = {node_a: node_a.weight, node_b: node_b.weight}
        for constraint in colocation.with_primaries(parent):
            table = constraint.primary.behavior.add_scores(
                work, constraint.primary, table, constraint.attribute, constraint.score / INFINITY, 0
            )
        for constraint in colocation.with_dependents(parent):
            if colocation.has_influence(constraint, rsc):
                table = constraint.dependent.behavior.add_scores(
                    work, constraint.dependent, table, constraint.attribute, constraint.score / INFINITY, MERGE_POSITIVE
                )
        sums.append(table)
    score_a, score_b = sums[0][node_a], sums[1][node_b]
    return (score_a < score_b) - (score_a > score_b)


# --- assignment ---------------------------------------------------------------------------------------


def distribute(work: Work, rsc: Rsc, children: list[Rsc], maximum: int, per_host: int) -> None:
    """Assign instances: first those that may stay where they are, then the rest."""
    rsc.counts = {}
    available = sum(1 for node in rsc.allowed if placement.available(node))
    optimal = max(1, maximum // available) if available else 1
    assigned = 0
    for child in children:
        if assigned >= maximum:
            break
        if not child.running_on or not child.provisional or child.failed:
            continue
        node = child.running_on[0]
        if (
            placement.available(node)
            and node in rsc.allowed
            and rsc.allowed[node] >= 0
            and rsc.counts.get(node, 0) < optimal
            and _assign_instance(work, rsc, child, node, maximum < available, per_host)
        ):
            assigned += 1
    for child in children:
        if not child.provisional:
            continue
        if assigned >= maximum:
            placement.ban_everywhere(work, child, "clone-max")
        elif _assign_instance(work, rsc, child, None, maximum < available, per_host):
            assigned += 1


def _ban_instance(rsc: Rsc, node: NodeRt) -> None:
    for part in placement.with_descendants(rsc):
        if node in part.allowed:
            part.allowed[node] = -INFINITY


def _assign_instance(
    work: Work, clone: Rsc, child: Rsc, preferred: NodeRt | None, all_colocations: bool, per_host: int
) -> bool:
    if not child.provisional:
        return child.assigned_to is not None
    if child.allocating:
        return False
    _copy_colocations(clone, child, all_colocations)
    if preferred is not None and child.allowed.get(preferred, -INFINITY) < 0:
        return False
    for node in list(child.allowed):
        if (
            child.orphan
            or not placement.available(node)
            or clone.allowed.get(node, -INFINITY) < 0
            or clone.counts.get(node, 0) >= per_host
        ):
            _ban_instance(child, node)
            if work.explain and clone.counts.get(node, 0) >= per_host:
                work.because("clone-node-max", child, node, score=-INFINITY)
    backup = dict(child.allowed)
    chosen = child.behavior.assign(work, child, preferred)
    if chosen is not None and preferred is not None and chosen is not preferred:
        if child.variant == Variant.PRIMITIVE:
            child.allowed = backup
            placement.unassign(work, child)
        return False
    if chosen is not None:
        clone.counts[chosen] = clone.counts.get(chosen, 0) + 1
    return chosen is not None


def _copy_colocations(clone: Rsc, child: Rsc, everything: bool) -> None:
    """Instances take part in their clone's colocations; where every node gets one, preferences do not matter."""
    for constraint in colocation.with_primaries(clone):
        if everything or constraint.score < 0 or constraint.score == INFINITY:
            child.with_primaries.append(constraint)
    for constraint in colocation.with_dependents(clone):
        if colocation.has_influence(constraint, child) and (everything or constraint.score < 0):
            child.with_dependents.append(constraint)


class CloneBehavior:
    def assign(self, work: Work, rsc: Rsc, preferred: NodeRt | None) -> NodeRt | None:
        if not rsc.provisional or rsc.allocating:
            return None
        data = rsc.clone
        assert data is not None
        if rsc.promotable:
            promotion.add_scores(work, rsc)
        rsc.allocating = True
        for constraint in colocation.with_primaries(rsc):
            constraint.primary.behavior.assign(work, constraint.primary, preferred)
        for constraint in colocation.with_dependents(rsc):
            if colocation.has_influence(constraint):
                colocation.add_dependent_scores(work, rsc, constraint, positive=True)
        sort_instances(rsc.children, lambda a, b: compare_instances(work, a, b))
        distribute(work, rsc, rsc.children, data.clone_max, data.clone_node_max)
        if rsc.promotable:
            promotion.choose(work, rsc)
        rsc.provisional = False
        rsc.allocating = False
        return None

    def create_actions(self, work: Work, rsc: Rsc) -> None:
        for child in rsc.children:
            child.behavior.create_actions(work, child)
        create_pseudo_actions(work, rsc, rsc.children)
        _order_required(rsc)
        if rsc.promotable:
            promotion.create_actions(work, rsc)

    def create_probe(self, work: Work, rsc: Rsc, node: NodeRt) -> bool:
        rsc.children.sort(key=_number)
        if rsc.exclusive_discovery and node in rsc.allowed and rsc.discovery.get(node) != "exclusive":
            del rsc.allowed[node]
            return False
        if rsc.unique:
            probed = [child.behavior.create_probe(work, child, node) for child in rsc.children]
            return any(probed)
        if not rsc.children:
            return False
        child = next(
            (c for c in rsc.children if any(node in leaf.known_on for leaf in c.leaves())),
            next((c for c in rsc.children if c.location(current=False) is node), rsc.children[0]),
        )
        return child.behavior.create_probe(work, child, node)

    def internal_constraints(self, work: Work, rsc: Rsc) -> None:
        assert rsc.clone is not None
        actions.order_tasks(work, rsc, "stopped", rsc, "start", O_OPTIONAL)
        actions.order_tasks(work, rsc, "start", rsc, "running", O_RUNNABLE_LEFT)
        actions.order_tasks(work, rsc, "stop", rsc, "stopped", O_RUNNABLE_LEFT)
        if rsc.promotable:
            actions.order_tasks(work, rsc, "demoted", rsc, "stop", O_OPTIONAL)
            actions.order_tasks(work, rsc, "running", rsc, "promote", O_RUNNABLE_LEFT)
        if rsc.clone.ordered:
            rsc.children.sort(key=_number)
        last: Rsc | None = None
        for child in rsc.children:
            child.behavior.internal_constraints(work, child)
            actions.order_starts(work, rsc, child, O_RUNNABLE_LEFT | O_IMPLIES_FIRST_PRINTED)
            actions.order_tasks(work, child, "start", rsc, "running", O_IMPLIES_THEN_PRINTED)
            actions.order_stops(work, rsc, child, O_IMPLIES_FIRST_PRINTED)
            actions.order_tasks(work, child, "stop", rsc, "stopped", O_IMPLIES_THEN_PRINTED)
            if rsc.clone.ordered and last is not None:
                actions.order_starts(work, last, child, O_OPTIONAL)
                actions.order_stops(work, child, last, O_OPTIONAL)
            last = child
        if rsc.promotable:
            promotion.internal_constraints(work, rsc)

    def apply_colocation(
        self, work: Work, dependent: Rsc, primary: Rsc, constraint: Colocation, for_dependent: bool
    ) -> None:
        if primary.provisional:
            return
        if primary.promotable and constraint.primary_role != UNKNOWN:
            if dependent.provisional:
                promotion.place_with(dependent, primary, constraint)
                return
            if constraint.dependent_role == PROMOTED:
                promotion.prioritize_with(dependent, primary, constraint)
                return
        if _interleaved(constraint):
            instance = compatible(dependent, primary, False)
            if instance is not None:
                dependent.behavior.apply_colocation(work, dependent, instance, constraint, True)
            elif constraint.score >= INFINITY:
                placement.keep_down(work, dependent)
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
            child.behavior.apply_colocation(work, dependent, child, constraint, False)

    def add_scores(
        self, work: Work, rsc: Rsc, table: NodeScores, attribute: str, factor: float, mode: int
    ) -> NodeScores:
        return colocation.add_scores(work, rsc, table, attribute, factor, mode)

    def apply_location(self, work: Work, rsc: Rsc, constraint: LocationRt) -> None:
        constraints.apply_to_scores(work, rsc, constraint)
        for child in rsc.children:
            child.behavior.apply_location(work, child, constraint)

    def action_flags(self, action: Act, node: NodeRt | None) -> int:
        assert action.rsc is not None
        return summed_flags(action, action.rsc.children, node)

    def update_ordered(
        self, work: Work, first: Act, then: Act, node: NodeRt | None, flags: int, filter_: int, type_: int
    ) -> int:
        return update_ordered(work, first, then, node, flags, filter_, type_)

    def add_to_graph(self, work: Work, rsc: Rsc) -> None:
        return


BEHAVIORS[Variant.CLONE] = CloneBehavior()


def blocked(rsc: Rsc) -> bool:
    return rsc.blocked or any(blocked(child) for child in rsc.children)


def _per_node(rsc: Rsc) -> int:
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


def compatible(dependent: Rsc, primary: Rsc, current: bool, role: int = UNKNOWN) -> Rsc | None:
    """The primary's instance on the node where the dependent is, or on the best node where it could be."""
    node = dependent.location(current)
    if node is not None:
        return _instance_on(primary, node, current, role)
    candidates = [
        (-(score if placement.available(n) else -INFINITY), n.num_resources, n.name, n)
        for n, score in dependent.allowed.items()
    ]
    for *_, node in sorted(candidates, key=lambda c: c[:3]):
        instance = _instance_on(primary, node, current, role)
        if instance is not None:
            return instance
    return None


def _instance_on(primary: Rsc, node: NodeRt, current: bool, role: int) -> Rsc | None:
    for child in instances(primary):
        if child.location(current) is not node or blocked(child):
            continue
        if role == UNKNOWN or (current_role(child) if current else next_role(child)) == role:
            return child
    return None


# --- pseudo-actions -----------------------------------------------------------------------------------


def create_pseudo_actions(work: Work, rsc: Rsc, parts: list[Rsc]) -> None:
    """A clone's start, running, stop and stopped."""
    status = {"start": False, "stop": False, "active": False}
    for child in parts:
        _pseudo_status(child, status)
    starting, stopping, active = status["start"], status["stop"], status["active"]
    actions.rsc_pseudo(work, rsc, "start", not starting)
    running = actions.rsc_pseudo(work, rsc, "running", not starting, runnable=False)
    running.priority = INFINITY
    running.flags = running.flags | RUNNABLE if active or starting else running.flags & ~RUNNABLE
    stop = actions.rsc_pseudo(work, rsc, "stop", not stopping)
    stopped = actions.rsc_pseudo(work, rsc, "stopped", not stopping)
    stopped.priority = INFINITY
    stop.flags |= MIGRATE_RUNNABLE
    if rsc.notify and rsc.is_clone():
        from hamgr.scheduler import notifications

        notifications.add_pseudo_actions(work, rsc, "start", "stop")


def _order_required(clone: Rsc) -> None:
    """Instances of an ordered clone that stop, or that start, do so one after the other, whatever lies between them."""
    if clone.clone is None or not clone.clone.ordered:
        return
    clone.children.sort(key=_number)
    for task, backwards in (("stop", True), ("start", False)):
        found = [action for child in clone.children if (action := first_action(child, task)) is not None]
        required = [action for action in found if not action.flags & OPTIONAL]
        for earlier, later in itertools.pairwise(reversed(required) if backwards else required):
            actions.order(earlier, later, O_OPTIONAL)


def _pseudo_status(rsc: Rsc, status: dict[str, bool]) -> None:
    for child in rsc.children:
        _pseudo_status(child, status)
    if rsc.children:
        return
    if rsc.running_on:
        status["active"] = True
    for action in rsc.action_list:
        if action.flags & OPTIONAL or not action.flags & (PSEUDO | RUNNABLE):
            continue
        if action.task == "stop":
            status["stop"] = True
        elif action.task == "start" and action.flags & RUNNABLE:
            status["start"] = True


def _part_action_task(part: Rsc, action: Act) -> str:
    task = action.task
    if "notify" in action.key and task in ("notified", "notify"):
        # "confirmed-post_notify_running": what has been notified about
        task = action.key.rpartition("_")[0].rpartition("_")[2]
    return part_task(part, task)


def summed_flags(action: Act, parts: list[Rsc], node: NodeRt | None) -> int:
    """A collection's action is required if any part's is, and runnable if any part's is."""
    flags = OPTIONAL | RUNNABLE | PSEUDO
    any_runnable = False
    for child in parts:
        child_action = first_action(child, _part_action_task(child, action), None if child.children else node)
        if child_action is None:
            continue
        child_flags = child.behavior.action_flags(child_action, node)
        if flags & OPTIONAL and not child_flags & OPTIONAL:
            flags &= ~OPTIONAL
            action.flags &= ~OPTIONAL
        if child_flags & RUNNABLE:
            any_runnable = True
    if not any_runnable:
        flags &= ~RUNNABLE
        if node is None:
            action.flags &= ~RUNNABLE
    return flags


# --- orderings between collections --------------------------------------------------------------------


def _may_interleave(first: Act, then: Act) -> bool:
    if first.rsc is None or then.rsc is None or first.rsc is then.rsc:
        return False
    if first.rsc.variant < Variant.CLONE or then.rsc.variant < Variant.CLONE:
        return False
    rsc = first.rsc if then.task in ("stop", "demote") else then.rsc
    return is_true(rsc.meta.get("interleave"))


def update_ordered(work: Work, first: Act, then: Act, node: NodeRt | None, flags: int, filter_: int, type_: int) -> int:
    """Spread an ordering to the instances of its second action (and pair them where they interleave)."""
    if _may_interleave(first, then):
        return _update_interleaved(work, first, then, node, filter_, type_)
    if then.rsc is None:
        return 0
    changed = consequences.update_primitive(work, first, then, flags, filter_, type_)
    for child in instances(then.rsc):
        action = first_action(child, then.task, node)
        if action is None or not child.behavior.action_flags(action, node) & RUNNABLE:
            continue
        child_changed = child.behavior.update_ordered(work, first, action, node, flags, filter_, type_)
        changed |= child_changed
        if child_changed & consequences.THEN:
            for link in list(action.after):
                consequences.update(work, link.action)
    return changed


def _update_interleaved(work: Work, first: Act, then: Act, node: NodeRt | None, filter_: int, type_: int) -> int:
    assert first.rsc is not None
    assert then.rsc is not None
    current = first.key.endswith(("_stopped_0", "_demoted_0"))
    changed = 0
    for child in instances(then.rsc):
        partner = compatible(child, first.rsc, current)
        if partner is None:
            if not current and type_ & (O_RUNNABLE_LEFT | O_IMPLIES_THEN):
                # Nothing to pair with where it would run, so it must not run.
                changed |= consequences.THEN if placement.keep_down(work, child) else 0
            continue
        # Of a bundle, these are its containers' actions; what is inside of them is not paired.
        first_child_action = first_action(partner, _part_action_task(partner, first), node)
        then_action = first_action(child, part_task(child, then.task), node)
        if first_child_action is None or then_action is None:
            continue
        if actions.order(first_child_action, then_action, type_):
            changed |= consequences.FIRST | consequences.THEN
        changed |= child.behavior.update_ordered(
            work,
            first_child_action,
            then_action,
            node,
            partner.behavior.action_flags(first_child_action, node),
            filter_,
            type_,
        )
    return changed
