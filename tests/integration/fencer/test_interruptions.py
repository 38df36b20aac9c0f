"""A process dies at every point of every level, another goes on: one writer, the fence ended, nothing left behind.

The process "dies" by an exception that nothing of the fencer catches; test_killed has real ones, killed by SIGKILL.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fixtures.fence_world import MemoryRecords, World, furnish_richly, wipe
from fixtures.mortality import SCENARIOS, Fate, Kubelet, MortalKube, MortalRecords, PowerSwitch, Scenario, audit

from hamgr.fencer import FencerDeps, FenceRecord, NotOurs, Outcome
from hamgr.fencer.runner import Run
from hamgr.fencer.unfence import unfence
from hamgr.kube.objects import NODE


class Died(BaseException):
    """SIGKILL, as far as the code under test can tell."""


def die() -> None:
    raise Died


@pytest.fixture
def kubelet(world: World) -> Iterator[Kubelet]:
    made = Kubelet(world.kube)
    made.start()
    yield made
    made.stopping.set()
    made.join()


class DemoCluster:
    """Where fences are interrupted."""

    def __init__(self, world: World, kubelet: Kubelet, switch: Path) -> None:
        self.world = world
        self._kubelet = kubelet
        self._switch = switch

    def drive(self, scenario: Scenario, fate: Fate, records: MemoryRecords, record: FenceRecord) -> FenceRecord:
        kube: Any = MortalKube(self.world.kube, fate)
        around = FencerDeps(
            kube,
            MortalRecords(records, fate),
            scenario.config,
            "t",
            "n2",
            {"pdu": PowerSwitch(self._switch, fate)},
            lost_for_s=lambda _node: 99.0,
            last_seen=lambda name, _namespace: self._kubelet.last.get(name),
            unmounted=lambda _node, _pv: True,
        )
        return Run(around, record).to_the_end()

    def life(self, scenario: Scenario, deaths: Sequence[int]) -> tuple[FenceRecord, int]:
        """One fence whose processes die at these points in turn; the last one lives. Returns the points it passed."""
        world = self.world
        wipe(world)
        furnish_richly(world)
        world.attacher.detached.clear()
        saved: dict[str, FenceRecord] = {}
        record = scenario.begin()
        history: list[FenceRecord] = []
        for token, at in enumerate([*deaths, None], start=1):
            fate = Fate(at, die)
            records = MemoryRecords(token=token, saved=saved)
            try:
                # Without a saved record there was no effect yet: the next leader begins the fence anew.
                ended = self.drive(scenario, fate, records, saved.get(record.id, record))
            except Died:
                history += records.history
                continue
            assert PowerSwitch(self._switch, fate).state("n1") == "on"  # what was to be rebooted runs again
            audit(world, ended, history + records.history)
            return ended, fate.passed
        raise AssertionError("unreachable")

    def power(self) -> str:
        """What the switch says of n1."""
        return PowerSwitch(self._switch, Fate(None, die)).state("n1")


@pytest.fixture
def stage(world: World, kubelet: Kubelet, tmp_path: Path) -> DemoCluster:
    return DemoCluster(world, kubelet, tmp_path / "switch")


@pytest.mark.parametrize("name", SCENARIOS)
def test_death_at_every_point_of_a_level(stage: DemoCluster, name: str, record_property: Any) -> None:
    _, points = stage.life(SCENARIOS[name], [])
    for at in range(1, points + 1):
        stage.life(SCENARIOS[name], [at])
    record_property("points", points)
    print(f"level {name}: {points} points of death, all ended")
    assert points >= 10


@pytest.mark.parametrize("name", ["volume", "node"])
def test_deaths_one_after_the_other(stage: DemoCluster, name: str) -> None:
    """Every process but the last dies a few points into its life: progress is never lost."""
    record, _ = stage.life(SCENARIOS[name], [3, 5, 5, 7, 4, 9])
    assert len(record.tokens) > 1


def test_a_deposed_leader_stops_at_once_and_its_successor_ends_it(stage: DemoCluster) -> None:
    world = stage.world
    wipe(world)
    furnish_richly(world)
    records = MemoryRecords()
    stopped_in: list[str] = []

    class DeposedAtDetach(MemoryRecords):
        def save(self, record: FenceRecord) -> None:
            if record.phase == "detach":
                self.ours = False
                stopped_in.append(record.phase)
            super().save(record)

    losing = DeposedAtDetach(saved=records.saved)
    record = SCENARIOS["volume"].begin()
    with pytest.raises(NotOurs):
        stage.drive(SCENARIOS["volume"], Fate(None, die), losing, record)
    assert stopped_in == ["detach"]
    assert len(world.attachments()) == 2
    assert world.volume.unique_name in world.in_use()
    ended = stage.drive(SCENARIOS["volume"], Fate(None, die), replace(records, token=8), records.saved[record.id])
    assert ended.outcome is Outcome.SUCCEEDED
    assert ended.tokens[-1] == 8


@pytest.mark.parametrize(("name", "phase"), [("volume", "delete"), ("volume", "detach"), ("node", "isolate")])
def test_leadership_is_looked_at_again_before_each_effect(stage: DemoCluster, name: str, phase: str) -> None:
    """A leader that was deposed after it had saved a phase, and before that phase's first effect, has none."""
    world = stage.world
    wipe(world)
    furnish_richly(world)

    class DeposedAfterSaving(MemoryRecords):
        def save(self, record: FenceRecord) -> None:
            super().save(record)
            self.before = (world.attachments(), world.pods(), world.get_node("n1"), stage.power())
            self.ours = record.phase != phase

    losing = DeposedAfterSaving()
    with pytest.raises(NotOurs):
        stage.drive(SCENARIOS[name], Fate(None, die), losing, SCENARIOS[name].begin())
    assert losing.history[-1].phase == phase
    assert (world.attachments(), world.pods(), world.get_node("n1"), stage.power()) == losing.before
    world.attacher.detached.clear()


def test_death_while_a_node_that_is_back_is_let_in_again(stage: DemoCluster) -> None:
    """The taint and what says whose it is: none of them outlives a process that dies between."""
    world = stage.world
    points = 1
    at = 0
    while at <= points:
        record, _ = stage.life(SCENARIOS["manual"], [])
        world.set_node("n1", ready="True", boot="boot-2")
        fate = Fate(at, die)
        try:
            unfence(MortalKube(world.kube, fate), record)  # type: ignore[arg-type]
        except Died:
            assert unfence(world.kube, record) is None
        points = max(points, fate.passed)
        node = world.kube.get(NODE.path("n1"))
        assert not node["spec"].get("taints")
        assert "hamgr.io/out-of-service" not in (node["metadata"].get("annotations") or {})
        at += 1
    assert points == 2
