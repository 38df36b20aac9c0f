"""Kubernetes objects as hamgr holds them: plain JSON, the kinds it looks at, and the fields that every kind has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

Obj: TypeAlias = dict[str, Any]
"""One object as it came from the API server. Those of the cache are shared: never change one, copy it first."""

LABEL_CLUSTER = "hamgr.io/cluster"
LABEL_RESOURCE = "hamgr.io/resource"
LABEL_NODE = "hamgr.io/node"
LABEL_ROLE = "hamgr.io/role"
ROLE_ACTIVE = "active"
ANNOTATION_PARKED = "hamgr.io/parked"
ANNOTATION_LEADER = "hamgr.io/leader"
"""The fencing token of the leader that has stamped the object when it took over."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Where objects of one kind live; ``base`` is the path up to the namespace, ``plural`` the last part."""

    name: str
    base: str
    plural: str
    namespaced: bool = True

    def collection(self, namespace: str = "") -> str:
        """The path of all objects, or those of one namespace."""
        return f"{self.base}/namespaces/{namespace}/{self.plural}" if namespace else f"{self.base}/{self.plural}"

    def path(self, name: str, namespace: str = "") -> str:
        """The path of one object. Raises ValueError when a namespace is missing or out of place."""
        if bool(namespace) != self.namespaced:
            raise ValueError(f"{self.name} {name}: {'needs a namespace' if self.namespaced else 'has no namespace'}")
        return f"{self.collection(namespace)}/{name}"


FINALIZER = "hamgr.io/in-use"
"""On claims that hamgr manages: without it the last pod alone protects a claim that is being deleted."""
ANNOTATION_KEPT_BY = "hamgr.io/kept-by"
"""The cluster that has put the finalizer on a claim."""

POD = Kind("Pod", "/api/v1", "pods")
NODE = Kind("Node", "/api/v1", "nodes", namespaced=False)
PV = Kind("PersistentVolume", "/api/v1", "persistentvolumes", namespaced=False)
PVC = Kind("PersistentVolumeClaim", "/api/v1", "persistentvolumeclaims")
SERVICE = Kind("Service", "/api/v1", "services")
SECRET = Kind("Secret", "/api/v1", "secrets")
EVENT = Kind("Event", "/api/v1", "events")
VOLUME_ATTACHMENT = Kind("VolumeAttachment", "/apis/storage.k8s.io/v1", "volumeattachments", namespaced=False)
CSI_DRIVER = Kind("CSIDriver", "/apis/storage.k8s.io/v1", "csidrivers", namespaced=False)
STORAGE_CLASS = Kind("StorageClass", "/apis/storage.k8s.io/v1", "storageclasses", namespaced=False)
ENDPOINT_SLICE = Kind("EndpointSlice", "/apis/discovery.k8s.io/v1", "endpointslices")
LEASE = Kind("Lease", "/apis/coordination.k8s.io/v1", "leases")
DEPLOYMENT = Kind("Deployment", "/apis/apps/v1", "deployments")
STATEFUL_SET = Kind("StatefulSet", "/apis/apps/v1", "statefulsets")


def name_of(obj: Mapping[str, Any]) -> str:
    """metadata.name"""
    return str(obj["metadata"]["name"])


def namespace_of(obj: Mapping[str, Any]) -> str:
    """metadata.namespace, empty for kinds without namespaces"""
    return str(obj["metadata"].get("namespace") or "")


def uid_of(obj: Mapping[str, Any]) -> str:
    """metadata.uid"""
    return str(obj["metadata"].get("uid") or "")


def revision_of(obj: Mapping[str, Any]) -> str:
    """metadata.resourceVersion"""
    return str(obj["metadata"].get("resourceVersion") or "")


def is_instance(pod: Mapping[str, Any], cluster: str) -> bool:
    """Whether a pod says that it is an instance of this cluster's. Anybody may say so in a namespace of his own."""
    return labels_of(pod).get(LABEL_CLUSTER) == cluster


def home_of(pod: Mapping[str, Any]) -> tuple[str, str]:
    """The pod's namespace, and the resource that it says it is an instance of."""
    return namespace_of(pod), labels_of(pod).get(LABEL_RESOURCE, "")


def labels_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """metadata.labels"""
    return obj["metadata"].get("labels") or {}


def annotations_of(obj: Mapping[str, Any]) -> Mapping[str, str]:
    """metadata.annotations"""
    return obj["metadata"].get("annotations") or {}


def is_terminating(obj: Mapping[str, Any]) -> bool:
    """Deletion was asked for and is not over."""
    return bool(obj["metadata"].get("deletionTimestamp"))
