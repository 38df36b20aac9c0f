"""Configured constraints: location and order, unpacked from the CIB (colocations and tickets have their own modules).

Implements "Resource Constraints" of Pacemaker Explained, sets, tags and templates included.
"""

from __future__ import annotations

import itertools

from hamgr.cib import model, rules, scores
from hamgr.cib.model import ResourceSet
from hamgr.cib.records import replace
from hamgr.scheduler.actions import cluster_actions, orderings
from hamgr.scheduler.constraints import colocations
from hamgr.scheduler.state.constants import (
    O_ASYMMETRICAL,
    O_IMPLIES_FIRST,
    O_IMPLIES_THEN,
    O_IMPLIES_THEN_PRINTED,
    O_ONE_OR_MORE,
    O_OPTIONAL,
    O_RUNNABLE_LEFT,
    O_SERIALIZE_ONLY,
    REQUIRES_ANY,
    ROLES_BY_NAME,
    STARTED,
    UNKNOWN,
    UNPROMOTED,
)
from hamgr.scheduler.state.entities import Location, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterable

SYMMETRIC, ASYMMETRIC, INVERSE = range(3)
MANDATORY, OPTIONAL_KIND, SERIALIZE = range(3)


def unpack(work: WorkingSet) -> None:
    """Make the runtime constraints, in document order."""
    for constraint in work.cib.constraints:
        if constraint.lifetime is not None and not rules.holds(constraint.lifetime, rules.Context(now=work.now)):
            continue
        if isinstance(constraint, model.Location):
            _location(work, constraint)
        elif isinstance(constraint, model.Order):
            _order(work, constraint)
        elif isinstance(constraint, model.Colocation):
            pair = ((constraint.rsc, constraint.rsc_role), (constraint.with_rsc, constraint.with_rsc_role))
            colocations.unpack_constraint(work, constraint, _as_sets(work, constraint.sets, pair))
        else:
            from hamgr.scheduler.constraints import tickets

            single = ((constraint.rsc, constraint.rsc_role),)
            tickets.unpack_constraint(work, constraint, _as_sets(work, constraint.sets, single))


# --- tags and templates -------------------------------------------------------------------------------


def _referenced(work: WorkingSet, name: str) -> tuple[str, ...] | None:
    """What a tag or template stands for; None when the name is neither."""
    if work.constrained(name) is not None:
        return None
    return work.cib.templates.get(name) or work.cib.tags.get(name)


def _as_sets(
    work: WorkingSet, sets: tuple[ResourceSet, ...], names: Iterable[tuple[str, str]]
) -> tuple[ResourceSet, ...]:
    """A constraint's sets with tags and templates expanded; sets also where a plain name is a tag or template."""
    if sets:
        return tuple(_expanded(work, s) for s in sets)
    pairs = list(names)
    if all(_referenced(work, name) is None for name, _ in pairs):
        return ()
    made = []
    for name, role in pairs:
        members = _referenced(work, name)
        made.append(ResourceSet(members or (name,), id=name, sequential=None if members is None else False, role=role))
    return tuple(made)


def _expanded(work: WorkingSet, group: ResourceSet) -> ResourceSet:
    members: list[str] = []
    for name in group.members:
        members.extend(_referenced(work, name) or (name,))
    return replace(group, members=tuple(members)) if len(members) != len(group.members) else group


def _resource(work: WorkingSet, constraint_id: str, name: str) -> Resource | None:
    rsc = work.constrained(name)
    if rsc is None:
        work.warn(f'Constraint "{constraint_id}" is ignored: there is no resource "{name}".')
    return rsc


# --- location -----------------------------------------------------------------------------------------


def _location(work: WorkingSet, constraint: model.Location) -> None:
    if constraint.sets:
        for group in constraint.sets:
            for name in _expanded(work, group).members:
                rsc = _resource(work, constraint.id, name)
                if rsc is None:
                    return
                score = constraint.score if group.score is None else group.score
                _locate(work, rsc, constraint, group.role or constraint.role, score)
    elif constraint.rsc_pattern:
        _locate_matching(work, constraint)
    else:
        for name in _referenced(work, constraint.rsc) or (constraint.rsc,):
            rsc = _resource(work, constraint.id, name)
            if rsc is not None:
                _locate(work, rsc, constraint, constraint.role, constraint.score)


def _locate_matching(work: WorkingSet, constraint: model.Location) -> None:
    from hamgr.scheduler.constraints import patterns

    for rsc in list(work.resources):
        try:
            groups = patterns.matches(constraint.rsc_pattern, rsc.id)
        except patterns.PatternError as error:
            pattern = constraint.rsc_pattern
            work.warn(f'Location "{constraint.id}" is ignored: "{pattern}" is no regular expression: {error}.')
            return
        if groups is not None:
            filled_in = tuple(patterns.filled_in(rule, groups) for rule in constraint.rules)
            _locate(work, rsc, replace(constraint, rules=filled_in), constraint.role, constraint.score)


def _locate(work: WorkingSet, rsc: Resource, constraint: model.Location, role: str, score: int) -> None:
    if constraint.node:
        node = work.nodes_by_name.get(constraint.node) or work.nodes_by_id.get(constraint.node)
        if node is None:
            return
        if constraint.discovery == "exclusive":
            rsc.placing.exclusive_discovery = True
        location = new_location(work, constraint.id, rsc, [(node, score)], constraint.discovery)
        _set_role(location, role)
        return
    for rule in constraint.rules:
        nodes = _matching_nodes(work, rsc, rule)
        if constraint.discovery == "exclusive":
            # Also where the rule matches no node at all, or is about another role.
            rsc.placing.exclusive_discovery = True
        if not nodes:
            continue
        location = new_location(work, rule.id, rsc, nodes, constraint.discovery)
        location.role = ROLES_BY_NAME.get(rule.role, UNKNOWN)
        if location.role == UNPROMOTED:
            location.role = UNKNOWN


def _set_role(location: Location, role: str) -> None:
    if not role:
        return
    number = ROLES_BY_NAME.get(role, UNKNOWN)
    location.role = UNKNOWN if number in (UNKNOWN, STARTED, UNPROMOTED) else number


def _matching_nodes(work: WorkingSet, rsc: Resource, rule: model.Rule) -> list[tuple[Node, int]]:
    found = []
    config = rsc.primitive
    for node in work.nodes:
        context = rules.Context(
            now=work.now, attributes=node.attributes, agent=config.agent if config else None, meta=rsc.meta
        )
        if not rules.holds(rule, context):
            continue
        score = rule.score
        if rule.score_attribute:
            text = node.attributes.get(rule.score_attribute)
            score = -scores.INFINITY if text is None else scores.parse(text)
        found.append((node, score))
    return found


def new_location(
    work: WorkingSet, name: str, rsc: Resource, nodes: list[tuple[Node, int]], discovery: str = ""
) -> Location:
    location = Location(name, rsc, UNKNOWN, discovery)
    location.nodes = nodes
    rsc.placing.locations.append(location)
    work.locations.append(location)
    return location


_DISCOVERY_RANK = {"": 0, "always": 0, "never": 1, "exclusive": 2}


def apply_to_scores(work: WorkingSet, rsc: Resource, location: Location) -> None:
    """Add a location constraint to a resource's scores; one for a role that it will not have is skipped."""
    if location.role > UNKNOWN and location.role != rsc.next_role:
        return
    rank = _DISCOVERY_RANK.get(location.discovery, 0)
    for node, score in location.nodes:
        if node in rsc.allowed:
            rsc.allowed[node] = scores.add(rsc.allowed[node], score)
        else:
            rsc.allowed[node] = score
        work.because("location", rsc, node, score=score, constraint=location.id)
        if rank > _DISCOVERY_RANK[rsc.placing.discovery.get(node, "")]:
            if rank == 2:
                rsc.placing.exclusive_discovery = True
            rsc.placing.discovery[node] = location.discovery


# --- order --------------------------------------------------------------------------------------------


def _kind(text: str, score: int | None) -> int:
    if text:
        return {"optional": OPTIONAL_KIND, "serialize": SERIALIZE}.get(text.lower(), MANDATORY)
    return OPTIONAL_KIND if score == 0 else MANDATORY


def _symmetry(kind: int, symmetrical: bool | None) -> int:
    if symmetrical is None or (symmetrical and kind == SERIALIZE):
        return ASYMMETRIC if kind == SERIALIZE else SYMMETRIC
    return SYMMETRIC if symmetrical else ASYMMETRIC


def _flags(kind: int, first_task: str, symmetry: int) -> int:
    flags = O_OPTIONAL
    if kind == SERIALIZE:
        flags |= O_SERIALIZE_ONLY
    elif kind == MANDATORY:
        if symmetry == ASYMMETRIC:
            flags |= O_ASYMMETRICAL
        elif symmetry == SYMMETRIC:
            flags |= O_IMPLIES_THEN
            if first_task in ("start", "promote"):
                flags |= O_RUNNABLE_LEFT
        else:
            flags |= O_IMPLIES_FIRST
    return flags


def _order(work: WorkingSet, constraint: model.Order) -> None:
    names = ((constraint.first, ""), (constraint.then, ""))
    sets = constraint.sets
    if not sets and any(_referenced(work, name) for name, _ in names):
        tasks = (constraint.first_action, constraint.then_action or constraint.first_action)
        sets = tuple(replace(s, action=t) for s, t in zip(_as_sets(work, (), names), tasks, strict=True))
    else:
        sets = _as_sets(work, sets, ())
    kind = _kind(constraint.kind, constraint.score)
    symmetry = _symmetry(kind, constraint.symmetrical)
    if not sets:
        _order_pair(work, constraint, kind, symmetry)
        return
    last: ResourceSet | None = None
    for current in sets:
        if any(_resource(work, constraint.id, name) is None for name in current.members):
            # Nobody knows what was meant, so nothing of this set, and nothing that follows it, is ordered.
            return
        _within_set(work, constraint, current, kind)
        if last is not None:
            _between_sets(work, last, current, kind, symmetry)
            if symmetry == SYMMETRIC:
                _between_sets(work, current, last, kind, INVERSE)
        last = current


def _order_pair(work: WorkingSet, constraint: model.Order, kind: int, symmetry: int) -> None:
    first, then = _resource(work, constraint.id, constraint.first), _resource(work, constraint.id, constraint.then)
    if first is None or then is None:
        return
    first_task = constraint.first_action or "start"
    then_task = constraint.then_action or first_task
    flags = _flags(kind, first_task, symmetry)
    recovers = kind == OPTIONAL_KIND and then.settings.restart_type_restart
    if recovers:
        flags |= O_IMPLIES_THEN
    minimum = _minimum_instances(first, constraint)
    if minimum > 0:
        _order_after_minimum(work, constraint.id, first, first_task, then, then_task, flags, minimum)
    else:
        orderings.order_tasks(work, first, first_task, then, then_task, flags)
    if symmetry != SYMMETRIC:
        return
    first_task, then_task = orderings.INVERSE_TASK.get(first_task, ""), orderings.INVERSE_TASK.get(then_task, "")
    if first_task and then_task:
        flags = _flags(kind, first_task, INVERSE)
        if recovers:
            flags |= O_IMPLIES_FIRST
        orderings.order_tasks(work, then, then_task, first, first_task, flags)


def _minimum_instances(first: Resource, constraint: model.Order) -> int:
    if not first.is_clone():
        return 0
    if "clone-min" in first.meta:
        return scores.leading_int(first.meta["clone-min"])
    return 0 if constraint.require_all else 1


def _order_after_minimum(
    work: WorkingSet,
    name: str,
    first: Resource,
    first_task: str,
    then: Resource,
    then_task: str,
    flags: int,
    minimum: int,
) -> None:
    """``then`` waits for a pseudo-action that enough instances of ``first`` make runnable."""
    met = cluster_actions.pseudo(work, f"clone-one-or-more:{name}")
    met.required_runnable_before = minimum
    met.flags |= REQUIRES_ANY
    for child in first.children:
        key = orderings.key_of(child, first_task)
        orderings.new_ordering(work, child, key, None, None, "", met, O_ONE_OR_MORE | O_IMPLIES_THEN_PRINTED)
    key = orderings.key_of(then, then_task)
    orderings.new_ordering(work, None, "", met, then, key, None, flags | O_RUNNABLE_LEFT)


def _members(work: WorkingSet, group: ResourceSet) -> list[Resource]:
    members = [work.constrained(name) for name in group.members]
    return [rsc for rsc in members if rsc is not None]


def _within_set(work: WorkingSet, constraint: model.Order, group: ResourceSet, parent_kind: int) -> None:
    kind = _kind(group.kind, None) if group.kind else parent_kind
    task = group.action or "start"
    members = _members(work, group)
    if len(members) < 2:
        return
    symmetry = _symmetry(kind, constraint.symmetrical)
    flags = _flags(kind, task, symmetry)
    if kind == SERIALIZE:
        for index, first in enumerate(members):
            for then in members[index + 1 :]:
                orderings.order_tasks(work, first, task, then, task, flags)
    elif group.sequential is not False:
        for first, then in itertools.pairwise(members):
            orderings.order_tasks(work, first, task, then, task, flags)
    if symmetry != SYMMETRIC or group.sequential is False:
        return
    inverse = orderings.INVERSE_TASK.get(task, "")
    flags = _flags(kind, inverse, INVERSE)
    for first, then in itertools.pairwise(members):
        orderings.order_tasks(work, then, inverse, first, inverse, flags)


def _between_sets(work: WorkingSet, one: ResourceSet, two: ResourceSet, kind: int, symmetry: int) -> None:
    first_task, then_task = one.action or "start", two.action or "start"
    if symmetry == INVERSE:
        first_task, then_task = orderings.INVERSE_TASK.get(first_task, ""), orderings.INVERSE_TASK.get(then_task, "")
    firsts, thens = _members(work, one), _members(work, two)
    if not firsts or not thens:
        return
    # As in Pacemaker, it is the second set's action that decides whether the first one's has to be possible.
    flags = _flags(kind, then_task, symmetry)
    # One of several is enough to go on with when starting; for stopping, all have to be down.
    if not one.require_all and first_task not in ("stop", "demote"):
        enough = cluster_actions.pseudo(work, f"one-or-more:{one.id}")
        enough.flags |= REQUIRES_ANY
        for rsc in firsts:
            key = orderings.key_of(rsc, first_task)
            orderings.new_ordering(work, rsc, key, None, None, "", enough, O_ONE_OR_MORE | O_IMPLIES_THEN_PRINTED)
        for rsc in thens:
            key = orderings.key_of(rsc, then_task)
            orderings.new_ordering(work, None, "", enough, rsc, key, None, flags | O_RUNNABLE_LEFT)
        return
    if one.sequential:
        firsts = firsts[:1] if symmetry == INVERSE else firsts[-1:]
    if two.sequential:
        thens = thens[-1:] if symmetry == INVERSE else thens[:1]
    for first in firsts:
        for then in thens:
            orderings.order_tasks(work, first, first_task, then, then_task, flags)
