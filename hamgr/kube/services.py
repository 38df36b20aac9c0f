"""Where a Service sends its clients: its endpoints, and the label that hamgr's Services select."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hamgr.kube.gateway import Kube
from hamgr.kube.objects import (
    ENDPOINT_SLICE,
    LABEL_CLUSTER,
    LABEL_RESOURCE,
    LABEL_ROLE,
    POD,
    ROLE_ACTIVE,
    SERVICE,
    Obj,
    labels_of,
    namespace_of,
)

SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address behind a Service."""

    pod: str
    pod_uid: str
    addresses: tuple[str, ...]
    ready: bool
    node: str = ""


def endpoints_among(slices: Iterable[Obj], namespace: str, service: str) -> list[Endpoint]:
    """The endpoints of one Service. A missing ``ready`` means ready (EndpointConditions)."""
    return [
        _endpoint(entry)
        for part in slices
        if namespace_of(part) == namespace and labels_of(part).get(SERVICE_NAME) == service
        for entry in part.get("endpoints") or []
    ]


def _endpoint(entry: Mapping[str, Any]) -> Endpoint:
    target = entry.get("targetRef") or {}
    state = (entry.get("conditions") or {}).get("ready")
    return Endpoint(
        pod=str(target.get("name") or ""),
        pod_uid=str(target.get("uid") or ""),
        addresses=tuple(entry.get("addresses") or ()),
        ready=state is None or bool(state),
        node=str(entry.get("nodeName") or ""),
    )


def endpoints(kube: Kube, namespace: str, service: str) -> list[Endpoint]:
    """The endpoints of one Service, read from the API server itself."""
    listing = kube.list(ENDPOINT_SLICE.collection(namespace), label_selector=f"{SERVICE_NAME}={service}")
    return endpoints_among(listing.items, namespace, service)


def activate(kube: Kube, pod: str, namespace: str, uid: str, revision: str) -> Obj:
    """Let clients in: label the pod of this UID and resourceVersion active.

    Raises NotFound, Conflict (another pod has the name, or it has changed).
    """
    return _set_role(kube, POD.path(pod, namespace), uid, revision, ROLE_ACTIVE)


def deactivate(kube: Kube, pod: str, namespace: str, uid: str, revision: str) -> Obj:
    """Cut clients off: take the active label from the pod of this UID and resourceVersion. Raises as `activate`."""
    return _set_role(kube, POD.path(pod, namespace), uid, revision, None)


def _set_role(kube: Kube, path: str, uid: str, revision: str, role: str | None) -> Obj:
    metadata = {"uid": uid, "resourceVersion": revision, "labels": {LABEL_ROLE: role}}
    return kube.patch_merge(path, {"metadata": metadata})


def selector_for(cluster: str, resource: str) -> dict[str, str]:
    """The selector of a Service that follows the active pod of a resource."""
    return {LABEL_CLUSTER: cluster, LABEL_RESOURCE: resource, LABEL_ROLE: ROLE_ACTIVE}


def selects(service: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether the Service's selector matches these labels; one without a selector matches nothing."""
    selector = (service.get("spec") or {}).get("selector") or {}
    return bool(selector) and selector.items() <= labels.items()


def create_service(
    kube: Kube, name: str, namespace: str, selector: Mapping[str, str], ports: Sequence[int], kind: str
) -> Obj:
    """Create a Service of type ``kind`` on TCP ports. Raises AlreadyExists, Forbidden, ..."""
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "type": kind,
            "selector": dict(selector),
            "ports": [{"name": f"tcp-{port}", "port": port, "targetPort": port, "protocol": "TCP"} for port in ports],
        },
    }
    return kube.post(SERVICE.collection(namespace), body)
