"""What is written down of a fence: enough for another process to go on with it, and for a person to judge it later.

A record is a value. Each step makes a new one, which is saved under the fencing token before the step's effect.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from hamgr.cib.typed import checked
from hamgr.fencer.reasons import Reason
from hamgr.fencer.topology import Level, LevelConfig
from hamgr.kube.volumes import Volume

T = TypeVar("T")


class Phase(StrEnum):
    """A stage of a fence. A saved phase means: its effects may have begun, those of the phases before are done."""

    INTENT = "intent"
    CUT = "cut"  # clients are cut off
    STOP = "stop"  # the pod is deleted gracefully, its kubelet stops it
    ISOLATE = "isolate"  # the node is powered off, has fenced itself, or somebody says so
    DELETE = "delete"  # pod objects are removed by force
    TAINT = "taint"  # out-of-service
    DETACH = "detach"  # VolumeAttachments are deleted, until they are gone
    PROVED = "proved"  # the old writer cannot write any more
    RELEASE = "release"  # the volumes leave the node's volumesInUse
    RECOVER = "recover"  # the node is switched on again
    DONE = "done"


class Outcome(StrEnum):
    """How a fence ended, if it has."""

    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUPERSEDED = "superseded"  # an operator's word that the node is off took its place


@dataclass(frozen=True, slots=True)
class PodRef:
    """A pod to be fenced. `resource`: whose instance it is; empty where it is not hamgr's."""

    namespace: str
    name: str
    uid: str
    resource: str = ""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class VolumeRef:
    """A volume to be taken from the node. `attachment` names the VolumeAttachment; empty UID: there was none."""

    pv: str
    driver: str
    handle: str
    namespace: str = ""
    claim: str = ""
    attachment: str = ""
    attachment_uid: str = ""

    @property
    def volume(self) -> Volume:
        """As hamgr.kube knows it."""
        return Volume(self.pv, self.driver, self.handle)


@dataclass(frozen=True, slots=True)
class Pattern:
    """What a pod is made from that may run on the node, whether or not an object still tells of it.

    namespace, name: the pod's. volumes: its spec.volumes as JSON text. workload: KIND/NAME (a Deployment or
    StatefulSet) whose template names the volumes instead; empty: none does. planned: the present definition alone says
    so, and no recorded start (see `Target.planned`).
    """

    namespace: str
    name: str
    volumes: str = "[]"
    workload: str = ""
    planned: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """What is to be fenced.

    node: the node. pods: (namespace, name) of the pods to fence, or None for all that hamgr runs there. claims:
    (namespace, claim) of volumes known to be used there, whether or not a pod object still says so. patterns: of pods
    that may run there: somebody may have removed their objects by force, which stops nothing. alive: the node's
    kubelet is known to work (a fence of a healthy pod), so its own report of the unmount is waited for. self_fence_s
    and member_ttl_s: what the node's member entry said when last seen. boot_id: the node's when it was last well.
    outdated_boot_id: what its kubelet still reported then of an earlier boot, having just been restarted; else empty.
    parked_may_stay: names of the parked pods elsewhere that may have what the fence releases, all others go before
    that; None: nobody said.
    planned: those of `claims` that only the present definition names, and no recorded start. A start is recorded
    before its effect, so nothing was started with them: one that does not exist either never had a disk here.
    homes: (namespace, resource) of all instances that hamgr may have made: a label alone anybody can write, in a
    namespace of his own. None: by the label alone (records of earlier versions).
    """

    node: str
    pods: tuple[tuple[str, str], ...] | None = None
    claims: tuple[tuple[str, str], ...] = ()
    alive: bool = False
    self_fence_s: float | None = None
    member_ttl_s: float = 0.0
    boot_id: str = ""
    outdated_boot_id: str = ""
    patterns: tuple[Pattern, ...] = ()
    parked_may_stay: tuple[str, ...] | None = None
    homes: tuple[tuple[str, str], ...] | None = None
    planned: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Proof:
    """One observation from which it follows that the old writer cannot write. `at` is wall time, `by` a node."""

    kind: str  # detached, not-attached, no-volume, stopped, powered-off, self-fenced, confirmed
    subject: str
    observed: str
    by: str = ""
    at: float = 0.0
    token: int = 0


@dataclass(frozen=True, slots=True)
class Confirmation:
    """An operator's word that the node is off."""

    user: str
    reason: str
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class StepTime:
    """When a phase of a level was entered, or something was noticed in it. `at` is wall time."""

    level: str
    phase: str
    at: float
    code: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tried:
    """A level that did not succeed, and why."""

    level: str
    attempt: int
    code: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FenceRecord:
    """One fence. Times are wall time; everything that decides uses phases, never times."""

    id: str
    target: Target
    reason: Reason
    requested_by: str
    levels: tuple[LevelConfig, ...]
    started_at: float
    level_index: int = 0
    attempt: int = 1
    phase: Phase = Phase.INTENT
    discovered: bool = False
    node_uid: str = ""
    boot_id: str = ""
    ended_boots: tuple[str, ...] = ()  # see before_switching_off
    pods: tuple[PodRef, ...] = ()
    volumes: tuple[VolumeRef, ...] = ()
    proofs: tuple[Proof, ...] = ()
    tried: tuple[Tried, ...] = ()
    steps: tuple[StepTime, ...] = ()
    tokens: tuple[int, ...] = ()
    executed_by: str = ""
    confirmation: Confirmation | None = None
    outcome: Outcome = Outcome.PENDING
    ended_at: float = 0.0

    @property
    def level(self) -> LevelConfig:
        """The level that is being tried, or was the last."""
        return self.levels[self.level_index]

    @property
    def fenced_whole_node(self) -> bool:
        """Whether it has succeeded, and was of the node as a whole."""
        return self.outcome is Outcome.SUCCEEDED and self.target.pods is None

    def covers_boot(self, boot_id: str) -> bool:
        """Whether a kubelet's report of that boot is no news of a node that is off: it is of the boot that was fenced,
        or of one before. Boot ids never come again."""
        return boot_id == self.boot_id or (
            boot_id != "" and boot_id in (self.target.outdated_boot_id, *self.ended_boots)
        )

    def before_switching_off(self, boots: Iterable[str]) -> FenceRecord:
        """With the boots that the node is seen in now, when a device is still to switch it off and to be read back:
        what it will confirm is true of them as well. The same record after the proof, and at all other levels, whose
        proofs are about the boot that the fence began with."""
        if self.level.level is not Level.NODE or self.proofs:
            return self
        new = dict.fromkeys(boot for boot in boots if boot and not self.covers_boot(boot))
        return replace(self, ended_boots=(*self.ended_boots, *new))

    def switches_off(self, node: str) -> bool:
        """Whether it is on record, and the next that it does may be to have that node switched off."""
        if self.outcome is not Outcome.PENDING or self.proofs or not self.executed_by:
            return False
        return self.level.level is Level.NODE and self.target.pods is None and self.target.node == node

    def going_on_from(self, earlier: Sequence[FenceRecord]) -> FenceRecord:
        """With what earlier fences have found, whose place this one takes: their pods may be deleted already, and then
        nothing else tells which disks those had."""
        pods = {pod.uid: pod for record in (*earlier, self) for pod in record.pods}
        volumes = {volume.pv: volume for record in (*earlier, self) for volume in record.volumes}
        return replace(self, pods=tuple(pods.values()), volumes=tuple(volumes.values()))

    def superseded(self, by: str, at: float) -> FenceRecord:
        """Ended, because the fence of that id has taken its place."""
        noted = self.noted("superseded", at, fence=by, node=self.target.node)
        return replace(noted, outcome=Outcome.SUPERSEDED, ended_at=at)

    def noted(self, code: str, at: float, **data: Any) -> FenceRecord:
        """With one more thing that was noticed."""
        step = StepTime(self.level.level, self.phase, at, code, data)
        return replace(self, steps=(*self.steps, step))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Any) -> FenceRecord:
        """Read `to_json`'s answer; unknown fields are skipped. Raises ValueError when it is no fence record."""
        try:
            record = checked(_record(value))
            if not 0 <= record.level_index < len(record.levels):
                raise ValueError("it names no level")
            return record
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"not a fence record: {error}") from None


def new_record(
    target: Target,
    reason: Reason,
    requested_by: str,
    levels: tuple[LevelConfig, ...],
    *,
    confirmation: Confirmation | None = None,
) -> FenceRecord:
    """The record of a fence that begins now. Its id begins with the time, for people; nothing is ordered by it."""
    now = time.time()
    return FenceRecord(
        id=f"{int(now * 1000):013d}-{uuid.uuid4().hex[:6]}",
        target=target,
        reason=reason,
        requested_by=requested_by,
        levels=levels,
        started_at=now,
        boot_id=target.boot_id,
        confirmation=confirmation,
    )


class NotOurs(Exception):
    """The token is no longer ours: stop at once, somebody else goes on."""


class RecordStore(Protocol):
    """Where records are kept, under the fencing token."""

    @property
    def token(self) -> int:
        """The token's revision now; 0 without one."""

    def save(self, record: FenceRecord) -> None:
        """Write it. Raises NotOurs; any other exception means: unknown, try again."""

    def still_ours(self) -> bool:
        """Whether we may act: checked before each effect, on top of the last save."""


def _known(cls: type[T], value: Mapping[str, Any]) -> dict[str, Any]:
    names = {item.name for item in fields(cls)}  # type: ignore[arg-type]
    return {key: entry for key, entry in value.items() if key in names}


def _many(cls: type[T], values: Any) -> tuple[T, ...]:
    return tuple(cls(**_known(cls, value)) for value in values or ())


def _record(value: Mapping[str, Any]) -> FenceRecord:
    plain = _known(FenceRecord, value)
    confirmation = plain.get("confirmation")
    plain |= {
        "target": _target(plain["target"]),
        "reason": Reason(**_known(Reason, plain["reason"])),
        "levels": tuple(LevelConfig.from_json(level) for level in plain["levels"]),
        "phase": Phase(plain.get("phase", Phase.INTENT)),
        "outcome": Outcome(plain.get("outcome", Outcome.PENDING)),
        "pods": _many(PodRef, plain.get("pods")),
        "volumes": _many(VolumeRef, plain.get("volumes")),
        "proofs": _many(Proof, plain.get("proofs")),
        "tried": _many(Tried, plain.get("tried")),
        "steps": _many(StepTime, plain.get("steps")),
        "tokens": tuple(plain.get("tokens") or ()),
        "ended_boots": tuple(plain.get("ended_boots") or ()),
        "confirmation": None if confirmation is None else Confirmation(**_known(Confirmation, confirmation)),
    }
    return FenceRecord(**plain)


def _target(value: Mapping[str, Any]) -> Target:
    plain = _known(Target, value)
    pods = plain.get("pods")
    plain["pods"] = None if pods is None else tuple((str(ns), str(name)) for ns, name in pods)
    plain["claims"] = tuple((str(ns), str(name)) for ns, name in plain.get("claims") or ())
    homes = plain.get("homes")
    plain["homes"] = None if homes is None else tuple((str(ns), str(resource)) for ns, resource in homes)
    plain["planned"] = tuple((str(ns), str(claim)) for ns, claim in plain.get("planned") or ())
    plain["patterns"] = _many(Pattern, plain.get("patterns"))
    stay = plain.get("parked_may_stay")
    plain["parked_may_stay"] = None if stay is None else tuple(str(name) for name in stay)
    return Target(**plain)


POWER_LEVELS = (Level.NODE, Level.WATCHDOG, Level.MANUAL)
"""Levels whose proof is about the whole node; what follows the proof cannot make it untrue."""

STEPPED_OVER = "release-late"
"""The code of what was noticed when something after the proof took too long, and was not waited for any longer."""
