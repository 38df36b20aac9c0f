"""Colocation constraints, unpacked from the CIB (sets included), and those that resources imply."""

from __future__ import annotations

from hamgr.cib import model
from hamgr.cib.booleans import is_true
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import orderings
from hamgr.scheduler.state.constants import O_ANTI_COLOCATION, PROMOTED, ROLES_BY_NAME, STARTED, UNKNOWN, UNPROMOTED
from hamgr.scheduler.state.entities import Colocation, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def add(
    work: WorkingSet,
    name: str,
    dependent: Resource,
    primary: Resource,
    score: int,
    dependent_role: str = "",
    primary_role: str = "",
    attribute: str = "",
    influence: bool | None = None,
) -> None:
    """Add a colocation; one with score 0 has no effect."""
    if score == 0:
        return
    roles = [ROLES_BY_NAME.get(role, UNKNOWN) for role in (dependent_role, primary_role)]
    roles = [UNKNOWN if role == STARTED else role for role in roles]
    constraint = Colocation(name, dependent, primary, score, roles[0], roles[1], attribute, influence)
    dependent.placing.with_primaries.append(constraint)
    primary.placing.with_dependents.append(constraint)
    work.colocations.append(constraint)
    if score <= -INFINITY:
        _order_apart(work, dependent, roles[0], primary, roles[1])
        _order_apart(work, primary, roles[1], dependent, roles[0])


def _order_apart(work: WorkingSet, first: Resource, first_role: int, then: Resource, then_role: int) -> None:
    """Where two must not be together, one leaves a node before the other comes."""
    losing = ("demote",) if first_role == PROMOTED else ("stop", "promote") if first_role == UNPROMOTED else ("stop",)
    gaining = ("promote",) if then_role == PROMOTED else ("start", "demote") if then_role == UNPROMOTED else ("start",)
    for first_task in losing:
        for then_task in gaining:
            orderings.order_tasks(work, first, first_task, then, then_task, O_ANTI_COLOCATION)


def _influence(constraint: model.Colocation) -> bool | None:
    return is_true(constraint.influence) if constraint.influence else None


def unpack_constraint(work: WorkingSet, constraint: model.Colocation, sets: tuple[model.ResourceSet, ...]) -> None:
    """Make the runtime colocations of a configured one; ``sets`` are its resource sets, tags expanded."""
    if not sets:
        dependent, primary = work.constrained(constraint.rsc), work.constrained(constraint.with_rsc)
        if dependent is None or primary is None:
            missing = constraint.rsc if dependent is None else constraint.with_rsc
            work.warn(f'Colocation "{constraint.id}" is ignored: there is no resource "{missing}".')
            return
        add(
            work,
            constraint.id,
            dependent,
            primary,
            constraint.score,
            constraint.rsc_role,
            constraint.with_rsc_role,
            constraint.node_attribute,
            _influence(constraint),
        )
        return
    last: model.ResourceSet | None = None
    for current in sets:
        _within_set(work, constraint, current)
        if last is not None:
            _between_sets(work, constraint, last, current)
        last = current


def _members(work: WorkingSet, constraint: model.Colocation, group: model.ResourceSet) -> list[Resource]:
    """A set's resources, up to the first that is not known: what follows it is left alone."""
    found = []
    for name in group.members:
        rsc = work.constrained(name)
        if rsc is None:
            work.warn(f'Colocation "{constraint.id}" ends at "{name}": there is no such resource.')
            break
        found.append(rsc)
    return found


def _within_set(work: WorkingSet, constraint: model.Colocation, group: model.ResourceSet) -> None:
    if group.sequential is False:
        return
    members = _members(work, constraint, group)
    score = constraint.score if group.score is None else group.score
    influence = _influence(constraint)
    if score > 0:
        pairs = list(zip(members[1:], members, strict=False))
        if group.ordering not in ("", "group"):
            pairs = [(b, a) for a, b in pairs]
    else:
        pairs = [(later, earlier) for later in members for earlier in _named_before(later, members, group)]
    for dependent, primary in pairs:
        add(work, group.id or constraint.id, dependent, primary, score, group.role, group.role, "", influence)


def _named_before(rsc: Resource, members: list[Resource], group: model.ResourceSet) -> list[Resource]:
    """The members that a set names before a resource; all of them, where it names the resource by an alias."""
    names = group.members[: len(members)]
    return members[: names.index(rsc.id)] if rsc.id in names else members


def _between_sets(
    work: WorkingSet, constraint: model.Colocation, dependents: model.ResourceSet, primaries: model.ResourceSet
) -> None:
    first = _members(work, constraint, dependents)
    second = _members(work, constraint, primaries)
    if dependents.sequential is not False:
        first = first[:1]
    if primaries.sequential is not False:
        last = work.constrained(primaries.members[-1]) if primaries.members else None
        second = [last] if last is not None else []
    influence = _influence(constraint)
    for dependent in first:
        for primary in second:
            add(
                work,
                constraint.id,
                dependent,
                primary,
                constraint.score,
                dependents.role,
                primaries.role,
                "",
                influence,
            )
