"""One decision or observation in the cluster's event log: a code with its data, and the sentence it stood for.

The leader writes events, `hamgr events` shows them. Codes are for programs, the text is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """`at` is RFC 3339 in UTC; `level` is info, warning or error."""

    at: str
    code: str  # "fence_succeeded", "transition_started", ...
    text: str
    level: str = "info"
    node: str = ""
    resource: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def to_value(self) -> dict[str, Any]:
        """As JSON's values, without what is empty."""
        raw = {name: getattr(self, name) for name in ("at", "code", "text", "level", "node", "resource")}
        return {name: value for name, value in raw.items() if value} | ({"data": dict(self.data)} if self.data else {})

    @classmethod
    def from_value(cls, value: object) -> Event:
        """Read `to_value`'s answer, leniently: whatever it is, a person can be shown something."""
        if not isinstance(value, Mapping):
            return cls("", "unreadable", repr(value), "warning")
        data = value.get("data")
        words = {name: str(value[name]) for name in ("level", "node", "resource") if name in value}
        return cls(
            str(value.get("at", "")),
            str(value.get("code", "")),
            str(value.get("text", "")),
            data=data if isinstance(data, Mapping) else {},
            **words,
        )
