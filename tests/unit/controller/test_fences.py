"""What a leader adds to the fences that it takes over."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fixtures.fences import PROVED_OFF, a_record

from hamgr.cib.config import load_yaml
from hamgr.controller.fences import Fences
from hamgr.controller.leftovers import Leftovers
from hamgr.controller.returns import Returns
from hamgr.fencer.records import FenceRecord, Phase, Target
from hamgr.fencer.topology import Level, LevelConfig

CLUSTER = """
cluster: t
nodes: [n1, n2]
fencing:
  devices:
    - {id: switch, agent: fence_x}
    - {id: provider, agent: cloud}
  levels: [switch, provider, volume]
"""


def resumed(record: FenceRecord, boots: list[str]) -> FenceRecord:
    """What the fencer gets of an earlier leader's fence while the node is seen in these boots."""
    given: list[FenceRecord] = []
    fencer: Any = SimpleNamespace(
        resume=lambda record, _by: given.append(record), monitor_devices=dict, close=lambda: None
    )
    fences = Fences(
        lambda _config: fencer,
        [record],
        allowed=lambda _node, _past: None,
        doubt=lambda: None,
        describe=Target,
        boots=lambda _node: boots,
        returns=Returns(None),
        leftovers=Leftovers(None, "t", lambda: True),
    )
    fences.configure(load_yaml(CLUSTER, "cluster.yaml", {}).fencing, {"n1": {}, "n2": {}})
    fences.close()
    (only,) = given
    return only


def test_a_fence_that_has_yet_to_switch_its_node_off_is_about_the_boots_that_are_seen_by_then() -> None:
    """Else a node that had started in between was switched off, and the fence failed: it had been another boot."""
    begun = a_record(LevelConfig(Level.NODE, ("switch",)), phase=Phase.ISOLATE)
    assert resumed(begun, ["boot-1", "boot-2"]).ended_boots == ("boot-2",)
    both = a_record(LevelConfig(Level.NODE, ("provider", "switch")), phase=Phase.CUT)
    assert resumed(both, ["boot-2"]).ended_boots == ("boot-2",)


@pytest.mark.parametrize(
    "record",
    [
        a_record(LevelConfig(Level.NODE, ("switch",)), phase=Phase.DELETE, proofs=(PROVED_OFF,)),
        a_record(LevelConfig(Level.NODE, ("provider",)), phase=Phase.ISOLATE),
        a_record(LevelConfig(Level.NODE, ("gone",)), phase=Phase.ISOLATE),
        a_record(Level.WATCHDOG, phase=Phase.ISOLATE),
    ],
    ids=["proved already", "a device that switches nothing off", "no device", "a promise of one boot"],
)
def test_a_fence_whose_proof_is_about_an_earlier_moment_is_about_that_boot_alone(record: FenceRecord) -> None:
    assert resumed(record, ["boot-2"]) == record
