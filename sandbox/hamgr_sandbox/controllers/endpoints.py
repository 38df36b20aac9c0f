"""EndpointSlices, and the Endpoints that mirror them: which pods a Service's clients may be sent to."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from hamgr_sandbox.client import ApiError, Key, Object, key_of
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.cluster import Cluster
from hamgr_sandbox.controllers.workqueue import WorkQueue

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SERVICE_NAME = "kubernetes.io/service-name"
MANAGER = "endpointslice-controller.k8s.io"

Ports: TypeAlias = tuple[tuple[str, str, int], ...]  # (name, protocol, port)


@dataclass(frozen=True, slots=True)
class Slice:
    """What one EndpointSlice should say; pods that resolve named ports differently come in different slices."""

    ports: Ports
    endpoints: tuple[Object, ...]


def slices_of(service: Object, pods: Iterable[Object]) -> list[Slice]:
    """The slices of a Service with a selector: at least one, empty when no pod has an address."""
    groups: dict[Ports, list[Object]] = {}
    for pod in sorted(_members(service, pods), key=key_of):
        groups.setdefault(_ports(service, pod), []).append(_endpoint(service, pod))
    return [Slice(ports, tuple(endpoints)) for ports, endpoints in groups.items()] or [Slice((), ())]


def _members(service: Object, pods: Iterable[Object]) -> list[Object]:
    selector = {"matchLabels": service["spec"].get("selector")}
    namespace = service["metadata"]["namespace"]
    return [
        pod
        for pod in pods
        if pod["metadata"]["namespace"] == namespace
        and pod.get("status", {}).get("podIP")
        and not objects.is_finished(pod)
        and objects.selects(selector, objects.labels(pod))
    ]


def _ports(service: Object, pod: Object) -> Ports:
    found = []
    for port in service["spec"].get("ports") or []:
        protocol = port.get("protocol", "TCP")
        target = port.get("targetPort", port["port"])
        number = target if isinstance(target, int) else _named_port(pod, target, protocol)
        if number is not None:
            found.append((port.get("name", ""), protocol, number))
    return tuple(found)


def _named_port(pod: Object, name: str, protocol: str) -> int | None:
    for container in pod["spec"].get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("name") == name and port.get("protocol", "TCP") == protocol:
                return int(port["containerPort"])
    return None


def _endpoint(service: Object, pod: Object) -> Object:
    """Ready is serving and not terminating (endpointslice/utils.go podToEndpoint)."""
    serving, terminating = objects.is_true(pod, "Ready"), objects.is_terminating(pod)
    ready = bool(service["spec"].get("publishNotReadyAddresses")) or (serving and not terminating)
    endpoint: Object = {
        "addresses": [pod["status"]["podIP"]],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": _reference(pod),
    }
    if pod["spec"].get("subdomain") == service["metadata"]["name"] and pod["spec"].get("hostname"):
        endpoint["hostname"] = pod["spec"]["hostname"]
    if node := objects.node_of(pod):
        endpoint["nodeName"] = node
    return endpoint


def _reference(pod: Object) -> Object:
    namespace, name = key_of(pod)
    return {"kind": "Pod", "namespace": namespace, "name": name, "uid": pod["metadata"]["uid"]}


def subsets_of(service: Object, slices: Iterable[Slice]) -> list[Object]:
    """The same as an Endpoints object tells it: without terminating pods, split into ready and not ready."""
    subsets = []
    for group in slices:
        subset: dict[str, Any] = {}
        for endpoint in group.endpoints:
            if endpoint["conditions"]["terminating"]:
                continue
            field = "addresses" if endpoint["conditions"]["ready"] else "notReadyAddresses"
            address = {"ip": endpoint["addresses"][0], "targetRef": endpoint["targetRef"]}
            address |= {key: endpoint[key] for key in ("nodeName", "hostname") if key in endpoint}
            subset.setdefault(field, []).append(address)
        if subset:
            names = service["spec"].get("ports") or []
            ports = [_legacy_port(*port, named=len(names) > 1 or bool(port[0])) for port in group.ports]
            subsets.append(subset | ({"ports": ports} if ports else {}))
    return subsets


def _legacy_port(name: str, protocol: str, port: int, *, named: bool) -> Object:
    return ({"name": name} if named else {}) | {"port": port, "protocol": protocol}


@dataclass(frozen=True, slots=True)
class Changes:
    """What to write: slices to create, (existing object, content) to replace, objects to delete."""

    create: tuple[Slice, ...]
    replace: tuple[tuple[Object, Slice], ...]
    delete: tuple[Object, ...]


def changes(wanted: Iterable[Slice], existing: Iterable[Object]) -> Changes:
    """Fit the wanted slices onto the existing objects, those with the same ports first."""
    left = sorted(existing, key=key_of)
    create, replace, missing = [], [], []
    for content in wanted:
        match = next((item for item in left if item.get("ports") == _as_ports(content)), None)
        if match is None:
            missing.append(content)
            continue
        left.remove(match)
        if (match.get("endpoints") or []) != list(content.endpoints):
            replace.append((match, content))
    for content in missing:
        if left:
            replace.append((left.pop(0), content))
        else:
            create.append(content)
    return Changes(tuple(create), tuple(replace), tuple(left))


def _as_ports(content: Slice) -> list[Object] | None:
    return [{"name": name, "protocol": protocol, "port": port} for name, protocol, port in content.ports] or None


class EndpointSlices:
    """Follows Services and pods; one key is one Service."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._services = cluster.watch("Service")
        self._pods = cluster.watch("Pod")
        self._slices = cluster.watch("EndpointSlice")
        self._endpoints = cluster.watch("Endpoints")
        self._queue: WorkQueue[Key] = WorkQueue("endpointslice", self._reconcile)
        self._services.listeners.append(lambda _, service, __: self._queue.add(key_of(service)))
        self._pods.listeners.append(self._pod_changed)
        self._slices.listeners.append(self._slice_changed)

    async def run(self) -> None:
        await self._queue.run()

    def _pod_changed(self, _: str, pod: Object, old: Object | None) -> None:
        for key, service in self._services.items.items():
            selector = {"matchLabels": service["spec"].get("selector")}
            if key[0] == pod["metadata"]["namespace"] and any(
                objects.selects(selector, objects.labels(version)) for version in (pod, old or pod)
            ):
                self._queue.add(key)

    def _slice_changed(self, kind: str, item: Object, _: Object | None) -> None:
        if objects.labels(item).get(MANAGED_BY) == MANAGER and kind != "ADDED":
            self._queue.add((item["metadata"]["namespace"], objects.labels(item).get(SERVICE_NAME, "")))

    async def _reconcile(self, key: Key) -> None:
        service = self._services.items.get(key)
        if service is None or objects.is_terminating(service) or not service["spec"].get("selector"):
            return
        wanted = slices_of(service, self._pods.items.values())
        existing = [
            item
            for item in self._slices.items.values()
            if item["metadata"]["namespace"] == key[0]
            and objects.labels(item).get(SERVICE_NAME) == key[1]
            and objects.labels(item).get(MANAGED_BY) == MANAGER
        ]
        todo = changes(wanted, existing)
        for content in todo.create:
            await self._cluster.create("EndpointSlice", key[0], _slice_object(service, content))
        for item, content in todo.replace:
            ports, endpoints = _as_ports(content), list(content.endpoints) or None
            await self._cluster.replace({**item, "endpoints": endpoints, "ports": ports})
        for item in todo.delete:
            await self._cluster.delete(item)
        await self._mirror(service, subsets_of(service, wanted))

    async def _mirror(self, service: Object, subsets: list[Object]) -> None:
        namespace, name = key_of(service)
        known = self._endpoints.items.get((namespace, name))
        if known is None:
            labels = {**objects.labels(service), "endpoints.kubernetes.io/managed-by": "endpoint-controller"}
            metadata = {"name": name, "namespace": namespace, "labels": labels}
            body = {"apiVersion": "v1", "kind": "Endpoints", "metadata": metadata, "subsets": subsets}
            try:
                await self._cluster.create("Endpoints", namespace, body)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
        elif (known.get("subsets") or []) != subsets:
            await self._cluster.replace({**known, "subsets": subsets})


def _slice_object(service: Object, content: Slice) -> Object:
    namespace, name = key_of(service)
    labels = {**objects.labels(service), MANAGED_BY: MANAGER, SERVICE_NAME: name}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "generateName": f"{name}-",
            "namespace": namespace,
            "labels": labels,
            "ownerReferences": [objects.controller_reference(service)],
        },
        "addressType": "IPv4",
        "endpoints": list(content.endpoints) or None,
        "ports": _as_ports(content),
    }
