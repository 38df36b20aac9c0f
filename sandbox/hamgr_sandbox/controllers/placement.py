"""Choose a node for a pod: the scheduler's filters and its preference as a pure function of what the cluster holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from hamgr_sandbox import fitting
from hamgr_sandbox.client import Key, Object
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.volumes import NO_PROVISIONER, class_name

_UNBOUND = "pod has unbound immediate PersistentVolumeClaims. not found"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a choice depends on. ``pods`` carry spec.nodeName also where only the scheduler knows it yet."""

    nodes: Sequence[Object]
    pods: Sequence[Object]
    claims: Mapping[Key, Object]
    volumes: Mapping[Key, Object]
    classes: Mapping[Key, Object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    """No node will do; ``message`` as in the FailedScheduling event."""

    message: str


def choose(pod: Object, cluster: Snapshot) -> str | Refusal:
    """The name of the node for a pod that has none yet."""
    total = len(cluster.nodes)
    if not total:
        return Refusal("no nodes available to schedule pods")
    if reason := _refused_everywhere(pod, cluster):
        return Refusal(f"0/{total} nodes are available: {reason}")
    residents: dict[str, list[Object]] = {}
    for other in cluster.pods:
        if objects.node_of(other) and not objects.is_finished(other):
            residents.setdefault(objects.node_of(other), []).append(other)
    reasons: Counter[str] = Counter()
    fitting = []
    for node in cluster.nodes:
        refusals = list(_refusals(pod, node, residents.get(node["metadata"]["name"], []), cluster, residents))
        reasons.update(refusals)
        if not refusals:
            fitting.append(node)
    if not fitting:
        listed = ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items()))
        return Refusal(f"0/{total} nodes are available: {listed}.")
    return str(min(fitting, key=lambda node: _preference(pod, node, residents))["metadata"]["name"])


def _refused_everywhere(pod: Object, cluster: Snapshot) -> str:
    for key in objects.claims_of(pod):
        claim = cluster.claims.get(key)
        if claim is None:
            return f'persistentvolumeclaim "{key[1]}" not found.'
        if objects.is_terminating(claim):
            return f'persistentvolumeclaim "{key[1]}" is being deleted.'
        if claim.get("status", {}).get("phase") != "Bound" and not waits_for_consumer(claim, cluster):
            return _UNBOUND
        exclusive = "ReadWriteOncePod" in (claim["spec"].get("accessModes") or [])
        if exclusive and any(_uses(other, key) for other in cluster.pods if other is not pod):
            return "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode."
    return ""


def waits_for_consumer(claim: Object, cluster: Snapshot) -> bool:
    """Whether an unbound claim's volume is made once its node is chosen."""
    storage_class = cluster.classes.get(("", class_name(claim, cluster.classes)))
    unbound = claim.get("status", {}).get("phase") != "Bound"
    if storage_class is None or storage_class.get("provisioner") == NO_PROVISIONER:
        return False
    return unbound and storage_class.get("volumeBindingMode") == "WaitForFirstConsumer"


def _uses(pod: Object, claim: Key) -> bool:
    return bool(objects.node_of(pod)) and not objects.is_finished(pod) and claim in objects.claims_of(pod)


def _refusals(
    pod: Object, node: Object, here: list[Object], cluster: Snapshot, residents: Mapping[str, list[Object]]
) -> Iterator[str]:
    tolerations = pod["spec"].get("tolerations") or []
    if node["spec"].get("unschedulable") and not fitting.tolerated(
        tolerations, {"key": objects.UNSCHEDULABLE, "effect": "NoSchedule"}
    ):
        yield "node(s) were unschedulable"
    elif not all(fitting.tolerated(tolerations, taint) for taint in _hard_taints(node)):
        yield "node(s) had untolerated taint(s)"
    elif not fitting.matches_node(pod, node):
        yield "node(s) didn't match Pod's node affinity/selector"
    elif not all(_reaches(cluster.volumes, cluster.claims[key], node) for key in objects.claims_of(pod)):
        yield "node(s) didn't match PersistentVolume's node affinity"
    elif not _keeps_company(pod, node, cluster.nodes, residents):
        yield "node(s) didn't match pod affinity/anti-affinity rules"
    else:
        yield from _shortages(pod, node, here)


def _hard_taints(node: Object) -> list[Object]:
    """Taints that keep pods away. A cordon is judged by spec.unschedulable, its taint says the same again."""
    return [
        taint
        for taint in objects.taints(node)
        if taint["effect"] in ("NoSchedule", "NoExecute")
        and not (taint["key"] == objects.UNSCHEDULABLE and node["spec"].get("unschedulable"))
    ]


def _reaches(volumes: Mapping[Key, Object], claim: Object, node: Object) -> bool:
    volume = volumes.get(("", claim["spec"].get("volumeName", "")))
    return volume is None or fitting.reaches(volume, node)


def _keeps_company(pod: Object, node: Object, nodes: Sequence[Object], residents: Mapping[str, list[Object]]) -> bool:
    """Required pod affinity and anti-affinity of this pod (rules of the pods already there are not looked at)."""
    affinity = pod["spec"].get("affinity") or {}
    for kind, wanted in (("podAffinity", True), ("podAntiAffinity", False)):
        rules = (affinity.get(kind) or {}).get("requiredDuringSchedulingIgnoredDuringExecution") or []
        if any(_has_company(pod, rule, node, nodes, residents) != wanted for rule in rules):
            return False
    return True


def _has_company(
    pod: Object, rule: Object, node: Object, nodes: Sequence[Object], residents: Mapping[str, list[Object]]
) -> bool:
    key = rule["topologyKey"]
    place = objects.labels(node).get(key)
    namespaces = rule.get("namespaces") or [pod["metadata"]["namespace"]]
    neighbors = [other["metadata"]["name"] for other in nodes if objects.labels(other).get(key) == place]
    return place is not None and any(
        other["metadata"]["namespace"] in namespaces
        and objects.selects(rule.get("labelSelector"), objects.labels(other))
        for name in neighbors
        for other in residents.get(name, [])
    )


def _shortages(pod: Object, node: Object, here: list[Object]) -> Iterator[str]:
    for shortage in fitting.shortages(pod, node, here):
        yield "Too many pods" if shortage.resource == "pods" else f"Insufficient {shortage.resource}"


def _preference(pod: Object, node: Object, residents: Mapping[str, list[Object]]) -> tuple[float, int, int, int, str]:
    """Smaller is better: preferred affinity, soft taints, siblings of the same owner, pods in all, name."""
    name = node["metadata"]["name"]
    here = residents.get(name, [])
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    preferred = affinity.get("preferredDuringSchedulingIgnoredDuringExecution") or []
    weight = sum(entry["weight"] for entry in preferred if fitting.term_holds(entry["preference"], node))
    tolerations = pod["spec"].get("tolerations") or []
    soft = [taint for taint in objects.taints(node) if taint["effect"] == "PreferNoSchedule"]
    owner = (objects.controller_of(pod) or {}).get("uid")
    siblings = sum(1 for other in here if owner and (objects.controller_of(other) or {}).get("uid") == owner)
    return -weight, sum(not fitting.tolerated(tolerations, taint) for taint in soft), siblings, len(here), name
