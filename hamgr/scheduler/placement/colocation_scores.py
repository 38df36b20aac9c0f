"""Colocations in the scores: the dependent follows the primary, and the primary listens to its dependents.

Implements "Colocation Constraints" of Pacemaker Explained. A colocation acts twice: the dependent's scores follow from
where the primary went, and, before that, the primary takes the preferences of its dependents into account.
"""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.state.constants import MERGE_OPTIONAL, MERGE_POSITIVE, PROMOTED, UNKNOWN, UNPROMOTED, Variant
from hamgr.scheduler.state.entities import Colocation, Node, NodeScores, Resource, any_available
from hamgr.scheduler.state.working_set import WorkingSet

# Marks a node whose score would have become negative while only non-negative results are wanted.
_SPENT = -100 * INFINITY


_rounded = {0.0: 0.0, 1.0: 1.0, -1.0: -1.0}  # what float32 has worked out


def float32(value: float) -> float:
    """Round to single precision (24 bits, ties to even), in which Pacemaker computes a colocation's factor."""
    found = _rounded.get(value)
    if found is None:
        scale = 1.0
        while abs(value) * scale < 2**23:
            scale *= 2
        while abs(value) * scale >= 2**24:
            scale /= 2
        found = _rounded[value] = round(value * scale) / scale
    return found


# --- constraints --------------------------------------------------------------------------------------


def _sort_key(other: Resource) -> tuple[int, int, bool, str]:
    return (
        -other.priority,
        -int(other.variant),
        other.variant == Variant.CLONE and not other.settings.promotable,
        other.id,
    )


def with_primaries(rsc: Resource) -> list[Colocation]:
    """Colocations of which a resource is the dependent, in the order in which they are applied: newer ones first."""
    newest_first = rsc.placing.with_primaries[::-1]
    return newest_first if len(newest_first) < 2 else sorted(newest_first, key=lambda c: _sort_key(c.primary))


def with_dependents(rsc: Resource) -> list[Colocation]:
    """Colocations of which a resource is the primary, in the order in which they are applied: newer ones first."""
    newest_first = rsc.placing.with_dependents[::-1]
    return newest_first if len(newest_first) < 2 else sorted(newest_first, key=lambda c: _sort_key(c.dependent))


def has_influence(constraint: Colocation, rsc: Resource | None = None) -> bool:
    """Whether a dependent's preferences count for its primary."""
    primary = rsc or constraint.primary
    if constraint.dependent.settings.is_bundle_connection and not primary.failed and len(primary.running_on) == 1:
        # Moving a bundle's connection is cheap, moving its container is not.
        return False
    return constraint.influence or not primary.running_on


# --- the dependent follows the primary ----------------------------------------------------------------

NOTHING, ROLE, LOCATION = range(3)


def affects(dependent: Resource, primary: Resource, constraint: Colocation, preview: bool = False) -> int:
    """Whether a colocation now affects the dependent's location, its role or nothing."""
    if not preview and primary.placing.provisional:
        return NOTHING
    parent = dependent.parent
    if (
        constraint.dependent_role >= UNPROMOTED
        and parent is not None
        and parent.settings.promotable
        and not dependent.placing.provisional
    ):
        return ROLE
    if not preview and not dependent.placing.provisional:
        return NOTHING
    for role, next_role in (
        (constraint.dependent_role, dependent.next_role),
        (constraint.primary_role, primary.next_role),
    ):
        if role != UNKNOWN and (role != next_role) is (constraint.score > 0):
            return NOTHING
    return LOCATION


def apply_to_primitive(work: WorkingSet, dependent: Resource, primary: Resource, constraint: Colocation) -> None:
    """Apply a colocation with a primitive that has been assigned."""
    effect = affects(dependent, primary, constraint)
    if effect == ROLE:
        _apply_to_priority(dependent, primary, constraint)
    elif effect == LOCATION:
        _apply_to_scores(work, dependent, primary, constraint)


def same_value(attribute: str, node: Node, other: Node) -> bool:
    """Whether two nodes are the same to a colocation by node attribute."""
    if attribute == "#uname":
        return node is other
    return (node.attributes.get(attribute) or "").lower() == (other.attributes.get(attribute) or "").lower()


def _apply_to_scores(work: WorkingSet, dependent: Resource, primary: Resource, constraint: Colocation) -> None:
    where = primary.assigned_to
    score = constraint.score
    if where is None and score < 0:
        return
    table = dict(dependent.allowed)
    for node, weight in table.items():
        if where is None:
            table[node] = scores.add(-score, weight)
        elif same_value(constraint.attribute, node, where):
            if score < INFINITY:
                table[node] = scores.add(score, weight)
        elif score >= INFINITY:
            table[node] = scores.add(-score, weight)
    if abs(score) >= INFINITY or any_available(table):
        dependent.allowed = table
        work.because("colocated", dependent, where, primary=primary.id, score=score, constraint=constraint.id)


def _apply_to_priority(dependent: Resource, primary: Resource, constraint: Colocation) -> None:
    if primary.assigned_to is None or dependent.assigned_to is None:
        return
    if not same_value(constraint.attribute, dependent.assigned_to, primary.assigned_to):
        if constraint.score == INFINITY and constraint.dependent_role == PROMOTED:
            dependent.priority = -INFINITY
        return
    if constraint.primary_role not in (UNKNOWN, primary.next_role):
        return
    sign = -1 if constraint.dependent_role == UNPROMOTED else 1
    dependent.priority = scores.add(sign * constraint.score, dependent.priority)


# --- the primary listens to its dependents ------------------------------------------------------------


def add_dependent_scores(work: WorkingSet, rsc: Resource, constraint: Colocation, positive: bool = False) -> None:
    """Merge a dependent's preferences into a primary's scores, unless no node would remain."""
    dependent, before = constraint.dependent, rsc.allowed
    rsc.allowed = work.variants[dependent.variant].add_scores(
        work,
        dependent,
        rsc.allowed,
        constraint.attribute,
        float32(constraint.score / INFINITY),
        MERGE_OPTIONAL | (MERGE_POSITIVE if positive else 0),
    )
    if work.explain:
        work.scores_changed("with-dependent", rsc, before, constraint=constraint.id, dependent=dependent.id)


def add_scores(
    work: WorkingSet, rsc: Resource, table: NodeScores, attribute: str, factor: float, mode: int
) -> NodeScores:
    """A table of scores plus a resource's own preferences and (recursively) those of its dependents."""
    if rsc.placing.merging:
        return table
    rsc.placing.merging = True
    merged = matching(rsc, table, attribute, factor, bool(mode & MERGE_POSITIVE))
    merged = add_scores_of(work, rsc, with_dependents(rsc), table, merged, factor, mode)
    rsc.placing.merging = False
    return merged


def add_scores_of(
    work: WorkingSet,
    rsc: Resource,
    constraints: list[Colocation],
    table: NodeScores,
    merged: NodeScores,
    factor: float,
    mode: int,
) -> NodeScores:
    """Scores into which a resource's own preferences are merged, plus those of its dependents.

    ``table``: the scores before the resource's preferences were merged, for when those leave no node.
    """
    if any_available(merged):
        sign = -1 if factor < 0 else 1
        for constraint in constraints:
            if has_influence(constraint, rsc):
                dependent = constraint.dependent
                merged = work.variants[dependent.variant].add_scores(
                    work,
                    dependent,
                    merged,
                    constraint.attribute,
                    float32(sign * constraint.score / INFINITY),
                    mode | MERGE_OPTIONAL,
                )
    elif mode & MERGE_OPTIONAL:
        merged = table
    if mode & MERGE_POSITIVE:
        for node, score in merged.items():
            if score == _SPENT:
                merged[node] = 1
    return merged


def matching(rsc: Resource, table: NodeScores, attribute: str, factor: float, positive: bool) -> NodeScores:
    result = dict(table)
    best = _best_by_value(rsc, attribute)
    for node, weight in table.items():
        if attribute == "#uname":
            score = best.get(node, -INFINITY)
        else:
            score = best.get((node.attributes.get(attribute) or "").lower(), -INFINITY)
        if (factor < 0 and score < 0) or weight == _SPENT:
            continue
        product = float32(factor * score)
        delta = int(product - 0.5) if product < 0 else int(product + 0.5)
        if delta == 0 and score != 0:
            delta = (factor > 0) - (factor < 0)
        total = scores.add(delta, weight)
        if positive and total < 0:
            if weight > 0:
                result[node] = _SPENT
            if weight >= 0:
                continue
        result[node] = total
    return result


def _best_by_value(rsc: Resource, attribute: str) -> dict[object, int]:
    best: dict[object, int] = {}
    for node, score in rsc.allowed.items():
        if node.is_available():
            key: object = node if attribute == "#uname" else (node.attributes.get(attribute) or "").lower()
            if score > best.get(key, -INFINITY):
                best[key] = score
    return best
