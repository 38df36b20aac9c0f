"""Bind claims to volumes and keep the phases of both: kube-controller-manager's part of storage.

New volumes are made by whoever provisions for the claim's StorageClass, here ``hamgr_sandbox.provisioner``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hamgr_sandbox.client import Key, Object, key_of
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.cluster import Cluster
from hamgr_sandbox.controllers.workqueue import WorkQueue

SOURCE = "persistentvolume-controller"
_BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
_BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


@dataclass(frozen=True, slots=True)
class Bind:
    """This volume is the claim's."""

    volume: Object


@dataclass(frozen=True, slots=True)
class Provision:
    """Whoever provisions for this StorageClass is to make a volume."""

    storage_class: Object


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to be done yet; the reason goes into an event."""

    reason: str
    message: str


Answer: TypeAlias = Bind | Provision | Wait


def decide(claim: Object, volumes: Iterable[Object], classes: Mapping[Key, Object]) -> Answer:
    """What becomes of a claim that is not bound: the volume it or a volume names, the smallest that fits, a new one."""
    spec = claim["spec"]
    volumes = list(volumes)
    if named := spec.get("volumeName"):
        volume = next((volume for volume in volumes if volume["metadata"]["name"] == named), None)
        if volume is None:
            return Wait("FailedBinding", f'volume "{named}" not found')
        if not _is_free_for(volume, claim):
            return Wait("FailedBinding", f'volume "{named}" already bound to a different claim.')
        return Bind(volume)
    reserved = [volume for volume in volumes if volume["spec"].get("claimRef") and _is_free_for(volume, claim)]
    delayed = is_delayed(claim, classes.get(("", class_name(claim, classes))))
    fitting = [volume for volume in volumes if not volume["spec"].get("claimRef") and _fits(volume, claim, classes)]
    fitting = [] if delayed else fitting
    if reserved or fitting:
        return Bind(min(reserved or fitting, key=lambda volume: (_capacity(volume), volume["metadata"]["name"])))
    name = class_name(claim, classes)
    if not name:
        return Wait("FailedBinding", "no persistent volumes available for this claim and no storage class is set")
    storage_class = classes.get(("", name))
    if storage_class is None:
        return Wait("ProvisioningFailed", f'storageclass.storage.k8s.io "{name}" not found')
    if delayed:
        return Wait("WaitForFirstConsumer", "waiting for first consumer to be created before binding")
    if storage_class.get("provisioner") == NO_PROVISIONER:
        return Wait("ProvisioningFailed", f"no volume plugin matched name: {NO_PROVISIONER}")
    return Provision(storage_class)


def is_delayed(claim: Object, storage_class: Object | None) -> bool:
    """Whether a claim waits for somebody to say on which node its first consumer is to be."""
    waits = storage_class is not None and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"
    return waits and not (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)


def class_name(claim: Object, classes: Mapping[Key, Object]) -> str:
    """The claim's StorageClass; when it names none, the default one. Empty: no class at all."""
    named = claim["spec"].get("storageClassName")
    if named is not None:
        return str(named)
    defaults = [
        name
        for (_, name), item in classes.items()
        if (item["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"
    ]
    return min(defaults, default="")


def _is_free_for(volume: Object, claim: Object) -> bool:
    reference = volume["spec"].get("claimRef")
    if not reference:
        return bool(volume.get("status", {}).get("phase", "Available") in ("Pending", "Available", ""))
    same_name = (reference.get("namespace"), reference.get("name")) == key_of(claim)
    return same_name and reference.get("uid", claim["metadata"]["uid"]) in ("", claim["metadata"]["uid"])


def _fits(volume: Object, claim: Object, classes: Mapping[Key, Object]) -> bool:
    spec, wanted = volume["spec"], claim["spec"]
    selector = wanted.get("selector")
    return (
        not objects.is_terminating(volume)
        and (spec.get("storageClassName") or "") == class_name(claim, classes)
        and set(wanted.get("accessModes") or []) <= set(spec.get("accessModes") or [])
        and spec.get("volumeMode", "Filesystem") == wanted.get("volumeMode", "Filesystem")
        and _capacity(volume) >= objects.quantity(requested(claim))
        and (not selector or objects.selects(selector, objects.labels(volume)))
    )


def _capacity(volume: Object) -> float:
    return objects.quantity(volume["spec"].get("capacity", {}).get("storage", "0"))


def requested(claim: Object) -> str:
    return str((claim["spec"].get("resources") or {}).get("requests", {}).get("storage", "0"))


def claim_reference(claim: Object) -> Object:
    namespace, name = key_of(claim)
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "namespace": namespace,
        "name": name,
        "uid": claim["metadata"]["uid"],
    }


def volume_phase(volume: Object, claims: Mapping[Key, Object]) -> str:
    """Available without a claim, Bound with its claim, Released when that claim is no more."""
    reference = volume["spec"].get("claimRef")
    if not reference or not reference.get("uid"):
        return "Available"
    claim = claims.get((reference.get("namespace", ""), reference.get("name", "")))
    return "Bound" if claim is not None and claim["metadata"]["uid"] == reference["uid"] else "Released"


class VolumeBinder:
    """Two queues: claims that want a volume, and volumes whose phase follows their claim."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._claims = cluster.watch("PersistentVolumeClaim")
        self._volumes = cluster.watch("PersistentVolume")
        self._classes = cluster.watch("StorageClass")
        self._claim_queue: WorkQueue[Key] = WorkQueue("claims", self._reconcile_claim)
        self._volume_queue: WorkQueue[Key] = WorkQueue("volumes", self._reconcile_volume)
        self._claims.listeners.append(self._claim_changed)
        self._volumes.listeners.append(self._volume_changed)
        self._classes.listeners.append(lambda *_: self._look_at_pending())

    async def run(self) -> None:
        await asyncio.gather(self._claim_queue.run(), self._volume_queue.run())

    def _claim_changed(self, kind: str, claim: Object, _: Object | None) -> None:
        if kind != "DELETED":
            self._claim_queue.add(key_of(claim))
        if name := claim["spec"].get("volumeName"):
            self._volume_queue.add(("", name))

    def _volume_changed(self, _: str, volume: Object, __: Object | None) -> None:
        self._volume_queue.add(key_of(volume))
        self._look_at_pending()
        if reference := volume["spec"].get("claimRef"):
            self._claim_queue.add((reference.get("namespace", ""), reference.get("name", "")))

    def _look_at_pending(self) -> None:
        for key, claim in self._claims.items.items():
            if _phase(claim) != "Bound":
                self._claim_queue.add(key)

    async def _reconcile_claim(self, key: Key) -> None:
        claim = self._claims.items.get(key)
        if claim is None or objects.is_terminating(claim):
            return
        if _phase(claim) == "Bound" or (claim["metadata"].get("annotations") or {}).get(_BIND_COMPLETED):
            await self._check_bound(claim)
        else:
            await self._settle(claim)

    async def _settle(self, claim: Object) -> None:
        match decide(claim, self._volumes.items.values(), self._classes.items):
            case Bind(volume):
                await self._bind(claim, volume)
            case Provision(storage_class):
                driver = storage_class["provisioner"]
                if (claim["metadata"].get("annotations") or {}).get(PROVISIONER) != driver:
                    await self._cluster.patch(claim, {"metadata": {"annotations": {PROVISIONER: driver}}})
                    text = (
                        f"Waiting for a volume to be created either by the external provisioner '{driver}' or manually"
                    )
                    self._cluster.events.record(SOURCE, claim, "ExternalProvisioning", text)
            case Wait(reason, message):
                kind = "Warning" if reason == "ProvisioningFailed" else "Normal"
                self._cluster.events.record(SOURCE, claim, reason, message, kind=kind)

    async def _bind(self, claim: Object, volume: Object) -> None:
        """The volume's word first: were this process to die in between, the reservation leads its successor here."""
        if (volume["spec"].get("claimRef") or {}).get("uid") != claim["metadata"]["uid"]:
            metadata: Object = {"resourceVersion": volume["metadata"]["resourceVersion"]}
            if not volume["spec"].get("claimRef"):
                metadata["annotations"] = {_BOUND_BY_CONTROLLER: "yes"}
            patch = {"metadata": metadata, "spec": {"claimRef": claim_reference(claim)}}
            volume = await self._cluster.patch(volume, patch)
        await self._set_phase(volume, "Bound")
        annotations = {_BIND_COMPLETED: "yes"}
        if not claim["spec"].get("volumeName"):
            annotations[_BOUND_BY_CONTROLLER] = "yes"
        name = volume["metadata"]["name"]
        patch = {"metadata": {"annotations": annotations}, "spec": {"volumeName": name}}
        await self._fill(await self._cluster.patch(claim, patch), volume)

    async def _fill(self, claim: Object, volume: Object) -> None:
        status = {
            "phase": "Bound",
            "accessModes": volume["spec"].get("accessModes") or [],
            "capacity": volume["spec"].get("capacity") or {},
        }
        await self._cluster.patch(claim, {"status": status}, "status")

    async def _check_bound(self, claim: Object) -> None:
        volume = self._volumes.items.get(("", claim["spec"].get("volumeName", "")))
        if volume is not None and _phase(claim) != "Bound":
            await self._fill(claim, volume)
        elif volume is None and _phase(claim) != "Lost":
            text = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
            self._cluster.events.record(SOURCE, claim, "ClaimLost", text, kind="Warning")
            await self._cluster.patch(claim, {"status": {"phase": "Lost"}}, "status")

    async def _reconcile_volume(self, key: Key) -> None:
        volume = self._volumes.items.get(key)
        if volume is None:
            return
        await self._set_phase(volume, volume_phase(volume, self._claims.items))

    async def _set_phase(self, volume: Object, phase: str) -> None:
        if _phase(volume) != phase:
            await self._cluster.patch(volume, {"status": {"phase": phase}}, "status")


def _phase(item: Object) -> str:
    return str(item.get("status", {}).get("phase", ""))
