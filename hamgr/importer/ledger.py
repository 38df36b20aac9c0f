"""What of an imported configuration has come along so far, and notes for a person on what has not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hamgr.cib import model, scores
from hamgr.clusterfile.options import Kind, why_unused
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

        return plain_sets(sets, lambda name, value: self.keeps(name, value, table, what, owner))

    def keeps(self, name: str, value: str, table: Mapping[str, Kind], what: str, owner: str) -> bool:
        """Whether a value comes along; there is a note on one that does not."""
        if name in _FACTS:
            return False
        if name not in table:
            trouble = "hamgr has none of that name"
        elif not (trouble := why_unused(name)):
            try:
                table[name].check(value)
            except ValueError as error:
                trouble = str(error)
        if trouble:
            self.notes.append(f"{f'{owner}: ' if owner else ''}{what} {name}: not imported; {trouble}")
        return not trouble


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
