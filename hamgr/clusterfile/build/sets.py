"""Sets of names and values from a cluster file, as the model has them."""

from __future__ import annotations

from collections.abc import Iterable

from hamgr.cib import model
from hamgr.cib.records import replace
from hamgr.clusterfile.options import score_value, why_unused
from hamgr.clusterfile.rules import parse_rule
from hamgr.clusterfile.values import ValueSet


def option_sets(entries: Iterable[ValueSet], owner: str) -> tuple[model.NvSet, ...]:
    """As `model_sets`, for options: without those that a running cluster makes nothing of."""
    return tuple(
        replace(one, pairs=tuple((name, value) for name, value in one.pairs if not why_unused(name)))
        for one in model_sets(entries, owner)
    )


def model_sets(entries: Iterable[ValueSet], owner: str) -> tuple[model.NvSet, ...]:
    """The sets of one owner, whose name those without an id go by."""
    return tuple(
        model.NvSet(
            pairs=tuple(entry.values.items()),
            id=entry.id or (owner if index == 0 else f"{owner}-{index}"),
            score=score_value(entry.score),
            rule=parse_rule(entry.rule) if entry.rule else None,
        )
        for index, entry in enumerate(entries)
    )


def names_in(sets: Iterable[ValueSet]) -> set[str]:
    """All names that have a value in one of the sets."""
    return {name for entry in sets for name in entry.values}
