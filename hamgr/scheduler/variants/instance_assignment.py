"""Assigns the instances of clones and of bundles: in which order, and where to.

What `clones`, `bundles` and `promotion` have in common, of "Clones" and "Bundles" in Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.placement import assignment, colocation_scores, node_scores
from hamgr.scheduler.state import parts
from hamgr.scheduler.state.constants import MERGE_POSITIVE, Variant
from hamgr.scheduler.state.entities import Node, NodeScores, Resource
from hamgr.scheduler.state.working_set import WorkingSet

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable


def _failed(rsc: Resource) -> bool:
    return rsc.failed or any(_failed(child) for child in rsc.children)


# --- order of instances -------------------------------------------------------------------------------


def sort_instances(parts: list[Resource], compare: Callable[[Resource, Resource], int]) -> None:
    """Sort by a comparison that says whether the first comes before (negative) or after (positive) the second."""
    if len(parts) > 1:
        from functools import cmp_to_key  # slow to import for clusters that have no clones

        parts.sort(key=cmp_to_key(compare))


def compare_instances(work: WorkingSet, a: Resource, b: Resource) -> int:
    """Which of two instances is assigned first (Pacemaker's pcmk__cmp_instance)."""
    node_a, count_a, _ = a.active_node()
    node_b, count_b, _ = b.active_node()
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
    ok_a, ok_b = node_a.is_available(), node_b.is_available()
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
    return (parts.number(a) > parts.number(b)) - (parts.number(a) < parts.number(b))


def _compare_by_colocation(work: WorkingSet, a: Resource, b: Resource, node_a: Node, node_b: Node) -> int:
    parent = a.parent
    assert parent is not None
    sums = []
    for rsc in (a, b):
        table: NodeScores = {node_a: node_a.weight, node_b: node_b.weight}
        for constraint in colocation_scores.with_primaries(parent):
            table = work.variants[constraint.primary.variant].add_scores(
                work, constraint.primary, table, constraint.attribute, constraint.score / INFINITY, 0
            )
        for constraint in colocation_scores.with_dependents(parent):
            if colocation_scores.has_influence(constraint, rsc):
                table = work.variants[constraint.dependent.variant].add_scores(
                    work, constraint.dependent, table, constraint.attribute, constraint.score / INFINITY, MERGE_POSITIVE
                )
        sums.append(table)
    score_a, score_b = sums[0][node_a], sums[1][node_b]
    return (score_a < score_b) - (score_a > score_b)


# --- assignment ---------------------------------------------------------------------------------------


def distribute(work: WorkingSet, rsc: Resource, children: list[Resource], maximum: int, per_host: int) -> None:
    """Assign instances: first those that may stay where they are, then the rest."""
    counts: dict[Node, int] = {}  # instances assigned to each node
    available = sum(1 for node in rsc.allowed if node.is_available())
    optimal = max(1, maximum // available) if available else 1
    assigned = 0
    for child in children:
        if assigned >= maximum:
            break
        if not child.running_on or not child.placing.provisional or child.failed:
            continue
        node = child.running_on[0]
        if (
            node.is_available()
            and node in rsc.allowed
            and rsc.allowed[node] >= 0
            and counts.get(node, 0) < optimal
            and _assign_instance(work, rsc, child, node, counts, maximum < available, per_host)
        ):
            assigned += 1
    for child in children:
        if not child.placing.provisional:
            continue
        if assigned >= maximum:
            node_scores.ban_everywhere(work, child, "clone-max")
        elif _assign_instance(work, rsc, child, None, counts, maximum < available, per_host):
            assigned += 1


def _ban_instance(rsc: Resource, node: Node) -> None:
    for part in rsc.with_descendants():
        if node in part.allowed:
            part.allowed[node] = -INFINITY


def _assign_instance(
    work: WorkingSet,
    clone: Resource,
    child: Resource,
    preferred: Node | None,
    counts: dict[Node, int],
    all_colocations: bool,
    per_host: int,
) -> bool:
    if not child.placing.provisional:
        return child.assigned_to is not None
    if child.placing.allocating:
        return False
    _copy_colocations(clone, child, all_colocations)
    if preferred is not None and child.allowed.get(preferred, -INFINITY) < 0:
        return False
    for node in list(child.allowed):
        if (
            child.orphan
            or not node.is_available()
            or clone.allowed.get(node, -INFINITY) < 0
            or counts.get(node, 0) >= per_host
        ):
            _ban_instance(child, node)
            if work.explain and counts.get(node, 0) >= per_host:
                work.because("clone-node-max", child, node, score=-INFINITY)
    backup = dict(child.allowed)
    chosen = work.variants[child.variant].assign(work, child, preferred)
    if chosen is not None and preferred is not None and chosen is not preferred:
        if child.variant == Variant.PRIMITIVE:
            child.allowed = backup
            assignment.unassign(work, child)
        return False
    if chosen is not None:
        counts[chosen] = counts.get(chosen, 0) + 1
    return chosen is not None


def _copy_colocations(clone: Resource, child: Resource, everything: bool) -> None:
    """Instances take part in their clone's colocations; where every node gets one, preferences do not matter."""
    for constraint in colocation_scores.with_primaries(clone):
        if everything or constraint.score < 0 or constraint.score == INFINITY:
            child.placing.with_primaries.append(constraint)
    for constraint in colocation_scores.with_dependents(clone):
        if colocation_scores.has_influence(constraint, child) and (everything or constraint.score < 0):
            child.placing.with_dependents.append(constraint)
