"""What of an imported configuration has come along so far, and notes for a person on what has not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hamgr.cib import model, scores
from hamgr.clusterfile.options import Kind
from hamgr.clusterfile.rules import render_rule

Raw = dict[str, Any]  # a part of a cluster file, as YAML has it

# Facts that Pacemaker's daemons write among the options; nobody has configured them.
_FACTS = frozenset({"dc-version", "cluster-infrastructure", "have-watchdog", "last-lrm-refresh"})


class Ledger:
    """The notes, and which names of the configuration the cluster file knows."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.nodes: dict[str, str] = {}  # what they are called now, by their old name
        self.resources: set[str] = set()
        self.devices: set[str] = set()

    def known(self, sets: Iterable[model.NvSet], table: Mapping[str, Kind], what: str, owner: str) -> list[Raw]:
        """The sets with the values that hamgr knows and can use; a note on each of the others."""

        def keep(name: str, value: str) -> bool:
            if name in _FACTS:
                return False
            where = f"{owner}: " if owner else ""
            if name not in table:
                self.notes.append(f"{where}{what} {name}: not imported; hamgr has none of that name")
                return False
            try:
                table[name].check(value)
            except ValueError as error:
                self.notes.append(f"{where}{what} {name}: not imported; {error}")
                return False
            return True

        return plain_sets(sets, keep)


def plain_sets(sets: Iterable[model.NvSet], keep: Callable[[str, str], bool] = lambda name, value: True) -> list[Raw]:
    """Sets of names and values as a cluster file has them, with the values to keep."""
    found = []
    for one in sets:
        values = {name: value for name, value in one.pairs if keep(name, value)}
        if values:
            rule = {"rule": render_rule(one.rule)} if one.rule else {}
            score = {"score": scores.text(one.score)} if one.score else {}
            found.append(
                {"id": one.id, **score, **rule, "values": values} if one.id else {**score, **rule, "values": values}
            )
    return _plain(found)


def _plain(found: list[Raw]) -> list[Raw]:
    """A single set that always holds needs neither id nor score."""
    if len(found) == 1 and "rule" not in found[0]:
        return [{"values": found[0]["values"]}]
    return found


def add(raw: Raw, key: str, value: Any) -> None:
    """Put a value into a part of the file, unless there is nothing to it."""
    if value:
        raw[key] = value
