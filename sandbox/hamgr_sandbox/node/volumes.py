"""Bring the volumes of pods where their containers expect them, and away again: the kubelet's volume manager.

What matters here is when a disk may be mounted. A pod's disk waits until the Node object says that it is attached *and*
until this agent has itself reported it in ``volumesInUse`` since the pod came. That report is what keeps the
attach-detach controller from taking a disk away under a mount, and since it goes out every ten seconds only, it is what
a fresh pod waits for longest. A parked pod has it behind it. After the last container of the pod the disk is unmounted
at once, but leaves ``volumesInUse`` with the next report.

State is rebuilt from the directories when the agent starts again: what is mounted then counts as reported.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from hamgr_sandbox.client import ApiError
from hamgr_sandbox.disks import DRIVER, DiskError
from hamgr_sandbox.node import mounts
from hamgr_sandbox.node.environment import MissingReference, Sources

Json = dict[str, Any]
log = logging.getLogger(__name__)
_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.5, 122.0
_PRIVATE = ("secret", "configMap", "downwardAPI", "projected")


class Disks(Protocol):
    """The part of ``DiskStore`` that a node uses."""

    def stage(self, handle: str, node: str, path: Path) -> None: ...
    def unstage(self, handle: str, node: str, path: Path) -> None: ...


class Objects(Protocol):
    """Where claims, volumes, Secrets and ConfigMaps are looked up; raises ApiError or MissingReference."""

    async def claim(self, namespace: str, name: str) -> Json: ...
    async def volume(self, name: str) -> Json: ...
    async def sources(self, pod: Json) -> Sources: ...


class NotReadyYet(Exception):
    """A volume cannot be mounted yet, and nothing is wrong: it waits for the storage or for the API."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A CSI disk that a persistent volume stands for."""

    volume: str
    driver: str
    handle: str

    @property
    def unique_name(self) -> str:
        """The name in ``volumesInUse`` and ``volumesAttached`` of a Node."""
        return f"kubernetes.io/csi/{self.driver}^{self.handle}"

    def global_mount(self, root: Path) -> Path:
        digest = hashlib.sha256(self.handle.encode()).hexdigest()
        return root / "plugins/kubernetes.io/csi" / self.driver / digest / "globalmount"

    def pod_mount(self, root: Path, pod_uid: str) -> Path:
        return root / "pods" / pod_uid / "volumes/kubernetes.io~csi" / self.volume / "mount"


@dataclass
class _Volume:
    """One volume of one pod. ``path`` is set while it is mounted."""

    spec: Json
    disk: Disk | None = None
    path: Path | None = None
    busy: bool = False
    retry_at: float = 0.0
    failures: int = 0


@dataclass
class _Pod:
    pod: Json
    volumes: dict[str, _Volume]
    leaving: bool = False
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Volumes:
    """All volumes of one node. ``on_mounted(pod uid)`` is told when a pod's last volume is in place.

    ``on_failure(pod, reason, message)`` gets what becomes an event. ``node`` is name and address for the downward API.
    """

    def __init__(
        self,
        root: Path,
        node: str,
        address: str,
        disks: Disks,
        objects: Objects,
        on_mounted: Callable[[str], None],
        on_failure: Callable[[Json, str, str], None],
    ) -> None:
        self._root = root
        self._node = node
        self._facts = {"address": address}
        self._disks = disks
        self._objects = objects
        self._on_mounted = on_mounted
        self._on_failure = on_failure
        self._pods: dict[str, _Pod] = {}
        self._staged: dict[str, Disk] = {}
        self._unstaging: set[str] = set()
        self._attached: set[str] = set()
        self._reported: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._recall_global_mounts()

    # What others tell and ask

    def admit(self, pod: Json) -> None:
        """Take charge of a pod's volumes. A mount that an earlier agent left in place is taken over."""
        uid = pod["metadata"]["uid"]
        if uid in self._pods:
            return
        volumes = {each["name"]: _Volume(each) for each in pod["spec"].get("volumes") or []}
        for volume in volumes.values():
            self._recall(uid, volume)
        self._pods[uid] = _Pod(pod, volumes)

    def is_mounted(self, uid: str) -> bool:
        entry = self._pods.get(uid)
        return entry is not None and all(volume.path is not None for volume in entry.volumes.values())

    def paths(self, uid: str) -> dict[str, Path]:
        """Where the mounted volumes of a pod are, by their names in the pod."""
        return {name: volume.path for name, volume in self._pods[uid].volumes.items() if volume.path is not None}

    def unmounted(self, uid: str) -> list[str]:
        entry = self._pods.get(uid)
        return [] if entry is None else [name for name, volume in entry.volumes.items() if volume.path is None]

    async def release(self, uid: str) -> None:
        """Unmount everything of a pod whose containers are all dead; returns when that is done."""
        entry = self._pods.get(uid)
        if entry is not None:
            entry.leaving = True
            await entry.gone.wait()

    def set_attached(self, names: set[str]) -> None:
        """What the Node object's ``volumesAttached`` says."""
        self._attached = names

    def in_use(self) -> list[str]:
        """What a node status report made now has to say in ``volumesInUse``: wanted or still mounted disks."""
        wanted = {disk.unique_name for disk in self._wanted_disks()}
        return sorted(wanted | {disk.unique_name for disk in self._staged.values()})

    def mark_reported(self, names: list[str]) -> None:
        """A report with these ``volumesInUse`` has been accepted."""
        self._reported = set(names) & set(self.in_use())

    # The loop

    async def run(self, interval_s: float = 0.1) -> None:
        """Bring the mounts towards what the pods need, every ``interval_s``, until cancelled."""
        while True:
            try:
                self._step(time.monotonic())
            except Exception:
                log.exception("volumes: a step failed")
            await asyncio.sleep(interval_s)

    def _step(self, now: float) -> None:
        wanted = {disk.unique_name for disk in self._wanted_disks()}
        # As in the kubelet, a report counts only while some pod wants the disk: the next pod needs a report of its own.
        self._reported &= wanted
        for uid, entry in list(self._pods.items()):
            waiting = [v for v in entry.volumes.values() if not v.busy and now >= v.retry_at]
            if not entry.leaving:
                for volume in waiting:
                    if volume.path is None:
                        self._spawn(volume, self._mount(uid, entry, volume))
                continue
            for volume in waiting:
                if volume.path is not None:
                    self._spawn(volume, self._unmount(uid, volume))
            if all(volume.path is None and not volume.busy for volume in entry.volumes.values()):
                self._finish(uid, entry)
        for name in set(self._staged) - {disk.unique_name for disk in self._wanted_or_mounted()} - self._unstaging:
            self._unstaging.add(name)
            self._keep(asyncio.create_task(self._unstage(self._staged[name])))

    def _finish(self, uid: str, entry: _Pod) -> None:
        """A pod is gone for its waiters when the disks that only it used are off the node, global mounts included."""
        still = {v.disk.unique_name for v in entry.volumes.values() if v.disk is not None} & set(self._staged)
        if still - {disk.unique_name for disk in self._wanted_disks()}:
            return
        del self._pods[uid]
        entry.gone.set()

    def _wanted_disks(self) -> list[Disk]:
        return [
            volume.disk
            for entry in self._pods.values()
            if not entry.leaving
            for volume in entry.volumes.values()
            if volume.disk is not None
        ]

    def _wanted_or_mounted(self) -> list[Disk]:
        mounted = [v.disk for e in self._pods.values() for v in e.volumes.values() if v.disk and (v.path or v.busy)]
        return self._wanted_disks() + mounted

    def _spawn(self, volume: _Volume, work: Coroutine[Any, Any, None]) -> None:
        volume.busy = True
        self._keep(asyncio.create_task(work))

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Mounting

    async def _mount(self, uid: str, entry: _Pod, volume: _Volume) -> None:
        try:
            path = await self._set_up(uid, entry.pod, volume)
        except NotReadyYet:
            return
        except (OSError, DiskError, MissingReference, ApiError) as error:
            self._put_off(volume)
            self._on_failure(
                entry.pod, "FailedMount", f'MountVolume.SetUp failed for volume "{self._title(volume)}" : {error}'
            )
        else:
            volume.path, volume.failures = path, 0
            if self.is_mounted(uid):
                self._on_mounted(uid)
        finally:
            volume.busy = False

    def _put_off(self, volume: _Volume) -> None:
        delay = min(_FIRST_RETRY_S * 2**volume.failures, _LONGEST_RETRY_S)
        volume.failures += 1
        volume.retry_at = time.monotonic() + delay

    def _title(self, volume: _Volume) -> str:
        return volume.disk.volume if volume.disk else str(volume.spec["name"])

    async def _set_up(self, uid: str, pod: Json, volume: _Volume) -> Path:
        if "persistentVolumeClaim" in volume.spec:
            path = await self._claimed(uid, pod, volume)
        else:
            path = await self._plain(uid, pod, volume.spec)
        security = pod["spec"].get("securityContext") or {}
        if "fsGroup" in security and "hostPath" not in volume.spec:
            policy = security.get("fsGroupChangePolicy", "Always")
            await asyncio.to_thread(mounts.give_to_group, path, int(security["fsGroup"]), policy)
        return path

    async def _plain(self, uid: str, pod: Json, spec: Json) -> Path:
        if "hostPath" in spec:
            return mounts.host_path(spec["hostPath"])
        kind = next((kind for kind in ("emptyDir", *_PRIVATE) if kind in spec), None)
        if kind is None:
            raise OSError(f"volumes of type {', '.join(set(spec) - {'name'})} are not supported by the sandbox")
        path: Path = self._root / "pods" / uid / "volumes" / f"kubernetes.io~{kind.lower()}" / spec["name"]
        if kind == "emptyDir":
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o777)
            return path
        sources = await self._objects.sources(pod)
        mounts.write_files(path, mounts.files_of(spec, pod, self._facts, sources))
        return path

    async def _claimed(self, uid: str, pod: Json, volume: _Volume) -> Path:
        if volume.disk is None:
            resolved = await self._resolve(pod, volume)
            if isinstance(resolved, Path):
                return resolved
            volume.disk = resolved
        disk = volume.disk
        if disk.unique_name in self._unstaging:
            raise NotReadyYet
        if disk.unique_name not in self._attached or disk.unique_name not in self._reported:
            raise NotReadyYet
        return await self._mount_disk(uid, disk, volume.spec["persistentVolumeClaim"]["claimName"])

    async def _mount_disk(self, uid: str, disk: Disk, claim: str) -> Path:
        shared, own = disk.global_mount(self._root), disk.pod_mount(self._root, uid)
        self._staged[disk.unique_name] = disk
        mounts.remember(shared.with_name("vol_data.json"), {"disk": asdict(disk)})
        await asyncio.to_thread(self._disks.stage, disk.handle, self._node, shared)
        mounts.remember(own.with_name("vol_data.json"), {"claim": claim, "disk": asdict(disk)})
        await asyncio.to_thread(mounts.bind, shared, own)
        return own

    async def _resolve(self, pod: Json, volume: _Volume) -> Disk | Path:
        """The disk behind a claim, or the path of a volume that is a directory of this node."""
        name = volume.spec["persistentVolumeClaim"]["claimName"]
        claim = await self._objects.claim(pod["metadata"]["namespace"], name)
        if (claim.get("status") or {}).get("phase") != "Bound" or not claim["spec"].get("volumeName"):
            raise OSError(f'persistentvolumeclaim "{name}" is not bound')
        persistent = await self._objects.volume(claim["spec"]["volumeName"])
        spec: Json = persistent["spec"]
        if "hostPath" in spec or "local" in spec:
            return mounts.host_path(spec.get("hostPath") or spec["local"])
        driver = (spec.get("csi") or {}).get("driver")
        if driver != DRIVER:
            raise OSError(f"driver name {driver} not found in the list of registered CSI drivers")
        return Disk(persistent["metadata"]["name"], driver, spec["csi"]["volumeHandle"])

    # Unmounting

    async def _unmount(self, uid: str, volume: _Volume) -> None:
        try:
            if volume.disk is not None:
                own = volume.disk.pod_mount(self._root, uid)
                await asyncio.to_thread(mounts.unbind, own)
                await asyncio.to_thread(shutil.rmtree, own.parent, True)
            volume.path, volume.failures = None, 0
        except OSError as error:
            self._put_off(volume)
            log.warning("volume %s of pod %s cannot be unmounted: %s", self._title(volume), uid, error)
        finally:
            volume.busy = False

    async def _unstage(self, disk: Disk) -> None:
        shared = disk.global_mount(self._root)
        try:
            await asyncio.to_thread(self._disks.unstage, disk.handle, self._node, shared)
            await asyncio.to_thread(shutil.rmtree, shared.parent, True)
            del self._staged[disk.unique_name]
        except (OSError, DiskError) as error:
            log.warning("disk %s cannot be unmounted: %s", disk.handle, error)
            await asyncio.sleep(_FIRST_RETRY_S)
        finally:
            self._unstaging.discard(disk.unique_name)

    # After a restart of the agent

    def _recall_global_mounts(self) -> None:
        """Mounted disks are in use from the first report on; a node that crashed has left files and no mounts."""
        for path in self._root.glob("plugins/kubernetes.io/csi/*/*/vol_data.json"):
            with suppress(OSError, ValueError, TypeError, KeyError):
                disk = Disk(**json.loads(path.read_text())["disk"])
                if mounts.is_mounted(disk.global_mount(self._root)):
                    self._staged[disk.unique_name] = disk
                else:
                    path.unlink()

    def _recall(self, uid: str, volume: _Volume) -> None:
        """Take over what an earlier agent mounted for this pod."""
        claim = volume.spec.get("persistentVolumeClaim")
        if claim is None:
            return
        for path in self._root.glob(f"pods/{uid}/volumes/kubernetes.io~csi/*/vol_data.json"):
            with suppress(OSError, ValueError, TypeError, KeyError):
                data = json.loads(path.read_text())
                disk = Disk(**data["disk"])
                if claim["claimName"] == data["claim"] and mounts.is_mounted(disk.pod_mount(self._root, uid)):
                    volume.disk, volume.path = disk, disk.pod_mount(self._root, uid)
                    self._staged[disk.unique_name] = disk
                    self._reported.add(disk.unique_name)
