"""Imported constraints in a cluster file's words, and why some cannot come along."""

from __future__ import annotations

from collections.abc import Iterator

from hamgr.cib import model, scores
from hamgr.clusterfile.rules import render_rule
from hamgr.importer.ledger import Ledger, Raw


def imported_constraint(ledger: Ledger, entry: model.Constraint) -> Raw:
    """A constraint; empty where it cannot come along. All nodes, resources and tags have to be known already."""
    reason = _obstacle(ledger, entry)
    if reason:
        ledger.notes.append(f"constraint {entry.id}: not imported; {reason}")
        return {}
    lifetime = {"lifetime": render_rule(entry.lifetime)} if entry.lifetime else {}
    sets = {"sets": [_set(one) for one in entry.sets]} if entry.sets else {}
    common = {"id": entry.id, **sets, **lifetime}
    if isinstance(entry, model.Location):
        return {"location": {**common, **_location(ledger, entry)}}
    if isinstance(entry, model.Colocation):
        return {"colocation": {**common, **_colocation(entry)}}
    if isinstance(entry, model.Order):
        return {"order": {**common, **_order(entry)}}
    return {"ticket": {**common, **_ticket(entry)}}


def _obstacle(ledger: Ledger, entry: model.Constraint) -> str:
    """Why a constraint cannot come along; empty when it can."""
    missing = [name for name in _named(entry) if name not in ledger.resources]
    if missing:
        return f"there is no resource {', '.join(missing)} in the cluster file"
    if isinstance(entry, model.Location):
        if entry.node and entry.node not in ledger.nodes:
            return f"there is no node {entry.node}"
        if not (entry.rsc or entry.rsc_pattern or entry.sets) or not (entry.node or entry.rules):
            return "it names no resource, or no place"
    elif isinstance(entry, model.TicketConstraint):
        if not entry.rsc and not entry.sets:
            return "it names no resource"
    elif not entry.sets and len(list(_named(entry))) < 2:
        return "it names fewer than two resources"
    return ""


def _set(one: model.ResourceSet) -> Raw:
    raw: Raw = {"resources": list(one.members), "id": one.id}
    if one.sequential is False:
        raw["sequential"] = False
    if not one.require_all:
        raw["require-all"] = False
    texts = {"role": one.role, "action": one.action, "kind": one.kind, "ordering": one.ordering}
    raw.update({name: text for name, text in texts.items() if text})
    if one.score is not None:
        raw["score"] = scores.text(one.score)
    return raw


def _location(ledger: Ledger, entry: model.Location) -> Raw:
    raw: Raw = {}
    texts = {
        "resource": entry.rsc,
        "pattern": entry.rsc_pattern,
        "role": entry.role,
        "resource-discovery": entry.discovery,
    }
    raw.update({name: text for name, text in texts.items() if text})
    if entry.node:
        return {**raw, "node": ledger.nodes[entry.node], "score": scores.text(entry.score)}
    raw["rules"] = [_scored_rule(rule) for rule in entry.rules]
    return raw


def _scored_rule(rule: model.Rule) -> Raw:
    raw: Raw = {"rule": render_rule(rule)}
    if rule.score_attribute:
        raw["score-attribute"] = rule.score_attribute
    else:
        raw["score"] = scores.text(rule.score)
    return {**raw, **({"role": rule.role} if rule.role else {}), **({"id": rule.id} if rule.id else {})}


def _colocation(entry: model.Colocation) -> Raw:
    texts = {
        "resource": entry.rsc,
        "with": entry.with_rsc,
        "role": entry.rsc_role,
        "with-role": entry.with_rsc_role,
        "node-attribute": entry.node_attribute,
    }
    raw: Raw = {name: text for name, text in texts.items() if text}
    if entry.influence:
        raw["influence"] = entry.influence
    return {**raw, "score": scores.text(entry.score)}


def _order(entry: model.Order) -> Raw:
    texts = {
        "first": entry.first,
        "then": entry.then,
        "first-action": entry.first_action,
        "then-action": entry.then_action,
        "kind": entry.kind,
    }
    raw: Raw = {name: text for name, text in texts.items() if text}
    if entry.score is not None:
        raw["score"] = scores.text(entry.score)
    if entry.symmetrical is not None:
        raw["symmetrical"] = entry.symmetrical
    if not entry.require_all:
        raw["require-all"] = False
    return raw


def _ticket(entry: model.TicketConstraint) -> Raw:
    texts = {"ticket": entry.ticket, "resource": entry.rsc, "role": entry.rsc_role, "loss-policy": entry.loss_policy}
    return {name: text for name, text in texts.items() if text}


def _named(entry: model.Constraint) -> Iterator[str]:
    if isinstance(entry, model.Location | model.TicketConstraint):
        names: tuple[str, ...] = (entry.rsc,)
    elif isinstance(entry, model.Colocation):
        names = (entry.rsc, entry.with_rsc)
    else:
        names = (entry.first, entry.then)
    yield from (name for name in names if name)
    for one in entry.sets:
        yield from one.members
