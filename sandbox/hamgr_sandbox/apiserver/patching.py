"""The three client-side patch formats: JSON patch, merge patch and strategic merge patch.

RFC 6902, RFC 7386, and for the strategic one Kubernetes' own rules: lists of structs are merged by a key that depends
on the field, and directives ($patch, $retainKeys, $deleteFromPrimitiveList, $setElementOrder) steer the merge.
https://github.com/kubernetes/community/blob/master/contributors/devel/sig-api-machinery/strategic-merge-patch.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hamgr_sandbox.apiserver import schema
from hamgr_sandbox.apiserver.errors import ApiFailure, bad_request
from hamgr_sandbox.apiserver.schema import clone

Obj = dict[str, Any]

# Which lists a strategic merge patch merges, and by which key; "" means a set of primitive values. Lists that are not
# here are replaced whole, as are all lists of custom resources.
MERGE_KEYS: Mapping[str, Mapping[str, str]] = {
    "V1ObjectMeta": {"finalizers": "", "ownerReferences": "uid"},
    "V1PodSpec": {
        "containers": "name",
        "initContainers": "name",
        "ephemeralContainers": "name",
        "volumes": "name",
        "imagePullSecrets": "name",
        "hostAliases": "ip",
        "topologySpreadConstraints": "topologyKey",
        "schedulingGates": "name",
        "resourceClaims": "name",
    },
    "V1Container": {
        "ports": "containerPort",
        "env": "name",
        "volumeMounts": "mountPath",
        "volumeDevices": "devicePath",
    },
    "V1EphemeralContainer": {
        "ports": "containerPort",
        "env": "name",
        "volumeMounts": "mountPath",
        "volumeDevices": "devicePath",
    },
    "V1PodStatus": {"conditions": "type", "podIPs": "ip", "hostIPs": "ip", "resourceClaimStatuses": "name"},
    "V1NodeSpec": {"podCIDRs": ""},
    "V1NodeStatus": {"conditions": "type", "addresses": "type"},
    "V1NamespaceStatus": {"conditions": "type"},
    "V1ServiceSpec": {"ports": "port"},
    "V1ServiceStatus": {"conditions": "type"},
    "V1ServiceAccount": {"secrets": "name"},
    "V1PersistentVolumeClaimStatus": {"conditions": "type"},
    "V1DeploymentStatus": {"conditions": "type"},
    "V1ReplicaSetStatus": {"conditions": "type"},
    "V1StatefulSetStatus": {"conditions": "type"},
    "V1DaemonSetStatus": {"conditions": "type"},
    "V1ReplicationControllerStatus": {"conditions": "type"},
    "V1JobStatus": {"conditions": "type"},
    "V1PodDisruptionBudgetStatus": {"conditions": "type"},
    "V1CSINodeSpec": {"drivers": "name"},
    "V1FlowSchemaStatus": {"conditions": "type"},
    "V1MutatingWebhookConfiguration": {"webhooks": "name"},
    "V1ValidatingWebhookConfiguration": {"webhooks": "name"},
}


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386; returns the patched document, sharing what has not changed."""
    if not isinstance(patch, dict):
        return clone(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


# --- JSON patch ------------------------------------------------------------------------------------------------------


def _patch_failure() -> ApiFailure:
    return ApiFailure(422, "Invalid", "the server rejected our request due to an error in our request", {})


def json_patch(target: Obj, operations: Any) -> Obj:
    """RFC 6902; raises ApiFailure 400 for a malformed patch and 422 for one that does not apply."""
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    document: Any = clone(target)
    for operation in operations:
        document = _apply_operation(document, operation)
    if not isinstance(document, dict):
        raise _patch_failure()
    return document


def _apply_operation(document: Any, operation: Any) -> Any:
    try:
        verb, path = operation["op"], _pointer(operation["path"])
        if verb == "add":
            return _add(document, path, clone(operation.get("value")))
        if verb == "remove":
            _remove(document, path)
        elif verb == "replace":
            return _replace(document, path, clone(operation.get("value")))
        elif verb == "test":
            if _find(document, path) != operation.get("value"):
                raise _patch_failure()
        elif verb in ("move", "copy"):
            source = _pointer(operation["from"])
            value = clone(_find(document, source))
            if verb == "move":
                _remove(document, source)
            return _add(document, path, value)
        else:
            raise bad_request(f"Unexpected kind: {verb}")
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise _patch_failure() from error
    return document


def _pointer(text: str) -> list[str]:
    if text == "":
        return []
    if not text.startswith("/"):
        raise ValueError(text)
    return [step.replace("~1", "/").replace("~0", "~") for step in text[1:].split("/")]


def _find(document: Any, path: list[str]) -> Any:
    for step in path:
        document = document[int(step)] if isinstance(document, list) else document[step]
    return document


def _add(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _find(document, path[:-1])
    if isinstance(parent, list):
        index = len(parent) if path[-1] == "-" else int(path[-1])
        if not 0 <= index <= len(parent):
            raise IndexError(index)
        parent.insert(index, value)
    else:
        parent[path[-1]] = value
    return document


def _remove(document: Any, path: list[str]) -> None:
    parent = _find(document, path[:-1])
    if isinstance(parent, list):
        del parent[int(path[-1])]
    else:
        del parent[path[-1]]


def _replace(document: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    parent = _find(document, path[:-1])
    if isinstance(parent, list):
        parent[int(path[-1])] = value
    elif path[-1] not in parent:
        raise KeyError(path[-1])
    else:
        parent[path[-1]] = value
    return document


# --- strategic merge patch -------------------------------------------------------------------------------------------


def strategic_merge_patch(target: Obj, patch: Obj, model: str) -> Obj:
    """Merge by the rules of the model's fields; returns a new document. Raises ApiFailure 400 for a bad directive."""
    return _merge_struct(target, patch, model)


def _merge_struct(target: Any, patch: Obj, model: str) -> Obj:
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: clone(value) for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f"unknown patch type: {directive}")
    result: Obj = dict(target) if isinstance(target, dict) else {}
    if "$retainKeys" in patch:
        kept = set(patch["$retainKeys"])
        result = {key: value for key, value in result.items() if key in kept}
    known = schema.fields(model) if model else {}
    keys = MERGE_KEYS.get(model, {})
    for key, value in patch.items():
        if key.startswith("$deleteFromPrimitiveList/"):
            name = key.partition("/")[2]
            result[name] = [one for one in result.get(name) or [] if one not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            type_ = known.get(key, schema.ANY)
            result[key] = _merge_struct(result.get(key), value, type_.name if type_.shape == "struct" else "")
        elif isinstance(value, list) and key in keys:
            type_ = known.get(key, schema.ANY)
            item = type_.item.name if type_.item and type_.item.shape == "struct" else ""
            result[key] = _merge_list(result.get(key) or [], value, keys[key], item)
        else:
            result[key] = clone(value)
    for key, order in patch.items():
        if key.startswith("$setElementOrder/"):
            name = key.partition("/")[2]
            if name in result:
                result[name] = _in_order(result[name], order, keys.get(name, ""))
    return result


def _merge_list(target: list[Any], patch: list[Any], key: str, model: str) -> list[Any]:
    if not key:
        return target + [one for one in patch if one not in target]
    replace = any(isinstance(one, dict) and one.get("$patch") == "replace" and len(one) == 1 for one in patch)
    result: list[Any] = [] if replace else list(target)
    for one in patch:
        if not isinstance(one, dict):
            raise bad_request(f"expected a list of objects with the key {key}")
        if replace and one == {"$patch": "replace"}:
            continue
        if key not in one:
            raise bad_request(f"map: {one} does not contain declared merge key: {key}")
        at = next((i for i, old in enumerate(result) if old.get(key) == one[key]), None)
        if one.get("$patch") == "delete":
            result = [old for old in result if old.get(key) != one[key]]
        elif at is None:
            result.append(_merge_struct({}, one, model))
        else:
            result[at] = _merge_struct(result[at], one, model)
    return result


def _in_order(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """Listed elements first, as listed; the others keep their place behind the element that they followed."""
    rank = {(one.get(key) if isinstance(one, dict) else one): place for place, one in enumerate(order)}
    last = -1.0
    ranked = []
    for item in items:
        own = rank.get(item.get(key) if isinstance(item, dict) else item)
        last = float(own) if own is not None else last + 1e-6
        ranked.append((last, item))
    return [item for _, item in sorted(ranked, key=lambda pair: pair[0])]
