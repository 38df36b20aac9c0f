"""The disk attacher: stands in for the CSI external-attacher and its driver, over the sandbox's DiskStore.

A VolumeAttachment whose finalizer it removed is the promise that fencing by volume rests on: the node that had the
disk cannot write to it any more. So the finalizer goes once ``DiskStore.detach`` has returned, never otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from hamgr_sandbox import fitting
from hamgr_sandbox.client import ApiError, Client, Informer, KubeconfigError, Object, Unreachable
from hamgr_sandbox.controllers.events import timestamp
from hamgr_sandbox.controllers.objects import quantity
from hamgr_sandbox.disks import DRIVER, DiskError, DiskStore
from hamgr_sandbox.provisioner import Provisioner

log = logging.getLogger(__name__)

FINALIZER = "external-attacher/" + DRIVER.replace(".", "-")
# Kept on the VolumeAttachment, so that its disk can still be detached when the PersistentVolume is gone already.
HANDLE_ANNOTATION = f"{DRIVER}/volume-handle"
ATTACHMENTS = "/apis/storage.k8s.io/v1/volumeattachments"
FAULTS_FILE = "attacher-faults.json"
_DEFAULT_SIZE = 1 << 30
_RETRY_FIRST_S, _RETRY_LAST_S = 1.0, 300.0
_FAULT_LOOK_S = 0.1
_STORAGE_THREADS = 32


class Disks(Protocol):
    """What the attacher needs of the storage; DiskStore is it."""

    def create(self, handle: str, size_bytes: int) -> None: ...
    def attach(self, handle: str, node: str) -> None: ...
    def detach(self, handle: str, node: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong: the operation takes ``latency_s`` instead of the usual, hangs, or fails with a message."""

    latency_s: float | None = None
    hang: bool = False
    fail: str = ""


def set_faults(disks: Path, faults: Mapping[str, Fault]) -> None:
    """Let operations of the attacher over this store go wrong from now on; an empty mapping ends all faults.

    Keys are ``attach`` or ``detach``, for every disk, or ``attach:HANDLE``, ``detach:HANDLE`` for one.
    """
    unfinished = disks / f"{FAULTS_FILE}.new"
    unfinished.write_text(json.dumps({key: asdict(fault) for key, fault in faults.items()}))
    unfinished.rename(disks / FAULTS_FILE)


def read_faults(disks: Path) -> dict[str, Fault]:
    """The faults that ``set_faults`` has left; none when the file is missing or spoilt."""
    try:
        return {key: Fault(**fault) for key, fault in json.loads((disks / FAULTS_FILE).read_text()).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.warning("%s is ignored: %s", disks / FAULTS_FILE, error)
        return {}


def fault_for(faults: Mapping[str, Fault], operation: str, handle: str) -> Fault:
    """The fault for one operation on one disk: the disk's own, else the one for all disks."""
    return faults.get(f"{operation}:{handle}") or faults.get(operation) or Fault()


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds that the storage takes for an attach and for a detach."""

    attach_s: float = 0.3
    detach_s: float = 0.3


class Attacher:
    """Makes the store follow the VolumeAttachments of its driver; one operation at a time for each of them.

    Nothing orders the attachments of one disk: as with a real driver, it is the storage that refuses a second node.
    """

    def __init__(
        self, client: Client, disks: Disks, latencies: Latencies, faults: Callable[[], Mapping[str, Fault]] = dict
    ) -> None:
        self._client = client
        self._disks = disks
        self._latencies = latencies
        self._faults = faults
        self._attachments = Informer(client, ATTACHMENTS, on_event=self._changed)
        self._workers: dict[str, asyncio.Task[None]] = {}
        self._news: dict[str, asyncio.Event] = {}

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._attachments.run()
        finally:
            for worker in self._workers.values():
                worker.cancel()

    def _changed(self, kind: str, va: Object, _: Object | None) -> None:
        if va["spec"]["attacher"] != DRIVER:
            return
        name = va["metadata"]["name"]
        if kind != "DELETED" and name not in self._workers:
            self._news[name] = asyncio.Event()
            self._workers[name] = asyncio.create_task(self._work(name))
        elif name in self._news:
            self._news[name].set()

    async def _work(self, name: str) -> None:
        """See one VolumeAttachment through its life, from its first event until it is gone."""
        delay, news = _RETRY_FIRST_S, self._news[name]
        try:
            while (va := self._attachments.items.get(("", name))) is not None:
                news.clear()
                try:
                    if await self._step(va):
                        delay = _RETRY_FIRST_S
                        await news.wait()
                        continue
                except Exception as error:
                    if not isinstance(error, ApiError | DiskError | OSError | ValueError):
                        log.exception("%s", name)
                    log.warning("%s: %s; trying again in %.0f s", name, error, delay)
                await _first_of(news, delay)
                delay = min(delay * 2, _RETRY_LAST_S)
        finally:
            del self._workers[name], self._news[name]

    async def _step(self, va: Object) -> bool:
        """Do what this state of the object asks for; True when nothing is left to do until it changes."""
        if va["metadata"].get("deletionTimestamp"):
            return FINALIZER not in (va["metadata"].get("finalizers") or []) or await self._detach(va)
        return bool(va.get("status", {}).get("attached")) or await self._attach(va)

    async def _attach(self, va: Object) -> bool:
        volume = await self._client.get(f"/api/v1/persistentvolumes/{va['spec']['source']['persistentVolumeName']}")
        handle, node = volume["spec"]["csi"]["volumeHandle"], va["spec"]["nodeName"]
        size = _size_of(volume)
        va = await self._mark_ours(va, handle)
        there = await self._client.get(f"/api/v1/nodes/{node}")
        try:
            if not fitting.reaches(volume, there):
                raise DiskError(f"disk {handle} cannot be attached to node {node}, which is in another zone")
            await self._suffer("attach", handle, self._latencies.attach_s)
            await asyncio.to_thread(self._disks.create, handle, size)
            await asyncio.to_thread(self._disks.attach, handle, node)
        except (DiskError, OSError) as error:
            await self._complain(va, "attachError", f"rpc error: code = FailedPrecondition desc = {error}")
            raise
        log.info("disk %s attached to node %s", handle, node)
        await self._patch_status(va, {"attached": True, "attachError": None})
        return True

    async def _mark_ours(self, va: Object, handle: str) -> Object:
        finalizers = va["metadata"].get("finalizers") or []
        annotations = va["metadata"].get("annotations") or {}
        if FINALIZER in finalizers and annotations.get(HANDLE_ANNOTATION) == handle:
            return va
        metadata = {
            "resourceVersion": va["metadata"]["resourceVersion"],
            "finalizers": sorted({*finalizers, FINALIZER}),
            "annotations": {HANDLE_ANNOTATION: handle},
        }
        return await self._patch(va, {"metadata": metadata})

    async def _detach(self, va: Object) -> bool:
        handle, node = await self._handle_of(va), va["spec"]["nodeName"]
        try:
            await self._suffer("detach", handle, self._latencies.detach_s)
            await asyncio.to_thread(self._disks.detach, handle, node)
        except (DiskError, OSError) as error:
            await self._complain(va, "detachError", f"rpc error: code = DeadlineExceeded desc = {error}")
            raise
        log.info("disk %s detached from node %s", handle, node)
        rest = [entry for entry in va["metadata"]["finalizers"] if entry != FINALIZER]
        try:
            await self._patch(va, {"metadata": {"uid": va["metadata"]["uid"], "finalizers": rest or None}})
        except ApiError as error:
            if error.code != 404:
                raise
        return True

    async def _handle_of(self, va: Object) -> str:
        if handle := (va["metadata"].get("annotations") or {}).get(HANDLE_ANNOTATION):
            return str(handle)
        volume = await self._client.get(f"/api/v1/persistentvolumes/{va['spec']['source']['persistentVolumeName']}")
        return str(volume["spec"]["csi"]["volumeHandle"])

    async def _suffer(self, operation: str, handle: str, usual_s: float) -> None:
        """Take the time that the storage takes, faults included; a hang ends with the fault. Raises DiskError."""
        fault = fault_for(self._faults(), operation, handle)
        while fault.hang:
            await asyncio.sleep(_FAULT_LOOK_S)
            fault = fault_for(self._faults(), operation, handle)
        await asyncio.sleep(usual_s if fault.latency_s is None else fault.latency_s)
        if fault.fail:
            raise DiskError(fault.fail)

    async def _complain(self, va: Object, field: str, message: str) -> None:
        await self._patch_status(va, {field: {"time": timestamp(), "message": message}})

    async def _patch_status(self, va: Object, status: Object) -> None:
        current = self._attachments.items.get(("", va["metadata"]["name"]), va)
        # attached is a required field: a patch that names an error alone would be refused on a fresh object.
        known = {"attached": bool(current.get("status", {}).get("attached"))}
        await self._patch(va, {"metadata": {"uid": va["metadata"]["uid"]}, "status": known | status}, "/status")

    async def _patch(self, va: Object, body: Any, subresource: str = "") -> Object:
        changed = await self._client.patch(f"{ATTACHMENTS}/{va['metadata']['name']}{subresource}", body)
        # An object whose last finalizer just went is gone; only its deletion event may say so to the cache.
        if not changed["metadata"].get("deletionTimestamp"):
            self._attachments.observe(changed)
        return changed


def _size_of(volume: Object) -> int:
    storage = volume["spec"].get("capacity", {}).get("storage")
    return int(quantity(storage)) if storage else _DEFAULT_SIZE


async def _first_of(event: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        pass


async def serve(kubeconfig: Path | None, disks: Path, latencies: Latencies) -> None:
    """Run attacher and provisioner over the store in ``disks`` until cancelled. Raises KubeconfigError, DiskError."""
    store = DiskStore(disks)
    # Each operation that hangs in the storage holds a thread; they must not keep the other disks waiting.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_STORAGE_THREADS))
    async with Client.from_kubeconfig(kubeconfig) as client, asyncio.TaskGroup() as group:
        group.create_task(Attacher(client, store, latencies, lambda: read_faults(disks)).run())
        group.create_task(Provisioner(client, store).run())


def main() -> int:
    usual = Latencies()
    parser = argparse.ArgumentParser(prog="python -m hamgr_sandbox.attacher", description=__doc__)
    parser.add_argument("--kubeconfig", type=Path, help="default: $KUBECONFIG, then ~/.kube/config")
    parser.add_argument("--disks", type=Path, required=True, help="the DiskStore's directory")
    parser.add_argument("--attach-latency", type=float, default=usual.attach_s, metavar="SECONDS")
    parser.add_argument("--detach-latency", type=float, default=usual.detach_s, metavar="SECONDS")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(options.kubeconfig, options.disks, Latencies(options.attach_latency, options.detach_latency)))
    except KubeconfigError as error:
        parser.exit(78, f"{error}\n")
    except (DiskError, Unreachable) as error:
        parser.exit(69, f"{error}\n")
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
