"""An operator's word that a node is off ends the fence that is under way: nothing switches the node off again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from fixtures.fence_world import SECOND_DISK, MemoryRecords, World
from fixtures.waiting import wait_until

from hamgr.fencer import (
    Confirmation,
    Fencer,
    FencerDeps,
    FenceRecord,
    FencingConfig,
    Level,
    LevelConfig,
    Outcome,
    Phase,
    Target,
    reason,
)
from hamgr.fencer.levels.node import DeviceError
from hamgr.fencer.records import new_record
from hamgr.fencer.topology import Delay

LOST = reason("node-lost", node="n1")
BY_BMC = LevelConfig(Level.NODE, ("bmc",), timeout_s=60.0, attempts=1_000_000)
BY_HAND = LevelConfig(Level.MANUAL)
WORD = Confirmation("root@n2", "I pulled the plug", 1.0)


class Bmc:
    """A management board that does not answer, until it is told to; it counts what it was asked to do."""

    name = "bmc"
    acts = True

    def __init__(self) -> None:
        self.done: list[str] = []
        self.dead = True
        self.asked = threading.Event()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def off(self, node: str, allowed: Callable[[], None] = lambda: None) -> None:
        self.asked.set()
        self.may_answer.wait(30.0)
        allowed()
        self.done.append(f"off {node}")
        if self.dead:
            raise DeviceError("no route to host")

    def on(self, node: str, allowed: Callable[[], None] = lambda: None) -> None:
        allowed()
        self.done.append(f"on {node}")

    def state(self, node: str) -> str:
        del node
        return "off"

    def monitor(self) -> None:
        """Nobody asks here."""


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords()


@pytest.fixture
def bmc() -> Bmc:
    return Bmc()


@pytest.fixture
def fencer(world: World, records: MemoryRecords, bmc: Bmc) -> Iterator[Fencer]:
    around = FencerDeps(world.kube, records, FencingConfig(), "t", "n2", {"bmc": bmc})
    with closing(Fencer(around)) as made:
        yield made


def confirmed(fencer: Fencer, *earlier: FenceRecord, **options: Any) -> FenceRecord:
    word = fencer.fence(Target("n1"), LOST, "root@n2", (BY_HAND,), WORD, earlier, **options)
    for record in earlier:
        fencer.supersede(record.id, word.id)
    return word


def ended(records: MemoryRecords, fence: FenceRecord) -> FenceRecord:
    wait_until(lambda: records.saved.get(fence.id, fence).outcome is not Outcome.PENDING)
    return records.saved[fence.id]


def test_a_fence_that_tries_a_dead_board_again_and_again_ends_with_the_word(
    world: World, fencer: Fencer, records: MemoryRecords, bmc: Bmc
) -> None:
    world.set_node("n1", ready="Unknown")
    older = fencer.fence(Target("n1"), LOST, "hamgrd n2", (BY_BMC,))
    wait_until(lambda: len(bmc.done) > 2)
    word = confirmed(fencer, older)
    older = ended(records, older)
    assert older.outcome is Outcome.SUPERSEDED
    assert (older.steps[-1].code, older.steps[-1].data) == ("superseded", {"fence": word.id, "node": "n1"})
    assert older.ended_at > 0
    told = len(bmc.done)
    assert ended(records, word).outcome is Outcome.SUCCEEDED
    wait_until(lambda: fencer.active() == [])
    assert len(bmc.done) == told


def test_a_board_that_answers_after_the_word_is_told_nothing_more(
    world: World, fencer: Fencer, records: MemoryRecords, bmc: Bmc
) -> None:
    """Its answer is a proof, and the next things to do would be to taint the node, and to switch it on."""
    world.set_node("n1", ready="Unknown")
    bmc.dead = False
    bmc.may_answer.clear()
    older = fencer.fence(Target("n1"), LOST, "hamgrd n2", (replace(BY_BMC, action="reboot"),))
    wait_until(bmc.asked.is_set)
    word = confirmed(fencer, older)
    bmc.may_answer.set()
    assert ended(records, older).outcome is Outcome.SUPERSEDED
    assert ended(records, word).outcome is Outcome.SUCCEEDED
    wait_until(lambda: fencer.active() == [])
    assert "on n1" not in bmc.done


def test_a_fence_that_is_held_back_does_not_begin_any_more(fencer: Fencer, records: MemoryRecords, bmc: Bmc) -> None:
    older = fencer.fence(Target("n1"), LOST, "hamgrd n2", (replace(BY_BMC, delay=Delay(base_s=3600.0)),))
    wait_until(lambda: "waiting-delay" in [step.code for step in records.saved.get(older.id, older).steps])
    confirmed(fencer, older)
    assert ended(records, older).outcome is Outcome.SUPERSEDED
    assert bmc.done == []


def test_the_next_leader_ends_it_as_well(fencer: Fencer, records: MemoryRecords, bmc: Bmc) -> None:
    """The leader that took the word died before the older fence had noticed."""
    older = new_record(Target("n1"), LOST, "hamgrd n2", (BY_BMC,))
    assert fencer.resume(replace(older, phase=Phase.ISOLATE, discovered=True), superseded_by="another")
    assert ended(records, older).outcome is Outcome.SUPERSEDED
    assert bmc.done == []


def test_what_only_the_older_one_has_found_is_released_by_the_word(
    world: World, fencer: Fencer, records: MemoryRecords, bmc: Bmc
) -> None:
    """It has deleted the pod, and nothing else tells any more which disks that had."""
    world.set_node("n1", ready="Unknown", in_use=(world.volume.unique_name, SECOND_DISK.unique_name))
    bmc.dead = False
    world.attacher.allowed.clear()
    older = fencer.fence(Target("n1"), LOST, "hamgrd n2", (BY_BMC,))
    wait_until(lambda: records.saved.get(older.id, older).phase is Phase.DETACH and world.pods() == [])
    word = confirmed(fencer, records.saved[older.id])
    assert ended(records, older).outcome is Outcome.SUPERSEDED
    world.attacher.allowed.set()
    word = ended(records, word)
    assert word.outcome is Outcome.SUCCEEDED
    assert [volume.pv for volume in word.volumes] == [world.volume.pv]
    assert world.attachments() == []
    assert world.in_use() == [SECOND_DISK.unique_name]


def test_a_fence_that_has_ended_is_not_changed(world: World, fencer: Fencer, records: MemoryRecords) -> None:
    first = confirmed(fencer)
    assert ended(records, first).outcome is Outcome.SUCCEEDED
    wait_until(lambda: fencer.active() == [])
    fencer.supersede(first.id, "another")
    second = confirmed(fencer)
    assert ended(records, second).outcome is Outcome.SUCCEEDED
    assert records.saved[first.id].outcome is Outcome.SUCCEEDED


def test_the_word_is_not_lost_on_a_fence_that_waits_for_one(fencer: Fencer, records: MemoryRecords) -> None:
    """Level manual, held back by a delay, would fail then for want of the very word."""
    level = replace(BY_HAND, delay=Delay(base_s=3600.0))
    waiting = fencer.fence(Target("n1"), LOST, "hamgrd n2", (level,))
    word = fencer.fence(Target("n1"), LOST, "root@n2", (level,), WORD, (waiting,))
    assert word.id != waiting.id
    again = fencer.fence(Target("n1"), LOST, "root@n2", (level,), WORD)
    assert again.id == word.id
