"""A process dies at every point of every level, another goes on: one writer, the fence ended, nothing left behind.

Points are all saves of the record (before it is written, and after) and all writes to the API server and the device
(before they take effect, and after). The process "dies" by an exception that nothing of the fencer catches.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from fixtures.fence_world import OTHER_IN_USE, MemoryRecords, World, furnish, wipe

from hamgr.fencer import (
    Confirmation,
    FenceRecord,
    FencingConfig,
    Level,
    LevelConfig,
    NotOurs,
    Outcome,
    Surroundings,
    Target,
    reason,
)
from hamgr.fencer.records import new_record
from hamgr.fencer.runner import Run

WRITES = ("delete", "patch_json", "patch_merge", "patch_strategic", "post", "put")
LEVELS = {
    "volume": LevelConfig(Level.VOLUME),
    "node": LevelConfig(Level.NODE, ("pdu",), action="reboot"),
    "watchdog": LevelConfig(Level.WATCHDOG),
    "manual": LevelConfig(Level.MANUAL),
}


class Died(BaseException):
    """SIGKILL, as far as the code under test can tell."""


@dataclass
class Fate:
    """Dies at the nth point; counts them otherwise."""

    at: int | None = None
    passed: int = 0

    def point(self) -> None:
        self.passed += 1
        if self.passed == self.at:
            raise Died


class MortalRecords(MemoryRecords):
    """Records whose writer may die before or after the write."""

    def __init__(self, fate: Fate, shared: dict[str, FenceRecord], token: int) -> None:
        super().__init__(token=token, saved=shared)
        self._fate = fate

    def save(self, record: FenceRecord) -> None:
        self._fate.point()
        super().save(record)
        self._fate.point()


class MortalKube:
    """The gateway, used by a process that may die before or after each write."""

    def __init__(self, kube: Any, fate: Fate) -> None:
        self._kube = kube
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._kube, name)
        if name not in WRITES:
            return method

        def write(*args: Any, **kwargs: Any) -> Any:
            self._fate.point()
            answer = method(*args, **kwargs)
            self._fate.point()
            return answer

        return write


@dataclass
class PowerSwitch:
    """A device whose switch survives the process that flips it."""

    fate: Fate = field(default_factory=Fate)
    is_off: bool = False
    name: str = "pdu"
    acts: bool = True
    flips: list[str] = field(default_factory=list)

    def off(self, node: str) -> None:
        self.fate.point()
        self.is_off = True
        self.flips.append(f"off {node}")
        self.fate.point()

    def on(self, node: str) -> None:
        self.fate.point()
        self.is_off = False
        self.flips.append(f"on {node}")
        self.fate.point()

    def state(self, node: str) -> str:
        return "off" if self.is_off else "on"

    def monitor(self) -> None: ...


def drive(world: World, switch: PowerSwitch, fate: Fate, records: MemoryRecords, record: FenceRecord) -> FenceRecord:
    switch.fate = fate
    kube: Any = MortalKube(world.kube, fate)
    config = FencingConfig(watchdog_margin_s=0.1)
    devices = {"pdu": switch}
    around = Surroundings(kube, records, config, "t", "n2", devices, lost_for_s=lambda _node: 99.0)
    return Run(around, record).to_the_end()


def begin(level: LevelConfig) -> FenceRecord:
    word = Confirmation("root", "looked", 1.0)
    target = Target("n1", self_fence_s=4.0)
    return new_record(target, reason("node-lost", node="n1"), "hamgrd n2", (level,), confirmation=word)


def life(world: World, level: LevelConfig, deaths: Sequence[int]) -> tuple[FenceRecord, int, list[FenceRecord]]:
    """One fence whose processes die at these points in turn; the last one lives. Returns the points it passed."""
    wipe(world)
    furnish(world)
    world.set_node("n1", ready="Unknown")
    world.attacher.detached.clear()
    saved: dict[str, FenceRecord] = {}
    switch = PowerSwitch()
    record = begin(level)
    history: list[FenceRecord] = []
    for token, at in enumerate([*deaths, None], start=1):
        fate = Fate(at)
        records = MortalRecords(fate, saved, token)
        try:
            # Without a saved record there was no effect yet: the next leader begins the fence anew.
            ended = drive(world, switch, fate, records, saved.get(record.id, record))
        except Died:
            history += records.history
            continue
        assert not switch.is_off  # what was to be rebooted runs again
        return ended, fate.passed, history + records.history
    raise AssertionError("unreachable")


def audit(world: World, record: FenceRecord, history: list[FenceRecord]) -> None:
    """Nobody but n1's own disk was touched, the proof came before the release, and the fence has ended."""
    assert record.outcome is Outcome.SUCCEEDED
    assert record.proofs
    assert all(proof.token == record.tokens[0] or proof.token in record.tokens for proof in record.proofs)
    assert world.pods() == []
    assert world.attachments() == []
    assert set(world.attacher.detached) == {("pv-1", "n1")}
    assert world.in_use() == [OTHER_IN_USE]
    keys = [taint["key"] for taint in world.get_node("n1")["spec"].get("taints") or []]
    expected = [] if record.level.level is Level.VOLUME else ["node.kubernetes.io/out-of-service"]
    assert keys == expected
    assert not world.get_node("n2")["spec"].get("taints")
    plan_order = [step.phase for step in record.steps if not step.code]
    assert plan_order[-1] == "done"
    for earlier, later in itertools.pairwise(history):
        assert not (earlier.proofs and not later.proofs)


@pytest.mark.parametrize("name", LEVELS)
def test_death_at_every_point_of_a_level(world: World, name: str, record_property: Any) -> None:
    level = LEVELS[name]
    record, points, history = life(world, level, [])
    audit(world, record, history)
    for at in range(1, points + 1):
        record, _, history = life(world, level, [at])
        audit(world, record, history)
    record_property("points", points)
    print(f"level {name}: {points} points of death, all ended")
    assert points >= 20


@pytest.mark.parametrize("name", ["volume", "node"])
def test_deaths_one_after_the_other(world: World, name: str) -> None:
    """Every process but the last dies a few points into its life: progress is never lost."""
    record, _, history = life(world, LEVELS[name], [3, 5, 5, 7, 4, 9])
    audit(world, record, history)
    assert len(record.tokens) > 1


def test_a_deposed_leader_stops_at_once_and_its_successor_ends_it(world: World) -> None:
    world.set_node("n1", ready="Unknown")
    records = MemoryRecords()
    stopped_in: list[str] = []

    class DeposedAtDetach(MemoryRecords):
        def save(self, record: FenceRecord) -> None:
            if record.phase == "detach":
                self.ours = False
                stopped_in.append(record.phase)
            super().save(record)

    losing = DeposedAtDetach(saved=records.saved)
    record = begin(LEVELS["volume"])
    with pytest.raises(NotOurs):
        drive(world, PowerSwitch(), Fate(), losing, record)
    assert stopped_in == ["detach"]
    assert len(world.attachments()) == 1
    assert world.volume.unique_name in world.in_use()
    ended = drive(world, PowerSwitch(), Fate(), replace(records, token=8), records.saved[record.id])
    assert ended.outcome is Outcome.SUCCEEDED
    assert ended.tokens[-1] == 8
