"""Label and field selectors: which objects a list or watch is about.

Grammar of label selectors: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from hamgr_sandbox.apiserver.errors import bad_request

Obj = dict[str, Any]
Accessor = Callable[[Obj], str]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One requirement on one label: operator is in, notin, exists, absent, gt or lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        if self.operator == "in":
            return value is not None and value in self.values
        if self.operator == "notin":
            return value is None or value not in self.values
        if self.operator == "exists":
            return value is not None
        if self.operator == "absent":
            return value is None
        if value is None or not value.lstrip("-").isdigit():
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if self.operator == "gt" else int(value) < bound


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """A conjunction of requirements; without any it matches everything."""

    requirements: tuple[Requirement, ...] = ()

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        return all(one.matches(labels or {}) for one in self.requirements)


_SET_BASED = re.compile(r"^\s*(\S+?)\s+(in|notin)\s*\(([^)]*)\)\s*$")
_EQUALITY = re.compile(r"^\s*([^\s=!<>]+)\s*(==|=|!=|>|<)\s*(\S*)\s*$")
_EXISTENCE = re.compile(r"^\s*(!?)\s*([A-Za-z0-9]\S*)\s*$")


def parse_labels(text: str) -> LabelSelector:
    """Parse the `labelSelector` of a request; raises ApiFailure 400."""
    parts = [part for part in re.split(r",(?![^(]*\))", text) if part.strip()]
    return LabelSelector(tuple(_requirement(part, text) for part in parts))


def _requirement(part: str, whole: str) -> Requirement:
    if found := _SET_BASED.match(part):
        values = frozenset(value.strip() for value in found.group(3).split(","))
        return Requirement(found.group(1), found.group(2), values)
    if found := _EQUALITY.match(part):
        operator = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}[found.group(2)]
        return Requirement(found.group(1), operator, frozenset({found.group(3)}))
    if found := _EXISTENCE.match(part):
        return Requirement(found.group(2), "absent" if found.group(1) else "exists")
    raise bad_request(
        f'unable to parse requirement: found {part.strip()!r} in "{whole}", expected: a label requirement'
    )


_OBJECT_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}


def from_object(selector: Obj | None) -> LabelSelector | None:
    """The selector of a spec (matchLabels, matchExpressions); None, which matches nothing, when there is none."""
    if selector is None:
        return None
    found = [Requirement(key, "in", frozenset({value})) for key, value in (selector.get("matchLabels") or {}).items()]
    for expression in selector.get("matchExpressions") or []:
        operator = _OBJECT_OPERATORS.get(expression.get("operator", ""), "exists")
        found.append(Requirement(expression.get("key", ""), operator, frozenset(expression.get("values") or ())))
    return LabelSelector(tuple(found))


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    accessor: Accessor
    value: str
    equal: bool

    def matches(self, obj: Obj) -> bool:
        return (self.accessor(obj) == self.value) is self.equal


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """A conjunction of comparisons of fields."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, obj: Obj) -> bool:
        return all(one.matches(obj) for one in self.requirements)


def parse_fields(text: str, supported: Mapping[str, Accessor]) -> FieldSelector:
    """Parse the `fieldSelector` of a request for a kind that supports these fields; raises ApiFailure 400."""
    found = []
    for part in text.split(","):
        if not part.strip():
            continue
        match = re.match(r"^\s*([^=!\s]+)\s*(==|=|!=)\s*(.*?)\s*$", part)
        if match is None:
            raise bad_request(f'invalid selector: "{text}"; can\'t understand "{part}"')
        label, operator, value = match.groups()
        if label not in supported:
            raise bad_request(f"field label not supported: {label}")
        found.append(FieldRequirement(supported[label], value, operator != "!="))
    return FieldSelector(tuple(found))


def accessor(path: str, empty: str = "") -> Accessor:
    """A function that reads a dotted path as a string; booleans as Go writes them, `empty` where there is nothing."""
    steps = path.split(".")

    def read(obj: Obj) -> str:
        value: Any = obj
        for step in steps:
            value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, bool):
            return "true" if value else "false"
        return empty if value is None else str(value)

    return read
