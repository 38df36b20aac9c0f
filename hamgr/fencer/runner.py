"""Drives one fence to its end: look, ask the machine, write down, act, look again.

A phase is saved before its first effect, and its end is saved as the beginning of the next. A save that fails because
the token is lost ends the run at once, in silence: the next leader resumes from what was saved.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from hamgr.fencer import effects, machine, observe
from hamgr.fencer.levels import volume as volume_level
from hamgr.fencer.levels.manual import ManualMeans
from hamgr.fencer.levels.node import Device, DeviceError, NodeMeans
from hamgr.fencer.levels.watchdog import WatchdogMeans
from hamgr.fencer.machine import Act, Adopt, Advance, Effect, Fail, Isolation, Seen, Step, Wait
from hamgr.fencer.programs import Programs
from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import (
    POWER_LEVELS,
    FenceRecord,
    NotOurs,
    Outcome,
    Phase,
    Proof,
    RecordStore,
    StepTime,
    Target,
)
from hamgr.fencer.topology import FencingConfig, Level
from hamgr.kube.errors import KubeError, Unavailable
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import Obj
from hamgr.kube.pods import ended_cleanly

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 0.5
SAVE_RETRY_S = 0.2
LONG_WAIT_S = 2.0

log = structlog.get_logger(__name__)

_LOOKS_AT_PODS = frozenset({Phase.CUT, Phase.STOP, Phase.DELETE, Phase.DETACH})
_NOTHING_SEEN = Seen()
_LOOKS_AT_NODE = frozenset({Phase.TAINT, Phase.RELEASE})


class Stopped(Exception):
    """This process is to let go of its fences."""


class Superseded(Exception):
    """Another fence, whose id is the argument, has taken the place of this one."""


class NodeIsolation(Protocol):
    """How a level of the node as a whole finds out, or brings about, that the node is off."""

    def look(self, record: FenceRecord) -> Isolation | None:
        """What is known now; None: nothing was done yet in this process."""

    def act(self, record: FenceRecord) -> Isolation | None:
        """Switch the node off, as far as this level does such things."""

    def power_on(self, record: FenceRecord) -> None:
        """Switch it on again."""


@dataclass(frozen=True)
class FencerDeps:
    """What a run needs of the rest of the process.

    me: this node's name. devices: empty for those of `config`.
    lost_for_s(node): seconds since we saw that node's member lease gone, None while it is there.
    promise_stands(target): whether the node still promises to fence itself as it did when the fence began.
    last_seen(name, namespace): the last state of a pod that is gone, as the watch cache saw it.
    unmounted(node, pv): whether the hamgrd on that node has proved that the volume is mounted there no more.
    kubelet_lives(node, within_s): whether the node's kubelet has shown life within the last so many seconds; asking
        makes it find out.
    programs: which fence agents this node runs.
    superseded_by(fence): the fence that has taken the place of that one; empty: none.
    confirmed: whether etcd says now that this process leads: the last look before a device is told, which knows no
        token. Requests to Kubernetes have theirs in `kube` itself (`Kube.behind`).
    stopping: set to have all runs end between two steps.
    """

    kube: Kube
    records: RecordStore
    config: FencingConfig
    cluster: str
    me: str
    devices: Mapping[str, Device]
    on_change: Callable[[FenceRecord], None] = lambda _record: None
    lost_for_s: Callable[[str], float | None] = lambda _node: None
    last_seen: Callable[[str, str], Obj | None] = lambda _name, _namespace: None
    promise_stands: Callable[[Target], bool] = lambda _target: True
    unmounted: Callable[[str, str], bool] = lambda _node, _pv: False
    kubelet_lives: Callable[[str, float], bool] = lambda _node, _within_s: False
    programs: Programs = field(default_factory=Programs)
    superseded_by: Callable[[str], str] = lambda _fence: ""
    confirmed: Callable[[], bool] = lambda: True
    clock: Callable[[], float] = time.monotonic
    stopping: threading.Event = field(default_factory=threading.Event)


class Run:
    """One fence in this process."""

    def __init__(self, around: FencerDeps, record: FenceRecord) -> None:
        self._around = around
        self.record = record
        self._last_pods: dict[str, Obj] = {}
        self._powered_on = False
        self._began = around.clock()
        self._unfit: Reason | None = None
        self._begin_level()

    def to_the_end(self) -> FenceRecord:
        """Drive the fence until it has ended. Raises NotOurs, Stopped: then it is for somebody else to go on.

        Raises Superseded between any two effects: then `end_superseded` is to be called.
        """
        resumed = self.record.discovered
        self.record = replace(self.record, executed_by=self._around.me)
        if resumed:
            self.record = self._stamped(self.record)
        self._save()
        while self.record.outcome is Outcome.PENDING:
            self._one_round()
        return self.record

    def end_superseded(self, by: str) -> None:
        """Put on record that the fence has ended because another one has taken its place. Raises NotOurs, Stopped."""
        self.record = self.record.superseded(by, time.time())
        self._save()

    def _begin_level(self) -> None:
        now = self._around.clock()
        self._level_began = self._phase_began = now
        self._pause_s = FIRST_PAUSE_S
        self._told_waits: set[str] = set()
        self._means = self._make_means()
        self._delayed = self.record.phase is not Phase.INTENT

    def _make_means(self) -> NodeIsolation | None:
        match self.record.level.level:
            case Level.NODE:
                return NodeMeans(self._around.devices, self._check_still_ours, self._confirm)
            case Level.WATCHDOG:
                around = self._around
                return WatchdogMeans(
                    around.lost_for_s, around.promise_stands, around.config.watchdog_margin_s, around.clock
                )
            case Level.MANUAL:
                return ManualMeans()
        return None

    def _one_round(self) -> None:
        try:
            if not self._delayed:
                self._hold_back()
            seen = self._look()
            self._take(machine.next_step(self.record, seen), seen)
        except (NotOurs, Stopped, Superseded):
            raise
        except Unavailable as error:
            self._take_trouble(reason("kube-unavailable", error=error.message))
        except KubeError as error:
            self._take_trouble(reason("kube-refused", error=error.message))
        except Exception as error:
            log.exception("fence_step_failed", fence=self.record.id, phase=self.record.phase)
            self._take_trouble(reason("internal", error=f"{type(error).__name__}: {error}"))

    def _take_trouble(self, what: Reason) -> None:
        self._take(machine.after_trouble(self.record, self._times(), what))

    def _times(self) -> Seen:
        now = self._around.clock()
        return Seen(level_s=now - self._level_began, phase_s=now - self._phase_began)

    def _hold_back(self) -> None:
        delay_s = self.record.level.delay.seconds(random.random())
        self._delayed = True
        if delay_s > 0:
            self._note("waiting-delay", seconds=delay_s)
            self._save()
            self._rest(delay_s)
            self._level_began = self._phase_began = self._around.clock()

    def _look(self) -> Seen:
        record, kube = self.record, self._around.kube
        if record.phase is Phase.INTENT:
            self._discover()
            record = self.record
        seen = replace(
            self._times(),
            isolation=self._means.look(record) if self._means and record.phase is Phase.ISOLATE else None,
            powered_on=self._powered_on,
            unfit=self._unfit,
            kubelet_lives=self._around.kubelet_lives(record.target.node, self._around.clock() - self._began),
        )
        if record.phase in _LOOKS_AT_PODS:
            seen = replace(seen, pods=self._look_at_pods(record))
        if record.phase is Phase.CUT:
            seen = replace(seen, rivals=observe.see_rivals(kube, record, self._around.cluster))
        if record.phase is Phase.DETACH:
            seen = replace(seen, attachments=observe.see_attachments(kube, record))
        if record.phase in _LOOKS_AT_NODE or (record.phase in _LOOKS_AT_PODS and record.level.level in POWER_LEVELS):
            seen = replace(seen, node=observe.see_node(kube, record.target.node))
        if record.phase is Phase.RELEASE:
            node = record.target.node
            let_go = frozenset(volume.pv for volume in record.volumes if self._around.unmounted(node, volume.pv))
            seen = replace(seen, unmounted=let_go)
        return seen

    def _discover(self) -> None:
        found = observe.discover(self._around.kube, self.record.target, self._around.cluster)
        self._unfit = None
        if self.record.level.level is Level.VOLUME:
            self._unfit = volume_level.unfit(found, self._around.config.drivers)
        elif self._means is not None:
            known = self._means.look(self.record)
            self._unfit = known.failure if known else None
        self.record = observe.merged(self.record, found)

    def _look_at_pods(self, record: FenceRecord) -> dict[str, machine.PodSeen]:
        seen, raw = observe.see_pods(self._around.kube, record, self._around.cluster)
        self._last_pods |= raw
        if record.phase is not Phase.STOP:
            return seen
        for pod in record.pods:
            last = self._around.last_seen(pod.name, pod.namespace)
            if last is None or last["metadata"].get("uid") != pod.uid:
                last = self._last_pods.get(pod.uid)
            if not seen[pod.uid].present and last is not None and ended_cleanly(last):
                seen[pod.uid] = replace(seen[pod.uid], ended=True)
        return seen

    def _take(self, step: Step, seen: Seen = _NOTHING_SEEN) -> None:
        match step:
            case Act():
                self._act(step, seen)
            case Adopt():
                self._adopt(step)
            case Advance():
                self._advance(step)
            case Fail():
                self._fail(step.why)
            case Wait():
                self._tell_wait(step.what)
                self._rest(self._pause_s)
                self._pause_s = min(self._pause_s * 1.4, LONGEST_PAUSE_S)

    def _tell_wait(self, what: Reason) -> None:
        """What holds a phase up for long goes on record, once each: a person who looks wants to know just that."""
        if self._around.clock() - self._phase_began >= LONG_WAIT_S and what.code not in self._told_waits:
            self._told_waits.add(what.code)
            self._note(what.code, **what.data)
            self._save()

    def _act(self, act: Act, seen: Seen) -> None:
        self._check_still_ours()
        log.info("fence_effect", fence=self.record.id, effect=act.effect, node=self.record.target.node)
        if act.effect is Effect.POWER_OFF and self._means is not None:
            self._means.act(self.record)
        elif act.effect is Effect.POWER_ON and self._means is not None:
            self._power_on()
        else:
            effects.carry_out(self._around.kube, self.record, act, seen)
        if act.effect in (Effect.REMOVE_IN_USE, Effect.MARK_IN_USE):
            self._rest(self._pause_s)  # a living kubelet may put it back: do not fight it in a tight loop
            self._pause_s = min(self._pause_s * 1.4, LONGEST_PAUSE_S)

    def _power_on(self) -> None:
        self._powered_on = True
        try:
            if self._means is not None:
                self._means.power_on(self.record)
        except DeviceError as error:
            devices = ", ".join(self.record.level.devices)
            self._note("device-failed", device=devices, node=self.record.target.node, error=str(error))

    def _adopt(self, step: Adopt) -> None:
        for pod in step.pods:
            self._note("pod-came-back", pod=str(pod), uid=pod.uid)
        for volume in step.volumes:
            self._note("attachment-came-back", pv=volume.pv, uid=volume.attachment_uid)
        changed = {volume.pv: volume for volume in step.volumes}
        volumes = tuple(changed.get(volume.pv, volume) for volume in self.record.volumes)
        self.record = replace(self.record, pods=(*self.record.pods, *step.pods), volumes=volumes)
        self._save()

    def _advance(self, step: Advance) -> None:
        if step.note is not None:
            self._note(step.note.code, **step.note.data)
        proofs = tuple(self._signed(proof) for proof in step.proofs)
        record = replace(self.record, phase=step.to, proofs=(*self.record.proofs, *proofs))
        if step.to is Phase.DONE:
            record = replace(record, outcome=Outcome.SUCCEEDED, ended_at=time.time())
        self.record = self._stamped(record)
        self._phase_began = self._around.clock()
        self._pause_s = FIRST_PAUSE_S
        self._told_waits.clear()
        self._save()

    def _fail(self, why: Reason) -> None:
        log.warning("fence_level_failed", fence=self.record.id, level=self.record.level.level, reason=str(why))
        self.record = machine.after_failure(self.record, why, time.time())
        self._begin_level()
        self._save()

    def _signed(self, proof: Proof) -> Proof:
        return replace(proof, by=self._around.me, at=time.time(), token=self._around.records.token)

    def _stamped(self, record: FenceRecord) -> FenceRecord:
        token = self._around.records.token
        tokens = record.tokens if record.tokens[-1:] == (token,) else (*record.tokens, token)
        step = StepTime(record.level.level, record.phase, time.time())
        return replace(record, tokens=tokens, steps=(*record.steps, step))

    def _note(self, code: str, **data: object) -> None:
        self.record = self.record.noted(code, time.time(), **data)

    def _check_still_ours(self) -> None:
        if self._around.stopping.is_set():
            raise Stopped
        if not self._around.records.still_ours():
            raise NotOurs("the leadership is not ours any more")
        self._check_not_superseded()

    def _confirm(self) -> None:
        if not self._around.confirmed():
            raise NotOurs("etcd does not say that the leadership is still ours")

    def _check_not_superseded(self) -> None:
        by = self._around.superseded_by(self.record.id)
        if by and self.record.outcome is Outcome.PENDING:
            raise Superseded(by)

    def _save(self) -> None:
        while True:
            self._check_still_ours()
            try:
                self._around.records.save(self.record)
                break
            except NotOurs:
                raise
            except Exception as error:  # noqa: BLE001  (whatever a store raises: without a record nothing goes on)
                log.warning("fence_record_not_saved", fence=self.record.id, error=str(error))
                self._rest(SAVE_RETRY_S)
        self._tell()

    def _tell(self) -> None:
        try:
            self._around.on_change(self.record)
        except Exception:
            log.exception("fence_listener_failed", fence=self.record.id)

    def _rest(self, seconds: float) -> None:
        while seconds > 0:
            if self._around.stopping.wait(min(seconds, LONGEST_PAUSE_S)):
                raise Stopped
            seconds -= LONGEST_PAUSE_S
            self._check_not_superseded()
