"""Pacemaker's arithmetic of scores: integers between -INFINITY and INFINITY, where infinities absorb.

Implements "Special Options / Scores" of Pacemaker Explained. Scores are plain ints so that the scheduler's inner loops
stay cheap; only these functions know how infinities behave.
"""

from __future__ import annotations

INFINITY = 1_000_000

_NAMED = {"red": -INFINITY, "yellow": 0, "green": 0}


def add(left: int, right: int) -> int:
    """Add two scores: -INFINITY wins over everything, then INFINITY, then the sum is clamped."""
    if left <= -INFINITY or right <= -INFINITY:
        return -INFINITY
    if left >= INFINITY or right >= INFINITY:
        return INFINITY
    total = left + right
    if total >= INFINITY:
        return INFINITY
    if total <= -INFINITY:
        return -INFINITY
    return total


def clamp(score: int) -> int:
    """Limit a number to the range of scores."""
    return max(-INFINITY, min(INFINITY, score))


def parse(text: str | None) -> int:
    """Read a score as Pacemaker does: ``INFINITY``, a health color or the leading integer; anything else is 0."""
    if not text:
        return 0
    body = text.strip()
    if body in ("INFINITY", "+INFINITY"):
        return INFINITY
    if body == "-INFINITY":
        return -INFINITY
    if body in _NAMED:
        return _NAMED[body]
    return clamp(leading_int(body))


def leading_int(text: str) -> int:
    """The integer at the start of a text, as C's strtoll reads it; 0 when there is none."""
    try:
        # The common case; the length is bounded so that a hostile million digits cannot cost quadratic time.
        return int(text) if len(text) < 20 else _leading_int(text.strip())
    except ValueError:
        return _leading_int(text.strip())


def _leading_int(body: str) -> int:
    end = 1 if body[:1] in ("+", "-") else 0
    while end < len(body) and "0" <= body[end] <= "9":
        end += 1
    digits = body[:end]
    return int(digits[:20]) if digits.strip("+-") else 0


def text(score: int) -> str:
    """A score as people write it."""
    if score >= INFINITY:
        return "INFINITY"
    if score <= -INFINITY:
        return "-INFINITY"
    return str(score)
