"""What a node agent reports of a pod: phase, conditions and container statuses, computed from values.

Field by field what a 1.36 kubelet writes, so that whoever reads a pod's status cannot tell the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]


# The conditions of a pod that its kubelet answers for.
_OWN = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True)
class Waiting:
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    started_at: float


@dataclass(frozen=True, slots=True)
class Terminated:
    """How a run of a container ended. Times are seconds of the wall clock, 0 when unknown."""

    exit_code: int
    started_at: float
    finished_at: float
    container_id: str = ""
    reason: str = ""
    message: str = ""

    @property
    def told_reason(self) -> str:
        return self.reason or ("Completed" if self.exit_code == 0 else "Error")


@dataclass(frozen=True, slots=True)
class ContainerReport:
    """One container as it is to be reported. ``init`` containers are listed apart; sidecars are init containers."""

    name: str
    image: str
    state: Waiting | Running | Terminated
    last: Terminated | None = None
    image_id: str = ""
    container_id: str = ""
    restart_count: int = 0
    ready: bool = False
    started: bool = False
    init: bool = False
    sidecar: bool = False


@dataclass(frozen=True, slots=True)
class PodReport:
    """A pod as it is to be reported. ``ended``: it was deleted, and its last container is gone."""

    containers: Sequence[ContainerReport]
    host_ip: str
    started_at: float
    pod_ip: str = ""
    sandbox_ready: bool = False
    initialized: bool = True
    ended: bool = False


def timestamp(seconds: float) -> str:
    """Kubernetes' metav1.Time: whole seconds, UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str | None) -> float:
    """The inverse of ``timestamp``; 0 for none."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def micro_timestamp(seconds: float) -> str:
    """Kubernetes' metav1.MicroTime, as leases have it."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def phase_of(spec: Json, report: PodReport) -> str:
    """The pod's phase (the kubelet's getPhase)."""
    policy = spec.get("restartPolicy", "Always")
    main = [each for each in report.containers if not each.init]
    if report.ended:
        codes = [each.state.exit_code for each in main if isinstance(each.state, Terminated)]
        return "Succeeded" if len(codes) == len(main) and not any(codes) else "Failed"
    init_ends = [_end_of(each) for each in report.containers if each.init and not each.sidecar]
    if policy == "Never" and any(end is not None and end.exit_code != 0 for end in init_ends):
        return "Failed"
    if not report.initialized:
        return "Pending"
    if any(isinstance(each.state, Waiting) and each.last is None for each in main):
        return "Pending"
    if any(isinstance(each.state, Running) for each in main):
        return "Running"
    ends = [end for end in map(_end_of, main) if end is not None]
    if policy == "Always":
        return "Running"
    if all(end.exit_code == 0 for end in ends):
        return "Succeeded"
    return "Failed" if policy == "Never" else "Running"


def _end_of(container: ContainerReport) -> Terminated | None:
    return container.state if isinstance(container.state, Terminated) else container.last


def pod_status(pod: Json, report: PodReport, previous: Json, now: float) -> Json:
    """The status to send for ``pod``: a strategic merge patch of what its node answers for.

    ``previous`` is the status sent before (or found at first sight); from it come the times of unchanged conditions.
    """
    spec, generation = pod["spec"], pod["metadata"].get("generation")
    phase = phase_of(spec, report)
    conditions = []
    for condition in _conditions(pod, report, phase):
        kept = next((c for c in previous.get("conditions") or [] if c["type"] == condition["type"]), None)
        changed = kept is None or kept["status"] != condition["status"] or not kept.get("lastTransitionTime")
        moment = timestamp(now) if changed or kept is None else kept["lastTransitionTime"]
        conditions.append({"lastTransitionTime": moment, "observedGeneration": generation, **condition})
    status: Json = {
        "observedGeneration": generation,
        "phase": phase,
        "conditions": conditions,
        "hostIP": report.host_ip,
        "hostIPs": [{"ip": report.host_ip}],
        "startTime": timestamp(report.started_at),
        "containerStatuses": [_container_status(each) for each in report.containers if not each.init],
    }
    if report.pod_ip:
        status |= {"podIP": report.pod_ip, "podIPs": [{"ip": report.pod_ip}]}
    if init := [_container_status(each) for each in report.containers if each.init]:
        status["initContainerStatuses"] = init
    return status


def rejected_status(pod: Json, reason: str, message: str, now: float, *, ended: bool) -> Json:
    """The status of a pod that its node does not take, as a strategic merge patch: nothing is left but the verdict.

    The phase changes once no container of it runs (it may have been taken in by an earlier agent): ``ended``.
    """
    known = pod.get("status") or {}
    gone = [{"$patch": "delete", "type": c["type"]} for c in known.get("conditions") or [] if c["type"] in _OWN]
    fields = ("hostIP", "hostIPs", "podIP", "podIPs", "containerStatuses", "initContainerStatuses")
    status: Json = {
        "observedGeneration": pod["metadata"].get("generation"),
        "startTime": known.get("startTime") or timestamp(now),
        **{name: None for name in fields if name in known},
        **({"conditions": gone} if gone else {}),
    }
    if ended:
        status |= {"phase": "Failed", "reason": reason, "message": f"Pod was rejected: {message}"}
    return status


def _conditions(pod: Json, report: PodReport, phase: str) -> list[Json]:
    ended = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase, "")
    main = [each for each in report.containers if not each.init or each.sidecar]
    unready = [each.name for each in main if not each.ready]
    containers_ready = _condition("ContainersReady", not unready)
    if ended:
        containers_ready = _condition("ContainersReady", False, ended)
    elif unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        containers_ready = _condition("ContainersReady", False, "ContainersNotReady", text)
    ready = {**containers_ready, "type": "Ready"}
    if ready["status"] == "True" and (missing := _closed_gates(pod)):
        ready = _condition("Ready", False, "ReadinessGatesNotReady", ", ".join(missing))
    incomplete = [each.name for each in report.containers if each.init and not _init_done(each)]
    if report.initialized or ended == "PodCompleted":
        initialized = _condition("Initialized", True, ended if ended == "PodCompleted" else "")
    else:
        text = f"containers with incomplete status: [{' '.join(incomplete)}]"
        initialized = _condition("Initialized", False, "ContainersNotInitialized", text)
    return [
        _condition("PodReadyToStartContainers", report.sandbox_ready and not ended),
        initialized,
        ready,
        containers_ready,
        _condition("PodScheduled", True),
    ]


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Json:
    # None removes what an earlier patch has set.
    return {"type": kind, "status": str(holds), "reason": reason or None, "message": message or None}


def _closed_gates(pod: Json) -> list[str]:
    present = {c["type"]: c["status"] for c in (pod.get("status") or {}).get("conditions") or []}
    texts = []
    for gate in pod["spec"].get("readinessGates") or []:
        kind = gate["conditionType"]
        if kind not in present:
            texts.append(f'corresponding condition of pod readiness gate "{kind}" does not exist.')
        elif present[kind] != "True":
            texts.append(f'the status of pod readiness gate "{kind}" is not "True", but {present[kind]}')
    return texts


def _init_done(container: ContainerReport) -> bool:
    if container.sidecar:
        return container.started
    return isinstance(container.state, Terminated) and container.state.exit_code == 0


def _container_status(container: ContainerReport) -> Json:
    done = container.init and not container.sidecar and _init_done(container)
    return {
        "name": container.name,
        "state": _state(container.state),
        "lastState": _state(container.last) if container.last else {},
        "ready": container.ready or done,
        "restartCount": container.restart_count,
        "image": container.image,
        "imageID": container.image_id,
        **({"containerID": container.container_id} if container.container_id else {}),
        "started": container.started,
    }


def _state(state: Waiting | Running | Terminated) -> Json:
    if isinstance(state, Waiting):
        return {"waiting": {"reason": state.reason, **({"message": state.message} if state.message else {})}}
    if isinstance(state, Running):
        return {"running": {"startedAt": timestamp(state.started_at)}}
    told: Json = {
        "exitCode": state.exit_code,
        "reason": state.told_reason,
        "startedAt": timestamp(state.started_at) if state.started_at else None,
        "finishedAt": timestamp(state.finished_at) if state.finished_at else None,
    }
    if state.message:
        told["message"] = state.message
    if state.container_id:
        told["containerID"] = state.container_id
    return {"terminated": told}


def differs(reported: Json, wanted: Json) -> bool:
    """Whether the API server's status must be corrected: someone else (the node lifecycle controller) changed it."""

    def essence(status: Json) -> tuple[Any, ...]:
        told = [c for c in status.get("conditions") or [] if "$patch" not in c]
        conditions = {c["type"]: c["status"] for c in told if c["type"] in _OWN and c["type"] != "PodScheduled"}
        containers = [
            (c["name"], c.get("ready"), c.get("restartCount"), *sorted(c.get("state") or {}))
            for c in status.get("containerStatuses") or []
        ]
        return status.get("phase"), status.get("podIP"), conditions, containers

    return essence(reported) != essence(wanted)
