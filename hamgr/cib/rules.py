"""Rules: whether an expression over node attributes, dates and resources holds.

Implements the "Rules" chapter of Pacemaker Explained with the type rules of Pacemaker 2.1.5. Pure: the time is given.
"""

from __future__ import annotations

from hamgr.cib.model import (
    Agent,
    DateExpression,
    Expression,
    NvSet,
    OpExpression,
    ResourceExpression,
    Rule,
)
from hamgr.cib.records import dataclass, field
from hamgr.cib.scores import leading_int

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ORDERED = frozenset(("lt", "lte", "gt", "gte"))


@dataclass(frozen=True, slots=True)
class Context:
    """What a rule may look at."""

    now: int  # seconds since the epoch
    attributes: Mapping[str, str] | None = None  # the node's; None: no node, so node expressions do not hold
    role: str = ""
    agent: Agent | None = None
    op_name: str = ""
    op_interval_ms: int = 0
    params: Mapping[str, str] = field(default_factory=dict)  # for value-source="param"
    meta: Mapping[str, str] = field(default_factory=dict)  # for value-source="meta"


def holds(rule: Rule, context: Context) -> bool:
    """Whether a rule holds; one without expressions does when it is an ``and``."""
    every = rule.boolean_op != "or"
    for part in rule.expressions:
        if _part_holds(part, context) is not every:
            return not every
    return every


def values(nvsets: Iterable[NvSet], context: Context, first_id: str = "") -> dict[str, str]:
    """The options that a list of sets gives: sets whose rule holds, by descending score, first value of a name wins.

    Among sets of equal score the last in the document is used first; the set ``first_id`` precedes all others.
    """
    sets = list(nvsets)
    if len(sets) > 1:
        sets.reverse()
        sets.sort(key=lambda s: (s.id != first_id or not first_id, -s.score))
    found: dict[str, str] = {}
    for nvset in sets:
        if nvset.rule is None or holds(nvset.rule, context):
            for name, value in nvset.pairs:
                if value != "#default":
                    found.setdefault(name, value)
    return found


def _part_holds(part: Expression | DateExpression | ResourceExpression | OpExpression | Rule, context: Context) -> bool:
    if isinstance(part, Expression):
        return context.attributes is not None and _expression_holds(part, context, context.attributes)
    if isinstance(part, Rule):
        return holds(part, context)
    if isinstance(part, DateExpression):
        from hamgr.cib import dates  # few rules have any, and datetime's import takes as long as reading a small CIB

        return dates.holds(part, context.now)
    if isinstance(part, ResourceExpression):
        agent = context.agent
        return agent is not None and all(
            not wanted or wanted == actual
            for wanted, actual in (
                (part.standard, agent.standard),
                (part.provider, agent.provider),
                (part.type, agent.type),
            )
        )
    if part.interval_ms is not None and part.interval_ms != context.op_interval_ms:
        return False
    return bool(context.op_name) and part.name == context.op_name


# --- node attributes ----------------------------------------------------------------------------------


def _expression_holds(part: Expression, context: Context, attributes: Mapping[str, str]) -> bool:
    if part.attribute == "#role":
        left: str | None = context.role or None
    else:
        left = attributes.get(part.attribute)
    right: str | None = part.value
    if part.value_source == "param":
        right = context.params.get(part.value)
    elif part.value_source == "meta":
        right = context.meta.get(part.value)
    operation = part.operation
    if operation == "defined":
        return left is not None
    if operation == "not_defined":
        return left is None
    order = compare(left, right, part.type, operation)
    if operation == "eq":
        return order == 0
    if operation == "ne":
        return order != 0
    if left is None or right is None:
        return False
    return {"lt": order < 0, "lte": order <= 0, "gt": order > 0, "gte": order >= 0}.get(operation, False)


def compare(left: str | None, right: str | None, kind: str, operation: str) -> int:
    """Order two attribute values: negative, zero or positive; a missing value comes before any other."""
    if left is None or right is None:
        return (left is not None) - (right is not None)
    if not kind:
        kind = "string"
        if operation in _ORDERED:
            kind = "number" if "." in left or "." in right else "integer"
    if kind in ("integer", "number"):
        reader = _integer if kind == "integer" else _number
        a, b = reader(left), reader(right)
        if a is not None and b is not None:
            return (a > b) - (a < b)
    elif kind == "version":
        va, vb = _version(left), _version(right)
        return (va > vb) - (va < vb)
    x, y = left.casefold(), right.casefold()
    return (x > y) - (x < y)


def _integer(text: str) -> float | None:
    body = text.strip().lstrip("+-")
    return leading_int(text) if body[:1].isdigit() else None


def _number(text: str) -> float | None:
    body = text.strip()
    while body:
        try:
            return float(body)
        except ValueError:
            body = body[:-1]
    return None


def _version(text: str) -> tuple[int, ...]:
    return tuple(leading_int(part) for part in text.split("."))
