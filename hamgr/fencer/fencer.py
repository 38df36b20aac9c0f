"""The fencer: runs fences in a pool of threads, one record each, and never raises into its caller's loop."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import structlog

from hamgr.fencer.devices import make_devices, verify_devices
from hamgr.fencer.kube_events import report
from hamgr.fencer.levels.node import DeviceError
from hamgr.fencer.plan import Plan, plan
from hamgr.fencer.reasons import Reason
from hamgr.fencer.records import Confirmation, FenceRecord, NotOurs, Outcome, Phase, Target, new_record
from hamgr.fencer.runner import FencerDeps, Run, Stopped, Superseded
from hamgr.fencer.topology import FencingConfigError, LevelConfig

log = structlog.get_logger(__name__)

DEFAULT_WORKERS = 8


class Fencer:
    """Thread-safe. Progress and results come through `around.on_change(record)`, from a pool thread, after each save.

    A fence whose record cannot be saved any more because the token is lost ends in silence; the next leader resumes it.
    """

    def __init__(self, around: FencerDeps, workers: int = DEFAULT_WORKERS) -> None:
        if not around.devices and around.config.devices:
            namespace = around.config.secrets_namespace
            devices = make_devices(around.config, around.kube, namespace, around.programs)
            around = replace(around, devices=devices)
        self._around = around
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="fence")
        self._reports = ThreadPoolExecutor(1, thread_name_prefix="fence events")
        self._lock = threading.Lock()
        self._active: dict[str, FenceRecord] = {}
        self._superseded: dict[str, str] = {}  # active fence: the one that has taken its place

    def fence(
        self,
        target: Target,
        why: Reason,
        requested_by: str,
        levels: Sequence[LevelConfig] | None = None,
        confirmation: Confirmation | None = None,
        earlier: Sequence[FenceRecord] = (),
    ) -> FenceRecord:
        """Begin a fence; returns its record at once. `levels`: in order, or None for the node's topology. `earlier`:
        fences whose place it takes (see `supersede`); what they have found is fenced by this one as well.

        When a fence that covers the target is under way, that one's record is returned and nothing new begins.
        """
        chosen = tuple(levels) if levels else self._around.config.levels_for(target.node)
        record = new_record(target, why, requested_by, chosen, confirmation=confirmation).going_on_from(earlier)
        with self._lock:
            for running in self._active.values():
                if _covers(running, record):
                    return running
            self._active[record.id] = record
        self._submit(record)
        return record

    def resume(self, record: FenceRecord, superseded_by: str = "") -> bool:
        """Go on with a fence that another process began, if only to end it as superseded by that other fence.

        False: it has ended, or is under way here already.
        """
        if record.outcome is not Outcome.PENDING:
            return False
        with self._lock:
            if record.id in self._active:
                return False
            self._active[record.id] = record
            if superseded_by:
                self._superseded[record.id] = superseded_by
        self._submit(record)
        return True

    def supersede(self, fence_id: str, by: str) -> None:
        """Have a fence that is under way here end before its next effect, because fence `by` has taken its place."""
        with self._lock:
            if fence_id in self._active:
                self._superseded[fence_id] = by

    def active(self) -> list[FenceRecord]:
        """The fences under way in this process, in the order of their beginning."""
        with self._lock:
            return list(self._active.values())

    def plan(self, target: Target, levels: Sequence[LevelConfig] | None = None) -> Plan:
        """What a fence would do and prove, without doing any of it. Raises KubeError."""
        chosen = tuple(levels) if levels else self._around.config.levels_for(target.node)
        return plan(self._around.kube, self._around.config, self._around.cluster, target, chosen)

    def monitor_devices(self) -> dict[str, str]:
        """Ask every device whether it works: name to what is wrong, empty when nothing is. Blocks for a while."""
        return {name: self.monitor_device(name) for name in self._around.devices}

    def monitor_device(self, name: str) -> str:
        """What is wrong with a device, by its agent's metadata and its own `monitor`; empty when nothing is."""
        device = self._around.devices[name]
        try:
            verify_devices([device])
            device.monitor()
        except FencingConfigError as error:
            return str(error)
        except DeviceError as error:
            return f"fence device {name}: {error}"
        return ""

    def device_states(self, name: str, nodes: Iterable[str]) -> dict[str, str]:
        """What a device says of each node: off, on, unknown, or why it cannot say. Switches nothing."""
        found = {}
        for node in nodes:
            try:
                found[node] = self._around.devices[name].state(node)
            except DeviceError as error:
                found[node] = f"no answer: {error}"
        return found

    def close(self) -> None:
        """Let go of all fences between two steps (stepping down, or the end); what runs is not waited for."""
        self._around.stopping.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._reports.shutdown(wait=False, cancel_futures=True)

    def _submit(self, record: FenceRecord) -> None:
        try:
            self._pool.submit(self._run, record)
        except RuntimeError:  # closed in the meantime: the record is for the next leader
            self._forget(record.id)

    def _run(self, record: FenceRecord) -> None:
        run = Run(self._following(), record)
        try:
            try:
                run.to_the_end()
            except Superseded as by:
                run.end_superseded(str(by))
        except NotOurs as error:
            log.warning("fence_left_to_next_leader", fence=record.id, reason=str(error))
        except Stopped:
            log.info("fence_left_to_next_leader", fence=record.id, reason="stopping")
        except Exception:
            log.exception("fence_abandoned", fence=record.id)
        finally:
            self._forget(record.id)

    def _following(self) -> FencerDeps:
        """The surroundings, with an eye on what is active."""

        def on_change(record: FenceRecord) -> None:
            with self._lock:
                if record.id in self._active:
                    self._active[record.id] = record
            if record.outcome is not Outcome.PENDING:
                self._forget(record.id)
            self._around.on_change(record)
            if record.outcome is not Outcome.PENDING or (record.phase is Phase.CUT and not record.tried):
                self._report(record)

        return replace(self._around, on_change=on_change, superseded_by=self._superseded_by)

    def _superseded_by(self, fence_id: str) -> str:
        with self._lock:
            return self._superseded.get(fence_id, "")

    def _report(self, record: FenceRecord) -> None:
        """Kubernetes Events, in a thread of their own: a fence never waits for a courtesy."""
        try:
            self._reports.submit(report, self._around.kube, record, self._around.me)
        except RuntimeError:
            log.info("fence_event_not_emitted", fence=record.id, reason="stopping")

    def _forget(self, fence_id: str) -> None:
        with self._lock:
            self._active.pop(fence_id, None)
            self._superseded.pop(fence_id, None)


def _covers(running: FenceRecord, wanted: FenceRecord) -> bool:
    """Whether the fence under way does all that the new one would, by no other levels."""
    if running.target.node != wanted.target.node or running.levels != wanted.levels:
        return False
    if wanted.confirmation is not None and running.confirmation is None:
        return False
    if running.target.pods is None:
        return True
    return wanted.target.pods is not None and set(wanted.target.pods) <= set(running.target.pods)
