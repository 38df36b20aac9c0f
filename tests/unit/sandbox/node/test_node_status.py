"""Phase, conditions and container statuses, as a 1.36 kubelet writes them."""

from __future__ import annotations

from typing import Any

import pytest
from hamgr_sandbox.node.status import (
    ContainerReport,
    PodReport,
    Running,
    Terminated,
    Waiting,
    differs,
    phase_of,
    pod_status,
)

NOW = 1_800_000_000.0
THEN = "2027-01-15T08:00:00Z"
LATER = "2027-01-15T08:01:40Z"
CREATING = Waiting("ContainerCreating")
RUNNING = Running(NOW)
KILLED = Terminated(137, NOW - 9, NOW, "hamgr://1")
FINE = Terminated(0, NOW - 9, NOW, "hamgr://1")
CRASHING = Waiting("CrashLoopBackOff", "back-off 10s")


def report(*states: Any, ready: bool = False, **fields: Any) -> PodReport:
    containers = []
    for number, state in enumerate(states):
        last = KILLED if state is CRASHING else None
        containers.append(ContainerReport(f"c{number}", "image", state, last, ready=ready, started=ready))
    return PodReport(containers, "10.0.0.1", NOW, **fields)


@pytest.mark.parametrize(
    ("policy", "made", "phase"),
    [
        ("Always", report(CREATING), "Pending"),
        ("Always", report(RUNNING, CREATING), "Pending"),
        ("Always", report(RUNNING, KILLED), "Running"),
        ("Always", report(CRASHING), "Running"),
        ("Always", report(FINE), "Running"),
        ("OnFailure", report(FINE), "Succeeded"),
        ("OnFailure", report(KILLED), "Running"),
        ("Never", report(KILLED, FINE), "Failed"),
        ("Never", report(FINE, FINE), "Succeeded"),
        ("Always", report(RUNNING, initialized=False), "Pending"),
        ("Always", report(FINE, FINE, ended=True), "Succeeded"),
        ("Always", report(FINE, KILLED, ended=True), "Failed"),
        ("Always", report(CREATING, ended=True), "Failed"),
    ],
)
def test_phase(policy: str, made: PodReport, phase: str) -> None:
    assert phase_of({"restartPolicy": policy}, made) == phase


def test_a_failed_init_container_ends_a_pod_that_never_restarts() -> None:
    broken = ContainerReport("i", "image", Terminated(1, NOW, NOW), init=True)
    made = PodReport([broken, ContainerReport("c", "image", CREATING)], "10.0.0.1", NOW, initialized=False)
    assert phase_of({"restartPolicy": "Never"}, made) == "Failed"
    assert phase_of({"restartPolicy": "Always"}, made) == "Pending"


def conditions(made: PodReport, previous: dict[str, Any] | None = None, **spec: Any) -> dict[str, tuple[Any, ...]]:
    pod = {"metadata": {"generation": 3}, "spec": spec, "status": {}}
    status = pod_status(pod, made, previous or {}, NOW + 100)
    return {c["type"]: (c["status"], c["reason"], c["lastTransitionTime"]) for c in status["conditions"]}


def test_conditions_of_a_pod_that_waits_for_its_volume() -> None:
    assert conditions(report(CREATING)) == {
        "PodReadyToStartContainers": ("False", None, LATER),
        "Initialized": ("True", None, LATER),
        "Ready": ("False", "ContainersNotReady", LATER),
        "ContainersReady": ("False", "ContainersNotReady", LATER),
        "PodScheduled": ("True", None, LATER),
    }


def test_the_time_of_a_condition_is_that_of_its_last_change() -> None:
    previous = {"conditions": [{"type": t, "status": "False", "lastTransitionTime": THEN} for t in ("Ready", "X")]}
    assert conditions(report(CREATING), previous)["Ready"][2] == THEN
    assert conditions(report(RUNNING, ready=True), previous)["Ready"] == ("True", None, LATER)


def test_a_deleted_pod_that_ended_well_is_completed_and_unready() -> None:
    found = conditions(report(FINE, ended=True, sandbox_ready=True))
    assert {kind: value[:2] for kind, value in found.items()} == {
        "PodReadyToStartContainers": ("False", None),
        "Initialized": ("True", "PodCompleted"),
        "Ready": ("False", "PodCompleted"),
        "ContainersReady": ("False", "PodCompleted"),
        "PodScheduled": ("True", None),
    }


def test_readiness_gates_hold_a_pod_back() -> None:
    gate = {"readinessGates": [{"conditionType": "hamgr.io/primary"}]}
    found = conditions(report(RUNNING, ready=True), **gate)
    assert found["Ready"][:2] == ("False", "ReadinessGatesNotReady")
    assert found["ContainersReady"][0] == "True"


def test_the_status_of_a_container_that_was_killed_and_runs_again() -> None:
    made = ContainerReport("c", "image", RUNNING, KILLED, "id", "hamgr://2", 1, True, True)
    pod = {"metadata": {"generation": 1}, "spec": {}}
    status = pod_status(pod, PodReport([made], "10.0.0.1", NOW, "10.1.0.1", True), {}, NOW)
    assert status["containerStatuses"] == [
        {
            "name": "c",
            "state": {"running": {"startedAt": THEN}},
            "lastState": {
                "terminated": {
                    "exitCode": 137,
                    "reason": "Error",
                    "startedAt": "2027-01-15T07:59:51Z",
                    "finishedAt": THEN,
                    "containerID": "hamgr://1",
                }
            },
            "ready": True,
            "restartCount": 1,
            "image": "image",
            "imageID": "id",
            "containerID": "hamgr://2",
            "started": True,
        }
    ]
    assert (status["phase"], status["podIP"], status["hostIP"]) == ("Running", "10.1.0.1", "10.0.0.1")


def test_foreign_changes_of_own_conditions_are_seen_and_other_conditions_left_alone() -> None:
    own = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    assert not differs({**own, "qosClass": "BestEffort", "message": "x"}, own)
    other = {"type": "DisruptionTarget", "status": "True"}
    assert not differs({**own, "conditions": [*own["conditions"], other]}, own)
    assert differs({**own, "conditions": [{"type": "Ready", "status": "False"}]}, own)
