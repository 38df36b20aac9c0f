"""Which options, meta-attributes and values there are: Pacemaker 2.1's own names, so that a typo is found at once.

Source: Pacemaker Explained 2.1 (cluster options, resource meta-attributes, operation properties).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hamgr.cib import durations, scores
from hamgr.cib.booleans import FALSE, TRUE

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


def _one_of(*choices: str) -> Kind:
    return Kind(choices=choices)


CLUSTER_OPTIONS: Mapping[str, Kind] = {
    "batch-limit": INT,
    "cluster-delay": DURATION,
    "cluster-name": TEXT,
    "cluster-recheck-interval": DURATION,
    "concurrent-fencing": BOOL,
    "dc-deadtime": DURATION,
    "election-timeout": DURATION,
    "enable-acl": BOOL,
    "enable-startup-probes": BOOL,
    "fence-reaction": _one_of("stop", "panic"),
    "join-finalization-timeout": DURATION,
    "join-integration-timeout": DURATION,
    "load-threshold": TEXT,
    "maintenance-mode": BOOL,
    "migration-limit": INT,
    "no-quorum-policy": _one_of("stop", "freeze", "ignore", "demote", "suicide"),
    "node-action-limit": INT,
    "node-health-base": SCORE,
    "node-health-green": Kind(_color_or_score),
    "node-health-red": Kind(_color_or_score),
    "node-health-strategy": _one_of("none", "migrate-on-red", "only-green", "progressive", "custom"),
    "node-health-yellow": Kind(_color_or_score),
    "placement-strategy": _one_of("default", "utilization", "minimal", "balanced"),
    "priority-fencing-delay": DURATION,
    "remove-after-stop": BOOL,
    "shutdown-escalation": DURATION,
    "shutdown-lock": BOOL,
    "shutdown-lock-limit": DURATION,
    "start-failure-is-fatal": BOOL,
    "startup-fencing": BOOL,
    "stonith-action": _one_of("reboot", "off", "poweroff"),
    "stonith-enabled": BOOL,
    "stonith-max-attempts": INT,
    "stonith-timeout": DURATION,
    "stonith-watchdog-timeout": DURATION,
    "stop-all-resources": BOOL,
    "stop-orphan-actions": BOOL,
    "stop-orphan-resources": BOOL,
    "symmetric-cluster": BOOL,
    "transition-delay": DURATION,
}

PRIMITIVE_META: Mapping[str, Kind] = {
    "allow-migrate": BOOL,
    "allow-unhealthy-nodes": BOOL,
    "container-attribute-target": _one_of("host", ""),
    "critical": BOOL,
    "failure-timeout": DURATION,
    "is-managed": BOOL,
    "maintenance": BOOL,
    "migration-threshold": SCORE,
    "multiple-active": _one_of("block", "stop_only", "stop_start", "stop_unexpected"),
    "priority": SCORE,
    "remote-addr": TEXT,
    "remote-allow-migrate": BOOL,
    "remote-connect-timeout": DURATION,
    "remote-node": TEXT,
    "remote-port": INT,
    "requires": _one_of("nothing", "quorum", "fencing", "unfencing"),
    "resource-stickiness": SCORE,
    "target-role": _one_of("Started", "Stopped", "Unpromoted", "Promoted", "Slave", "Master"),
}
GROUP_META: Mapping[str, Kind] = {**PRIMITIVE_META, "collocated": BOOL, "ordered": BOOL}
CLONE_META: Mapping[str, Kind] = {
    **GROUP_META,
    "clone-max": Kind(_instances),
    "clone-min": INT,
    "clone-node-max": Kind(_instances),
    "globally-unique": BOOL,
    "interleave": BOOL,
    "master-max": INT,
    "master-node-max": INT,
    "notify": BOOL,
    "promotable": BOOL,
    "promoted-max": INT,
    "promoted-node-max": INT,
}
OPERATION_META: Mapping[str, Kind] = {
    "enabled": BOOL,
    "interval": DURATION,
    "interval-origin": TEXT,
    "on-fail": _one_of("ignore", "block", "demote", "stop", "restart", "fence", "standby", "restart-container"),
    "record-pending": BOOL,
    "role": _one_of("Started", "Stopped", "Unpromoted", "Promoted", "Slave", "Master"),
    "start-delay": DURATION,
    "timeout": DURATION,
}


def instead(word: str, choices: Iterable[str]) -> str:
    """What a person may have meant by a wrong word, to be put behind the complaint about it."""
    choices = list(choices)
    near = difflib.get_close_matches(word, choices, n=1, cutoff=0.6)
    guess = f" (did you mean '{near[0]}'?)" if near else ""
    return guess if near and len(choices) > SHORT_LIST else f"{guess}; allowed: {listing(choices)}"


def listing(words: Iterable[str]) -> str:
    """Choices for a person to read, in order."""
    return ", ".join(sorted(words)) or "nothing"
