"""What is read from etcd: JSON values with the revisions that later writes compare."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Json = Any  # what json.loads returns
MAX_DEPTH = 50


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's value. Revisions are etcd's; `lease` is 0 for a key that stays until it is deleted.

    malformed: what stands there cannot be used, `value` is None. The key is there all the same: a member's whose value
    somebody has spoilt is no member that is gone.
    """

    value: Json
    mod_revision: int
    create_revision: int
    lease: int = 0
    malformed: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys below `prefix` at one `revision`; keys are relative to the cluster's prefix.

    `malformed` names the keys whose value cannot be used, so that somebody can say so.
    """

    prefix: str
    revision: int
    entries: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))
    malformed: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, Json]:
        """Key to value, of those that can be used."""
        return {key: entry.value for key, entry in self.entries.items() if not entry.malformed}

    def value(self, key: str, default: Json = None) -> Json:
        """The value of `key`, or `default`."""
        entry = self.entries.get(key)
        return default if entry is None or entry.malformed else entry.value

    def mod_revision(self, key: str) -> int:
        """What a compare expects for `key`; 0 where there is no such key."""
        entry = self.entries.get(key)
        return 0 if entry is None else entry.mod_revision


@dataclass(frozen=True, slots=True)
class Change:
    """One key that was written (`entry`) or deleted (`entry` is None)."""

    key: str
    entry: Entry | None

    @property
    def value(self) -> Json:
        """The new value; None when the key was deleted."""
        return None if self.entry is None else self.entry.value


def encode(value: Json) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def decode(raw: bytes) -> Json:
    """JSON that everybody downstream can deal with. Raises ValueError for anything else.

    That is: no NaN and no Infinity, numbers of 64 bits, no half of a surrogate pair, and not deeper than MAX_DEPTH.
    """
    try:
        value = json.loads(raw, parse_constant=_no_constant, parse_int=_bounded_int, parse_float=_finite_float)
        if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH:
            _check_depth(value)
        if b"\\u" in raw:
            encode(value)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    return value


def entry_of(kv: Any) -> Entry:
    """The entry of etcd's key-value message."""
    try:
        value, malformed = decode(kv.value), False
    except ValueError:
        value, malformed = None, True
    return Entry(value, kv.mod_revision, kv.create_revision, kv.lease, malformed)


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is no number that can be used")


def _bounded_int(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError("a number has more than 64 bits")
    return int(digits)


def _finite_float(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _check_depth(value: Json) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError("it is nested too deeply")


def difference(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> list[Change]:
    """What turns `old` into `new`: deletions first, then writes in the order in which they were made."""
    deleted = [Change(key, None) for key in old if key not in new]
    written = [Change(key, entry) for key, entry in new.items() if old.get(key) != entry]
    written.sort(key=lambda change: change.entry.mod_revision if change.entry else 0)
    return deleted + written
