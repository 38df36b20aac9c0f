"""What a fence would do: the exact steps with the objects and their UIDs, and what each level would prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hamgr.fencer import observe
from hamgr.fencer.levels import volume as volume_level
from hamgr.fencer.levels.watchdog import watchdog_wait_s
from hamgr.fencer.machine import PLANS
from hamgr.fencer.observe import Discovery
from hamgr.fencer.reasons import Reason, reason
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
    unfit = _unfit(level, found, config, target)
    steps = [step for phase in PLANS[level.level] for step in _steps(phase, level, found, target, config)]
    return LevelPlan(level.level, tuple(steps), _PROVES[level.level], unfit)


def _unfit(level: LevelConfig, found: Discovery, config: FencingConfig, target: Target) -> Reason | None:
    """Why a level could not prove anything, as far as that is known before it is tried."""
    unknown = next((name for name in level.devices if name not in config.devices), None)
    match level.level:
        case Level.VOLUME:
            return volume_level.unfit(found, config.drivers)
        case Level.NODE if not level.devices:
            return reason("no-device", node=target.node)
        case Level.NODE if unknown is not None:
            return reason("unknown-device", device=unknown)
        case Level.NODE:
            return _foreign_device(level, config, target.node)
        case Level.WATCHDOG if target.self_fence_s is None:
            return reason("no-self-fence", node=target.node)
    return None


def _foreign_device(level: LevelConfig, config: FencingConfig, node: str) -> Reason | None:
    for name in level.devices:
        nodes = config.devices[name].nodes
        if nodes and node not in nodes:
            return reason("device-not-for-node", device=name, node=node, nodes=", ".join(nodes))
    return None


def _steps(phase: Phase, level: LevelConfig, found: Discovery, target: Target, config: FencingConfig) -> list[str]:
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
            return [_isolation(level, target, config)]
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


def _isolation(level: LevelConfig, target: Target, config: FencingConfig) -> str:
    match level.level:
        case Level.NODE:
            return f"switch node {target.node} off by {', '.join(level.devices)} and read its state back"
        case Level.WATCHDOG:
            wait_s = watchdog_wait_s(target, config.watchdog_margin_s)
            return f"wait until the member lease of node {target.node} is gone for {wait_s:g} s"
    return f"take the operator's word that node {target.node} is off"
