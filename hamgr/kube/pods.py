"""What a pod's status says, as a pure judgement, and the few things hamgr does to pods.

The life of a pod is read from what the kubelet writes into its status (FACTS, timelines): a pod that ends cleanly shows
all its containers terminated before its object goes; an object that goes without that was removed by force, and says
nothing about its processes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hamgr.kube.errors import NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import (
    ANNOTATION_PARKED,
    LABEL_CLUSTER,
    LABEL_RESOURCE,
    POD,
    Obj,
    annotations_of,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    revision_of,
    uid_of,
)

SCHEDULER = "hamgr"
"""Whom our pods name as their scheduler: nobody serves it, so a pod stays inert until hamgr itself binds it."""

_DEFAULT_GRACE_S = 30
_FINAL = ("Succeeded", "Failed")

# Waiting reasons that no amount of waiting cures (kubelet: pkg/kubelet/kuberuntime, pkg/kubelet/images).
_HOPELESS = {
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ImageInspectError",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
}


class PodState(Enum):
    """Where a pod is in its life, as far as hamgr cares."""

    ABSENT = "absent"
    PARKED = "parked"  # waits for its volume on a standby node: no container has run
    STARTING = "starting"
    READY = "ready"
    UNREADY = "unready"  # runs, but its readiness probe says no, or a container is being restarted in place
    CRASHING = "crashing"  # the kubelet waits between restarts (CrashLoopBackOff)
    BLOCKED = "blocked"  # cannot start before somebody changes something
    ENDED = "ended"  # its kubelet has brought it to a final phase: no container will run again
    TERMINATING = "terminating"


@dataclass(frozen=True, slots=True)
class Judgement:
    """A pod's state and, for all but READY, why: a phrase that begins with the pod's name."""

    state: PodState
    why: str = ""
    restarts: int = 0


def judge_pod(pod: Mapping[str, Any] | None) -> Judgement:
    """What the status says; None is a pod that does not exist."""
    if pod is None:
        return Judgement(PodState.ABSENT, "there is no such pod")
    restarts = sum(int(c.get("restartCount") or 0) for c in _containers(pod))
    state, why = _state(pod)
    return Judgement(state, f"pod {name_of(pod)} {why}" if why else "", restarts)


def _state(pod: Mapping[str, Any]) -> tuple[PodState, str]:
    status = pod.get("status") or {}
    if is_terminating(pod):
        return PodState.TERMINATING, f"is being deleted{_by_whom(pod)}"
    if has_ended(pod):
        return PodState.ENDED, _ended(pod)
    if status.get("phase") in _FINAL:
        return PodState.UNREADY, f"was given up (phase {status['phase']}) while its containers may still run"
    if is_ready(pod):
        return PodState.READY, ""
    waiting = [(c, (c.get("state") or {}).get("waiting") or {}) for c in _containers(pod)]
    for container, reason in waiting:
        if reason.get("reason") in _HOPELESS:
            said = reason.get("message") or reason["reason"]
            return PodState.BLOCKED, f"cannot start container {container['name']}: {said}"
    for container, reason in waiting:
        if reason.get("reason") == "CrashLoopBackOff":
            return PodState.CRASHING, f"keeps crashing: container {container['name']} {_last_ending(container)}"
    if has_run(pod):
        return PodState.UNREADY, _unready(pod)
    if ANNOTATION_PARKED in annotations_of(pod):
        return PodState.PARKED, "is parked: it waits for its volume"
    return PodState.STARTING, f"is starting: {_starting(pod)}"


def is_rejected(pod: Mapping[str, Any]) -> bool:
    """Whether its kubelet has refused to run the pod (OutOfcpu, NodeAffinity, UnexpectedAdmissionError, ...): it has
    never begun a container, and begins none."""
    status = pod.get("status") or {}
    return status.get("phase") == "Failed" and bool(status.get("reason")) and not has_run(pod) and has_ended(pod)


def _ended(pod: Mapping[str, Any]) -> str:
    status = pod["status"]
    reason, message = str(status.get("reason") or ""), str(status.get("message") or "")
    if reason == "Evicted":
        return f"was evicted by its kubelet: {message or 'it does not say why'}"
    if is_rejected(pod):
        return f"was rejected by its kubelet ({reason}): {message.removeprefix('Pod was rejected: ') or reason}"
    return f"has {status['phase'].lower()}: {message or reason or _endings(pod) or 'its containers have ended'}"


def _by_whom(pod: Mapping[str, Any]) -> str:
    """Who has had a pod deleted, where Kubernetes itself has: a NoExecute taint, an eviction, preemption."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            return f" ({condition.get('message') or condition.get('reason')})"
    return ""


def is_ready(pod: Mapping[str, Any]) -> bool:
    """The Ready condition is True and nobody asked for the deletion."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    said = any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)
    return said and not is_terminating(pod)


def has_run(pod: Mapping[str, Any]) -> bool:
    """Whether a container of the pod runs or ever ran, init containers included: it may have touched its volumes."""
    return any(_has_begun(container) for container in _containers(pod))


def _has_begun(container: Mapping[str, Any]) -> bool:
    """Of a container's status; one that waits may have begun before."""
    if container.get("containerID") or container.get("restartCount"):
        return True
    states = [container.get(key) or {} for key in ("state", "lastState")]
    return any("running" in state or "terminated" in state for state in states)


def has_ended(pod: Mapping[str, Any]) -> bool:
    """Whether its kubelet has brought a pod to a final phase, which it does once every container has stopped.

    The phase alone does not say so: Kubernetes' pod garbage collector writes `Failed` into pods that it is about to
    remove by force (gc_controller.go: the node is out of service, or has no object any more), whatever runs. What the
    kubelet said last of the containers stays then: that they run, or wait to be run again.
    """
    if (pod.get("status") or {}).get("phase") not in _FINAL:
        return False
    return all("terminated" in (entry.get("state") or {}) or not _has_begun(entry) for entry in _containers(pod))


def ended_cleanly(last: Mapping[str, Any]) -> bool:
    """Whether the very last state of a pod that is gone shows that no process of it runs any more.

    True when its kubelet had ended it, when no node had it, and when its kubelet reported containers none of which had
    begun; of an earlier state that one proves nothing, they may have begun later. A container that is merely
    ``terminated`` proves nothing either: the kubelet may have been about to restart it.
    """
    if not node_of(last) or has_ended(last):
        return True
    return bool((last.get("status") or {}).get("containerStatuses")) and not has_run(last)


def _containers(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or []
    yield from status.get("containerStatuses") or []


def _endings(pod: Mapping[str, Any]) -> str:
    ended = [c for c in _containers(pod) if (c.get("state") or {}).get("terminated")]
    return "; ".join(f"container {c['name']} {_ending(c['state']['terminated'])}" for c in ended)


def _last_ending(container: Mapping[str, Any]) -> str:
    last = (container.get("lastState") or {}).get("terminated") or (container.get("state") or {}).get("terminated")
    return _ending(last) if last else "has not run yet"


def _ending(terminated: Mapping[str, Any]) -> str:
    said = str(terminated.get("message") or "").strip().splitlines()
    return f"ended with exit code {terminated.get('exitCode')}" + (f" ({said[-1]})" if said else "")


def _unready(pod: Mapping[str, Any]) -> str:
    for container in _containers(pod):
        if not (container.get("state") or {}).get("running"):
            return f"is being restarted by its kubelet: container {container['name']} {_last_ending(container)}"
    if any((container.get("lastState") or {}).get("terminated") for container in _containers(pod)):
        names = [c for c in _containers(pod) if (c.get("lastState") or {}).get("terminated")]
        return (
            f"was restarted by its kubelet and is not ready yet: container {names[0]['name']} {_last_ending(names[0])}"
        )
    return "is not ready: " + (_condition_message(pod, "Ready") or "its readiness probe has not succeeded")


def _starting(pod: Mapping[str, Any]) -> str:
    for container in _containers(pod):
        reason = ((container.get("state") or {}).get("waiting") or {}).get("reason")
        if reason:
            return str(reason)
    return _condition_message(pod, "Ready") or "its kubelet has not reported on it yet"


def _condition_message(pod: Mapping[str, Any], kind: str) -> str:
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == kind:
            return str(condition.get("message") or "")
    return ""


def is_parked(pod: Mapping[str, Any]) -> bool:
    """Annotated as parked and still without its volume; a parked pod that got its volume is a running one, and one that
    is not bound yet is nothing."""
    return ANNOTATION_PARKED in annotations_of(pod) and bool(node_of(pod)) and not has_run(pod)


def node_of(pod: Mapping[str, Any]) -> str:
    """spec.nodeName"""
    return str((pod.get("spec") or {}).get("nodeName") or "")


def is_unbound(pod: Mapping[str, Any]) -> bool:
    """Made by hamgr and not bound to its node yet: it is inert, and whoever made it may have died or been deposed."""
    return not node_of(pod) and (pod.get("spec") or {}).get("schedulerName") == SCHEDULER


def address_of(pod: Mapping[str, Any]) -> str:
    """status.podIP, empty before the pod has one."""
    return str((pod.get("status") or {}).get("podIP") or "")


def is_ours(pod: Mapping[str, Any], cluster: str, resource: str) -> bool:
    """Whether the labels say that this cluster made the pod for this resource."""
    labels = labels_of(pod)
    return labels.get(LABEL_CLUSTER) == cluster and labels.get(LABEL_RESOURCE) == resource


def grace_of(pod: Mapping[str, Any]) -> int:
    """The seconds the pod asks for between SIGTERM and SIGKILL."""
    said = (pod.get("spec") or {}).get("terminationGracePeriodSeconds")
    return _DEFAULT_GRACE_S if said is None else int(said)


def find(kube: Kube, name: str, namespace: str) -> Obj | None:
    """The pod as the API server has it now, None when there is none of that name."""
    try:
        return kube.get(POD.path(name, namespace))
    except NotFound:
        return None


def of_resource(kube: Kube, cluster: str, resource: str, namespace: str) -> list[Obj]:
    """All pods of a resource, on whatever node, as the API server has them now."""
    selector = f"{LABEL_CLUSTER}={cluster},{LABEL_RESOURCE}={resource}"
    return kube.list(POD.collection(namespace), label_selector=selector).items


def delete_gracefully(kube: Kube, pod: Mapping[str, Any]) -> None:
    """Have the kubelet stop this very pod in its own grace period. One that is gone already is no error.

    Raises Conflict when another pod has taken the name, or when it has changed since it was read.
    """
    path = POD.path(name_of(pod), namespace_of(pod))
    try:
        kube.delete(path, uid=uid_of(pod), resource_version=revision_of(pod), grace=max(grace_of(pod), 1))
    except NotFound:
        return


def bind(kube: Kube, pod: Mapping[str, Any], node: str) -> None:
    """Give an unbound pod its node, which is its permission to start: this very pod, in the state in which it was read.

    Raises Conflict when it has changed since, has a node, or is another one by now; NotFound.
    """
    body = {
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": {
            "name": name_of(pod),
            "namespace": namespace_of(pod),
            "uid": uid_of(pod),
            "resourceVersion": revision_of(pod),
        },
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    }
    kube.post(POD.path(name_of(pod), namespace_of(pod)) + "/binding", body)
