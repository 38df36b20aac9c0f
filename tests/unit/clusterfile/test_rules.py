"""Rules in pcs's notation: what they mean, what is refused and how, and that dumping loses nothing."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamgr.cib.model import DateExpression, Expression, OpExpression, ResourceExpression, Rule
from hamgr.cib.rules import Context, holds
from hamgr.clusterfile.rules import COMPARISONS, parse_rule, render_rule


@pytest.mark.parametrize(
    ("text", "expressions", "boolean_op"),
    [
        ("#uname eq n1", (Expression("#uname", "eq", "n1"),), "and"),
        ("defined pingd", (Expression("pingd", "defined"),), "and"),
        ("a gte integer 5", (Expression("a", "gte", "5", "integer"),), "and"),
        ("a eq string", (Expression("a", "eq", "string"),), "and"),
        ("a eq 'x y'", (Expression("a", "eq", "x y"),), "and"),
        ("cpus lt $param.cpus", (Expression("cpus", "lt", "cpus", "", "param"),), "and"),
        ("date gt 2026-01-01", (DateExpression("gt", start="2026-01-01"),), "and"),
        ("date lt 2026-01-01T10:00:00Z", (DateExpression("lt", end="2026-01-01T10:00:00Z"),), "and"),
        (
            "date in_range 2026-01-01 to duration weeks=2 days=1",
            (DateExpression("in_range", start="2026-01-01", duration={"weeks": "2", "days": "1"}),),
            "and",
        ),
        ("date in_range to 2026-01-01", (DateExpression("in_range", end="2026-01-01"),), "and"),
        ("date-spec hours=9-16", (DateExpression("date_spec", date_spec={"hours": "9-16"}),), "and"),
        (
            "resource ocf:heartbeat:IPaddr2 and op monitor interval=10s",
            (ResourceExpression("ocf", "heartbeat", "IPaddr2"), OpExpression("monitor", 10_000)),
            "and",
        ),
        (
            "a eq 1 or (b eq 2 and c eq 3)",
            (
                Expression("a", "eq", "1"),
                Rule(expressions=(Expression("b", "eq", "2"), Expression("c", "eq", "3"))),
            ),
            "or",
        ),
    ],
)
def test_meaning(text, expressions, boolean_op):
    rule = parse_rule(text)
    assert rule == Rule(expressions=expressions, boolean_op=boolean_op)
    assert parse_rule(render_rule(rule)) == rule


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("a eq 1 and b eq 2 or c eq 3", "use parentheses"),
        ("a foo 1", "'foo' after 'a' is no comparison"),
        ("(a eq 1", "not closed"),
        ("a eq 'b", "is not closed"),
        ("a eq", "ends where a value should follow"),
        ("a eq 1 b", "'b' is unexpected"),
        ("date gt tomorrow", "is not a date"),
        ("date around 2026-01-01", "'date around' is unknown"),
        ("date in_range to duration weeks=1", "needs a start"),
        ("date-spec", "a unit should follow"),
        ("date-spec fortnights=1", "'fortnights' is no unit"),
        ("date-spec hours=late", "the value must look like"),
        ("(" * 30 + "a eq 1" + ")" * 30, "nested more than 20"),
    ],
)
def test_refusals_say_what_was_expected(text, complaint):
    with pytest.raises(ValueError, match=re.escape(complaint)):
        parse_rule(text)


WORDS = st.text(alphabet="abcxyz-_#.09 ()", min_size=1, max_size=8).filter(lambda word: word.strip() == word)
COMPARISON = st.builds(
    Expression, WORDS, st.sampled_from(COMPARISONS), WORDS, st.sampled_from(["", "number", "string"])
)
DEFINED = st.builds(Expression, WORDS, st.sampled_from(["defined", "not_defined"]))
RULES = st.recursive(
    st.builds(
        lambda terms, op: Rule(expressions=tuple(terms), boolean_op=op if len(terms) > 1 else "and"),
        st.lists(COMPARISON | DEFINED, min_size=1, max_size=3),
        st.sampled_from(["and", "or"]),
    ),
    lambda inner: st.builds(
        lambda terms, op: Rule(expressions=tuple(terms), boolean_op=op),
        st.lists(inner.filter(lambda rule: len(rule.expressions) > 1) | COMPARISON, min_size=2, max_size=3),
        st.sampled_from(["and", "or"]),
    ),
    max_leaves=8,
)


@given(RULES)
def test_what_is_rendered_is_read_as_the_same_rule(rule):
    assert parse_rule(render_rule(rule)) == rule


def test_a_day_of_the_year_is_a_date_and_a_month_is_none() -> None:
    rule = parse_rule("date gt 2005-095")
    assert holds(rule, Context(now=1112659201))  # 2005-04-05, a second later
    assert not holds(rule, Context(now=1112659200))
    with pytest.raises(ValueError, match="'2005-04' is not a date"):
        parse_rule("date gt 2005-04")
