"""Judge nodes: when one counts as lost, which taints say so, and when it is the controller that is lost instead.

Implements the judgement of pkg/controller/nodelifecycle of Kubernetes 1.36 as pure functions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from hamgr_sandbox.client import Object
from hamgr_sandbox.controllers import objects

# Conditions that a silent kubelet leaves unknown.
_VITAL = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
_PRESSURE_TAINTS = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
    "NetworkUnavailable": "node.kubernetes.io/network-unavailable",
}
_READINESS_TAINTS = {"False": objects.NOT_READY, "Unknown": objects.UNREACHABLE}
_SCHEDULING_KEYS = {*_PRESSURE_TAINTS.values(), *_READINESS_TAINTS.values(), objects.UNSCHEDULABLE}
_EVICTING_KEYS = set(_READINESS_TAINTS.values())


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds and nodes a second, the defaults of kube-controller-manager's flags of the same names."""

    monitor_period_s: float = 5.0
    monitor_grace_period_s: float = 50.0
    startup_grace_period_s: float = 60.0
    eviction_rate: float = 0.1
    unhealthy_zone_threshold: float = 0.55


class Zone(Enum):
    """How a zone's nodes are doing as a whole; the sandbox has one zone unless its nodes are labeled otherwise."""

    NORMAL = "normal"
    PARTLY_DISRUPTED = "partly disrupted"
    FULLY_DISRUPTED = "fully disrupted"


def is_silent(node: Object, last_sign: float, now: float, timings: Timings) -> bool:
    """Whether the node's grace period has passed since its last sign of life, by the observer's own monotonic clock."""
    known = objects.condition(node, "Ready")
    grace = timings.monitor_grace_period_s if known else timings.startup_grace_period_s
    return now > last_sign + grace


def silent_conditions(node: Object, now: str) -> list[Object] | None:
    """The conditions of a node whose kubelet fell silent, ``now`` by the wall clock; None when they say so already."""
    conditions = node.get("status", {}).get("conditions") or []
    result = conditions
    for kind in _VITAL:
        known = objects.condition(node, kind)
        if known.get("status") == "Unknown":
            continue
        never = {"reason": "NodeStatusNeverUpdated", "message": "Kubelet never posted node status."}
        stopped = {"reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."}
        result = objects.with_condition(result, kind, {"status": "Unknown"} | (stopped if known else never), now)
    return None if result is conditions else result


def readiness(node: Object) -> str:
    """Status of the node's Ready condition; Unknown when there is none yet."""
    return str(objects.condition(node, "Ready").get("status", "Unknown"))


def scheduling_taints(node: Object) -> set[str]:
    """Keys of the NoSchedule taints that the node's conditions and its cordon call for."""
    wanted = {taint for kind, taint in _PRESSURE_TAINTS.items() if objects.is_true(node, kind)}
    known = objects.condition(node, "Ready")
    # A node that has not reported yet came with its not-ready taint from admission, and keeps it.
    status = known["status"] if known else "False"
    if status in _READINESS_TAINTS:
        wanted.add(_READINESS_TAINTS[status])
    if node["spec"].get("unschedulable"):
        wanted.add(objects.UNSCHEDULABLE)
    return wanted


def evicting_taint(node: Object) -> str:
    """Key of the NoExecute taint that the node's readiness calls for; empty when it is ready or has never reported."""
    known = objects.condition(node, "Ready")
    return _READINESS_TAINTS.get(str(known.get("status", "True")), "")


def with_scheduling_taints(node: Object, now: str) -> list[Object] | None:
    """The node's taints with the NoSchedule ones as they should be; None when nothing is to be changed."""
    return _with_taints(node, "NoSchedule", scheduling_taints(node), _SCHEDULING_KEYS, now)


def with_evicting_taint(node: Object, key: str, now: str) -> list[Object] | None:
    """The node's taints with that one NoExecute taint (empty: none); None when nothing is to be changed."""
    return _with_taints(node, "NoExecute", {key} if key else set(), _EVICTING_KEYS, now)


def _with_taints(node: Object, effect: str, wanted: set[str], ours: set[str], now: str) -> list[Object] | None:
    present = {taint["key"] for taint in objects.taints(node) if taint["effect"] == effect and taint["key"] in ours}
    if present == wanted:
        return None
    kept = [
        taint
        for taint in objects.taints(node)
        if taint["effect"] != effect or taint["key"] not in ours or taint["key"] in wanted
    ]
    added = [{"key": key, "effect": effect, "timeAdded": now} for key in sorted(wanted - present)]
    return kept + added


def zone_of(node: Object) -> str:
    labels = objects.labels(node)
    return f"{labels.get('topology.kubernetes.io/region', '')}:{labels.get('topology.kubernetes.io/zone', '')}"


def zones(nodes: Iterable[Object], threshold: float) -> Mapping[str, Zone]:
    """The state of each zone by its nodes' readiness (ComputeZoneState)."""
    members: dict[str, list[bool]] = {}
    for node in nodes:
        members.setdefault(zone_of(node), []).append(readiness(node) == "True")
    return {zone: _state(ready, threshold) for zone, ready in members.items()}


def _state(ready: list[bool], threshold: float) -> Zone:
    bad = ready.count(False)
    if bad == len(ready):
        return Zone.FULLY_DISRUPTED
    if bad > 2 and bad / len(ready) >= threshold:
        return Zone.PARTLY_DISRUPTED
    return Zone.NORMAL


def all_down(states: Mapping[str, Zone]) -> bool:
    """Whether every zone is fully disrupted: then it is rather the controller that is cut off."""
    return bool(states) and all(state is Zone.FULLY_DISRUPTED for state in states.values())
