"""Each audit finds what it is there for, and says nothing about evidence that is as it should be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hamgr_sandbox import kvapp
from hamgr_sandbox.campaign.checkers import (
    FENCE_IN_DOUBT,
    FENCE_WITHOUT_CAUSE,
    FENCE_WITHOUT_PROOF,
    FENCE_WITHOUT_TOKEN,
    LOST_WRITE,
    PODS_DIFFER,
    PROOF_UNTRUE,
    SAID_OK,
    SECOND_WRITER,
    STALE_WRITE,
    START_TOO_SOON,
    START_UNPROVED,
    STUCK,
    TAINT_LEFT,
    Evidence,
    FenceSeen,
    Intent,
    Moment,
    OnRecord,
    Plugging,
    Sight,
    Switching,
    Written,
    judge,
)
from hamgr_sandbox.campaign.evidence import on_record
from hamgr_sandbox.campaign.onlooker import Stretch
from hamgr_sandbox.campaign.schedule import Fault, Kind

from hamgr.fencer.reasons import reason
from hamgr.fencer.records import FenceRecord, Outcome, Proof, StepTime, Target, Tried, VolumeRef
from hamgr.fencer.topology import Level, LevelConfig

CRASH = (Fault(Kind.NODE_CRASHED, 1.0, 3.0, "n1"),)
FENCE = FenceRecord(
    id="1",
    target=Target("n1"),
    reason=reason("scheduler", why="n1 fell silent"),
    requested_by="n2",
    levels=(LevelConfig(Level.VOLUME),),
    started_at=1.0,
    proofs=(Proof("detached", "pv", "its attachment is gone", "n2", 2.0, token=5),),
    volumes=(VolumeRef("pv", "driver", "handle"),),
    tokens=(5,),
    outcome=Outcome.SUCCEEDED,
)
STANDINGS = {"n1": "lost", "n2": "member", "n3": "member"}
REFUSED = replace(
    FENCE,
    tokens=(),
    proofs=(),
    outcome=Outcome.FAILED,
    steps=(StepTime("volume", "intent", 1.0, "volume-unprovable", {"volume": "kv"}),),
)
SEEN = FenceSeen(FENCE, STANDINGS, frozenset({5}))


def rules(evidence: Evidence) -> list[str]:
    return [finding.rule for finding in judge(evidence)]


def log_of(path: Path, records: Sequence[kvapp.Record], acknowledged: Sequence[kvapp.Acknowledged] = ()) -> Evidence:
    file = path / kvapp.LOG_NAME
    file.write_bytes(b"".join(kvapp.encoded(record) for record in records))
    return Evidence(CRASH, kvapp.audit(file, acknowledged))


def test_what_is_as_it_should_be_is_not_found_fault_with(tmp_path: Path) -> None:
    records = [
        kvapp.Record(1, "a", "n1", "open"),
        kvapp.Record(2, "a", "n1", "set", "x", "1"),
        kvapp.Record(3, "b", "n2", "open"),
    ]
    evidence = log_of(tmp_path, records, [kvapp.Acknowledged(2, "x", "1")])
    evidence.fences = [SEEN]
    evidence.holders_before = frozenset({"n1"})
    evidence.moments = [Moment("fenced", "n1"), Moment("started", "n2")]
    assert judge(evidence) == []


def test_a_writer_that_goes_on_after_another_has_begun_is_found(tmp_path: Path) -> None:
    records = [
        kvapp.Record(1, "a", "n1", "open"),
        kvapp.Record(2, "b", "n2", "open"),
        kvapp.Record(3, "a", "n1", "set", "x", "1"),
    ]
    assert rules(log_of(tmp_path, records)) == [SECOND_WRITER]


def test_an_acknowledged_write_that_is_missing_is_found(tmp_path: Path) -> None:
    evidence = log_of(tmp_path, [kvapp.Record(1, "a", "n1", "open")], [kvapp.Acknowledged(2, "x", "1")])
    assert rules(evidence) == [LOST_WRITE]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (replace(SEEN, record=replace(FENCE, tokens=(), proofs=())), [FENCE_WITHOUT_TOKEN, FENCE_WITHOUT_PROOF]),
        (replace(SEEN, record=REFUSED), []),
        (
            replace(
                SEEN,
                record=replace(REFUSED, steps=(StepTime("volume", "intent", 1.0),)),
            ),
            [FENCE_WITHOUT_TOKEN],
        ),
        (replace(SEEN, tokens=frozenset()), [FENCE_WITHOUT_TOKEN]),
        (replace(SEEN, record=replace(FENCE, proofs=(replace(FENCE.proofs[0], token=4),))), [FENCE_WITHOUT_TOKEN]),
        (replace(SEEN, record=replace(FENCE, proofs=())), [FENCE_WITHOUT_PROOF]),
        (replace(SEEN, standings={**STANDINGS, "n3": "lost"}), [FENCE_IN_DOUBT]),
    ],
    ids=[
        "no token",
        "refused",
        "no token and a step",
        "a token that nobody had",
        "proof under another token",
        "no proof",
        "most nodes bad",
    ],
)
def test_a_fence_that_should_not_have_been_is_found(seen: FenceSeen, expected: list[str]) -> None:
    assert rules(Evidence(CRASH, kvapp.Audit(), fences=[seen])) == expected


def test_a_proof_must_agree_with_the_storage() -> None:
    plugged = [Plugging(1.0, "handle", "n1", attached=True), Plugging(2.5, "handle", "n1", attached=False)]
    late = Evidence(CRASH, kvapp.Audit(), fences=[SEEN], storage=plugged)
    assert rules(late) == [PROOF_UNTRUE]
    in_time = Evidence(CRASH, kvapp.Audit(), fences=[SEEN], storage=[plugged[0], replace(plugged[1], at=1.5)])
    assert rules(in_time) == []


def test_a_crashed_container_is_no_reason_to_fence() -> None:
    killed = (Fault(Kind.CONTAINER_KILLED, 1.0, where="n1"),)
    assert rules(Evidence(killed, kvapp.Audit(), fences=[SEEN])) == [FENCE_WITHOUT_CAUSE]


def test_a_fault_elsewhere_is_no_reason_to_fence() -> None:
    elsewhere = (Fault(Kind.NODE_FROZEN, 1.0, 3.0, "n3"),)
    assert rules(Evidence(elsewhere, kvapp.Audit(), fences=[SEEN])) == [FENCE_WITHOUT_CAUSE]


def test_what_a_person_orders_needs_no_other_cause() -> None:
    ordered = replace(SEEN, record=replace(FENCE, requested_by="root@host"))
    assert rules(Evidence((Fault(Kind.FENCE_NODE, 1.0, where="n1"),), kvapp.Audit(), fences=[ordered])) == []


@pytest.mark.parametrize("proof", ["stopped", "fenced", "absent"])
def test_a_start_needs_the_last_holder_to_be_proved_gone(proof: str) -> None:
    started = Moment("started", "n2")
    before = frozenset({"n1"})
    assert rules(Evidence(CRASH, kvapp.Audit(), moments=[started], holders_before=before)) == [START_UNPROVED]
    assert rules(Evidence(CRASH, kvapp.Audit(), moments=[Moment(proof, "n1"), started], holders_before=before)) == []


@pytest.mark.parametrize("doubt", ["unknown", "stop-failed", "start-failed"])
def test_what_may_have_begun_or_not_ended_counts_as_running(doubt: str) -> None:
    moments = [Moment(doubt, "n1"), Moment("started", "n2")]
    assert rules(Evidence(CRASH, kvapp.Audit(), moments=moments)) == [START_UNPROVED]


def test_a_row_tells_what_each_level_of_a_fence_failed_of() -> None:
    assert str(SEEN) == "n1 by volume, succeeded: the scheduler asked for it: n1 fell silent"
    tried = (
        Tried("node", 1, "device-unproved", {"device": "switch", "node": "n1", "state": "on"}),
        Tried("node", 2, "node-restarted", {"node": "n1", "boot_id": "b2"}),
    )
    failed = replace(FENCE, outcome=Outcome.FAILED, proofs=(), tried=tried)
    assert str(replace(SEEN, record=failed)) == (
        "n1 by volume, failed: the scheduler asked for it: n1 fell silent; "
        "node (attempt 1): device-unproved (fence device switch does not confirm that node n1 is off (it says on)); "
        "node (attempt 2): node-restarted "
        "(node n1 has started again (boot id b2) after it was proved off, and may run its pods again)"
    )


@pytest.mark.parametrize(
    ("other", "broken"),
    [
        (OnRecord("n1", "member", "stop", 0), []),
        (OnRecord("n1", "kubelet", "monitor", 7), []),
        (OnRecord("n1", "fenced"), []),
        (OnRecord("n1", "unseen"), []),
        (OnRecord("n1", "member", "start", 0), [START_TOO_SOON]),
        (OnRecord("n1", "member", "start", 193), [START_TOO_SOON]),
        (OnRecord("n1", "member", "stop", 1), [START_TOO_SOON]),
        (OnRecord("n1", "member", "stop", 193), [START_TOO_SOON]),
        (OnRecord("n1", "member", "monitor", 0), [START_TOO_SOON]),
        (OnRecord("n1", "member"), [START_TOO_SOON]),
        (OnRecord("n1", "lost", "start", 0), [START_TOO_SOON]),
        (OnRecord("n1", "lost", "stop", 0), [START_TOO_SOON]),
    ],
    ids=lambda value: f"{value.standing} {value.task} {value.rc}" if isinstance(value, OnRecord) else "",
)
def test_a_start_is_begun_only_when_the_end_of_the_other_is_on_record(other: OnRecord, broken: list[str]) -> None:
    well = OnRecord("n3", "member", "monitor", 7)
    evidence = Evidence(CRASH, kvapp.Audit(), intents=[Intent(9, "kv", "n2", (other, well))])
    assert rules(evidence) == broken


def test_what_is_on_record_of_an_operation_is_the_last_one_that_was_no_watching() -> None:
    """As the leader keeps it; a recurring monitor that fails says nothing of where an instance is."""
    agent = {"standard": "ocf", "provider": "hamgr", "type": "pod"}
    last = {"operation": "stop", "id": "kv_last_0", "rc": 0}
    watching = {"operation": "monitor", "id": "kv_monitor_5000", "interval_ms": 5000, "rc": 7}
    failure = {"operation": "start", "id": "kv_last_failure_0", "rc": 1}
    history = {"id": "kv", "agent": agent, "ops": [failure, last, watching]}
    assert on_record("n1", {"standing": "member"}, history) == OnRecord("n1", "member", "stop", 0)
    assert on_record("n1", {"standing": "lost"}, None) == OnRecord("n1", "lost")
    assert on_record("n1", {"standing": "lost"}, {**history, "ops": [watching]}) == OnRecord("n1", "lost")


def test_what_is_left_behind_is_found() -> None:
    evidence = Evidence(CRASH, kvapp.Audit(), tainted=["n1"], stuck="there is no leader")
    assert rules(evidence) == [TAINT_LEFT, STUCK]


POWERED_OFF = replace(FENCE, proofs=(Proof("powered-off", "n1", "device switch: off", "n2", 2.0, token=5),))


@pytest.mark.parametrize(
    ("switchings", "broken"),
    [
        ([Switching(1.0, "n1", on=False)], []),
        ([Switching(1.0, "n1", on=False), Switching(2.5, "n1", on=True)], []),
        ([Switching(1.0, "n1", on=False), Switching(1.5, "n1", on=True)], [PROOF_UNTRUE]),
        ([Switching(2.5, "n1", on=False)], [PROOF_UNTRUE]),
        ([Switching(1.0, "n2", on=False)], [PROOF_UNTRUE]),
        ([], [PROOF_UNTRUE]),
    ],
)
def test_a_node_said_to_be_off_that_its_switch_had_on_is_found(
    tmp_path: Path, switchings: list[Switching], broken: list[str]
) -> None:
    evidence = log_of(tmp_path, [kvapp.Record(1, "a", "n1", "open")])
    evidence.fences = [FenceSeen(POWERED_OFF, STANDINGS, frozenset({5}))]
    evidence.switchings = switchings
    assert rules(evidence) == broken


def test_a_write_of_somebody_who_does_not_lead_is_found(tmp_path: Path) -> None:
    evidence = log_of(tmp_path, [kvapp.Record(1, "a", "n1", "open")])
    evidence.writes = [Written(9, "n2-x", "n2-x"), Written(7, "n1-y", "n1-y")]
    assert rules(evidence) == []
    evidence.writes = [Written(9, "n1-y", "n2-x"), Written(8, "n1-y", ""), Written(7, "n1-y", "n1-y")]
    assert rules(evidence) == [STALE_WRITE, STALE_WRITE]


WELL = Sight("in the end", {"kv-n1": "n1"}, {"kv-n1": "n1"}, said_ok=True, serves=True)
STOPPED = Sight("after disabled", {}, {}, said_ok=False, serves=False, due=False)


@pytest.mark.parametrize(
    ("sight", "broken"),
    [
        (WELL, []),
        (STOPPED, []),
        (replace(WELL, living={"kv-n1": "n1", "kv-n2": "n2"}), [PODS_DIFFER]),
        (replace(WELL, on_record={"kv-n2": "n2"}), [PODS_DIFFER, PODS_DIFFER]),
        (replace(WELL, living={}), [PODS_DIFFER]),
        (replace(WELL, serves=False), [SAID_OK]),
        (replace(WELL, serves=False, said_ok=False), []),
        (replace(STOPPED, living={"kv-n2": "n2"}), [PODS_DIFFER]),
        (replace(STOPPED, said_ok=True), [SAID_OK]),
        (replace(STOPPED, serves=True), [PODS_DIFFER]),
    ],
    ids=[
        "well",
        "stopped",
        "one more",
        "elsewhere",
        "none",
        "served by nobody",
        "which it says",
        "parked and alive",
        "stopped and OK",
        "served",
    ],
)
def test_what_lives_is_what_is_on_record(sight: Sight, broken: list[str]) -> None:
    assert rules(Evidence(CRASH, kvapp.Audit(), sights=[sight, sight])) == broken  # and it is told once


def test_ok_that_was_said_for_long_while_nobody_was_served_is_found() -> None:
    assert rules(Evidence(CRASH, kvapp.Audit(), ok_unserved_s=14.0)) == []
    assert rules(Evidence(CRASH, kvapp.Audit(), ok_unserved_s=16.0)) == [SAID_OK]


def test_a_stretch_of_ok_begins_anew_with_each_write_and_each_other_word() -> None:
    stretch = Stretch()
    for now, ok, served_at in ((0, True, 0), (5, True, 4), (9, True, 4), (10, False, 4), (11, True, 4), (13, True, 4)):
        stretch.note(float(now), ok=ok, served_at=float(served_at))
    assert stretch.longest_s == 5.0


def test_a_pod_beside_another_one_on_its_node_is_a_second_writer_though_it_writes_nothing_wrong(tmp_path: Path) -> None:
    records = [kvapp.Record(1, "a", "n1", "open"), kvapp.Record(2, "b", "n1", "open", value=kvapp.BESIDE)]
    assert rules(log_of(tmp_path, records)) == [SECOND_WRITER]
