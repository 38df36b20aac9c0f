"""The guard as the controller asks it, with values."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

from fixtures.leader_world import FILE, World, cluster_file

from hamgr.controller.fencing.guard import guard
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import Outcome, Target, new_record
from hamgr.fencer.topology import Level, LevelConfig

FRESH = SimpleNamespace(staleness_s=lambda: 0.0)


def test_fences_from_before_the_clock_was_set_back_hold_nothing_up() -> None:
    world = World()
    record = new_record(Target("n1"), reason("operator", user="x"), "x", (LevelConfig(Level.VOLUME),))
    loop = [replace(record, outcome=Outcome.SUCCEEDED, started_at=world.time - 1)] * 5
    assert guard("n1", loop, world.leader, FRESH, None, world.time) is not None  # type: ignore[arg-type]
    assert guard("n1", loop, world.leader, FRESH, None, world.time - 3600) is None  # type: ignore[arg-type]


def test_a_failed_fence_is_held_back_for_a_moment_until_something_changes() -> None:
    world = World()
    world.settle()
    record = new_record(Target("n1"), reason("operator", user="x"), "x", (LevelConfig(Level.VOLUME),))
    world.time += 10
    failed = [replace(record, outcome=Outcome.FAILED, started_at=world.time - n, ended_at=world.time) for n in (1, 2)]

    def held() -> str:
        why = guard("n1", failed, world.leader, FRESH, None, world.time)  # type: ignore[arg-type]
        return "" if why is None else why.code

    assert held() == "fences-failed"
    world.time += 0.5
    world.leader.configure(cluster_file())
    assert held() == ""
    world.leader.fences.note_change(0.0)
    assert held() == "fences-failed"
    world.lose("n1")
    world.advance(0.0)
    assert held() == ""


def test_a_fence_that_a_disk_would_not_survive_is_held() -> None:
    world = World()
    held = guard("n1", [], world.leader, FRESH, None, world.time, "claim a/b is being deleted")  # type: ignore[arg-type]
    assert str(held) == "claim a/b is being deleted"
    assert guard("n1", [], world.leader, FRESH, None, world.time, "") is None  # type: ignore[arg-type]


def test_the_guards_limits_are_those_of_the_cluster_file() -> None:
    """Without limits in it, too: five nodes within ten minutes, as the file's defaults say."""
    record = new_record(Target("n1"), reason("operator", user="x"), "x", (LevelConfig(Level.VOLUME),))

    def held(text: str, others: int, ago_s: float) -> str:
        world = World(text)
        past = [
            replace(record, target=Target(f"m{n}"), outcome=Outcome.SUCCEEDED, started_at=world.time - ago_s)
            for n in range(others)
        ]
        why = guard("n1", past, world.leader, FRESH, None, world.time)  # type: ignore[arg-type]
        return "" if why is None else why.code

    assert [held(FILE, 4, 1.0), held(FILE, 5, 599.0), held(FILE, 5, 601.0)] == ["", "storm", ""]
    assert held(FILE + "fencing: {max-fences: 1, max-fences-interval: 1h}\n", 1, 601.0) == "storm"
