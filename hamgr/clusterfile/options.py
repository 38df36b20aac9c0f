"""Which values options and meta-attributes take, so that a typo is found at once. `hamgr.cib.options` has the table."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hamgr.cib import durations, options, scores
from hamgr.cib.booleans import FALSE, TRUE
from hamgr.cib.options import Option

_DURATION = re.compile(r"\s*\d+\s*(us|usec|ms|msec|s|sec|m|min|h|hr)?\s*\Z")
_ISO_DURATION = re.compile(r"P(?=.)(\d+Y)?(\d+M)?(\d+W)?(\d+D)?(T(?=.)(\d+H)?(\d+M)?(\d+S)?)?\Z")
_SCORE = re.compile(r"[-+]?(INFINITY|\d{1,18})\Z")

SHORT_LIST = 12  # with a good guess at hand, nobody wants to read more than so many alternatives


def duration_ms(text: str) -> int:
    """A duration ("5s", "2min", "500ms", "30", "PT5M") in milliseconds; a bare number is seconds. Raises ValueError."""
    if not _DURATION.match(text) and not _ISO_DURATION.match(text):
        raise ValueError(f"'{text}' is not a duration: write a number and a unit, as in 500ms, 10s, 2min, 1h")
    return durations.parse_ms(text)


def score_value(text: str) -> int:
    """A score ("50", "-INFINITY") as a number within +-INFINITY. Raises ValueError."""
    if not _SCORE.match(text):
        raise ValueError(f"'{text}' is not a score: write a whole number, INFINITY or -INFINITY")
    return scores.parse(text)


def boolean_value(text: str) -> bool:
    """A boolean as Pacemaker reads it. Raises ValueError."""
    if text.lower() in TRUE:
        return True
    if text.lower() in FALSE:
        return False
    raise ValueError(f"'{text}' is neither true nor false")


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"'{text}' is not a whole number") from None


MAX_INSTANCES = 200
"""Of one clone: each is a resource to the scheduler, which has to answer within a leader's time."""


def _instances(text: str) -> int:
    count = _integer(text)
    if count > MAX_INSTANCES:
        raise ValueError(f"'{text}' is more than the {MAX_INSTANCES} instances that a clone may have")
    return count


def _color_or_score(text: str) -> str | int:
    return text if text in ("red", "yellow", "green") else score_value(text)


@dataclass(frozen=True, slots=True)
class Kind:
    """What values an option takes: a reader that raises ValueError, or a closed list."""

    read: Callable[[str], object] | None = None
    choices: tuple[str, ...] = ()

    def check(self, text: str) -> None:
        """Raise ValueError, with what would be right, when `text` is no value of this kind."""
        if self.read is not None:
            self.read(text)
        elif self.choices and text not in self.choices:
            raise ValueError(f"'{text}' is not allowed here{instead(text, self.choices)}")


BOOL = Kind(boolean_value)
INT = Kind(_integer)
SCORE = Kind(score_value)
DURATION = Kind(duration_ms)
TEXT = Kind()


_KINDS: Mapping[str, Kind] = {
    options.BOOLEAN: BOOL,
    options.COLOR: Kind(_color_or_score),
    options.DURATION: DURATION,
    options.INSTANCES: Kind(_instances),
    options.INTEGER: INT,
    options.SCORE: SCORE,
    options.TEXT: TEXT,
}


def _kinds(*tables: Mapping[str, Option]) -> Mapping[str, Kind]:
    """What values the tables' options take, by all of their names."""
    found = options.names(*tables)
    return {name: Kind(choices=one.choices) if one.choices else _KINDS[one.kind] for name, one in found.items()}


CLUSTER_OPTIONS = _kinds(options.CLUSTER)
PRIMITIVE_META = _kinds(options.PRIMITIVE)
GROUP_META = _kinds(options.PRIMITIVE, options.GROUP)
CLONE_META = _kinds(options.PRIMITIVE, options.GROUP, options.CLONE)
OPERATION_META = _kinds(options.OPERATION)

_UNUSED = {
    name: option.why_not
    for name, option in options.names(options.CLUSTER, options.META, options.OPERATION).items()
    if option.why_not
}


def why_unused(name: str) -> str:
    """Why a running cluster makes nothing of a valid option; empty: it does."""
    return _UNUSED.get(name, "")


def instead(word: str, choices: Iterable[str]) -> str:
    """What a person may have meant by a wrong word, to be put behind the complaint about it."""
    choices = list(choices)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    guess = f" (did you mean '{near[0]}'?)" if near else ""
    return guess if near and len(choices) > SHORT_LIST else f"{guess}; allowed: {listing(choices)}"


def listing(words: Iterable[str]) -> str:
    """Choices for a person to read, in order."""
    return ", ".join(sorted(words)) or "nothing"
