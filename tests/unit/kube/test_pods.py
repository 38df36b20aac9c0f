"""What a pod's status says: values in, judgement out."""

from __future__ import annotations

from typing import Any

import pytest

from hamgr.kube.pods import PodState, ended_cleanly, grace_of, has_ended, has_run, is_parked, judge_pod

CREATING = {"waiting": {"reason": "ContainerCreating"}}
RUNNING = {"running": {"startedAt": "t"}}
KILLED = {"terminated": {"exitCode": 137, "reason": "Error"}}


def pod(
    phase: str = "Running",
    state: dict[str, Any] | None = None,
    *,
    ready: bool = False,
    container: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
) -> dict[str, Any]:
    containers = [] if state is None else [{"name": "c", "state": state, "restartCount": 0} | (container or {})]
    return {
        "metadata": {"name": "db-n1"} | (meta or {}),
        "spec": {"nodeName": "n1"},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False", "message": "not yet"}],
            "containerStatuses": containers,
        }
        | (status or {}),
    }


PARKED = {"annotations": {"hamgr.io/parked": "true"}}
DELETED = {"deletionTimestamp": "t"}
RAN = {"containerID": "containerd://1"}


@pytest.mark.parametrize(
    ("given", "state", "words"),
    [
        (None, PodState.ABSENT, "no such pod"),
        (pod("Pending"), PodState.STARTING, "is starting: not yet"),
        (pod("Pending", CREATING), PodState.STARTING, "ContainerCreating"),
        (pod("Pending", CREATING, meta=PARKED), PodState.PARKED, "waits for its volume"),
        (pod(state=RUNNING, container=RAN, meta=PARKED), PodState.UNREADY, "not yet"),
        (pod(state=RUNNING, container=RAN, meta=PARKED, ready=True), PodState.READY, ""),
        (pod(state=RUNNING, container=RAN, ready=True), PodState.READY, ""),
        (pod(state=RUNNING, container=RAN), PodState.UNREADY, "is not ready: not yet"),
        (pod(state=KILLED, container=RAN), PodState.UNREADY, "being restarted by its kubelet: .* exit code 137"),
        (
            pod(state=RUNNING, container={**RAN, "restartCount": 1, "lastState": KILLED}),
            PodState.UNREADY,
            "was restarted by its kubelet and is not ready yet: .* exit code 137",
        ),
        (
            pod(state={"waiting": {"reason": "CrashLoopBackOff"}}, container={"restartCount": 4, "lastState": KILLED}),
            PodState.CRASHING,
            "keeps crashing: container c ended with exit code 137",
        ),
        (
            pod("Pending", {"waiting": {"reason": "CreateContainerConfigError", "message": 'secret "x" not found'}}),
            PodState.BLOCKED,
            'cannot start container c: secret "x" not found',
        ),
        (pod("Pending", {"waiting": {"reason": "ErrImagePull"}}), PodState.STARTING, "ErrImagePull"),
        (pod("Pending", {"waiting": {"reason": "InvalidImageName"}}), PodState.BLOCKED, "InvalidImageName"),
        (pod("Failed", KILLED), PodState.ENDED, "has failed: container c ended with exit code 137"),
        (
            pod("Failed", status={"reason": "OutOfcpu", "message": "no cpu"}),
            PodState.ENDED,
            "was rejected by its kubelet",
        ),
        (pod("Succeeded"), PodState.ENDED, "has succeeded"),
        (
            pod("Failed", RUNNING, container=RAN, ready=True),
            PodState.UNREADY,
            "given up .* its containers may still run",
        ),
        (pod(state=RUNNING, container=RAN, ready=True, meta=DELETED), PodState.TERMINATING, "being deleted"),
    ],
)
def test_states(given: dict[str, Any] | None, state: PodState, words: str) -> None:
    import re

    judged = judge_pod(given)
    assert judged.state is state
    assert re.search(words, judged.why)
    assert bool(judged.why) == (state is not PodState.READY)


def test_restarts_are_counted() -> None:
    assert judge_pod(pod(state=RUNNING, container={"restartCount": 3}, ready=True)).restarts == 3


@pytest.mark.parametrize(
    ("last", "clean"),
    [
        (pod("Succeeded", {"terminated": {"exitCode": 0}}, meta=DELETED), True),
        (pod("Failed", KILLED, meta=DELETED), True),
        # Kubernetes' pod garbage collector writes that phase itself; what the kubelet last said of containers stays
        (pod("Failed", RUNNING, container=RAN, ready=True, meta=DELETED), False),
        (pod("Failed", {"waiting": {"reason": "CrashLoopBackOff"}}, container={"restartCount": 1}), False),
        (pod("Failed", CREATING, meta=DELETED), True),
        (pod(state=RUNNING, container=RAN, ready=True, meta=DELETED), False),
        (pod(state=KILLED, container=RAN, meta=DELETED), False),  # about to be restarted when it was removed
        (pod("Pending", CREATING, meta=DELETED), True),
        (pod("Pending", {"waiting": {"reason": "CrashLoopBackOff"}}, container={"restartCount": 1}), False),
        (pod("Pending", meta=DELETED), False),  # its kubelet has not said a word
        ({"metadata": {"name": "x"}, "spec": {}, "status": {"phase": "Pending"}}, True),  # on no node
    ],
)
def test_an_end_is_clean_only_when_the_kubelet_said_so(last: dict[str, Any], clean: bool) -> None:
    assert ended_cleanly(last) is clean


def test_that_no_container_had_begun_holds_for_the_very_last_state_alone() -> None:
    assert has_ended(pod("Failed", KILLED))
    assert has_ended(pod("Failed", status={"reason": "OutOfcpu"}))
    assert not has_ended(pod("Pending", CREATING, meta=DELETED))  # it may begin a moment later


def test_init_containers_count_as_having_run() -> None:
    begun = pod("Pending", CREATING, status={"initContainerStatuses": [{"name": "i", "state": RUNNING}]})
    assert has_run(begun)
    assert not has_run(pod("Pending", CREATING))


def test_parked_only_without_the_volume() -> None:
    assert is_parked(pod("Pending", CREATING, meta=PARKED))
    assert not is_parked(pod("Pending", CREATING))
    assert not is_parked(pod(state=RUNNING, container=RAN, meta=PARKED))


def test_grace_is_the_pods_own() -> None:
    assert grace_of({"spec": {}}) == 30
    assert grace_of({"spec": {"terminationGracePeriodSeconds": 0}}) == 0


REJECTED = {"phase": "Failed", "reason": "NodeAffinity", "message": "Pod was rejected: Predicate NodeAffinity failed"}
EVICTED = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on resource: memory."}
TAINTED = {"type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager",
           "message": "Taint manager: deleting due to NoExecute taint"}  # fmt: skip


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (REJECTED, "pod p was rejected by its kubelet (NodeAffinity): Predicate NodeAffinity failed"),
        (EVICTED, "pod p was evicted by its kubelet: The node was low on resource: memory."),
        ({"phase": "Failed", "reason": "Evicted"}, "pod p was evicted by its kubelet: it does not say why"),
    ],
)
def test_what_a_kubelet_gives_up_is_told_as_such(status: dict[str, str], told: str) -> None:
    judged = judge_pod({"metadata": {"name": "p"}, "status": status})
    assert (judged.state, judged.why) == (PodState.ENDED, told)


def test_a_deletion_by_kubernetes_itself_is_told_with_its_reason() -> None:
    metadata = {"name": "p", "deletionTimestamp": "2026-01-01T00:00:00Z"}
    judged = judge_pod({"metadata": metadata, "status": {"phase": "Running", "conditions": [TAINTED]}})
    assert judged.why == "pod p is being deleted (Taint manager: deleting due to NoExecute taint)"
    assert judged.state is PodState.TERMINATING
