"""What a worker remembers of one container of its pod, and how that looks to the plan and in the status."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hamgr_sandbox.node.backoff import Backoff
from hamgr_sandbox.node.plan import ContainerView, Phase, is_sidecar
from hamgr_sandbox.node.probes import Answer, Probe, Series, judged, probes_of
from hamgr_sandbox.node.runtime import Container
from hamgr_sandbox.node.status import ContainerReport, Running, Terminated, Waiting, seconds_of

Json = dict[str, Any]
UNKNOWN = "Unknown"
"""The reason of an end that nobody saw."""


@dataclass
class Track:
    """One container through all of its runs. Monotonic times unless a field says otherwise."""

    spec: Json
    init: bool = False
    runs: int = 0
    """Runs so far, those of earlier lives of the pod on this node included."""
    current: Container | None = None
    """The latest run: alive, or ended and seen to be so."""
    unseen_exit: Container | None = None
    early_exit: Container | None = None  # told before the start of that run was
    """The end of the latest run that the periodic look at the runtime has not come across yet."""
    last: Terminated | None = None
    finished_at: float = 0.0
    exited: asyncio.Event = field(default_factory=asyncio.Event)
    stopping: bool = False
    failed_probe: str = ""
    backoff: Backoff | None = None
    waiting: Waiting | None = None
    not_before: float = 0.0
    image_failures: int = 0
    failure: Terminated | None = None
    """Set instead of ``current`` when the last attempt to start did not get as far as a process."""
    series: dict[str, Series] = field(default_factory=dict)
    probe_now: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def name(self) -> str:
        return str(self.spec["name"])

    @property
    def probes(self) -> tuple[Probe, ...]:
        return probes_of(self.spec)

    @property
    def running(self) -> bool:
        return self.current is not None and self.current.running

    @property
    def phase(self) -> Phase:
        if self.running:
            return Phase.RUNNING
        return Phase.EXITED if self.current is not None or self.failure is not None else Phase.CREATED

    @property
    def started(self) -> bool:
        """Running, and its startup probe (if it has one) has succeeded."""
        needs = any(probe.kind == "startup" for probe in self.probes)
        return self.running and (not needs or self._verdict("startup") is True)

    @property
    def ready(self) -> bool:
        needs = any(probe.kind == "readiness" for probe in self.probes)
        return self.started and (not needs or self._verdict("readiness") is True)

    def _verdict(self, kind: str) -> bool | None:
        return self.series.get(kind, Series()).verdict

    @property
    def exit_code(self) -> int:
        end = self.failure or (self.ended() if self.current is not None else None)
        return end.exit_code if end is not None else 0

    def ended(self) -> Terminated | None:
        """How the latest run ended; None while it is running or when there was none."""
        run = self.current
        if self.failure is not None or run is None or run.exit_code is None:
            return self.failure
        finished, reason = run.finished_at or run.started_at, UNKNOWN if run.lost else ""
        return Terminated(run.exit_code, run.started_at, finished, container_id(run), reason)

    def began(self, run: Container) -> None:
        """A new run: everything that was known of the one before is history."""
        self.last = self.ended() or self.last
        self.current, self.failure, self.unseen_exit, self.waiting = run, None, None, None
        self.runs += 1
        self.series, self.failed_probe, self.stopping = {}, "", False
        self.not_before, self.image_failures = 0.0, 0
        self.exited.clear()
        if self.early_exit is not None:
            self.tell_exit(self.early_exit)
            self.early_exit = None

    def tell_exit(self, run: Container) -> bool:
        """The runtime says that a run has ended: kept for `see_exit`; whether it was the present one.

        What dies at once may do so before its start has been told here: that is remembered until then.
        """
        if self.current is None or self.current.id != run.id:
            self.early_exit = run
            return False
        self.unseen_exit = run
        self.exited.set()
        return True

    def failed_to_start(self, failure: Terminated, now: float) -> None:
        """An attempt that left no process behind counts as a run that ended at once."""
        self.last = self.ended() or self.last
        self.current, self.failure, self.waiting = None, failure, None
        self.runs += 1
        self.finished_at = now

    def see_exit(self, now: float) -> bool:
        """Take note of an exit that the runtime has told; whether there was one."""
        if self.unseen_exit is None:
            return False
        self.current, self.unseen_exit = self.unseen_exit, None
        self.finished_at = now
        self.stopping, self.failed_probe = False, ""
        return True

    def judge(self, probe: Probe, answer: Answer) -> bool:
        """Add a probe's answer; whether the verdict has changed."""
        before = self.series.get(probe.kind, Series())
        after = judged(probe, before, answer)
        self.series[probe.kind] = after
        if after.verdict is False and probe.kind != "readiness" and not self.stopping:
            self.failed_probe = probe.kind
        return before.verdict != after.verdict

    @property
    def was_lost(self) -> bool:
        """The container's last run ended with its node; it has not run since."""
        end = self.ended() or self.last
        return not self.running and end is not None and end.reason == UNKNOWN

    def view(self) -> ContainerView:
        return ContainerView(
            self.phase,
            self.exit_code,
            self.finished_at,
            self.started,
            self.stopping,
            self.failed_probe,
            self.backoff,
            self.not_before,
        )

    def report(self) -> ContainerReport:
        """The container's status. While it waits, what it was before is its last state."""
        end = self.ended()
        state: Waiting | Running | Terminated
        if self.running and self.current is not None:
            state, last = Running(self.current.started_at), self.last
        elif self.waiting is not None:
            state, last = self.waiting, end or self.last
        elif end is not None:
            state, last = end, self.last
        else:
            state, last = Waiting("PodInitializing" if self.init else "ContainerCreating"), self.last
        image = str(self.spec.get("image", ""))
        return ContainerReport(
            self.name,
            image,
            state,
            last,
            f"sandbox.hamgr.io/{image}" if self.current else "",
            container_id(self.current) if self.current else "",
            max(0, self.runs - 1),
            self.ready,
            self.started,
            self.init,
            is_sidecar(self.spec) and self.init,
        )


def container_id(run: Container) -> str:
    return f"hamgr://{run.id}"


class EarlierRuns:
    """Runs that an earlier agent left behind, until the workers of their pods take them over.

    One may end in between: whoever takes it over must hear of it, because the runtime tells an exit only once.
    """

    def __init__(self) -> None:
        self._runs: dict[str, list[Container]] = {}
        self._ended: dict[str, Container] = {}

    def found(self, runs: Iterable[Container]) -> None:
        """What the runtime has listed."""
        for run in runs:
            self._runs.setdefault(run.pod_uid, []).append(run)

    def exited(self, run: Container) -> None:
        """A run has ended that no worker has taken over; it may be told before the list that still has it running."""
        self._ended[run.id] = run

    def take(self, pod_uid: str) -> list[Container]:
        """A pod's runs as they are now, once."""
        return [self._ended.pop(run.id, run) for run in self._runs.pop(pod_uid, [])]


def tracks_of(pod: Json, runs: Iterable[Container], now: float) -> dict[str, Track]:
    """A track for each container of a pod that comes to this agent, with what has been before.

    ``runs`` are those that the node's runtime still knows: the agent was restarted, and they go on. Without them a
    container that the status says to have run was lost with its node; it counts on, and it has ended for good when the
    pod has ended or may not restart it.
    """
    spec, status = pod["spec"], pod.get("status") or {}
    tracks = {each["name"]: Track(each, init=True) for each in spec.get("initContainers") or []}
    tracks |= {each["name"]: Track(each) for each in spec.get("containers") or []}
    over = status.get("phase") in ("Succeeded", "Failed") or spec.get("restartPolicy") == "Never"
    known: dict[str, list[Container]] = {name: [] for name in tracks}
    for run in sorted(runs, key=lambda run: run.attempt):
        known.setdefault(run.name, []).append(run)
    for each in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        track = tracks.get(each["name"])
        if track is not None and each.get("containerID"):
            track.runs = int(each.get("restartCount", 0)) + 1
            track.last = _end(each, "lastState") if known[track.name] else _end(each, "state") or _lost(each)
            track.failure = None if known[track.name] or not over else track.last
    for track in tracks.values():
        for run in known[track.name]:
            track.began(run)
            track.runs, track.finished_at = run.attempt + 1, now
    return tracks


def _lost(status: Json) -> Terminated:
    """How a run ended whose end nobody saw, because the node went down with it."""
    return Terminated(255, 0.0, 0.0, status["containerID"], UNKNOWN)


def _end(status: Json, field_name: str) -> Terminated | None:
    told = (status.get(field_name) or {}).get("terminated")
    if told is None:
        return None
    return Terminated(
        int(told["exitCode"]),
        seconds_of(told.get("startedAt")),
        seconds_of(told.get("finishedAt")),
        told.get("containerID", ""),
        told.get("reason", ""),
        told.get("message", ""),
    )
