"""The attach-detach controller: makes VolumeAttachments follow the pods, and tells nodes what is attached to them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from hamgr_sandbox.client import ApiError, Object
from hamgr_sandbox.controllers import attachments, objects
from hamgr_sandbox.controllers.attachments import Attached, NodeHealth, Operation, Place, Volume, Wanted
from hamgr_sandbox.controllers.cluster import Cluster, path_of

log = logging.getLogger(__name__)
SOURCE = "attachdetach-controller"


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds, Kubernetes' own (attach_detach_controller.go, csi_attacher.go, exponential_backoff.go)."""

    loop_s: float = 0.1
    reconcile_sync_period_s: float = 60.0
    force_after_s: float = 360.0
    # How the CSI plugin waits for a VolumeAttachment: it looks every half second, a little more slowly each time.
    poll_s: float = 0.5
    poll_factor: float = 1.05
    poll_max_s: float = 7.0
    wait_s: float = 120.0
    backoff_s: float = 0.5
    backoff_max_s: float = 122.0


class OperationFailed(Exception):
    """An attach or detach did not come about; the message is what the event tells."""


@dataclass(slots=True)
class _Backoff:
    delay_s: float
    until: float


class AttachDetach:
    """State is what it believes (``actual``) and what it is doing (``_running``); ``reconcile`` decides."""

    def __init__(self, cluster: Cluster, timings: Timings) -> None:
        self._cluster = cluster
        self._timings = timings
        self._pods = cluster.watch("Pod")
        self._claims = cluster.watch("PersistentVolumeClaim")
        self._volumes = cluster.watch("PersistentVolume")
        self._nodes = cluster.watch("Node")
        self._drivers = cluster.watch("CSIDriver")
        self._vas = cluster.watch("VolumeAttachment")
        self.actual: dict[Place, Attached] = {}
        self._wanted: dict[Place, Wanted] = {}
        self._refused: set[Place] = set()
        self._running: dict[Place, asyncio.Task[None]] = {}
        self._backoff: dict[Place, _Backoff] = {}
        self._unreported: set[str] = set()
        self._wake = asyncio.Event()
        for informer in (self._pods, self._claims, self._volumes, self._drivers):
            informer.listeners.append(lambda *_: self._wake.set())
        self._nodes.listeners.append(self._node_changed)

    async def run(self) -> None:
        self._recover()
        sync = asyncio.create_task(self._sync_forever())
        try:
            while True:
                pause = self._pass()
                try:
                    await asyncio.wait_for(self._wake.wait(), pause)
                except TimeoutError:
                    pass
                await self._until_next_beat()
                self._wake.clear()
        finally:
            for task in (sync, *self._running.values()):
                task.cancel()

    async def _until_next_beat(self) -> None:
        """The real loop runs ten times a second; here it sleeps while nothing happens, but keeps to that beat."""
        beat = self._timings.loop_s
        await asyncio.sleep(beat - self._cluster.now() % beat)

    def _recover(self) -> None:
        """What is attached, read from the nodes' reports and from the VolumeAttachments that a predecessor left."""
        volumes = [attachments.csi_volume(pv) for pv in self._volumes.items.values()]
        by_name = {volume.unique_name: volume for volume in volumes if volume is not None}
        by_pv = {volume.pv: volume for volume in by_name.values()}
        in_use = {
            (name, node)
            for (_, node), item in self._nodes.items.items()
            for name in item.get("status", {}).get("volumesInUse") or []
        }
        for (_, node), item in self._nodes.items.items():
            for entry in item.get("status", {}).get("volumesAttached") or []:
                place = (entry["name"], node)
                if place[0] in by_name:
                    self.actual[place] = Attached(by_name[place[0]], node, in_use=place in in_use)
        for va in self._vas.items.values():
            node, volume = va["spec"]["nodeName"], by_pv.get(va["spec"]["source"].get("persistentVolumeName", ""))
            if volume is not None and (place := (volume.unique_name, node)) not in self.actual:
                left = Attached(volume, node, confirmed=False, in_use=place in in_use, reported=False)
                self.actual[place] = left

    def _node_changed(self, _: str, node: Object, __: Object | None) -> None:
        name = node["metadata"]["name"]
        in_use = set(node.get("status", {}).get("volumesInUse") or [])
        for place, attached in list(self.actual.items()):
            if attached.node == name:
                self.actual[place] = replace(attached, in_use=place[0] in in_use)
        self._wake.set()

    def _pass(self) -> float | None:
        """Decide and begin; the seconds until time alone asks for the next pass (None: an event will)."""
        now = self._cluster.now()
        drivers = self._drivers.items.items()
        optional = {name for (_, name), driver in drivers if driver["spec"].get("attachRequired") is False}
        pods = self._pods.items.values()
        self._wanted = attachments.desired(pods, self._claims.items, self._volumes.items, optional)
        self._refused &= self._wanted.keys()
        waiting = {place: backoff.until for place, backoff in self._backoff.items() if backoff.until > now}
        plan = attachments.reconcile(
            self._wanted,
            self.actual,
            {name: _health(node) for (_, name), node in self._nodes.items.items()},
            now,
            busy=self._running.keys() | waiting.keys(),
            refused=self._refused,
            force_after_s=self._timings.force_after_s,
        )
        for operation in plan.operations:
            self._begin(operation, now)
        self._report()
        times = [*waiting.values(), *([plan.look_again_at] if plan.look_again_at is not None else [])]
        return max(0.0, min(times) - now) if times else None

    def _begin(self, operation: Operation, now: float) -> None:
        match operation:
            case attachments.StartWaiting(place):
                self.actual[place] = replace(self.actual[place], unwanted_since=now)
            case attachments.StopWaiting(place):
                self.actual[place] = replace(self.actual[place], unwanted_since=None)
            case attachments.RefuseMultiAttach(wanted, messages):
                self._refused.add((wanted.volume.unique_name, wanted.node))
                for pod, message in messages:
                    self._tell(pod, "FailedAttachVolume", message, "Warning")
            case attachments.Attach(wanted):
                self._start((wanted.volume.unique_name, wanted.node), lambda: self._attach(wanted))
            case attachments.Detach(attached, verify):
                self._start((attached.volume.unique_name, attached.node), lambda: self._detach(attached, verify))

    def _start(self, place: Place, work: Callable[[], Awaitable[None]]) -> None:
        async def carry_out() -> None:
            try:
                await work()
                self._backoff.pop(place, None)
            except (OperationFailed, ApiError) as error:
                delay = self._backoff[place].delay_s * 2 if place in self._backoff else self._timings.backoff_s
                delay = min(delay, self._timings.backoff_max_s)
                self._backoff[place] = _Backoff(delay, self._cluster.now() + delay)
                log.warning("volume %s on node %s: %s; trying again in %.1f s", *place, error, delay)
            finally:
                self._running.pop(place, None)
                self._wake.set()

        self._running[place] = asyncio.create_task(carry_out())

    async def _attach(self, wanted: Wanted) -> None:
        volume, node = wanted.volume, wanted.node
        place = (volume.unique_name, node)
        try:
            await self._create_attachment(volume, node)
            await self._poll(lambda: self._is_attached(volume, node))
        except (OperationFailed, ApiError) as error:
            self._uncertain(place, volume)
            for pod in wanted.pods:
                text = f'AttachVolume.Attach failed for volume "{volume.pv}" : {_text(error)}'
                self._tell(pod, "FailedAttachVolume", text, "Warning")
            raise
        self.actual[place] = Attached(volume, node)
        self._unreported.add(node)
        for pod in wanted.pods:
            # The space at the end is Kubernetes' own.
            text = f'AttachVolume.Attach succeeded for volume "{volume.pv}" '
            self._tell(pod, "SuccessfulAttachVolume", text, "Normal")

    async def _create_attachment(self, volume: Volume, node: str) -> None:
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "VolumeAttachment",
            "metadata": {"name": volume.attachment_name(node)},
            "spec": {"attacher": volume.driver, "nodeName": node, "source": {"persistentVolumeName": volume.pv}},
        }
        try:
            await self._cluster.create("VolumeAttachment", "", body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    def _is_attached(self, volume: Volume, node: str) -> bool:
        name = volume.attachment_name(node)
        va = self._vas.items.get(("", name))
        if va is None:
            raise OperationFailed(f"volume attachment {name} has been deleted")
        if objects.is_terminating(va):
            raise OperationFailed(f"volume attachment {name} is being deleted")
        if error := va.get("status", {}).get("attachError"):
            raise OperationFailed(error.get("message", "attach failed"))
        return bool(va.get("status", {}).get("attached"))

    async def _detach(self, attached: Attached, verify: bool) -> None:
        volume, node = attached.volume, attached.node
        place = (volume.unique_name, node)
        if verify:
            await self._verify_unused(volume, node)
        # The node must not believe in a volume that is about to go, so its report comes first.
        await self._withdraw(place)
        try:
            try:
                await self._cluster.client.delete(path_of("VolumeAttachment", "", volume.attachment_name(node)))
            except ApiError as error:
                if error.code != 404:
                    raise
            else:
                await self._poll(lambda: self._is_detached(volume, node))
        except (OperationFailed, ApiError):
            self._uncertain(place, volume)
            raise
        self.actual.pop(place, None)

    async def _verify_unused(self, volume: Volume, node: str) -> None:
        """Ask the API server itself; a node that is no more uses nothing (verifyVolumeIsSafeToDetach)."""
        try:
            item = await self._cluster.client.get(path_of("Node", "", node))
        except ApiError as error:
            if error.code == 404:
                return
            raise
        if volume.unique_name in (item.get("status", {}).get("volumesInUse") or []):
            raise OperationFailed(f'volume is still in use by node "{node}" according to Node status')

    def _is_detached(self, volume: Volume, node: str) -> bool:
        va = self._vas.items.get(("", volume.attachment_name(node)))
        if va is None:
            return True
        if error := va.get("status", {}).get("detachError"):
            raise OperationFailed(error.get("message", "detach failed"))
        return False

    def _uncertain(self, place: Place, volume: Volume) -> None:
        known = self.actual.get(place) or Attached(volume, place[1], in_use=False)
        self.actual[place] = replace(known, confirmed=False, reported=False)
        self._unreported.add(place[1])

    async def _poll(self, done: Callable[[], bool]) -> None:
        timings, delay, spent = self._timings, self._timings.poll_s, 0.0
        while not done():
            if spent > timings.wait_s:
                raise OperationFailed("timed out waiting for external-attacher of the CSI driver")
            await asyncio.sleep(delay)
            spent, delay = spent + delay, min(delay * timings.poll_factor, timings.poll_max_s)

    async def _withdraw(self, place: Place) -> None:
        self.actual[place] = replace(self.actual[place], reported=False)
        self._unreported.add(place[1])
        await self._report_node(place[1])

    def _report(self) -> None:
        for node in list(self._unreported):
            key = ("", node)
            if key not in self._running:
                self._start(key, lambda node=node: self._report_node(node))  # type: ignore[misc]

    async def _report_node(self, node: str) -> None:
        """Write node.status.volumesAttached, when it differs from what the node's object says."""
        self._unreported.discard(node)
        item = self._nodes.items.get(("", node))
        if item is None:
            return
        names = sorted(name for (name, at), attached in self.actual.items() if at == node and attached.reported)
        value: list[Any] | None = [{"name": name, "devicePath": ""} for name in names] or None
        if value == (item.get("status", {}).get("volumesAttached") or None):
            return
        try:
            await self._cluster.patch(item, {"status": {"volumesAttached": value}}, "status")
        except ApiError:
            self._unreported.add(node)
            raise

    async def _sync_forever(self) -> None:
        """Each minute: believe the API server's VolumeAttachments where they say less than we believed (syncStates)."""
        while True:
            await asyncio.sleep(self._timings.reconcile_sync_period_s)
            for place, attached in list(self.actual.items()):
                va = self._vas.items.get(("", attached.volume.attachment_name(attached.node)))
                still = va is not None and va.get("status", {}).get("attached")
                if still or not attached.confirmed or place in self._running:
                    continue
                log.info("volume %s is no longer attached to node %s", *place)
                self.actual.pop(place)
                self._unreported.add(attached.node)
            self._wake.set()

    def _tell(self, pod: tuple[str, str], reason: str, message: str, kind: str) -> None:
        if (item := self._pods.items.get(pod)) is not None:
            self._cluster.events.record(SOURCE, item, reason, message, kind=kind)


def _health(node: Object) -> NodeHealth:
    return NodeHealth(objects.is_true(node, "Ready"), objects.has_taint(node, objects.OUT_OF_SERVICE))


def _text(error: Exception) -> str:
    return error.message if isinstance(error, ApiError) else str(error)
