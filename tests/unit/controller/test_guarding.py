"""The guard as the controller asks it, with values."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from fixtures.term_world import World

from hamgr.controller.guarding import guard
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import Target, new_record
from hamgr.fencer.topology import Level, LevelConfig

FRESH = SimpleNamespace(staleness_s=lambda: 0.0)


def test_fences_from_before_the_clock_was_set_back_hold_nothing_up() -> None:
    world = World()
    record = new_record(Target("n1"), reason("operator", user="x"), "x", (LevelConfig(Level.VOLUME),))
    loop = [replace(record, started_at=world.time - 1)] * 5
    assert guard("n1", loop, world.term, FRESH, None, world.time) is not None  # type: ignore[arg-type]
    assert guard("n1", loop, world.term, FRESH, None, world.time - 3600) is None  # type: ignore[arg-type]
