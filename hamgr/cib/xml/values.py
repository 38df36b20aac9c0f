"""What all parts of a CIB are written with: numbers, roles, rules, and sets of names and values."""

from __future__ import annotations

from hamgr.cib import durations, scores
from hamgr.cib.model import Agent, DateExpression, Expression, NvSet, OpExpression, ResourceExpression, Rule
from hamgr.cib.xml.elements import Element

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_RULE_DEPTH = 32

_LEGACY_ROLES = {"Master": "Promoted", "Slave": "Unpromoted"}


class CibError(ValueError):
    """The document cannot be used as a CIB; the message says where and why."""


def children(parent: Element | None, tag: str) -> Iterator[Element]:
    """The children with a tag; of a section that is not there, none."""
    return iter(()) if parent is None else parent.iterfind(tag)


def integer(text: str | None, default: int = 0) -> int:
    """An attribute's number: 0 when it is none, the default when it is not there."""
    return default if text is None else scores.leading_int(text)


def required(element: Element, name: str) -> str:
    """An attribute without which an element means nothing; raises `CibError`."""
    value = element.get(name)
    if not value:
        label = f' id="{element.get("id")}"' if element.get("id") else ""
        raise CibError(f"Line {element.line}: <{element.tag}{label}> has no {name}.")
    return value


class Agents:
    """One object for all that name the same agent, which are thousands of histories."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str, str], Agent] = {}

    def agent(self, standard: str, kind: str, provider: str) -> Agent:
        key = (standard, kind, provider)
        if key not in self._made:
            self._made[key] = Agent(*key)
        return self._made[key]


def role_name(text: str | None) -> str:
    """A role by its present name, whatever its case (Master and Slave are the names of old)."""
    if not text:
        return ""
    name = text.capitalize()
    return _LEGACY_ROLES.get(name, name)


def read_rule(element: Element, depth: int = 0) -> Rule:
    """A rule with all that it consists of; raises `CibError` where it is nested too deep."""
    if depth > MAX_RULE_DEPTH:
        raise CibError(f'<rule id="{element.get("id", "")}"> is nested more than {MAX_RULE_DEPTH} deep.')
    parts: list[Expression | DateExpression | ResourceExpression | OpExpression | Rule] = []
    for child in element:
        tag = child.tag
        if tag == "rule":
            parts.append(read_rule(child, depth + 1))
        elif tag == "expression":
            parts.append(
                Expression(
                    attribute=child.get("attribute", ""),
                    operation=child.get("operation", ""),
                    value=child.get("value", ""),
                    type=child.get("type", ""),
                    value_source=child.get("value-source", ""),
                )
            )
        elif tag == "date_expression":
            parts.append(_date_expression(child))
        elif tag == "rsc_expression":
            parts.append(ResourceExpression(child.get("class", ""), child.get("provider", ""), child.get("type", "")))
        elif tag == "op_expression":
            interval = child.get("interval")
            parts.append(
                OpExpression(child.get("name", ""), None if interval is None else durations.parse_ms(interval))
            )
    return Rule(
        id=element.get("id", ""),
        expressions=tuple(parts),
        boolean_op=element.get("boolean-op", "and"),
        score=scores.parse(element.get("score")),
        score_attribute=element.get("score-attribute", ""),
        role=role_name(element.get("role")),
    )


def _date_expression(element: Element) -> DateExpression:
    def table(tag: str) -> dict[str, str]:
        found = element.find(tag)
        return {} if found is None else {k: v for k, v in found.attrib.items() if k != "id"}

    return DateExpression(
        operation=element.get("operation", "in_range"),
        start=element.get("start", ""),
        end=element.get("end", ""),
        duration=table("duration"),
        date_spec=table("date_spec"),
    )


def _nvset(element: Element) -> NvSet:
    rule = element.find("rule")
    return NvSet(
        pairs=tuple((pair.get("name", ""), pair.get("value", "")) for pair in element.iterfind("nvpair")),
        id=element.get("id", ""),
        score=scores.parse(element.get("score")),
        rule=None if rule is None else read_rule(rule),
    )


def nvsets(parent: Element | None, tag: str) -> tuple[NvSet, ...]:
    """The sets of names and values that an element has under a tag (meta_attributes, utilization, ...)."""
    return tuple(_nvset(e) for e in children(parent, tag))
