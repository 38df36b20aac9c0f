"""Promotion: which instances of a promotable clone get the promoted role.

Implements "Promotable clones" and "Promotion scores" of Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import notifications, orderings, resource_actions
from hamgr.scheduler.placement import colocation_scores
from hamgr.scheduler.state import parts
from hamgr.scheduler.state.constants import (
    MERGE_OPTIONAL,
    O_IMPLIES_FIRST_PRINTED,
    O_IMPLIES_THEN_PRINTED,
    O_OPTIONAL,
    OPTIONAL,
    PROMOTED,
    STARTED,
    STOPPED,
    UNKNOWN,
    UNPROMOTED,
)
from hamgr.scheduler.state.entities import Colocation, Node, Resource
from hamgr.scheduler.state.parts import member_called, strip_instance
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.variants import instance_assignment

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping

# --- scores -------------------------------------------------------------------------------------------


def _score_applies(rsc: Resource, node: Node) -> bool:
    """Whether a node's promotion score is about this instance: it is there, or nothing is known anywhere."""
    top = rsc.top()
    if not rsc.settings.unique and rsc.primitive is not None:
        base = rsc.primitive.id
        members = [m for child in top.children if (m := member_called(child, base)) is not None]
        active = next((m for m in members if node in m.running_on), None)
        if active is rsc:
            return True
        if active is None and any(node in m.known_on for m in members):
            return True
    if not rsc.running_on and not rsc.known_on:
        return True
    return node in rsc.known_on or node in rsc.running_on


def promotion_score(rsc: Resource, node: Node) -> int | None:
    """An instance's promotion score on a node; None when nobody has set one."""
    if rsc.children:
        found = [s for child in rsc.children if (s := promotion_score(child, node)) is not None]
        return sum(found) if found else None
    if rsc.allowed.get(node, -1) < 0 or not _score_applies(rsc, node):
        return None
    attributes = _attributes(rsc, node)
    text = attributes.get(f"master-{rsc.clone_name or rsc.id}")
    if text is None and not rsc.settings.unique:
        text = attributes.get(f"master-{strip_instance(rsc.id)}")
    return None if text is None else scores.parse(text)


def _attributes(rsc: Resource, node: Node) -> Mapping[str, str]:
    """Where promotion scores are kept: of a bundle's primitive, with "container-attribute-target", at the host."""
    connection = node.remote_rsc
    container = connection.container if connection is not None else None
    if container is None or rsc.meta.get("container-attribute-target", "").lower() != "host":
        return node.attributes
    return container.running_on[0].attributes if container.running_on else {}


def add_scores(work: WorkingSet, clone: Resource) -> None:
    """Let instances prefer the nodes on which they could be promoted."""
    assert clone.clone is not None
    if clone.clone.merged_promotion:
        return
    clone.clone.merged_promotion = True
    for child in clone.children:
        for node in child.allowed:
            if not node.is_available():
                continue
            score = promotion_score(child, node) or 0
            if score > 0:
                child.allowed[node] = scores.add(child.allowed[node], score)
                if work.explain:
                    work.because("promotion-preference", child, node, score=score)
            child.priority = max(child.priority, score)


# --- choice -------------------------------------------------------------------------------------------


def choose(work: WorkingSet, clone: Resource) -> None:
    """Give the promoted role to the best instances, Unpromoted to the others."""
    data = clone.clone
    assert data is not None
    for child in clone.children:
        _prioritize(work, clone, child)
    _sort(work, clone)
    counts: dict[Node, int] = {}
    promoted = 0
    for child in clone.children:
        node = None
        if child.placing.sort_index >= 0 and (promoted < data.promoted_max or not clone.managed):
            node = _promotable_on(child, counts, data.promoted_node_max)
            freeze = not work.quorum and work.options.quorum_policy == "freeze"
            # A group is as its first member is.
            if node is not None and freeze and child.role < PROMOTED:
                node = None
        if node is None:
            _set_unpromoted(child)
            continue
        counts[node] = counts.get(node, 0) + 1
        promoted += 1
        work.because("promoted", child, node, score=child.placing.sort_index)
        for part in child.with_descendants():
            if part.next_role == UNKNOWN:
                part.next_role = PROMOTED


def _prioritize(work: WorkingSet, clone: Resource, child: Resource) -> None:
    if parts.current_role(child) == STARTED:
        for part in child.with_descendants():
            if part.role == STARTED:
                part.role = UNPROMOTED
    node = child.location(current=False)
    if node is None:
        return
    role = parts.next_role(child)
    if role in (STARTED, UNKNOWN):
        score = promotion_score(child, node)
        child.priority = -1 if score is None else score
    elif role in (UNPROMOTED, STOPPED):
        child.priority = -INFINITY
    for location in (*child.placing.locations, *clone.placing.locations):
        if location.role == PROMOTED:
            for other, score in location.nodes:
                if other is node:
                    child.priority = scores.add(child.priority, score)
                    work.because("promotion-location", child, node, score=score, constraint=location.id)
    for constraint in colocation_scores.with_primaries(child):
        work.variants[child.variant].apply_colocation(work, child, constraint.primary, constraint, True)
    child.placing.sort_index = INFINITY if role == PROMOTED else child.priority


def _sort(work: WorkingSet, clone: Resource) -> None:
    clone.placing.merging = True
    placed = [(child, node) for child in clone.children if (node := child.location(current=False)) is not None]
    for child, node in placed:
        if child.placing.sort_index >= 0:
            clone.allowed[node] = scores.add(child.placing.sort_index, clone.allowed.get(node, 0))
    for constraint in colocation_scores.with_primaries(clone):
        if constraint.dependent_role == PROMOTED:
            clone.allowed = work.variants[constraint.primary.variant].add_scores(
                work,
                constraint.primary,
                clone.allowed,
                constraint.attribute,
                colocation_scores.float32(constraint.score / INFINITY),
                MERGE_OPTIONAL if constraint.score < INFINITY else 0,
            )
    for constraint in colocation_scores.with_dependents(clone):
        if constraint.primary_role == PROMOTED and colocation_scores.has_influence(constraint):
            colocation_scores.add_dependent_scores(work, clone, constraint, positive=True)
    if clone.placing.tickets:
        from hamgr.scheduler.constraints import tickets

        tickets.keep_from_promotion(work, clone)
    for child, node in placed:
        if not child.managed and child.next_role == PROMOTED:
            child.placing.sort_index = INFINITY
        elif child.placing.sort_index >= 0:
            child.placing.sort_index = clone.allowed.get(node, 0)

    def compare(a: Resource, b: Resource) -> int:
        if a.placing.sort_index != b.placing.sort_index:
            return -1 if a.placing.sort_index > b.placing.sort_index else 1
        role_a, role_b = parts.current_role(a), parts.current_role(b)
        if role_a != role_b:
            return -1 if role_a > role_b else 1
        return instance_assignment.compare_instances(work, a, b)

    instance_assignment.sort_instances(clone.children, compare)
    clone.placing.merging = False


def _promotable_on(rsc: Resource, counts: dict[Node, int], per_node: int) -> Node | None:
    for child in rsc.children:
        if _promotable_on(child, counts, per_node) is None:
            return None
    node = rsc.location(current=False)
    if node is None:
        return None
    if not rsc.managed:
        return node if parts.current_role(rsc) == PROMOTED else None
    if rsc.priority < 0 or not node.is_available() or counts.get(node, 0) >= per_node:
        return None
    return node if _has_host(node) else None


def _has_host(node: Node) -> bool:
    """Whether a node is going to be there: a guest is not, when its container has nowhere to run."""
    container = node.remote_rsc.container if node.guest and node.remote_rsc is not None else None
    return container is None or container.assigned_to is not None


def _set_unpromoted(rsc: Resource) -> None:
    rsc.next_role = STOPPED if rsc.location(current=False) is None else UNPROMOTED
    for child in rsc.children:
        _set_unpromoted(child)


# --- colocation with a role ---------------------------------------------------------------------------


def place_with(dependent: Resource, primary: Resource, constraint: Colocation) -> None:
    """Place a dependent with (or apart from) those instances of a clone that have a role."""
    affected: dict[Node, int] = {}
    for child in parts.instances(primary):
        node = child.location(current=False)
        if node is None or parts.next_role(child) != constraint.primary_role:
            continue
        affected[node] = child.allowed.get(node, 0)
        if constraint.score < INFINITY:
            for other in dependent.allowed:
                if colocation_scores.same_value(constraint.attribute, other, node):
                    dependent.allowed[other] = scores.add(dependent.allowed[other], constraint.score)
    if constraint.score >= INFINITY and not (
        constraint.dependent_role == PROMOTED and constraint.primary_role == PROMOTED
    ):
        for node in dependent.allowed:
            if node in affected:
                dependent.allowed[node] = scores.add(dependent.allowed[node], affected[node])
            else:
                dependent.allowed[node] = -INFINITY


def prioritize_with(dependent: Resource, primary: Resource, constraint: Colocation) -> None:
    """Raise an instance's promotion priority where the primary has the wanted role."""
    if parts.compatible(dependent, primary, False, constraint.primary_role) is not None:
        dependent.priority = scores.add(dependent.priority, constraint.score)
    elif constraint.score >= INFINITY:
        dependent.priority = -INFINITY


# --- actions ------------------------------------------------------------------------------------------


def _changes(rsc: Resource, found: set[str]) -> None:
    for child in rsc.children:
        _changes(child, found)
    if not rsc.children:
        for action in rsc.action_list:
            if action.task in ("promote", "demote") and not action.flags & OPTIONAL:
                found.add(action.task)


def create_actions(work: WorkingSet, clone: Resource) -> None:
    """A promotable clone's promote, promoted, demote and demoted."""
    found: set[str] = set()
    for child in parts.instances(clone):
        _changes(child, found)
    promoting, demoting = "promote" in found, "demote" in found
    resource_actions.rsc_pseudo(work, clone, "promote", not promoting)
    promoted = resource_actions.rsc_pseudo(work, clone, "promoted", not promoting)
    promoted.priority = INFINITY
    resource_actions.rsc_pseudo(work, clone, "demote", not demoting)
    demoted = resource_actions.rsc_pseudo(work, clone, "demoted", not demoting)
    demoted.priority = INFINITY
    if clone.settings.notify:
        notifications.add_pseudo_actions(work, clone, "promote", "demote")


def internal_constraints(work: WorkingSet, clone: Resource) -> None:
    """Orderings between the phases of a promotable clone and its instances' roles."""
    assert clone.clone is not None
    order_phases(work, clone)
    last: Resource | None = None
    for child in clone.children:
        orderings.order_tasks(work, child, "demote", child, "promote", O_OPTIONAL)
        orderings.order_tasks(work, clone, "demote", child, "demote", O_IMPLIES_FIRST_PRINTED)
        orderings.order_tasks(work, child, "demote", clone, "demoted", O_IMPLIES_THEN_PRINTED)
        orderings.order_tasks(work, clone, "promote", child, "promote", O_IMPLIES_FIRST_PRINTED)
        orderings.order_tasks(work, child, "promote", clone, "promoted", O_IMPLIES_THEN_PRINTED)
        if clone.clone.ordered and last is not None:
            orderings.order_tasks(work, last, "promote", child, "promote", O_OPTIONAL)
            orderings.order_tasks(work, child, "demote", last, "demote", O_OPTIONAL)
        last = child


def order_phases(work: WorkingSet, rsc: Resource) -> None:
    """First everything goes down, then up again: the order of a promotable clone's (or bundle's) phases."""
    for first, then in (
        ("stopped", "start"),
        ("stopped", "promote"),
        ("demoted", "stop"),
        ("demoted", "start"),
        ("demoted", "promote"),
        ("running", "promote"),
        ("demote", "demoted"),
    ):
        orderings.order_tasks(work, rsc, first, rsc, then, O_OPTIONAL)
