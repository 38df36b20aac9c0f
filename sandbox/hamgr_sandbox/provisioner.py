"""Make and remove the sandbox's volumes: the CSI external-provisioner's part, for claims of the sandbox's driver.

Runs in the attacher's process, so that a real API server with its own controllers finds the whole driver there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from typing import Protocol

from hamgr_sandbox.client import ApiError, Client, Informer, Key, Object, all_synced, key_of
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.volumes import PROVISIONER, SELECTED_NODE, claim_reference, is_delayed, requested
from hamgr_sandbox.controllers.workqueue import WorkQueue
from hamgr_sandbox.disks import DRIVER, DiskInUse

log = logging.getLogger(__name__)

PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_NODES = "/api/v1/nodes"
_VOLUMES = "/api/v1/persistentvolumes"
_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_DETACHING_RETRY_S = 1.0


class Disks(Protocol):
    """What removing a volume needs of the storage; DiskStore is it."""

    def delete(self, handle: str) -> None: ...


def new_volume(claim: Object, storage_class: Object, zone: str = "") -> Object:
    """The PersistentVolume for a claim; its name is its disk's handle too. The disk itself is made at first attach.

    zone: where alone it can be attached; empty: everywhere.
    """
    name = f"pvc-{claim['metadata']['uid']}"
    parameters = storage_class.get("parameters") or {}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: DRIVER}},
        "spec": {
            "capacity": {"storage": requested(claim)},
            "accessModes": claim["spec"].get("accessModes") or ["ReadWriteOnce"],
            "volumeMode": claim["spec"].get("volumeMode", "Filesystem"),
            "persistentVolumeReclaimPolicy": storage_class.get("reclaimPolicy", "Delete"),
            "storageClassName": storage_class["metadata"]["name"],
            "claimRef": claim_reference(claim),
            "csi": {
                "driver": DRIVER,
                "volumeHandle": name,
                "fsType": parameters.get("csi.storage.k8s.io/fstype", "ext4"),
            },
            **({"nodeAffinity": _within(zone)} if zone else {}),
        },
    }


def _within(zone: str) -> Object:
    expression = {"key": objects.ZONE, "operator": "In", "values": [zone]}
    return {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}


def is_zonal(storage_class: Object) -> bool:
    """Whether volumes of the class exist in one zone only, as most clouds' do."""
    return (storage_class.get("parameters") or {}).get("zonal") == "true"


def needs_volume(claim: Object) -> bool:
    """Whether the claim waits for this driver to make it a volume."""
    annotations = claim["metadata"].get("annotations") or {}
    waits = not claim["spec"].get("volumeName") and not objects.is_terminating(claim)
    return waits and annotations.get(PROVISIONER) == DRIVER


def is_to_be_removed(volume: Object) -> bool:
    """Whether the volume was made here and its claim is gone, by the reclaim policy Delete."""
    return (
        (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == DRIVER
        and volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete"
        and volume.get("status", {}).get("phase") == "Released"
    )


class Provisioner:
    """Follows claims and volumes; ``run`` until cancelled."""

    def __init__(self, client: Client, disks: Disks) -> None:
        self._client = client
        self._disks = disks
        self._claim_queue: WorkQueue[Key] = WorkQueue("provisioner", self._provision)
        self._volume_queue: WorkQueue[Key] = WorkQueue("provisioner", self._remove)
        self._claims = Informer(
            client, "/api/v1/persistentvolumeclaims", on_event=lambda _, item, __: self._claim_queue.add(key_of(item))
        )
        self._volumes = Informer(client, _VOLUMES, on_event=lambda _, item, __: self._volume_queue.add(key_of(item)))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for informer in self._informers:
                group.create_task(informer.run())
            await all_synced(self._informers)
            group.create_task(self._claim_queue.run())
            group.create_task(self._volume_queue.run())

    @property
    def _informers(self) -> Iterable[Informer]:
        return self._claims, self._volumes

    async def _provision(self, key: Key) -> None:
        claim = self._claims.items.get(key)
        if claim is None or not needs_volume(claim):
            return
        name = claim["spec"].get("storageClassName")
        storage_class = await self._client.get(f"{_CLASSES}/{name}") if name else await self._default_class()
        if is_delayed(claim, storage_class):
            return
        zone = await self._zone_for(claim) if is_zonal(storage_class) else ""
        volume = new_volume(claim, storage_class, zone)
        try:
            await self._client.post(_VOLUMES, volume)
            log.info("volume %s made for claim %s/%s", volume["metadata"]["name"], *key)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise

    async def _zone_for(self, claim: Object) -> str:
        """That of the node which was selected for its first consumer, else the first there is; empty: none has any."""
        selected = (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)
        if selected:
            return str(objects.labels(await self._client.get(f"{_NODES}/{selected}")).get(objects.ZONE, ""))
        zones = {objects.labels(node).get(objects.ZONE) for node in (await self._client.list(_NODES))["items"]}
        return min((zone for zone in zones if zone), default="")

    async def _default_class(self) -> Object:
        for item in (await self._client.list(_CLASSES))["items"]:
            if item.get("provisioner") == DRIVER:
                return dict(item)
        raise ApiError(404, "NotFound", f"no StorageClass of provisioner {DRIVER}", {})

    async def _remove(self, key: Key) -> None:
        volume = self._volumes.items.get(key)
        if volume is None or not is_to_be_removed(volume):
            return
        try:
            await asyncio.to_thread(self._disks.delete, volume["spec"]["csi"]["volumeHandle"])
        except DiskInUse:
            self._volume_queue.add_after(key, _DETACHING_RETRY_S)
            return
        await self._client.delete(f"{_VOLUMES}/{key[1]}")
        log.info("volume %s and its disk removed", key[1])
