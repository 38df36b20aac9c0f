"""What is read from etcd: JSON values with the revisions that later writes compare."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

Json = Any  # what json.loads returns


@dataclass(frozen=True, slots=True)
class Entry:
    """One key's value. Revisions are etcd's; `lease` is 0 for a key that stays until it is deleted."""

    value: Json
    mod_revision: int
    create_revision: int
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All keys below `prefix` at one `revision`; keys are relative to the cluster's prefix.

    `malformed` names keys whose value is no JSON: they count as absent, and are here so that somebody can say so.
    """

    prefix: str
    revision: int
    entries: Mapping[str, Entry] = field(default_factory=lambda: MappingProxyType({}))
    malformed: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, Json]:
        """Key to value."""
        return {key: entry.value for key, entry in self.entries.items()}

    def value(self, key: str, default: Json = None) -> Json:
        """The value of `key`, or `default`."""
        entry = self.entries.get(key)
        return default if entry is None else entry.value

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


def entry_of(kv: Any) -> Entry | None:
    """The entry of etcd's key-value message; None when the value is no JSON."""
    try:
        value = json.loads(kv.value)
    except ValueError:
        return None
    return Entry(value, kv.mod_revision, kv.create_revision, kv.lease)


def difference(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> list[Change]:
    """What turns `old` into `new`: deletions first, then writes in the order in which they were made."""
    deleted = [Change(key, None) for key in old if key not in new]
    written = [Change(key, entry) for key, entry in new.items() if old.get(key) != entry]
    written.sort(key=lambda change: change.entry.mod_revision if change.entry else 0)
    return deleted + written
