"""Rules: whether an expression over node attributes, dates and resources holds.

Implements the "Rules" chapter of Pacemaker Explained with the type rules of Pacemaker 2.1.5. Pure: the time is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

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

NO_ATTRIBUTES: Mapping[str, str] = {}
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
        return _date_holds(part, context.now)
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


# --- dates --------------------------------------------------------------------------------------------


def parse_date(text: str) -> int | None:
    """Seconds since the epoch of an ISO 8601 date; None when it is none. Without a zone it is UTC."""
    body = text.strip()
    try:
        moment = datetime.fromisoformat(body)
    except ValueError:
        try:
            moment = datetime.fromisoformat(body.replace(" ", "", 1) if body.count(" ") == 2 else body.split(" ")[0])
        except ValueError:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int(moment.timestamp())


_MONTHS = {"years": 12, "months": 1}


def add_duration(start: int, duration: Mapping[str, str]) -> int:
    """A time plus a duration of years, months, weeks, days, hours, minutes and seconds."""
    moment = datetime.fromtimestamp(start, UTC)
    months = sum(leading_int(value) * _MONTHS[unit] for unit, value in duration.items() if unit in _MONTHS)
    if months:
        year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
        for day in (moment.day, 30, 29, 28):
            try:
                moment = moment.replace(year=year, month=month + 1, day=day)
                break
            except ValueError:
                continue
    rest = {
        unit: leading_int(value)
        for unit, value in duration.items()
        if unit in ("weeks", "days", "hours", "minutes", "seconds")
    }
    return int((moment + timedelta(**rest)).timestamp())


def _date_holds(part: DateExpression, now: int) -> bool:
    start = parse_date(part.start) if part.start else None
    end = parse_date(part.end) if part.end else None
    if part.operation == "in_range":
        if start is not None and end is None and part.duration:
            end = add_duration(start, part.duration)
        if start is None and end is None:
            return False
        return (start is None or now >= start) and (end is None or now <= end)
    if part.operation == "gt":
        return start is not None and now > start
    if part.operation == "lt":
        return end is not None and now < end
    if part.operation == "date_spec":
        return _date_spec_holds(part.date_spec, now)
    return False


def _date_spec_holds(spec: Mapping[str, str], now: int) -> bool:
    moment = datetime.fromtimestamp(now, UTC)
    week_year, week, weekday = moment.isocalendar()
    actual = {
        "seconds": moment.second,
        "minutes": moment.minute,
        "hours": moment.hour,
        "monthdays": moment.day,
        "weekdays": weekday,
        "yeardays": moment.timetuple().tm_yday,
        "months": moment.month,
        "weeks": week,
        "years": moment.year,
        "weekyears": week_year,
    }
    return all(_in_range(text, actual[name]) for name, text in spec.items() if name in actual)


def _in_range(text: str, value: int) -> bool:
    low, dash, high = text.partition("-")
    if not dash:
        return leading_int(low) == value
    return (not low or value >= leading_int(low)) and (not high or value <= leading_int(high))
