"""Rules as one line of text, in the notation that pcs has taught people, to and from the model.

::

    #uname eq n1 and (pingd lt 100 or not_defined pingd)
    date in_range 2026-01-01 to 2026-02-01
    date in_range 2026-01-01 to duration weeks=2
    date-spec hours=9-16 weekdays=1-5
    memory gte integer 4000        the type of a comparison is optional: string, integer, number, version
    cpus lt $param.cpus            compare with a resource's parameter ($param) or meta-attribute ($meta)
    resource ocf:heartbeat:IPaddr2 and op monitor interval=10s      in resource and operation defaults

`and` and `or` cannot stand side by side without parentheses, so that nobody has to know which binds closer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hamgr.cib.dates import parse_date
from hamgr.cib.model import DateExpression, Expression, OpExpression, ResourceExpression, Rule
from hamgr.clusterfile.options import duration_ms, listing

Leader = Expression | DateExpression | ResourceExpression | OpExpression | Rule

COMPARISONS = ("lt", "gt", "lte", "gte", "eq", "ne")
TYPES = ("string", "integer", "number", "version")
DURATION_UNITS = ("years", "months", "weeks", "days", "hours", "minutes", "seconds")
SPEC_UNITS = (
    "years", "months", "monthdays", "hours", "minutes", "seconds", "yeardays", "weeks", "weekyears", "weekdays", "moon",
)  # fmt: skip

_TOKEN = re.compile(r"""\s*(?:([()])|"([^"]*)"|'([^']*)'|([^\s()"']+))""")
_SPEC_RANGE = re.compile(r"\d+(-\d*)?\Z")
_MAX_NESTING = 20


def parse_rule(text: str) -> Rule:
    """The rule that a text means, with score 0 and no role. Raises ValueError, saying what was expected where."""
    parser = _Parser(_tokens(text))
    rule = parser.expression(0)
    if not parser.at_end():
        raise ValueError(f"'{parser.peek()}' is unexpected here: join expressions with 'and' or 'or'")
    return rule


def _tokens(text: str) -> list[tuple[str, bool]]:
    """(text, was quoted) of each word."""
    found: list[tuple[str, bool]] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"the quote that opens at {text[position:].strip()[:20]!r} is not closed")
        quoted = match[2] if match[2] is not None else match[3]
        found.append((quoted, True) if quoted is not None else (match[1] or match[4], False))
        position = match.end()
    if not found:
        raise ValueError("a rule cannot be empty")
    return found


class _Parser:
    """Recursive descent over the words of a rule."""

    def __init__(self, tokens: list[tuple[str, bool]]) -> None:
        self._tokens = tokens
        self._next = 0

    def at_end(self) -> bool:
        return self._next >= len(self._tokens)

    def peek(self) -> str:
        return "" if self.at_end() else self._tokens[self._next][0]

    def _is(self, *words: str) -> bool:
        return not self.at_end() and not self._tokens[self._next][1] and self.peek() in words

    def _take(self, wanted: str) -> str:
        if self.at_end():
            raise ValueError(f"the rule ends where {wanted} should follow")
        self._next += 1
        return self._tokens[self._next - 1][0]

    def expression(self, depth: int) -> Rule:
        if depth > _MAX_NESTING:
            raise ValueError(f"parentheses are nested more than {_MAX_NESTING} deep")
        terms: list[Leader] = [self._term(depth)]
        boolean_op = ""
        while self._is("and", "or"):
            word = self._take("an operator")
            if boolean_op and word != boolean_op:
                raise ValueError("'and' and 'or' are mixed: use parentheses to say what belongs together")
            boolean_op = word
            terms.append(self._term(depth))
        if len(terms) == 1 and isinstance(terms[0], Rule):
            return terms[0]
        return Rule(expressions=tuple(terms), boolean_op=boolean_op or "and")

    def _term(self, depth: int) -> Leader:
        if self._is("("):
            self._take("'('")
            inner = self.expression(depth + 1)
            if not self._is(")"):
                raise ValueError("a parenthesis is not closed")
            self._take("')'")
            return inner
        if self._is("defined", "not_defined"):
            return Expression(operation=self._take("defined"), attribute=self._take("the name of an attribute"))
        first = self._take("an expression")
        if first == "date":
            return self._date()
        if first == "date-spec":
            return DateExpression("date_spec", date_spec=self._units(SPEC_UNITS, _SPEC_RANGE))
        if first == "resource":
            return _agent_pattern(self._take("an agent such as ocf:heartbeat:IPaddr2"))
        if first == "op":
            return self._op()
        return self._comparison(first)

    def _comparison(self, attribute: str) -> Expression:
        operation = self._take(f"a comparison ({listing(COMPARISONS)})")
        if operation not in COMPARISONS:
            raise ValueError(
                f"'{operation}' after '{attribute}' is no comparison; allowed: {listing(COMPARISONS)}; "
                f"or write 'defined {attribute}'"
            )
        kind = self._take("a type") if self._is(*TYPES) and self._next + 1 < len(self._tokens) else ""
        if kind and self._is("and", "or", ")"):  # the word was the value itself
            return Expression(attribute, operation, kind)
        source, value = "", self._take("a value")
        if value.startswith(("$param.", "$meta.")):
            source, value = value[1:].split(".", 1)
        return Expression(attribute, operation, value, kind, source)

    def _date(self) -> DateExpression:
        operation = self._take("gt, lt or in_range")
        if operation == "gt":
            return DateExpression("gt", start=self._day())
        if operation == "lt":
            return DateExpression("lt", end=self._day())
        if operation != "in_range":
            raise ValueError(f"'date {operation}' is unknown; allowed: date gt, date lt, date in_range")
        start = "" if self._is("to") else self._day()
        if self._take("'to'") != "to":
            raise ValueError("write 'date in_range START to END' or 'date in_range START to duration weeks=2'")
        if not self._is("duration"):
            return DateExpression("in_range", start=start, end=self._day())
        self._take("duration")
        if not start:
            raise ValueError("a range with a duration needs a start")
        return DateExpression("in_range", start=start, duration=self._units(DURATION_UNITS, re.compile(r"\d+\Z")))

    def _day(self) -> str:
        day = self._take("a date")
        if parse_date(day) is None:
            raise ValueError(f"'{day}' is not a date: write 2026-11-22, or 2026-11-22T21:00:00Z")
        return day

    def _units(self, allowed: tuple[str, ...], form: re.Pattern[str]) -> Mapping[str, str]:
        units: dict[str, str] = {}
        while not self.at_end() and "=" in self.peek():
            name, value = self._take("a unit").split("=", 1)
            if name not in allowed:
                raise ValueError(f"'{name}' is no unit of time here; allowed: {listing(allowed)}")
            if not form.match(value):
                raise ValueError(f"'{name}={value}': the value must look like 9 or, for a date-spec, 9-16")
            units[name] = value
        if not units:
            raise ValueError(f"a unit should follow, such as {allowed[3]}=1")
        return units

    def _op(self) -> OpExpression:
        name = self._take("the name of an operation")
        if not self.peek().startswith("interval="):
            return OpExpression(name)
        return OpExpression(name, duration_ms(self._take("an interval").removeprefix("interval=")))


def _agent_pattern(text: str) -> ResourceExpression:
    standard, _, rest = text.partition(":")
    provider, _, kind = rest.rpartition(":")
    return ResourceExpression(standard, provider, kind)


def render_rule(rule: Rule) -> str:
    """The text that `parse_rule` reads as this rule's expressions."""
    rendered = [
        f"({render_rule(term)})" if isinstance(term, Rule) and len(term.expressions) > 1 else _render(term)
        for term in rule.expressions
    ]
    return f" {rule.boolean_op} ".join(rendered)


def _render(term: Leader) -> str:
    if isinstance(term, Rule):
        return render_rule(term)
    if isinstance(term, Expression):
        return _render_comparison(term)
    if isinstance(term, DateExpression):
        return _render_date(term)
    if isinstance(term, ResourceExpression):
        return f"resource {term.standard}:{term.provider + ':' if term.provider else ''}{term.type}"
    interval = "" if term.interval_ms is None else f" interval={term.interval_ms}ms"
    return f"op {_word(term.name)}{interval}"


def _render_comparison(term: Expression) -> str:
    if term.operation in ("defined", "not_defined"):
        return f"{term.operation} {_word(term.attribute)}"
    value = f"${term.value_source}.{term.value}" if term.value_source in ("param", "meta") else term.value
    kind = f"{term.type} " if term.type else ""
    return f"{_word(term.attribute)} {term.operation} {kind}{_word(value)}"


def _render_date(term: DateExpression) -> str:
    if term.operation == "date_spec":
        return "date-spec " + _render_units(term.date_spec)
    if term.operation == "gt":
        return f"date gt {_word(term.start)}"
    if term.operation == "lt":
        return f"date lt {_word(term.end)}"
    end = f"duration {_render_units(term.duration)}" if term.duration else _word(term.end)
    return f"date in_range {_word(term.start) + ' ' if term.start else ''}to {end}"


def _render_units(units: Mapping[str, str]) -> str:
    return " ".join(f"{name}={value}" for name, value in units.items())


_KEYWORDS = frozenset(
    {"and", "or", "defined", "not_defined", "date", "date-spec", "resource", "op", "to", "duration", *TYPES}
)


def _word(text: str) -> str:
    """A word, quoted where it would otherwise be read as something else."""
    if text and text not in _KEYWORDS and not re.search(r"""[\s()"']""", text):
        return text
    return f"'{text}'" if '"' in text else f'"{text}"'
