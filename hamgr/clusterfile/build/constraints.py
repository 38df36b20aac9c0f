"""Constraints of a cluster file as the model has them; those without an id get one."""

from __future__ import annotations

from collections.abc import Iterable

from hamgr.cib import booleans, model
from hamgr.clusterfile.constraints import (
    ColocationEntry,
    ConstraintEntry,
    LocationEntry,
    OrderEntry,
    ScoredRule,
    SetEntry,
    TicketEntry,
)
from hamgr.clusterfile.options import score_value
from hamgr.clusterfile.rules import parse_rule


def built_constraints(entries: Iterable[ConstraintEntry]) -> Iterable[model.Constraint]:
    """The constraints in the order of the file."""
    entries = list(entries)
    taken = {
        one.id
        for entry in entries
        for one in (entry.location, entry.colocation, entry.order, entry.ticket)
        if one and one.id
    }
    for entry in entries:
        if entry.location:
            yield _location(entry.location, taken)
        elif entry.colocation:
            yield _colocation(entry.colocation, taken)
        elif entry.order:
            yield _order(entry.order, taken)
        elif entry.ticket:
            yield _ticket(entry.ticket, taken)


def _unique(taken: set[str], *parts: str | None) -> str:
    """An id made of the parts, with a number behind it when it is taken already."""
    wanted = "-".join(part for part in parts if part)
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    taken.add(name)
    return name


def _location(entry: LocationEntry, taken: set[str]) -> model.Location:
    subject = entry.resource or (entry.sets[0].resources[0] if entry.sets else "pattern")
    identity = entry.id or _unique(taken, "location", subject, entry.node)
    return model.Location(
        id=identity,
        rsc=entry.resource or "",
        rsc_pattern=entry.pattern or "",
        node=entry.node or "",
        score=score_value(entry.score) if entry.score else 0,
        role=entry.role or "",
        discovery=entry.resource_discovery or "",
        rules=tuple(_scored_rule(rule, f"{identity}-rule-{index}") for index, rule in enumerate(entry.rules)),
        sets=_resource_sets(entry.sets, identity),
        lifetime=parse_rule(entry.lifetime) if entry.lifetime else None,
    )


def _scored_rule(entry: ScoredRule, identity: str) -> model.Rule:
    rule = parse_rule(entry.rule)
    return model.Rule(
        id=entry.id or identity,
        expressions=rule.expressions,
        boolean_op=rule.boolean_op,
        score=score_value(entry.score) if entry.score else 0,
        score_attribute=entry.score_attribute or "",
        role=entry.role or "",
    )


def _colocation(entry: ColocationEntry, taken: set[str]) -> model.Colocation:
    first = entry.resource or entry.sets[0].resources[0]
    identity = entry.id or _unique(taken, "colocation", first, entry.with_)
    return model.Colocation(
        id=identity,
        rsc=entry.resource or "",
        with_rsc=entry.with_ or "",
        score=score_value(entry.score),
        rsc_role=entry.role or "",
        with_rsc_role=entry.with_role or "",
        node_attribute=entry.node_attribute or "",
        influence="" if entry.influence is None else booleans.text(entry.influence),
        sets=_resource_sets(entry.sets, identity),
        lifetime=parse_rule(entry.lifetime) if entry.lifetime else None,
    )


def _order(entry: OrderEntry, taken: set[str]) -> model.Order:
    first = entry.first or entry.sets[0].resources[0]
    identity = entry.id or _unique(taken, "order", first, entry.then)
    return model.Order(
        id=identity,
        first=entry.first or "",
        then=entry.then or "",
        first_action=entry.first_action or "",
        then_action=entry.then_action or "",
        kind=entry.kind or "",
        score=score_value(entry.score) if entry.score else None,
        symmetrical=entry.symmetrical,
        require_all=entry.require_all,
        sets=_resource_sets(entry.sets, identity),
        lifetime=parse_rule(entry.lifetime) if entry.lifetime else None,
    )


def _ticket(entry: TicketEntry, taken: set[str]) -> model.TicketConstraint:
    identity = entry.id or _unique(taken, "ticket", entry.ticket, entry.resource)
    return model.TicketConstraint(
        id=identity,
        ticket=entry.ticket,
        rsc=entry.resource or "",
        rsc_role=entry.role or "",
        loss_policy=entry.loss_policy or "",
        sets=_resource_sets(entry.sets, identity),
        lifetime=parse_rule(entry.lifetime) if entry.lifetime else None,
    )


def _resource_sets(entries: Iterable[SetEntry], owner: str) -> tuple[model.ResourceSet, ...]:
    return tuple(
        model.ResourceSet(
            members=entry.resources,
            id=entry.id or f"{owner}-set-{index}",
            sequential=None if entry.sequential else False,
            require_all=entry.require_all,
            role=entry.role or "",
            action=entry.action or "",
            kind=entry.kind or "",
            ordering=entry.ordering or "",
            score=score_value(entry.score) if entry.score else None,
        )
        for index, entry in enumerate(entries)
    )
