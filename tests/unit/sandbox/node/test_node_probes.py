"""What probes ask for, and what series of answers mean."""

from __future__ import annotations

import pytest
from hamgr_sandbox.node.probes import Answer, Probe, Series, is_due, judged, next_tick, port_number, probes_of


def verdicts(probe: Probe, answers: str) -> list[bool | None]:
    """The verdict after each answer, + for a success and - for a failure."""
    series, told = Series(), []
    for each in answers:
        series = judged(probe, series, Answer(each == "+"))
        told.append(series.verdict)
    return told


def test_one_success_and_three_failures_in_a_row_change_the_verdict_by_default() -> None:
    probe = Probe("readiness", {})
    assert verdicts(probe, "-+--+---+") == [None, True, True, True, True, True, True, False, True]


def test_thresholds_count_equal_answers_in_a_row() -> None:
    probe = Probe("readiness", {}, success_threshold=2, failure_threshold=1)
    assert verdicts(probe, "++-+-++") == [None, True, False, False, False, False, True]


def test_defaults_are_those_of_the_api_and_null_counts_as_absent() -> None:
    (probe,) = probes_of({"name": "c", "livenessProbe": {"exec": {"command": ["x"]}, "initialDelaySeconds": None}})
    assert probe == Probe("liveness", {"exec": {"command": ["x"]}}, 0.0, 10.0, 1.0, 1, 3)


def test_all_three_kinds_are_found() -> None:
    spec = {"tcpSocket": {"port": 1}}
    container = {"name": "c", "startupProbe": spec, "livenessProbe": spec, "readinessProbe": spec}
    assert [probe.kind for probe in probes_of(container)] == ["startup", "liveness", "readiness"]


@pytest.mark.parametrize(
    ("kind", "running_for_s", "started", "due"),
    [
        ("readiness", 1.0, True, True),
        ("readiness", 0.5, True, False),
        ("readiness", 1.0, False, False),
        ("liveness", 9.0, False, False),
        ("startup", 9.0, False, True),
        ("startup", 9.0, True, False),
    ],
)
def test_when_to_probe(kind: str, running_for_s: float, started: bool, due: bool) -> None:
    assert is_due(Probe(kind, {}, initial_delay_s=1.0), running_for_s=running_for_s, started=started) is due


@pytest.mark.parametrize(
    ("now", "tick"), [(100.0, 101.0), (100.4, 101.0), (99.2, 100.0), (101.0, 102.0), (107.5, 108.0)]
)
def test_ticks_keep_their_rhythm_whatever_comes_in_between(now: float, tick: float) -> None:
    """A probe out of turn, which comes before its tick, must not cost the tick."""
    assert next_tick(100.0, 1.0, now) == tick


def test_ports_may_have_names() -> None:
    container = {"name": "c", "ports": [{"name": "sql", "containerPort": 3306}]}
    assert [port_number(port, container) for port in (80, "80", "sql")] == [80, 80, 3306]
    with pytest.raises(ValueError, match="couldn't find port: 'web'"):
        port_number("web", container)
