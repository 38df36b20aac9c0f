"""Whether a pod fits a node: what the scheduler asks before it binds, and the kubelet once more before it runs.

Pure functions of Pod and Node objects, with Kubernetes' own rules (component-helpers/resource, scheduler plugins
noderesources, nodeaffinity, nodeports, tainttoleration).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hamgr_sandbox.client import Object
from hamgr_sandbox.controllers import objects

_ANY_POD_COUNT = 110
# A node that says nothing of these is taken to have enough of them.
_LOOSE = {"cpu", "memory", "ephemeral-storage"}


@dataclass(frozen=True, slots=True)
class Shortage:
    """A resource of which too little is left. Amounts are base units (cores, bytes, pods)."""

    resource: str
    requested: float
    used: float
    capacity: float


def shortages(pod: Object, node: Object, others: Sequence[Object]) -> Iterator[Shortage]:
    """What ``node`` has too little of for ``pod`` beside ``others``, the pods that are there; pods come first."""
    room = node.get("status", {}).get("allocatable") or {}
    most = objects.quantity(room.get("pods", _ANY_POD_COUNT))
    if len(others) + 1 > most:
        yield Shortage("pods", 1, len(others), most)
    for resource, amount in requests(pod).items():
        if resource not in room and resource in _LOOSE:
            continue
        used = sum(requests(other).get(resource, 0.0) for other in others)
        capacity = objects.quantity(room.get(resource, "0"))
        if amount and used + amount > capacity * (1 + 1e-9):
            yield Shortage(resource, amount, used, capacity)


def requests(pod: Object) -> dict[str, float]:
    """What a pod asks for: its containers and sidecars together, or its hungriest init container; overhead on top."""
    spec = pod["spec"]
    total = _sum(_asked(each) for each in spec.get("containers") or [])
    sidecars: dict[str, float] = {}
    first: dict[str, float] = {}
    for each in spec.get("initContainers") or []:
        if each.get("restartPolicy") == "Always":
            sidecars = _sum([sidecars, _asked(each)])
            first = _most(first, sidecars)
        else:
            first = _most(first, _sum([sidecars, _asked(each)]))
    total = _most(_sum([total, sidecars]), first)
    total |= _asked(spec)  # resources of the pod as a whole count instead
    overhead = {name: objects.quantity(amount) for name, amount in (spec.get("overhead") or {}).items()}
    return _sum([total, overhead])


def _asked(holder: Object) -> dict[str, float]:
    told = (holder.get("resources") or {}).get("requests") or {}
    return {resource: objects.quantity(amount) for resource, amount in told.items()}


def _sum(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for part in parts:
        for name, amount in part.items():
            total[name] = total.get(name, 0.0) + amount
    return total


def _most(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: max(one.get(name, 0.0), other.get(name, 0.0)) for name in dict.fromkeys([*one, *other])}


def matches_node(pod: Object, node: Object) -> bool:
    """Whether the pod's nodeSelector and required node affinity hold for the node."""
    wanted = pod["spec"].get("nodeSelector") or {}
    found = objects.labels(node)
    if any(found.get(key) != value for key, value in wanted.items()):
        return False
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return required is None or any_term(required.get("nodeSelectorTerms") or [], node)


def any_term(terms: Iterable[Object], node: Object) -> bool:
    """Whether one of a node selector's terms holds: they are alternatives."""
    return any(term_holds(term, node) for term in terms)


def term_holds(term: Object, node: Object) -> bool:
    """Whether all requirements of a term hold; an empty one matches nothing."""
    by_label, by_field = term.get("matchExpressions") or [], term.get("matchFields") or []
    name = {"metadata.name": node["metadata"]["name"]}
    return (
        bool(by_label or by_field)
        and all(objects.expression_holds(expression, objects.labels(node)) for expression in by_label)
        and all(objects.expression_holds(expression, name) for expression in by_field)
    )


def reaches(volume: Object, node: Object) -> bool:
    """Whether the node affinity of a PersistentVolume, mostly its zone, holds for the node."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    return required is None or any_term(required.get("nodeSelectorTerms") or [], node)


def tolerated(tolerations: Iterable[Object], taint: Object) -> bool:
    """Whether one of the tolerations covers the taint."""
    return any(objects.tolerates(toleration, taint) for toleration in tolerations)


def ports_clash(pod: Object, others: Iterable[Object]) -> bool:
    """Whether another pod already has a host port that this one wants."""
    taken = [port for other in others for port in _host_ports(other)]
    return any(
        number == held and protocol == other and ("0.0.0.0" in (address, where) or address == where)
        for address, protocol, number in _host_ports(pod)
        for where, other, held in taken
    )


def _host_ports(pod: Object) -> Iterator[tuple[str, str, int]]:
    for container in pod["spec"].get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                yield port.get("hostIP") or "0.0.0.0", port.get("protocol") or "TCP", int(port["hostPort"])
