"""Fence records survive JSON, and what people see of them."""

import json
import string
from dataclasses import replace

import pytest
from fixtures.fences import DISK, IN_USE, POD, a_record

from hamgr.fencer.machine import PLANS, NodeSeen
from hamgr.fencer.reasons import _TEXTS, reason, render
from hamgr.fencer.records import (
    Confirmation,
    FenceRecord,
    Outcome,
    Phase,
    Proof,
    StepTime,
    Target,
    Tried,
)
from hamgr.fencer.status_view import as_status
from hamgr.fencer.topology import Delay, Level, LevelConfig
from hamgr.fencer.unfence import not_back


def a_full_record() -> FenceRecord:
    level = LevelConfig(Level.NODE, ("pdu",), 12.0, 2, Delay(1.0, 2.0, 3.0), "reboot")
    return a_record(
        level,
        Level.VOLUME,
        target=Target("n1", (("default", "db-n1"),), (("default", "data"),), True, 4.0, 5.0, "boot-1"),
        phase=Phase.DETACH,
        discovered=True,
        ended_boots=("boot-2",),
        proofs=(Proof("powered-off", "n1", "device pdu: off", "n2", 12.5, 77),),
        tried=(Tried("volume", 1, "timeout", {"level": "volume", "seconds": 1, "waiting": "x"}),),
        steps=(StepTime("node", "cut", 11.0, "device-failed", {"device": "pdu", "node": "n1", "error": "no"}),),
        tokens=(70, 77),
        confirmation=Confirmation("root", "pulled the plug", 3.0),
        executed_by="n2",
    )


def test_a_record_survives_json() -> None:
    record = a_full_record()
    assert FenceRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_unknown_fields_of_a_newer_version_are_skipped() -> None:
    record = a_full_record()
    value = record.to_json()
    value["color"] = "blue"
    value["pods"] = [{**value["pods"][0], "color": "blue"}]
    assert FenceRecord.from_json(value) == record


@pytest.mark.parametrize("value", [None, 3, {}, {"id": "x"}, {"target": {"node": "n1"}, "levels": ["nonsense"]}])
def test_what_is_no_record_is_refused(value: object) -> None:
    with pytest.raises(ValueError):
        FenceRecord.from_json(value)


def test_every_reason_renders() -> None:
    for code, text in _TEXTS.items():
        fields = {name for _, name, _, _ in string.Formatter().parse(text) if name}
        assert "{" not in render(code, dict.fromkeys(fields, 1.0)), code
    assert render("of-another-version", {"a": 1}) == "of-another-version (a=1)"
    assert render("timeout", {}) == "timeout"
    with pytest.raises(KeyError):
        reason("misspelt")


def test_status_counts_the_attempts_that_failed() -> None:
    assert as_status(a_full_record()).tried == 1
    assert as_status(replace(a_full_record(), tried=())).tried == 0


def test_status_shows_what_was_stepped_over_after_the_proof() -> None:
    late = StepTime("node", "detach", 40.0, "release-late", {"waiting": "the disk is stuck"})
    assert as_status(replace(a_full_record(), steps=(late,))).left == "the disk is stuck"
    assert as_status(a_full_record()).left == ""


def test_status_shows_the_steps_and_the_proof() -> None:
    record = replace(a_full_record(), outcome=Outcome.SUCCEEDED, started_at=10.0, ended_at=14.25)
    status = as_status(record)
    assert (status.target, status.outcome, status.action, status.level) == (
        "default/db-n1",
        "succeeded",
        "reboot",
        "node",
    )
    assert (status.took_s, status.token, status.proof) == (4.25, 77, "device pdu: off")
    assert status.started_at == "1970-01-01T00:00:10.000Z"
    assert [(step.step, step.at_s) for step in status.steps] == [("node: cut", 1.0)]
    assert "fence device pdu failed" in status.steps[0].detail
    failed = as_status(replace(record, outcome=Outcome.FAILED))
    assert "level volume was not over after 1 s" in failed.error


@pytest.mark.parametrize(("level", "phase"), [(level, phase) for level, plan in PLANS.items() for phase in plan])
def test_each_phase_of_each_level_is_a_sentence_for_people(level: Level, phase: Phase) -> None:
    record = replace(a_record(level), steps=(StepTime(level, phase, 1.0),))
    (step,) = as_status(record).steps
    assert step.step == f"{level}: {phase}"
    assert len(step.detail.split()) > 2


@pytest.mark.parametrize(
    ("level", "node", "pods", "code"),
    [
        (Level.MANUAL, NodeSeen(ready=True, boot_id="boot-2"), (), None),
        (Level.MANUAL, NodeSeen(ready=True, boot_id="boot-1"), (), "same-boot"),
        (Level.MANUAL, NodeSeen(ready=None, boot_id="boot-2"), (), "not-ready"),
        (Level.MANUAL, NodeSeen(exists=False), (), "not-ready"),
        (Level.MANUAL, NodeSeen(ready=True, boot_id="boot-2"), (POD.uid,), "pod-still-there"),
        (Level.VOLUME, NodeSeen(ready=True, boot_id="boot-1"), (), None),
        (Level.VOLUME, NodeSeen(ready=True, boot_id="boot-1", in_use=(IN_USE,)), (), "volume-still-used"),
        (Level.VOLUME, NodeSeen(ready=True, boot_id="boot-2", in_use=(IN_USE,)), (), None),
    ],
)
def test_when_a_fenced_node_counts_as_back(
    level: Level, node: NodeSeen, pods: tuple[str, ...], code: str | None
) -> None:
    why = not_back(a_record(level, volumes=(DISK,)), node, pods)
    assert (None if why is None else why.code) == code
