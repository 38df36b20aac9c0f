"""What every controller shares: one connection, one cache for each kind, one recorder of events, one clock."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from hamgr_sandbox.client import Client, Informer, Object
from hamgr_sandbox.controllers.events import Recorder

CORE, APPS, STORAGE = "/api/v1", "/apis/apps/v1", "/apis/storage.k8s.io/v1"
# Kind -> (API group and version path, plural, namespaced).
RESOURCES: dict[str, tuple[str, str, bool]] = {
    "Pod": (CORE, "pods", True),
    "Node": (CORE, "nodes", False),
    "Service": (CORE, "services", True),
    "Endpoints": (CORE, "endpoints", True),
    "ConfigMap": (CORE, "configmaps", True),
    "PersistentVolume": (CORE, "persistentvolumes", False),
    "PersistentVolumeClaim": (CORE, "persistentvolumeclaims", True),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases", True),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices", True),
    "Deployment": (APPS, "deployments", True),
    "ReplicaSet": (APPS, "replicasets", True),
    "StatefulSet": (APPS, "statefulsets", True),
    "StorageClass": (STORAGE, "storageclasses", False),
    "CSIDriver": (STORAGE, "csidrivers", False),
    "VolumeAttachment": (STORAGE, "volumeattachments", False),
}


def collection(kind: str, namespace: str = "") -> str:
    """The path of a kind's collection, in one namespace or (empty) in all."""
    base, plural, namespaced = RESOURCES[kind]
    return f"{base}/namespaces/{namespace}/{plural}" if namespaced and namespace else f"{base}/{plural}"


def path_of(kind: str, namespace: str, name: str, subresource: str = "") -> str:
    """The path of one object, or of its subresource."""
    return f"{collection(kind, namespace)}/{name}" + (f"/{subresource}" if subresource else "")


def path(item: Object, subresource: str = "") -> str:
    """The path of an object that is at hand."""
    metadata = item["metadata"]
    return path_of(item["kind"], metadata.get("namespace", ""), metadata["name"], subresource)


@dataclass(slots=True)
class Cluster:
    """The controllers' common ground. ``now`` is a monotonic clock in seconds; tests bring their own."""

    client: Client
    events: Recorder
    now: Callable[[], float] = time.monotonic
    _informers: dict[str, Informer] = field(default_factory=dict)

    def watch(self, kind: str) -> Informer:
        """The one informer of a kind; controllers add their listeners to it before the caches run."""
        if kind not in self._informers:
            self._informers[kind] = Informer(self.client, collection(kind))
        return self._informers[kind]

    @property
    def informers(self) -> Iterable[Informer]:
        return self._informers.values()

    async def create(self, kind: str, namespace: str, body: Object) -> Object:
        return self._seen(kind, await self.client.post(collection(kind, namespace), body))

    async def replace(self, item: Object, subresource: str = "") -> Object:
        return self._seen(item["kind"], await self.client.put(path(item, subresource), item))

    async def patch(self, item: Object, body: Any, subresource: str = "", content_type: str = "") -> Object:
        kinds = {"content_type": content_type} if content_type else {}
        return self._seen(item["kind"], await self.client.patch(path(item, subresource), body, **kinds))

    async def delete(self, item: Object, *, grace_s: int | None = None) -> None:
        """Delete this very object (its UID is a precondition), with its own grace period unless one is given."""
        body: Object = {"preconditions": {"uid": item["metadata"]["uid"]}}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        await self.client.delete(path(item), body)

    def _seen(self, kind: str, item: Object) -> Object:
        if kind in self._informers:
            self._informers[kind].observe(item)
        return item
