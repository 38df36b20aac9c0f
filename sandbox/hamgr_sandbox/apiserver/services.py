"""How Services, Endpoints and EndpointSlices are written; cluster addresses and node ports are handed out here."""

from __future__ import annotations

import ipaddress
import random
from dataclasses import dataclass, field
from typing import Any

from hamgr_sandbox.apiserver import validation
from hamgr_sandbox.apiserver.errors import Cause, invalid, required
from hamgr_sandbox.apiserver.kinds import Context, Strategy

Obj = dict[str, Any]

_EXPOSED = ("NodePort", "LoadBalancer")


@dataclass(slots=True)
class Allocations:
    """Cluster addresses and node ports in use."""

    network: ipaddress.IPv4Network = field(default_factory=lambda: ipaddress.IPv4Network("10.96.0.0/16"))
    first_port: int = 30000
    last_port: int = 32767
    addresses: set[str] = field(default_factory=set)
    ports: set[int] = field(default_factory=set)

    def address(self) -> str:
        """An unused cluster address."""
        while True:
            offset = random.randrange(256, self.network.num_addresses - 1)
            found = str(self.network.network_address + offset)
            if found not in self.addresses:
                return found

    def port(self) -> int:
        """An unused node port."""
        free = [port for port in range(self.first_port, self.last_port + 1) if port not in self.ports]
        return random.choice(free)


def _allocate(service: Obj, allocations: Allocations, *, keep: bool) -> None:
    """Fill in addresses and node ports; with `keep` they are marked as used."""
    spec = service["spec"]
    kind = spec["type"]
    if kind != "ExternalName":
        address = spec.get("clusterIP") or (spec.get("clusterIPs") or [""])[0] or allocations.address()
        spec["clusterIP"], spec["clusterIPs"] = address, [address]
        if keep and address != "None":
            allocations.addresses.add(address)
    if kind in _EXPOSED and spec.get("allocateLoadBalancerNodePorts", True):
        for port in spec.get("ports") or []:
            port.setdefault("nodePort", 0)
            port["nodePort"] = port["nodePort"] or allocations.port()
            if keep:
                allocations.ports.add(port["nodePort"])


def adopt(service: Obj, allocations: Allocations) -> None:
    """Mark what a service of an earlier life uses as used."""
    if service["spec"].get("clusterIP"):
        allocations.addresses.add(service["spec"]["clusterIP"])
    allocations.ports.update(port["nodePort"] for port in service["spec"].get("ports") or [] if port.get("nodePort"))


def _defaults(service: Obj) -> None:
    spec = service["spec"]
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports") or []:
        port.setdefault("protocol", "TCP")
        if not port.get("targetPort"):
            port["targetPort"] = port.get("port")
    if spec["type"] == "ExternalName":
        return
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    spec.setdefault("internalTrafficPolicy", "Cluster")
    if spec["type"] in _EXPOSED:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)


def _create(service: Obj, context: Context) -> None:
    _defaults(service)
    if not _causes(service):
        _allocate(service, context.allocations, keep=not context.dry_run)


def _update(new: Obj, old: Obj, context: Context) -> None:
    _defaults(new)
    spec, before = new["spec"], old["spec"]
    if spec["type"] != "ExternalName" and before.get("clusterIP") and not spec.get("clusterIP"):
        spec["clusterIP"], spec["clusterIPs"] = before["clusterIP"], before["clusterIPs"]
    if spec["type"] in _EXPOSED:
        known = {(port.get("port"), port.get("protocol")): port.get("nodePort") for port in before.get("ports") or []}
        for port in spec.get("ports") or []:
            kept = known.get((port.get("port"), port.get("protocol")))
            if not port.get("nodePort") and kept:
                port["nodePort"] = kept
    elif before["type"] in _EXPOSED:
        for port in spec.get("ports") or []:
            port.pop("nodePort", None)
        for name in ("externalTrafficPolicy", "allocateLoadBalancerNodePorts", "healthCheckNodePort"):
            spec.pop(name, None)
    if not _causes(new):
        _allocate(new, context.allocations, keep=not context.dry_run)


def _released(service: Obj, context: Context) -> None:
    context.allocations.addresses.discard(service["spec"].get("clusterIP"))
    for port in service["spec"].get("ports") or []:
        context.allocations.ports.discard(port.get("nodePort"))


_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")


def _causes(service: Obj) -> list[Cause]:
    spec = service["spec"]
    causes: list[Cause] = []
    headless = spec.get("clusterIP") == "None"
    if not spec.get("ports") and not headless and spec["type"] != "ExternalName":
        causes.append(required("spec.ports"))
    if spec["type"] not in _TYPES:
        listed = ", ".join(f'"{one}"' for one in _TYPES)
        why = f"Unsupported value: {validation.quoted(spec['type'])}: supported values: {listed}"
        causes.append(Cause("spec.type", "FieldValueNotSupported", why))
    many = len(spec.get("ports") or []) > 1
    for i, port in enumerate(spec.get("ports") or []):
        if many and not port.get("name"):
            causes.append(required(f"spec.ports[{i}].name"))
        causes += validation.in_range(f"spec.ports[{i}].port", port.get("port", 0), 1, 65535)
    return causes


def _update_causes(new: Obj, old: Obj) -> list[Cause]:
    causes = _causes(new)
    before, after = old["spec"].get("clusterIP"), new["spec"].get("clusterIP")
    if before and after != before and old["spec"]["type"] != "ExternalName" and new["spec"]["type"] != "ExternalName":
        causes.append(invalid("spec.clusterIPs[0]", validation.quoted([after]), "may not change once set"))
    return causes


def _endpoints(obj: Obj, context: Context) -> None:
    for subset in obj.get("subsets") or []:
        for port in subset.get("ports") or []:
            port.setdefault("protocol", "TCP")


def _slice(obj: Obj, context: Context) -> None:
    for port in obj.get("ports") or []:
        port.setdefault("name", "")
        port.setdefault("protocol", "TCP")


def _slice_update(new: Obj, old: Obj, context: Context) -> None:
    _slice(new, context)


def _slice_causes(obj: Obj) -> list[Cause]:
    return [] if obj.get("addressType") else [required("addressType", "must be specified")]


def _slice_update_causes(new: Obj, old: Obj) -> list[Cause]:
    return _slice_causes(new) + validation.immutable("addressType", new.get("addressType"), old.get("addressType"))


SERVICE = Strategy(
    prepare_create=_create,
    prepare_update=_update,
    validate=_causes,
    validate_update=_update_causes,
    released=_released,
    label_names=True,
    returns_deleted=True,
)
ENDPOINTS = Strategy(prepare_create=_endpoints, create_on_update=True)
ENDPOINT_SLICE = Strategy(
    prepare_create=_slice,
    prepare_update=_slice_update,
    validate=_slice_causes,
    validate_update=_slice_update_causes,
    generation=True,
)
