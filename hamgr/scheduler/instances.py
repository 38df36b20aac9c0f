"""Instances of clones and of bundles: in which order they are assigned, where to, and which of them belong together.

What `clones`, `bundles` and `promotion` have in common, of "Clones" and "Bundles" in Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.cib.scores import INFINITY
from hamgr.scheduler import colocation, placement, primitives
from hamgr.scheduler.state.constraint import MERGE_POSITIVE
from hamgr.scheduler.state.node import NodeRt, NodeScores
from hamgr.scheduler.state.resource import Rsc
from hamgr.scheduler.state.vocabulary import UNKNOWN, Variant
from hamgr.scheduler.state.work import Work

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable


def instances(rsc: Rsc) -> list[Rsc]:
    """A clone's instances, or a bundle's containers."""
    if rsc.bundle is not None:
        return [replica.container for replica in rsc.bundle.replicas]
    return rsc.children


def next_role(rsc: Rsc) -> int:
    """The role that a resource is going to have; of a collection the highest of its parts."""
    if rsc.variant == Variant.PRIMITIVE:
        return rsc.next_role
    return max((next_role(child) for child in rsc.children), default=UNKNOWN)


def current_role(rsc: Rsc) -> int:
    """The role that a resource has; of a collection the highest of its parts."""
    if rsc.variant == Variant.PRIMITIVE:
        return rsc.role
    return max((current_role(child) for child in rsc.children), default=UNKNOWN)


def _failed(rsc: Rsc) -> bool:
    return rsc.failed or any(_failed(child) for child in rsc.children)


def number(rsc: Rsc) -> int:
    """An instance's number: that of a clone's is after a colon, that of a bundle's container after a dash."""
    return scores.leading_int(rsc.id.rpartition(":" if ":" in rsc.id else "-")[2])


def blocked(rsc: Rsc) -> bool:
    """Whether a resource, or any part of it, is left alone until a person has looked at it."""
    return rsc.blocked or any(blocked(child) for child in rsc.children)


# --- order of instances -------------------------------------------------------------------------------


def sort_instances(parts: list[Rsc], compare: Callable[[Rsc, Rsc], int]) -> None:
    """Sort by a comparison that says whether the first comes before (negative) or after (positive) the second."""
    if len(parts) > 1:
        from functools import cmp_to_key  # slow to import for clusters that have no clones

        parts.sort(key=cmp_to_key(compare))


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
    failed_a, failed_b = _failed(a), _failed(b)
    if failed_a != failed_b:
        return 1 if failed_a else -1
    order = _compare_by_colocation(work, a, b, node_a, node_b)
    if order:
        return order
    return (number(a) > number(b)) - (number(a) < number(b))


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


# --- pairs --------------------------------------------------------------------------------------------


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
