"""The constraints section of a CIB."""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.cib.booleans import is_true
from hamgr.cib.model import Colocation, Constraint, Location, Order, ResourceSet, Rule, TicketConstraint
from hamgr.cib.xml.elements import Element
from hamgr.cib.xml.values import read_rule, required, role_name

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable


def constraints(section: Element | None) -> tuple[Constraint, ...]:
    """The constraints in the order of the document; elements that are none are skipped."""
    found: list[Constraint] = []
    for element in () if section is None else section:
        reader = _CONSTRAINT_READERS.get(element.tag)
        if reader is not None:
            found.append(reader(element))
    return tuple(found)


def _lifetime(element: Element) -> Rule | None:
    rule = element.find("lifetime/rule")
    return None if rule is None else read_rule(rule)


def _sets(element: Element) -> tuple[ResourceSet, ...]:
    return tuple(
        ResourceSet(
            members=tuple(required(ref, "id") for ref in s.iterfind("resource_ref")),
            id=s.get("id", ""),
            sequential=is_true(s.get("sequential")) if "sequential" in s.attrib else None,
            require_all=is_true(s.get("require-all", "true")),
            role=role_name(s.get("role")),
            action=s.get("action", ""),
            kind=s.get("kind", ""),
            ordering=s.get("ordering", ""),
            score=None if s.get("score") is None else scores.parse(s.get("score")),
        )
        for s in element.iterfind("resource_set")
    )


def _location(element: Element) -> Location:
    return Location(
        id=required(element, "id"),
        rsc=element.get("rsc", ""),
        rsc_pattern=element.get("rsc-pattern", ""),
        node=element.get("node", ""),
        score=scores.parse(element.get("score")),
        role=role_name(element.get("role")),
        discovery=element.get("resource-discovery", ""),
        rules=tuple(read_rule(r) for r in element.iterfind("rule")),
        sets=_sets(element),
        lifetime=_lifetime(element),
    )


def _colocation(element: Element) -> Colocation:
    return Colocation(
        id=required(element, "id"),
        rsc=element.get("rsc", ""),
        with_rsc=element.get("with-rsc", ""),
        score=scores.parse(element.get("score")),
        rsc_role=role_name(element.get("rsc-role")),
        with_rsc_role=role_name(element.get("with-rsc-role")),
        node_attribute=element.get("node-attribute", ""),
        influence=element.get("influence", ""),
        sets=_sets(element),
        lifetime=_lifetime(element),
    )


def _order(element: Element) -> Order:
    score, symmetrical = element.get("score"), element.get("symmetrical")
    return Order(
        id=required(element, "id"),
        first=element.get("first", ""),
        then=element.get("then", ""),
        first_action=element.get("first-action", ""),
        then_action=element.get("then-action", ""),
        kind=element.get("kind", ""),
        score=None if score is None else scores.parse(score),
        symmetrical=None if symmetrical is None else is_true(symmetrical),
        require_all=is_true(element.get("require-all", "true")),
        sets=_sets(element),
        lifetime=_lifetime(element),
    )


def _ticket_constraint(element: Element) -> TicketConstraint:
    return TicketConstraint(
        id=required(element, "id"),
        ticket=required(element, "ticket"),
        rsc=element.get("rsc", ""),
        rsc_role=role_name(element.get("rsc-role")),
        loss_policy=element.get("loss-policy", ""),
        sets=_sets(element),
        lifetime=_lifetime(element),
    )


_CONSTRAINT_READERS: dict[str, Callable[[Element], Constraint]] = {
    "rsc_location": _location,
    "rsc_colocation": _colocation,
    "rsc_order": _order,
    "rsc_ticket": _ticket_constraint,
}
