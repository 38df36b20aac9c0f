"""Read Kubernetes objects: the few questions that several controllers ask of a pod, a node, a selector or an owner."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from hamgr_sandbox.client import Key, Object, key_of

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
ZONE = "topology.kubernetes.io/zone"

_UNITS = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "m": 1e-3}


def quantity(text: str | float) -> float:
    """The number that a Kubernetes quantity (``10Gi``, ``250m``, ``2``) stands for. Raises ValueError."""
    for unit, factor in _UNITS.items():
        if isinstance(text, str) and text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def condition(item: Object, kind: str) -> Object:
    """The condition of that type in the object's status; empty when there is none."""
    for entry in item.get("status", {}).get("conditions") or []:
        if entry["type"] == kind:
            return dict(entry)
    return {}


def is_true(item: Object, kind: str) -> bool:
    return bool(condition(item, kind).get("status") == "True")


def is_terminating(item: Object) -> bool:
    return item["metadata"].get("deletionTimestamp") is not None


def phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def is_finished(pod: Object) -> bool:
    """Whether the pod has run to its end: phase Succeeded or Failed."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Whether the pod counts for a replica set: not finished, not being deleted (controller_utils.go IsPodActive)."""
    return not is_finished(pod) and not is_terminating(pod)


def is_terminated(pod: Object) -> bool:
    """Whether no container of the pod runs any more, as the attach-detach controller judges (pod/util.go)."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    not_running = all({"terminated", "waiting"} & (status.get("state") or {}).keys() for status in statuses)
    return is_finished(pod) or (is_terminating(pod) and not_running)


def node_of(pod: Object) -> str:
    return str(pod["spec"].get("nodeName") or "")


def taints(node: Object) -> list[Object]:
    return list(node["spec"].get("taints") or [])


def has_taint(node: Object, key: str) -> bool:
    return any(taint["key"] == key for taint in taints(node))


def tolerates(toleration: Object, taint: Object) -> bool:
    """Whether one toleration covers one taint (core/v1/helper ToleratesTaint)."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    key = toleration.get("key")
    if key and key != taint["key"]:
        return False
    if toleration.get("operator", "Equal") == "Exists":
        return True
    return bool(key) and toleration.get("value", "") == taint.get("value", "")


def controller_of(item: Object) -> Object | None:
    """The owner reference that says ``controller: true``."""
    for owner in item["metadata"].get("ownerReferences") or []:
        if owner.get("controller"):
            return dict(owner)
    return None


def owned_by(items: Iterable[Object], owner: Object) -> list[Object]:
    """Those of the items whose controller is this very owner."""
    uid = owner["metadata"]["uid"]
    return [item for item in items if (controller_of(item) or {}).get("uid") == uid]


def controller_reference(owner: Object) -> Object:
    """The owner reference that makes ``owner`` the controller of what it creates."""
    return {
        "apiVersion": owner["apiVersion"],
        "kind": owner["kind"],
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def labels(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}


def selects(selector: Object | None, found: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (matchLabels, matchExpressions) matches; an absent selector matches nothing."""
    if selector is None:
        return False
    wanted = selector.get("matchLabels") or {}
    expressions = selector.get("matchExpressions") or []
    return all(found.get(key) == value for key, value in wanted.items()) and all(
        expression_holds(expression, found) for expression in expressions
    )


def expression_holds(expression: Object, found: Mapping[str, str]) -> bool:
    """One requirement of a label selector or of a node selector term."""
    key, operator, values = expression["key"], expression["operator"], expression.get("values") or []
    match operator:
        case "In":
            return found.get(key) in values
        case "NotIn":
            return found.get(key) not in values
        case "Exists":
            return key in found
        case "DoesNotExist":
            return key not in found
        case "Gt" | "Lt":
            return key in found and _compares(operator, found[key], values[0])
    return False


def _compares(operator: str, left: str, right: str) -> bool:
    try:
        return int(left) > int(right) if operator == "Gt" else int(left) < int(right)
    except ValueError:
        return False


def claims_of(pod: Object) -> list[Key]:
    """(namespace, name) of each claim that the pod mounts; a generic ephemeral volume's claim is POD-VOLUME."""
    namespace, name = key_of(pod)
    found = []
    for volume in pod["spec"].get("volumes") or []:
        if claim := volume.get("persistentVolumeClaim"):
            found.append((namespace, claim["claimName"]))
        elif volume.get("ephemeral"):
            found.append((namespace, f"{name}-{volume['name']}"))
    return found


def with_condition(conditions: Iterable[Object], kind: str, changes: Mapping[str, Any], now: str) -> list[Object]:
    """A copy of the conditions in which this one has the changes; its transition time moves only with its status."""
    result, found = [], False
    for entry in conditions:
        if entry["type"] == kind:
            found = True
            moved = {"lastTransitionTime": now} if entry.get("status") != changes.get("status") else {}
            entry = {**entry, **changes, **moved}
        result.append(entry)
    if not found:
        result.append({"type": kind, "lastTransitionTime": now, **changes})
    return result
