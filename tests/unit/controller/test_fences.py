"""A leader's fences: what it takes over, begins, joins, remembers and says of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from fixtures.fences import PROVED_OFF, a_record
from fixtures.leader_world import ModelFencer, ModelReturns
from fixtures.waiting import wait_until

from hamgr.clusterfile.load import load_yaml
from hamgr.controller.fencing.cleanup import FenceCleanup
from hamgr.controller.fencing.fences import Ended, Fences
from hamgr.controller.nodes.rejoin import Rejoin
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import Confirmation, FenceRecord, Outcome, Phase, Target, new_record
from hamgr.fencer.topology import FencingConfig, Level, LevelConfig

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
        rejoin=Rejoin(None),
        fence_cleanup=FenceCleanup(None, "t", lambda: True),
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


# --- the fences of one leader --------------------------------------------------------------------------------------

WHY = reason("operator", user="root")
STOP, VOLUME, MANUAL = (LevelConfig(level) for level in (Level.STOP, Level.VOLUME, Level.MANUAL))
DB = Target("n1", pods=(("default", "db-n1"),), alive=True)


class Fencer(ModelFencer):
    """Remembers what it was told to begin and to go on with; its devices say what a test has them say."""

    def __init__(self, troubles: dict[str, str]) -> None:
        super().__init__(lambda _record: None)
        self.resumed: list[str] = []
        self.closed = False
        self._troubles = troubles

    def resume(self, record: FenceRecord, superseded_by: str = "") -> bool:
        self.resumed.append(record.id)
        return super().resume(record, superseded_by)

    def plan(self, target: Target, levels: Any = None) -> Any:
        return levels

    def monitor_devices(self) -> dict[str, str]:
        return self._troubles

    def monitor_device(self, name: str) -> str:
        return self._troubles[name]

    def device_states(self, name: str, nodes: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(nodes, f"{name} says on")

    def close(self) -> None:
        self.closed = True


class Leader:
    """The fences of a leader; each fencer that was made for them is in `fencers`."""

    def __init__(self, *records: FenceRecord, text: str = "", troubles: dict[str, str] | None = None) -> None:
        self.fencers: list[Fencer] = []
        self.rejoin = ModelReturns()
        self.left: list[str] = []  # nodes whose fences' leftovers were gone on with
        fence_cleanup: Any = SimpleNamespace(
            look=lambda record: self.left.append(record.target.node), of=lambda record: f"a taint of {record.id}"
        )
        self.fences = Fences(
            lambda _config: self._made(troubles or {}),
            records,
            allowed=lambda node, past: reason("node-maintenance", node=node) if list(past) else None,
            doubt=lambda: None,
            describe=Target,
            boots=lambda _node: [],
            rejoin=self.rejoin,  # type: ignore[arg-type]
            fence_cleanup=fence_cleanup,
        )
        self.configure(text)

    def configure(self, text: str) -> None:
        file = load_yaml(f"cluster: t\nnodes: [n1, n2]\n{text}", "cluster.yaml", {})
        self.fences.configure(file.fencing, {"n1": {}, "n2": {}})

    def _made(self, troubles: dict[str, str]) -> Fencer:
        self.fencers.append(Fencer(troubles))
        return self.fencers[-1]


TWO_LEVELS = "fencing: {levels: [{level: volume, delay: 1s}, manual]}"


def ended(record: FenceRecord, outcome: Outcome = Outcome.SUCCEEDED) -> FenceRecord:
    return replace(record, outcome=outcome, phase=Phase.DONE, ended_at=1.0)


def test_only_what_has_not_ended_is_gone_on_with_and_once() -> None:
    over, under_way = ended(a_record()), a_record()
    leader = Leader(over, under_way)
    leader.configure(TWO_LEVELS)
    assert [fencer.resumed for fencer in leader.fencers] == [[under_way.id], []]
    assert [record.id for record in leader.fences.running] == [under_way.id]
    assert [record.id for record in leader.fences.records] == [under_way.id, over.id]


def test_a_word_that_an_earlier_leader_took_supersedes_the_older_fences_of_its_node() -> None:
    hanging, elsewhere = a_record(), a_record(target=Target("n2"))
    word, second_word = (replace(a_record(Level.MANUAL), confirmation=Confirmation("root", "", 1.0)) for _ in range(2))
    over, later = ended(a_record()), a_record()
    leader = Leader(over, hanging, elsewhere, word, later)
    assert leader.fencers[0].superseded == {hanging.id: word.id}
    twice = Leader(hanging, word, second_word)
    assert twice.fencers[0].superseded == {hanging.id: word.id, word.id: second_word.id}


def test_what_a_fence_has_left_is_gone_on_with_while_its_node_is_away() -> None:
    fenced = replace(a_record(), outcome=Outcome.SUCCEEDED)
    leader = Leader(fenced)
    leader.rejoin.unclean.add("n1")
    leader.fences.go_on_with_leftovers(["n1", "n2"])
    assert leader.left == ["n1"]
    assert (leader.fences.leftover("n1"), leader.fences.leftover("n2")) == (f"a taint of {fenced.id}", "")
    leader.rejoin.unclean.clear()
    leader.fences.go_on_with_leftovers(["n1", "n2"])
    assert leader.left == ["n1"]


def test_another_fencer_is_made_only_for_other_settings() -> None:
    leader = Leader()
    leader.configure("")
    assert len(leader.fencers) == 1
    for _ in range(2):
        leader.configure(TWO_LEVELS)
        assert len(leader.fencers) == 2
    leader.fences.close()
    assert [fencer.closed for fencer in leader.fencers] == [True, True]


def test_a_node_is_fenced_by_its_levels_the_first_of_them_held_back() -> None:
    leader = Leader(text=TWO_LEVELS)
    record = leader.fences.fence_node("n1", WHY, "root", delay_s=15.0)
    assert [level.level for level in record.levels] == [Level.VOLUME, Level.MANUAL]
    assert [level.delay.seconds(0.0) for level in record.levels] == [16.0, 0.0]
    assert (record.target, record.reason, record.requested_by) == (Target("n1"), WHY, "root")
    at_once = leader.fences.fence_node("n2", WHY, "root")
    assert at_once.levels[0].delay.seconds(0.0) == 1.0


def test_a_fence_of_the_node_that_is_under_way_is_the_answer() -> None:
    fences = Leader().fences
    pod = fences.fence_pod(DB, WHY, "root")
    first = fences.fence_node("n1", WHY, "root")
    assert first.target.pods is None
    assert fences.fence_node("n1", WHY, "another").id == first.id
    assert fences.fence_node("n1", WHY, "another", first.levels).id == first.id
    other = fences.fence_node("n2", WHY, "root")
    named = fences.fence_node("n1", WHY, "root", (MANUAL,))
    assert len({pod.id, first.id, other.id, named.id}) == 4
    assert {record.id for record in fences.running} == {pod.id, first.id, other.id, named.id}
    fences.note(ended(first))
    again = fences.fence_node("n1", WHY, "root")
    assert again.id not in (first.id, other.id)


def test_a_node_is_refused_by_what_is_remembered() -> None:
    assert Leader().fences.refusal("n1") is None
    assert Leader(a_record()).fences.refusal("n1") == reason("node-maintenance", node="n1")


@pytest.mark.parametrize(
    ("target", "levels", "chosen"),
    [
        (DB, (), (STOP, VOLUME)),
        (replace(DB, alive=False), (), (VOLUME,)),
        (Target("n1", alive=True), (), (VOLUME,)),
        (DB, (MANUAL,), (MANUAL,)),
    ],
)
def test_an_orderly_stop_is_tried_for_a_pod_on_a_node_that_is_alive(
    target: Target, levels: tuple[LevelConfig, ...], chosen: tuple[LevelConfig, ...]
) -> None:
    fences = Leader().fences
    assert fences.fence_pod(target, WHY, "root", levels).levels == chosen
    plan: Any = fences.plan(target, levels)
    assert plan == chosen


def test_a_word_is_taken_by_the_level_that_takes_words() -> None:
    fences = Leader().fences
    record = fences.confirm("n1", WHY, Confirmation("root", "pulled the plug", 1.0))
    assert (record.levels, record.requested_by) == ((MANUAL,), "root")
    assert [known.confirmation for known in fences.running] == [Confirmation("root", "pulled the plug", 1.0)]


@pytest.mark.parametrize("outcome", [Outcome.SUCCEEDED, Outcome.FAILED])
def test_an_end_is_told_once(outcome: Outcome) -> None:
    fences = Leader().fences
    record = fences.fence_node("n1", WHY, "root")
    assert fences.note(replace(record, phase=Phase.CUT)) is None
    assert fences.note(ended(record, outcome)) == Ended("n1", "n1", None, outcome)
    assert fences.note(ended(record, outcome)) is None
    assert fences.running == ()
    unheard_of = ended(a_record(target=replace(DB, pods=(("default", "db-n1"), ("shop", "web-n1")))), outcome)
    assert fences.note(unheard_of) == Ended("default/db-n1, shop/web-n1", "n1", ("db", "web"), outcome)


def test_only_a_fence_of_the_whole_node_that_succeeded_keeps_it_out_until_it_is_back() -> None:
    leader = Leader()
    fences = leader.fences
    leader.rejoin.unclean.update(("n1", "n2"))
    fences.note(ended(a_record(target=DB)))
    fences.note(ended(a_record(), Outcome.FAILED))
    fences.look_for_returns(["n1", "n2"])
    assert (fences.cleared("n1"), leader.rejoin.asked) == (True, [])
    fenced = ended(a_record())
    fences.note(fenced)
    fences.look_for_returns(["n1", "n2"])
    assert (fences.cleared("n1"), leader.rejoin.asked) == (False, ["n1"])
    assert fences.last_of("n1") == fenced
    fences.forgive(fenced)
    assert fences.cleared("n1")


def test_the_oldest_fences_are_forgotten_but_none_that_is_under_way_or_a_nodes_last() -> None:
    fences = Leader().fences
    under_way = fences.fence_node("n1", WHY, "root")
    last = ended(new_record(Target("n2"), WHY, "root", (VOLUME,)))
    fences.note(last)
    others = [ended(a_record(), Outcome.FAILED) for _ in range(FencingConfig().keep_history + 2)]
    for record in others:
        fences.note(record)
    kept = [record.id for record in reversed(fences.records)]
    assert kept == [under_way.id, last.id, *(record.id for record in others[2:])]


# --- devices -------------------------------------------------------------------------------------------------------

PDU = "fencing: {devices: [{id: pdu, agent: fence_x}, {id: bad, agent: fence_x, params: {pcmk_host_map: n1}}]}"
DARK = "it is dark (`hamgr fence test pdu` asks it again)"
WRONG = "fence device bad: pcmk_host_map has 'n1': write NODE:PLUG;NODE:PLUG"


def test_what_is_wrong_with_devices_is_told_by_their_settings_and_by_themselves() -> None:
    leader = Leader(text=PDU, troubles={"pdu": "it is dark", "ipmi": ""})
    assert leader.fences.device_troubles() == (WRONG,)
    leader.fences.look_at_devices()
    wait_until(lambda: leader.fences.device_troubles() == (WRONG, DARK))
    leader.configure("")
    leader.fences.look_at_devices()
    assert leader.fences.device_troubles() == ()
    leader.fences.close()


def test_a_device_is_tested_by_itself_and_by_what_it_says_of_nodes() -> None:
    leader = Leader(text=PDU, troubles={"pdu": "it is dark"})
    assert leader.fences.device_test("pdu", ["n1", "n2"]) == {
        "device": "pdu",
        "trouble": "it is dark",
        "states": {"n1": "pdu says on", "n2": "pdu says on"},
    }
    leader.fences.close()
