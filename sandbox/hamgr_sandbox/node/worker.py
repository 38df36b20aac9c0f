"""The life of one pod on this node: prepare, start, watch, restart, stop, clean up.

One task a pod. It looks at what is (``Track``), asks ``plan`` what to do, does it, reports the status, and waits for
the next thing to happen. Stopping a container and probing it are tasks of their own, because they take time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hamgr_sandbox.client import ApiError
from hamgr_sandbox.images import Image, ImageMissing, Images
from hamgr_sandbox.network import NetworkError
from hamgr_sandbox.node import probing
from hamgr_sandbox.node.admission import Admissions, Rejection
from hamgr_sandbox.node.background import Background
from hamgr_sandbox.node.backoff import after_restart
from hamgr_sandbox.node.containers import CommandResult, Containers, RuntimeFailed
from hamgr_sandbox.node.environment import MissingReference, environment_of
from hamgr_sandbox.node.events import Recorder
from hamgr_sandbox.node.isolation import Process
from hamgr_sandbox.node.launch import BadConfig, Surroundings, hosts_file, own_volume, process_for
from hamgr_sandbox.node.lookup import Lookup
from hamgr_sandbox.node.plan import Phase, Plan, PodView, plan
from hamgr_sandbox.node.podnetwork import PodAddress, PodNetwork
from hamgr_sandbox.node.probes import Probe, is_due, next_tick
from hamgr_sandbox.node.reporter import Reporter
from hamgr_sandbox.node.runtime import Container
from hamgr_sandbox.node.status import PodReport, Terminated, Waiting, differs, pod_status, rejected_status
from hamgr_sandbox.node.track import Track, tracks_of
from hamgr_sandbox.node.volumes import Volumes

Json = dict[str, Any]
log = logging.getLogger(__name__)

# From the kubelet: the least grace period of a pod, and the least that a container gets after its SIGTERM.
_LEAST_GRACE_S, _MINIMUM_GRACE_S = 1.0, 2.0
_CONFIG_RETRY_S = 10.0
_MOUNT_PATIENCE_S = 123.0
_STUCK_RETRY_S = 1.0


@dataclass(frozen=True)
class Node:
    """What all pods of a node share."""

    name: str
    address: str
    root: Path
    admissions: Admissions
    containers: Containers
    volumes: Volumes
    network: PodNetwork
    images: Images
    lookup: Lookup
    events: Recorder
    reporter: Reporter

    def pod_directory(self, uid: str) -> Path:
        return self.root / "pods" / uid


class Worker:
    """Runs one pod until nothing of it is left on the node. ``runs`` are what an earlier agent started of it."""

    def __init__(self, node: Node, pod: Json, runs: Iterable[Container], on_gone: Callable[[str], None]) -> None:
        self._node = node
        self._pod = pod
        self._on_gone = on_gone
        self.uid: str = pod["metadata"]["uid"]
        self._tracks = tracks_of(pod, runs, time.monotonic())
        self._address: PodAddress | None = None
        self._prepared = False
        self._settled = False
        self._rejection: Rejection | None = None
        self._rejected_as: Json = {}  # the pod as it was then
        self._vanished = False
        self._stop_by: float | None = None
        self._grace_changed = asyncio.Event()
        self._admitted_at = time.time()
        self._admitted_ticks = time.monotonic()
        self._status: Json = pod.get("status") or {}
        self._wake = asyncio.Event()
        self._mounted = asyncio.Event()
        self._background = Background(self._failed)
        self._plan = Plan()

    # What the agent tells

    def update(self, pod: Json) -> None:
        """The pod's object has changed."""
        self._pod = pod
        reported = pod.get("status") or {}
        # While a report of ours is on its way the object is behind, and tells nothing about what others have done.
        if self._status and not self._node.reporter.busy(self.uid) and differs(reported, self._status):
            self._node.reporter.report(pod, self._status)
        self._note_deletion()
        self._wake.set()

    def vanish(self) -> None:
        """The pod's object is gone (a forced deletion): end its processes all the same."""
        if not self._vanished:
            self._vanished = True
            self._note_deletion()
            self._wake.set()

    def exited(self, run: Container) -> None:
        """The runtime saw a container end: acted upon at the next ``relist``, or at once when it was asked to end."""
        track = self._tracks.get(run.name)
        if track is not None and track.tell_exit(run) and track.stopping:
            self.relist()

    def relist(self) -> None:
        """The periodic comparison with the runtime, by which a kubelet learns of exits."""
        for track in self._tracks.values():
            if track.see_exit(time.monotonic()):
                self._wake.set()

    def mounted(self) -> None:
        """All volumes are in place."""
        self._mounted.set()

    @property
    def terminating(self) -> bool:
        return self._vanished or bool(self._pod["metadata"].get("deletionTimestamp"))

    def _note_deletion(self) -> None:
        if not self.terminating:
            return
        grace = self._pod["metadata"].get("deletionGracePeriodSeconds")
        if grace is None:
            grace = self._pod["spec"].get("terminationGracePeriodSeconds", 30)
        stop_by = time.monotonic() + max(float(grace), _LEAST_GRACE_S)
        # A second deletion may shorten the time that is left, never lengthen it.
        if self._stop_by is None or stop_by < self._stop_by:
            self._stop_by = stop_by
            self._grace_changed.set()

    # The loop

    async def run(self) -> None:
        """Until nothing of the pod is left here."""
        await self._admit()
        try:
            while not (self.terminating and self._plan.finished):
                self._wake.clear()
                await self._guarded_step()
                if self.terminating and self._plan.finished:
                    break
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._plan.wake_in_s):
                        await self._wake.wait()
            await self._remove()
        finally:
            self._background.cancel()
        self._on_gone(self.uid)

    async def _admit(self) -> None:
        directory = self._node.pod_directory(self.uid)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "pod.json").write_text(json.dumps(self._pod))
        self._note_deletion()
        status = self._pod.get("status") or {}
        over = status.get("phase") in ("Succeeded", "Failed")
        if over and not status.get("containerStatuses"):  # rejected before, or given up by others: that is final
            self._rejection = Rejection(status.get("reason") or "", status.get("message") or "")
            self._settled = True
            return
        if not self.terminating and not over:
            self._rejection = await self._node.admissions.judge(self._pod)
        if self._rejection is not None and not self.terminating:
            self._reject(self._rejection)
            return
        self._node.volumes.admit(self._pod)
        if not self.terminating and not over:
            if any(track.was_lost for track in self._tracks.values()):
                text = "Pod sandbox changed, it will be killed and re-created."
                self._node.events.pod(self._pod, "SandboxChanged", text)
            self._background.spawn(self._prepare())
        for track in self._tracks.values():
            for probe in track.probes:
                self._background.spawn(self._keep_probing(track, probe))

    def _reject(self, rejection: Rejection) -> None:
        """Start nothing; what an earlier agent has started ends within a second, before the verdict is told."""
        self._rejected_as = self._pod
        self._node.events.pod(self._pod, rejection.reason, rejection.message, warning=True)
        if any(track.running for track in self._tracks.values()):
            self._node.volumes.admit(self._pod)  # which `_settle` then lets go
            self._stop_by = time.monotonic() + _LEAST_GRACE_S

    async def _guarded_step(self) -> None:
        """One step; a mistake in it costs this pod a second, never the agent."""
        try:
            await self._step()
        except Exception:
            log.exception("pod %s: a step failed", self._title)
            await asyncio.sleep(_STUCK_RETRY_S)
            self._wake.set()

    async def _step(self) -> None:
        now = time.monotonic()
        view = {name: track.view() for name, track in self._tracks.items()}
        ending = self.terminating or self._rejection is not None
        self._plan = plan(PodView(self._pod["spec"], view, ending, self._prepared), now)
        self._report()
        self._note_backing_off()
        for name, failed_probe in self._plan.stop.items():
            track = self._tracks[name]
            track.stopping = True
            self._background.spawn(self._stop(track, failed_probe))
        for name in self._plan.start:
            if self.terminating:
                break
            await self._start(self._tracks[name])
            self._wake.set()
        for track in self._tracks.values():
            if track.started and not track.ready:  # a kubelet probes readiness anew whenever it looks at the pod
                track.probe_now.set()
        if self._plan.finished and not self.terminating and not self._settled:
            self._settled = True
            self._background.spawn(self._settle())

    def _note_backing_off(self) -> None:
        """A container that has to wait is first seen as ended, then as waiting."""
        for name in self._plan.backing_off:
            track = self._tracks[name]
            if track.backoff is None or track.phase is not Phase.EXITED or track.not_before > time.monotonic():
                continue
            if track.waiting is None or track.waiting.reason != "CrashLoopBackOff":
                delay = _duration(track.backoff.delay_s)
                title = self._title
                track.waiting = Waiting(
                    "CrashLoopBackOff", f"back-off {delay} restarting failed container={name} pod={title}"
                )
                self._wake.set()
                text = f"Back-off restarting failed container {name} in pod {title}"
                self._node.events.pod(self._pod, "BackOff", text, warning=True, container=name)

    @property
    def _title(self) -> str:
        metadata = self._pod["metadata"]
        return f"{metadata['name']}_{metadata['namespace']}({self.uid})"

    def _failed(self, error: BaseException) -> None:
        log.error("pod %s: %s", self._title, error, exc_info=error)

    # Preparing

    async def _prepare(self) -> None:
        """Give the pod an address while its volumes are being mounted; then its containers may start."""
        while not self.terminating:
            try:
                self._address = await self._given_address()
                break
            except (OSError, NetworkError) as error:
                text = f"Failed to create pod sandbox: {error}"
                self._node.events.pod(self._pod, "FailedCreatePodSandBox", text, warning=True)
                await asyncio.sleep(_STUCK_RETRY_S)
        while not self.terminating and not self._node.volumes.is_mounted(self.uid):
            try:
                async with asyncio.timeout(_MOUNT_PATIENCE_S):
                    await self._mounted.wait()
            except TimeoutError:
                missing = ", ".join(self._node.volumes.unmounted(self.uid))
                text = f"Unable to attach or mount volumes: unmounted volumes=[{missing}]: context deadline exceeded"
                self._node.events.pod(self._pod, "FailedMount", text, warning=True)
        if self.terminating or self._address is None:
            return
        directory = self._node.pod_directory(self.uid)
        (directory / "etc-hosts").write_text(hosts_file(self._pod, self._address.ip))
        self._prepared = True
        self._wake.set()

    async def _given_address(self) -> PodAddress:
        if self._pod["spec"].get("hostNetwork"):
            return PodAddress(self._node.address)
        return await asyncio.to_thread(self._node.network.add, self.uid)

    # Starting

    async def _start(self, track: Track) -> None:
        """Start a container, or note why it cannot be started and when to try again."""
        try:
            image = await self._pulled(track)
            process = await self._process(track, image, self._address or PodAddress(self._node.address))
        except ImageMissing as error:
            self._image_missing(track, error)
            return
        except (MissingReference, BadConfig, ApiError) as error:
            track.waiting = Waiting("CreateContainerConfigError", str(error))
            track.not_before = time.monotonic() + _CONFIG_RETRY_S
            self._event(track, "Failed", f"Error: {error}", warning=True)
            return
        if self.terminating:
            return
        if track.phase is Phase.EXITED:
            track.backoff = after_restart(track.backoff, track.finished_at, time.monotonic())
        attempt = track.runs
        self._event(track, "Created", "Container created")
        try:
            run = await self._node.containers.start(
                process,
                id=uuid.uuid4().hex * 2,
                pod_uid=self.uid,
                namespace=self._pod["metadata"]["namespace"],
                pod=self._pod["metadata"]["name"],
                name=track.name,
                attempt=attempt,
                log=log_file(self._node.root, self._pod, track.name, attempt),
            )
        except RuntimeFailed as error:
            self._event(track, "Failed", f"Error: failed to start container {track.name!r}: {error}", warning=True)
            moment = time.time()
            track.failed_to_start(Terminated(128, moment, moment, "", "StartError", str(error)), time.monotonic())
            return
        track.began(run)
        track.probe_now.set()
        self._event(track, "Started", "Container started")
        if "postStart" in (track.spec.get("lifecycle") or {}):
            self._background.spawn(self._post_start(track))

    async def _pulled(self, track: Track) -> Image:
        """The container's image, made ready. Raises ImageMissing."""
        reference = str(track.spec.get("image", ""))
        image = self._node.images.find(reference, has_command=bool(track.spec.get("command")))
        if image.prepared():
            text = f'Container image "{reference}" already present on machine and can be accessed by the pod'
            self._event(track, "Pulled", text)
            return image
        self._event(track, "Pulling", f'Pulling image "{reference}"')
        began = time.monotonic()
        await asyncio.to_thread(image.prepare)
        took = f"{(time.monotonic() - began) * 1000:.0f}ms"
        text = f'Successfully pulled image "{reference}" in {took} ({took} including waiting). Image size: 0 bytes.'
        self._event(track, "Pulled", text)
        return image

    def _image_missing(self, track: Track, error: ImageMissing) -> None:
        reference = track.spec.get("image", "")
        delay = min(10.0 * 2**track.image_failures, 300.0)
        if track.image_failures == 0:
            track.waiting = Waiting("ErrImagePull", str(error))
        else:
            track.waiting = Waiting("ImagePullBackOff", f'Back-off pulling image "{reference}": ErrImagePull: {error}')
        self._event(track, "Pulling", f'Pulling image "{reference}"')
        self._event(track, "Failed", f'Failed to pull image "{reference}": {error}', warning=True)
        self._event(track, "Failed", "Error: ErrImagePull", warning=True)
        track.image_failures += 1
        track.not_before = time.monotonic() + delay

    async def _process(self, track: Track, image: Image, address: PodAddress) -> Process:
        sources = await self._node.lookup.sources(self._pod)
        pod = {**self._pod, "status": {**(self._pod.get("status") or {}), "podIP": address.ip}}
        variables = environment_of(track.spec, pod, {"address": self._node.address}, sources)
        directory = self._node.pod_directory(self.uid) / "containers" / track.name
        for path in (directory / "work", directory / "run", *(own_volume(directory, each) for each in image.volumes)):
            path.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._node.pod_directory(self.uid) / "etc-hosts", directory / "etc-hosts")
        around = Surroundings(
            self._node.volumes.paths(self.uid),
            address,
            self._node.name,
            directory,
            self._node.containers.isolated,
            os.geteuid() == 0,
        )
        process = process_for(pod, track.spec, image, variables, around)
        for mount in process.mounts:
            if not Path(mount.source).exists():  # a subPath that is not there yet is a directory
                Path(mount.source).mkdir(parents=True)
        return process

    async def _post_start(self, track: Track) -> None:
        handler = track.spec["lifecycle"]["postStart"]
        failure = await self._hook(track, handler, timeout_s=300.0)
        if failure and track.running and not track.stopping:
            self._event(track, "FailedPostStartHook", failure, warning=True)
            track.stopping = True
            await self._stop(track, "")

    def _event(self, track: Track, reason: str, message: str, *, warning: bool = False) -> None:
        self._node.events.pod(self._pod, reason, message, warning=warning, container=track.name)

    # Probing

    async def _keep_probing(self, track: Track, probe: Probe) -> None:
        """Probe at fixed ticks from the pod's admission, and once more at each start of the container."""
        tick = self._admitted_ticks
        while True:
            now = time.monotonic()
            tick = next_tick(tick, probe.period_s, now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, tick - now)):
                    await track.probe_now.wait()
                    await asyncio.sleep(0)  # let every probe of this container see the trigger
                    track.probe_now.clear()
            await self._probe(track, probe)

    async def _probe(self, track: Track, probe: Probe) -> None:
        run = track.current
        if run is None or not run.running or self._address is None:
            return
        if not is_due(probe, running_for_s=time.time() - run.started_at, started=track.started):
            return
        if self.terminating and probe.kind != "readiness":
            return

        async def inside(command: list[str], timeout_s: float) -> CommandResult:
            return await self._node.containers.run(run.id, command, timeout_s)

        answer = await probing.ask(probe, track.spec, self._address.ip, inside)
        if track.current is None or track.current.id != run.id:
            return
        if not answer.ok:
            self._event(track, "Unhealthy", f"{probe.title} probe failed: {answer.output}", warning=True)
        if track.judge(probe, answer):
            self._wake.set()

    # Stopping

    async def _stop(self, track: Track, failed_probe: str) -> None:
        """End a container: preStop hook, SIGTERM, and SIGKILL when its time is up."""
        run = track.current
        if run is None:
            return
        if failed_probe:
            text = f"Container {track.name} failed {failed_probe} probe, will be restarted"
        else:
            text = f"Stopping container {track.name}"
        self._event(track, "Killing", text)
        began = time.monotonic()
        await self._pre_stop(track, began, failed_probe)
        with contextlib.suppress(RuntimeFailed):
            await self._node.containers.signal(run.id, _stop_signal(track.spec))
        least = time.monotonic() + _MINIMUM_GRACE_S
        while not track.exited.is_set():
            left = max(least, began + self._grace_s(track, failed_probe, began)) - time.monotonic()
            if left <= 0:
                break
            self._grace_changed.clear()
            await _first_of(track.exited, self._grace_changed, timeout_s=left)
        while not track.exited.is_set():
            with contextlib.suppress(RuntimeFailed):
                await self._node.containers.signal(run.id, signal.SIGKILL)
            await _first_of(track.exited, track.exited, timeout_s=_STUCK_RETRY_S)

    async def _pre_stop(self, track: Track, began: float, failed_probe: str) -> None:
        handler = (track.spec.get("lifecycle") or {}).get("preStop")
        if handler:
            failure = await self._hook(track, handler, timeout_s=self._grace_s(track, failed_probe, began))
            if failure:
                self._event(track, "FailedPreStopHook", failure, warning=True)

    def _grace_s(self, track: Track, failed_probe: str, began: float) -> float:
        """How long a container that was asked to stop at ``began`` may take."""
        if self._stop_by is not None:
            return self._stop_by - began
        if failed_probe:
            own = track.spec.get(f"{failed_probe}Probe", {}).get("terminationGracePeriodSeconds")
            if own is not None:
                return float(own)
        return float(self._pod["spec"].get("terminationGracePeriodSeconds", 30))

    async def _hook(self, track: Track, handler: Json, timeout_s: float) -> str:
        """Run a lifecycle hook; what went wrong, "" when nothing did."""
        run = track.current
        if run is None or self._address is None:
            return ""
        if "sleep" in handler:
            await _first_of(track.exited, track.exited, timeout_s=min(timeout_s, float(handler["sleep"]["seconds"])))
            return ""
        if "httpGet" in handler:
            answer = await probing.fetch(handler["httpGet"], track.spec, self._address.ip, timeout_s)
            return "" if answer.ok else answer.output
        command = (handler.get("exec") or {}).get("command") or []
        try:
            result = await self._node.containers.run(run.id, command, timeout_s)
        except RuntimeFailed as error:
            return str(error)
        return "" if result.exit_code == 0 else f"{command} exited with {result.exit_code}: {result.output}"

    # Reporting

    def _report(self) -> None:
        """Hand the pod's status to the reporter when it has changed."""
        if self._rejection is not None and not self._rejected_as:
            return  # it was told already
        status = self._computed_status() if self._rejection is None else self._verdict(self._rejection)
        if status != self._status:
            self._status = status
            self._node.reporter.report(self._pod, status)

    def _verdict(self, rejection: Rejection) -> Json:
        ended = self._plan.finished
        told = rejected_status(self._rejected_as, rejection.reason, rejection.message, self._admitted_at, ended=ended)
        return told if ended else {**told, "phase": (self._rejected_as.get("status") or {}).get("phase")}

    def _computed_status(self) -> Json:
        running = any(track.running or track.runs for track in self._tracks.values())
        ended = self.terminating and self._plan.finished
        report = PodReport(
            [track.report() for track in self._tracks.values()],
            self._node.address,
            self._admitted_at,
            self._address.ip if self._address and running else "",
            self._prepared and not self._plan.finished,
            self._plan.initialized,
            ended,
        )
        known = (self._pod.get("status") or {}).get("startTime")
        status = pod_status(self._pod, report, self._status, time.time())
        return {**status, "startTime": known} if known else status

    # Ending

    async def _settle(self) -> None:
        """A pod that has ended by itself keeps its object and loses its volumes and its address."""
        self._node.admissions.ended(self.uid)
        await self._node.volumes.release(self.uid)
        await self._drop_network()

    async def _remove(self) -> None:
        """The pod's processes are dead: unmount, let go of the address, and let the API server forget the pod."""
        self._node.admissions.ended(self.uid)
        self._report()
        await self._node.volumes.release(self.uid)
        await self._drop_network()
        if not self._vanished:
            await self._node.reporter.flush(self.uid)
            await self._delete()
        self._node.reporter.forget(self.uid)
        runs = [track.current.id for track in self._tracks.values() if track.current is not None]
        with contextlib.suppress(RuntimeFailed):
            await self._node.containers.forget(runs)
        await asyncio.to_thread(shutil.rmtree, self._node.pod_directory(self.uid), True)
        await asyncio.to_thread(shutil.rmtree, log_directory(self._node.root, self._pod), True)

    async def _drop_network(self) -> None:
        if self._address is not None and self._address.ip != self._node.address:
            with contextlib.suppress(OSError, NetworkError):
                await asyncio.to_thread(self._node.network.remove, self.uid)

    async def _delete(self) -> None:
        """The last word of a graceful deletion. Repeated until the API server has heard it."""
        while not self._vanished:
            try:
                await self._node.reporter.delete(self._pod)
                return
            except ApiError as error:
                if error.code in (404, 409):
                    return
                log.warning("pod %s cannot be deleted: %s", self._title, error)
                await asyncio.sleep(_STUCK_RETRY_S)


def log_directory(root: Path, pod: Json) -> Path:
    """Where the logs of a pod's containers are: one folder a container, one file a run."""
    metadata = pod["metadata"]
    return root / "logs" / f"{metadata['namespace']}_{metadata['name']}_{metadata['uid']}"


def log_file(root: Path, pod: Json, container: str, attempt: int) -> Path:
    """The log of one run, its folder made."""
    folder = log_directory(root, pod) / container
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{attempt}.log"


def _stop_signal(container: Json) -> int:
    name = (container.get("lifecycle") or {}).get("stopSignal") or "SIGTERM"
    return int(getattr(signal, name, signal.SIGTERM))


def _duration(seconds: float) -> str:
    """Go's way of writing a duration of whole seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


async def _first_of(one: asyncio.Event, other: asyncio.Event, *, timeout_s: float) -> None:
    waits = [asyncio.create_task(event.wait()) for event in {one, other}]
    try:
        await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
