"""What a fence does next: a pure function of its record and of what is seen now.

Each level is a sequence of phases; each phase has one rule, which looks at the record and at what is seen and answers
with an effect to carry out, something to wait for, the next phase, or a failure. Because every rule goes by what is
seen, never by what was done, a fence can be resumed in any phase by another process, and every effect may be repeated.

Order (FACTS, "Measured" and 2.3): clients are cut off first; pods go before their VolumeAttachments, which the
attach-detach controller would otherwise create anew; the volume leaves volumesInUse only after the proof.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeAlias

from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import (
    POWER_LEVELS,
    STEPPED_OVER,
    FenceRecord,
    Outcome,
    Phase,
    PodRef,
    Proof,
    Tried,
    VolumeRef,
)
from hamgr.fencer.topology import Level
from hamgr.kube.parked import PATIENCE_S

RELEASE_PATIENCE_S = 30.0
UNPARK_PATIENCE_S = PATIENCE_S
UNMOUNT_PATIENCE_S = 12.0
"""A living kubelet reports each 10 s. One that mounts the volume for longer is stuck on a disk that it has lost."""


class Effect(StrEnum):
    """What can be done to the world; each is safe to repeat and does nothing to objects with another UID."""

    CUT_CLIENTS = "cut-clients"
    UNPARK = "unpark"  # parked pods elsewhere that would take what the fence releases
    UNPARK_BY_FORCE = "unpark-by-force"
    STOP_POD = "stop-pod"
    DELETE_POD = "delete-pod"
    DELETE_ATTACHMENT = "delete-attachment"
    POWER_OFF = "power-off"
    POWER_ON = "power-on"
    TAINT = "taint"
    UNTAINT = "untaint"
    REMOVE_IN_USE = "remove-in-use"
    MARK_IN_USE = "mark-in-use"  # remove, with a mark until the kubelet has reported anew


PLANS: Mapping[Level, tuple[Phase, ...]] = {
    Level.STOP: (Phase.INTENT, Phase.CUT, Phase.STOP, Phase.PROVED, Phase.DONE),
    Level.VOLUME: (Phase.INTENT, Phase.CUT, Phase.DELETE, Phase.DETACH, Phase.PROVED, Phase.RELEASE, Phase.DONE),
    Level.NODE: (
        *(Phase.INTENT, Phase.CUT, Phase.ISOLATE, Phase.PROVED, Phase.TAINT, Phase.DELETE, Phase.DETACH),
        *(Phase.RELEASE, Phase.RECOVER, Phase.DONE),
    ),
    Level.WATCHDOG: (
        *(Phase.INTENT, Phase.CUT, Phase.ISOLATE, Phase.PROVED, Phase.TAINT, Phase.DELETE, Phase.DETACH),
        *(Phase.RELEASE, Phase.DONE),
    ),
    Level.MANUAL: (
        *(Phase.INTENT, Phase.CUT, Phase.ISOLATE, Phase.PROVED, Phase.TAINT, Phase.DELETE, Phase.DETACH),
        *(Phase.RELEASE, Phase.DONE),
    ),
}


@dataclass(frozen=True, slots=True)
class PodSeen:
    """What is seen under a pod's name. `present`: the pod with our UID. `forced`: its deletion has grace 0 already.

    active: clients may reach it. ended: the last that was seen of it proves that its containers have stopped.
    replaced_by: another pod of that name on the same node; `foreign` when hamgr does not manage that one. `revision`
    dates what is seen: effects on the pod are void later.
    """

    present: bool = False
    terminating: bool = False
    forced: bool = False
    active: bool = False
    ended: bool = False
    finalizers: tuple[str, ...] = ()
    replaced_by: PodRef | None = None
    foreign: bool = False
    revision: str = ""


@dataclass(frozen=True, slots=True)
class RivalSeen:
    """A parked pod elsewhere that would take what the fence releases, and is not to. silent: its kubelet cannot confirm
    that it is gone. attached: a disk of it is attached to its node already."""

    pod: PodRef
    terminating: bool = False
    silent: bool = False
    attached: bool = False


@dataclass(frozen=True, slots=True)
class AttachmentSeen:
    """What is seen of a volume's attachment to the node. `uid` is empty when there is none; `revision` as of pods."""

    uid: str = ""
    name: str = ""
    leaving: bool = False
    attached: bool = False
    guarded: bool = True  # carries the CSI attacher's finalizer
    error: str = ""
    revision: str = ""


@dataclass(frozen=True, slots=True)
class NodeSeen:
    """What is seen of the node; `in_use` is status.volumesInUse. `revision` dates it: effects on it are void later."""

    exists: bool = True
    uid: str = ""
    revision: str = ""
    ready: bool | None = None
    boot_id: str = ""
    in_use: tuple[str, ...] = ()
    out_of_service: bool = False
    ours: bool = False  # that taint is hamgr's


@dataclass(frozen=True, slots=True)
class Isolation:
    """What the level's own means say about the node. Exactly one of `proof`, `failure`, `waiting` is set."""

    proof: Proof | None = None
    failure: Reason | None = None
    waiting: Reason | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """Everything a rule may look at. Pods are by UID, attachments by PV; seconds are since this process began.

    isolation: None before the level's means were used in this process. powered_on: they were asked to switch it on.
    unmounted: PVs that the node's own hamgrd has proved to be mounted there no more.
    kubelet_lives: the node's kubelet has shown life since the fence began, whatever its Ready condition says: that one
        stays True for most of a minute after a crash.
    unfit: why the level cannot prove anything for this target, found out before its first effect.
    """

    pods: Mapping[str, PodSeen] = field(default_factory=dict)
    attachments: Mapping[str, AttachmentSeen] = field(default_factory=dict)
    node: NodeSeen = field(default_factory=NodeSeen)
    isolation: Isolation | None = None
    powered_on: bool = False
    unmounted: frozenset[str] = frozenset()
    kubelet_lives: bool = False
    unfit: Reason | None = None
    rivals: tuple[RivalSeen, ...] = ()
    level_s: float = 0.0
    phase_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Act:
    """Carry out an effect on these subjects (pods, volumes), then look again."""

    effect: Effect
    pods: tuple[PodRef, ...] = ()
    volumes: tuple[VolumeRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Adopt:
    """Write down objects that came back under the same name, so that they are fenced as well."""

    pods: tuple[PodRef, ...] = ()
    volumes: tuple[VolumeRef, ...] = ()  # with their new attachment


@dataclass(frozen=True, slots=True)
class Advance:
    """The phase is over."""

    to: Phase
    proofs: tuple[Proof, ...] = ()
    note: Reason | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do but to look again; `what` is for people."""

    what: Reason


@dataclass(frozen=True, slots=True)
class Fail:
    """The level cannot succeed."""

    why: Reason


Step: TypeAlias = Act | Adopt | Advance | Wait | Fail
Rule: TypeAlias = Callable[[FenceRecord, Seen], Step]


def next_step(record: FenceRecord, seen: Seen) -> Step:
    """The next step of a pending fence. A wait beyond the level's time-out is a failure, or after the proof a note."""
    step = _RULES[record.phase](record, seen)
    if not isinstance(step, Wait) or _has_time(record, seen):
        return step
    if record.proofs:
        return _advance(record, note=reason(STEPPED_OVER, waiting=str(step.what)))
    limit = record.level.timeout_s
    return Fail(reason("timeout", level=str(record.level.level), seconds=limit, waiting=str(step.what)))


def after_trouble(record: FenceRecord, seen: Seen, what: Reason) -> Step:
    """The step when looking or acting has failed; of `seen` the times alone. As with any wait, with one exception.

    Whether the pods of a node that is proved off are gone is not known then, and a fence must not go on without: their
    kubelet starts them again together with the node.
    """
    if _has_time(record, seen):
        return Wait(what)
    if record.proofs and record.phase is not Phase.DELETE:
        return _advance(record, note=reason(STEPPED_OVER, waiting=str(what)))
    return Fail(what)


def _has_time(record: FenceRecord, seen: Seen) -> bool:
    return seen.phase_s < RELEASE_PATIENCE_S if record.proofs else seen.level_s < record.level.timeout_s


def after_failure(record: FenceRecord, why: Reason, at: float) -> FenceRecord:
    """The record with this failure noted: at the next attempt or level, or failed when there is none."""
    level = record.level
    tried = (*record.tried, Tried(level.level, record.attempt, why.code, why.data))
    record = record.noted(why.code, at, **why.data)
    record = replace(record, tried=tried, phase=Phase.INTENT, proofs=(), ended_boots=())
    if why.code == "node-restarted":
        record = replace(record, boot_id="")  # the next attempt is about the boot that it finds
    if why.code == "node-restarted" and (level.level is not Level.NODE or record.attempt >= level.attempts):
        # A promise, a word or another level would be about the boot before: only a fence of its own will do.
        return replace(record, outcome=Outcome.FAILED, ended_at=at)
    if record.attempt < level.attempts and why.code not in _HOPELESS:
        return replace(record, attempt=record.attempt + 1)
    if record.level_index + 1 < len(record.levels):
        return replace(record, level_index=record.level_index + 1, attempt=1)
    return replace(record, outcome=Outcome.FAILED, ended_at=at)


_HOPELESS = frozenset(
    {
        *("driver-not-listed", "driver-does-not-attach", "volume-unprovable", "foreign-pod", "attachment-unguarded"),
        *(
            "no-pod",
            "stop-unproved",
            "no-device",
            "unknown-device",
            "no-self-fence",
            "promise-gone",
            "node-renews",
            "not-confirmed",
        ),
    }
)
"""Failures that another attempt of the same level cannot cure."""


def _advance(record: FenceRecord, proofs: tuple[Proof, ...] = (), note: Reason | None = None) -> Advance:
    plan = PLANS[record.level.level]
    return Advance(plan[plan.index(record.phase) + 1], proofs, note)


def _intent(record: FenceRecord, seen: Seen) -> Step:
    return Fail(seen.unfit) if seen.unfit is not None else _advance(record)


def _cut(record: FenceRecord, seen: Seen) -> Step:
    reachable = tuple(pod for pod in record.pods if _pod(seen, pod).active)
    if reachable:
        return Act(Effect.CUT_CLIENTS, pods=reachable)
    return _unpark(seen) or _advance(record)


def _unpark(seen: Seen) -> Step | None:
    """Before anything is released: no parked pod is left that would take it, and was not meant to. By force goes what
    its kubelet does not confirm, as long as no attachment names its node."""
    waiting = [rival for rival in seen.rivals if not rival.attached]
    to_tell = tuple(rival.pod for rival in waiting if not rival.terminating)
    if to_tell:
        return Act(Effect.UNPARK, pods=to_tell)
    unconfirmed = tuple(rival.pod for rival in waiting if rival.silent or seen.phase_s >= UNPARK_PATIENCE_S)
    if unconfirmed:
        return Act(Effect.UNPARK_BY_FORCE, pods=unconfirmed)
    return Wait(reason("waiting-unpark", pod=str(waiting[0].pod))) if waiting else None


def _stop(record: FenceRecord, seen: Seen) -> Step:
    if not record.pods:
        return Fail(reason("no-pod", node=record.target.node))
    running = tuple(pod for pod in record.pods if _pod(seen, pod).present)
    to_stop = tuple(pod for pod in running if not _pod(seen, pod).terminating)
    if to_stop:
        return Act(Effect.STOP_POD, pods=to_stop)
    if running:
        return Wait(reason("waiting-pod-gone", pod=str(running[0]), why=""))
    for pod in record.pods:
        if not _pod(seen, pod).ended:
            return Fail(reason("stop-unproved", pod=str(pod)))
    return _advance(
        record,
        tuple(
            Proof("stopped", str(pod), f"its kubelet has reported all containers of UID {pod.uid} ended")
            for pod in record.pods
        ),
    )


def _restarted(record: FenceRecord, seen: Seen) -> Step | None:
    """What to do when pods are to be deleted of a node that has started anew after it was proved off.

    Its kubelet starts those again whose objects are still there. The proof is about the boot before; to delete them by
    force would stop nothing.
    """
    if record.level.level not in POWER_LEVELS or not in_another_boot(record, seen):
        return None
    if seen.node.ours:
        return Act(Effect.UNTAINT)
    return Fail(reason("node-restarted", node=record.target.node, boot_id=seen.node.boot_id))


def in_another_boot(record: FenceRecord, seen: Seen) -> bool:
    """Whether the node runs in a boot that the fence is not about: it has started anew since."""
    return bool(record.boot_id and seen.node.boot_id) and not record.covers_boot(seen.node.boot_id)


def _delete(record: FenceRecord, seen: Seen) -> Step:
    found = tuple(_pod(seen, pod) for pod in record.pods)
    for pod in found:
        if pod.foreign and not record.proofs:
            return Fail(reason("foreign-pod", pod=str(pod.replaced_by), pv="", node=record.target.node))
    new = tuple(pod.replaced_by for pod in found if pod.replaced_by is not None and not pod.foreign)
    new = tuple(pod for pod in new if pod.uid not in {known.uid for known in record.pods})
    if new:
        return Adopt(pods=new)
    present = tuple(pod for pod in record.pods if _pod(seen, pod).present)
    to_delete = tuple(pod for pod in present if not _pod(seen, pod).forced)
    if to_delete:
        return _restarted(record, seen) or Act(Effect.DELETE_POD, pods=to_delete)
    if present:
        held_by = ", ".join(_pod(seen, present[0]).finalizers)
        why = f", held by finalizer {held_by}" if held_by else ""
        return Wait(reason("waiting-pod-gone", pod=str(present[0]), why=why))
    return _advance(record)


def _detach(record: FenceRecord, seen: Seen) -> Step:
    pods = _delete(record, seen)
    if not isinstance(pods, Advance):
        return pods  # a pod that came back keeps its volume attached
    attached = {volume.pv: seen.attachments.get(volume.pv, AttachmentSeen()) for volume in record.volumes}
    new = tuple(
        _with_attachment(volume, attached[volume.pv])
        for volume in record.volumes
        if attached[volume.pv].uid not in ("", volume.attachment_uid)
    )
    if new:
        return Adopt(volumes=new)
    for volume in record.volumes:
        if not record.proofs and attached[volume.pv].attached and not attached[volume.pv].guarded:
            return Fail(reason("attachment-unguarded", name=attached[volume.pv].name))
    there = tuple(volume for volume in record.volumes if attached[volume.pv].uid)
    to_delete = tuple(volume for volume in there if not attached[volume.pv].leaving)
    if to_delete:
        return Act(Effect.DELETE_ATTACHMENT, volumes=to_delete)
    if there:
        said = attached[there[0].pv].error
        why = f" (it says: {said})" if said else ""
        return Wait(reason("waiting-detach", pv=there[0].pv, node=record.target.node, why=why))
    return _advance(record, () if record.proofs else _detach_proofs(record))


def _detach_proofs(record: FenceRecord) -> tuple[Proof, ...]:
    if not record.volumes:
        pods = ", ".join(f"pod {pod}" for pod in record.pods) or "no pod of ours"
        told = f"on {record.target.node} there was {pods}: no volume that could be written from elsewhere"
        return (Proof("no-volume", record.target.node, told),)
    return tuple(_detach_proof(volume, record.target.node) for volume in record.volumes)


def _detach_proof(volume: VolumeRef, node: str) -> Proof:
    if not volume.attachment_uid:
        return Proof("not-attached", volume.pv, f"there is no VolumeAttachment of {volume.pv} to {node}")
    told = (
        f"VolumeAttachment {volume.attachment} (UID {volume.attachment_uid}) is gone: {volume.driver} has detached it"
    )
    return Proof("detached", volume.pv, told)


def _isolate(record: FenceRecord, seen: Seen) -> Step:
    if seen.isolation is None:
        return Act(Effect.POWER_OFF)
    if seen.isolation.failure is not None:
        return Fail(seen.isolation.failure)
    if seen.isolation.proof is not None:
        return _advance(record, (seen.isolation.proof,))
    return Wait(seen.isolation.waiting or reason("waiting-device", device=", ".join(record.level.devices)))


def _proved(record: FenceRecord, seen: Seen) -> Step:
    del seen
    return _advance(record)


def _taint(record: FenceRecord, seen: Seen) -> Step:
    if not seen.node.exists or seen.node.out_of_service:
        return _advance(record)
    if record.node_uid and seen.node.uid != record.node_uid:
        return _advance(record)  # another machine of that name
    if in_another_boot(record, seen):
        return _advance(record)  # it starts just now: the taint would take volumes from it that it mounts again
    if seen.node.ready:
        return _advance(record, note=reason("taint-not-needed", node=record.target.node))
    return Act(Effect.TAINT)


def _release(record: FenceRecord, seen: Seen) -> Step:
    held = tuple(volume for volume in record.volumes if volume.volume.unique_name in seen.node.in_use)
    if not held:
        return _advance(record)
    let_go = tuple(volume for volume in held if volume.pv in seen.unmounted)
    if let_go:
        return Act(Effect.REMOVE_IN_USE, volumes=let_go)
    lives = record.level.level is Level.VOLUME and (record.target.alive or seen.kubelet_lives)
    if lives and seen.phase_s < UNMOUNT_PATIENCE_S:
        # A living kubelet that still mounts it would put it back.
        return Wait(reason("waiting-unmount", node=record.target.node, pv=held[0].pv))
    # The machine of a volume that was detached may run on, with a dead mount: it is not back before it says that it let
    # go. One that is off loses its mounts.
    effect = Effect.MARK_IN_USE if record.level.level is Level.VOLUME else Effect.REMOVE_IN_USE
    return Act(effect, volumes=held)


def _recover(record: FenceRecord, seen: Seen) -> Step:
    if record.level.action != "reboot" or seen.powered_on:
        return _advance(record)
    return Act(Effect.POWER_ON)


def _done(record: FenceRecord, seen: Seen) -> Step:
    del record, seen
    return Advance(Phase.DONE)


def _pod(seen: Seen, pod: PodRef) -> PodSeen:
    return seen.pods.get(pod.uid, PodSeen())


def _with_attachment(volume: VolumeRef, found: AttachmentSeen) -> VolumeRef:
    return replace(volume, attachment=found.name, attachment_uid=found.uid)


_RULES: Mapping[Phase, Rule] = {
    Phase.INTENT: _intent,
    Phase.CUT: _cut,
    Phase.STOP: _stop,
    Phase.ISOLATE: _isolate,
    Phase.DELETE: _delete,
    Phase.TAINT: _taint,
    Phase.DETACH: _detach,
    Phase.PROVED: _proved,
    Phase.RELEASE: _release,
    Phase.RECOVER: _recover,
    Phase.DONE: _done,
}
