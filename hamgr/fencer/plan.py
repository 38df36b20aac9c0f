"""What a fence would do: the exact steps with the objects and their UIDs, and what each level would prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamgr.fencer import observe
from hamgr.fencer.levels import volume as volume_level
from hamgr.fencer.machine import PLANS
from hamgr.fencer.observe import Discovery
from hamgr.fencer.reasons import Reason
from hamgr.fencer.records import Phase, Target
from hamgr.fencer.topology import FencingConfig, Level, LevelConfig
from hamgr.kube.gateway import Kube

_PROVES = {
    Level.STOP: "the kubelet's report that the containers have ended",
    Level.VOLUME: "the CSI driver's word that the volumes are detached",
    Level.NODE: "the device's answer, read back, that the node is off",
    Level.WATCHDOG: "the node's member lease is gone for longer than it needs to fence itself",
    Level.MANUAL: "the operator's word that the node is off",
}


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """One level: its steps as sentences, what it would prove, and why it is unfit here (None: it is fit)."""

    level: Level
    steps: tuple[str, ...]
    proves: str
    unfit: Reason | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The levels in the order in which they would be tried."""

    node: str
    levels: tuple[LevelPlan, ...]


def plan(kube: Kube, config: FencingConfig, cluster: str, target: Target, levels: Sequence[LevelConfig]) -> Plan:
    """Discover the target and lay out the levels. Raises KubeError; changes nothing."""
    found = observe.discover(kube, target, cluster)
    return Plan(target.node, tuple(level_plan(level, found, config, target) for level in levels))


def level_plan(level: LevelConfig, found: Discovery, config: FencingConfig, target: Target) -> LevelPlan:
    """One level of the plan, from what was discovered."""
    unfit = volume_level.unfit(found, config.drivers) if level.level is Level.VOLUME else None
    steps = [step for phase in PLANS[level.level] for step in _steps(phase, level, found, target)]
    return LevelPlan(level.level, tuple(steps), _PROVES[level.level], unfit)


def _steps(phase: Phase, level: LevelConfig, found: Discovery, target: Target) -> list[str]:
    pods = [f"pod {pod} (UID {pod.uid})" for pod in found.pods]
    disks = [f"{volume.pv} ({volume.driver})" for volume in found.volumes]
    attached = [
        f"VolumeAttachment {volume.attachment} (UID {volume.attachment_uid}) of {volume.pv}"
        for volume in found.volumes
        if volume.attachment_uid
    ]
    match phase:
        case Phase.CUT:
            return [f"cut clients off: remove label hamgr.io/role from {pod}" for pod in pods]
        case Phase.STOP:
            return [f"delete {pod} gracefully and wait for its kubelet" for pod in pods]
        case Phase.ISOLATE:
            return [_isolation(level, target)]
        case Phase.TAINT:
            return [f"taint node {target.node} out-of-service:NoSchedule, unless it counts as Ready"]
        case Phase.DELETE:
            return [f"delete {pod} by force" for pod in pods]
        case Phase.DETACH:
            return [f"delete {name} and wait until it is gone" for name in attached]
        case Phase.RELEASE:
            return [f"take {disk} out of volumesInUse of node {target.node}" for disk in disks]
        case Phase.RECOVER if level.action == "reboot":
            return [f"switch node {target.node} on again"]
    return []


def _isolation(level: LevelConfig, target: Target) -> str:
    match level.level:
        case Level.NODE:
            return f"switch node {target.node} off by {', '.join(level.devices)} and read its state back"
        case Level.WATCHDOG:
            return f"wait until node {target.node} must have fenced itself"
    return f"take the operator's word that node {target.node} is off"
