"""Patterns in location constraints: which resources one names, and what its groups put into the rules.

Implements ``rsc-pattern`` of "Location Constraints" in Pacemaker Explained. Apart from the other constraints because
few clusters have any, and regular expressions are slow to import.
"""

from __future__ import annotations

import re

from hamgr.cib.model import Expression, Rule
from hamgr.cib.records import replace


class PatternError(ValueError):
    """A pattern is no regular expression; the message says why."""


def matches(pattern: str, name: str) -> list[str] | None:
    """A match's groups, the whole match first (none with a leading "!"); None when the pattern does not name it."""
    inverted = pattern.startswith("!")
    try:
        match = re.search(pattern[1:] if inverted else pattern, name)
    except re.error as error:
        raise PatternError(str(error)) from None
    if inverted:
        return None if match else []
    return [match[0], *match.groups()] if match else None


def filled_in(rule: Rule, groups: list[str]) -> Rule:
    """A rule with %0..%9 in its attribute names replaced by what the resource pattern matched."""

    def expand(text: str) -> str:
        return re.sub(r"%(\d)", lambda m: groups[int(m[1])] if int(m[1]) < len(groups) else m[0], text)

    parts = tuple(
        replace(p, attribute=expand(p.attribute))
        if isinstance(p, Expression)
        else filled_in(p, groups)
        if isinstance(p, Rule)
        else p
        for p in rule.expressions
    )
    return replace(rule, expressions=parts, score_attribute=expand(rule.score_attribute))
