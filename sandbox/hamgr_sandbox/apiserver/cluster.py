"""How the cluster's own objects are written: nodes, namespaces, leases, secrets, config maps, events, priorities."""

from __future__ import annotations

import base64
import binascii
from typing import Any

from hamgr_sandbox.apiserver import validation
from hamgr_sandbox.apiserver.errors import Cause, forbidden_field, invalid, required
from hamgr_sandbox.apiserver.kinds import Context, Strategy

Obj = dict[str, Any]

NOT_READY = "node.kubernetes.io/not-ready"


def _node(node: Obj, context: Context) -> None:
    """TaintNodesByCondition admission: nothing is scheduled to a node before its controller has seen it ready."""
    taints = node["spec"].setdefault("taints", [])
    if not any(taint.get("key") == NOT_READY for taint in taints):
        taints.append({"key": NOT_READY, "effect": "NoSchedule"})
    capacity = node["status"].get("capacity")
    if capacity and "allocatable" not in node["status"]:
        node["status"]["allocatable"] = dict(capacity)


def _node_causes(node: Obj) -> list[Cause]:
    causes = []
    seen = set()
    for i, taint in enumerate(node["spec"].get("taints") or []):
        path = f"spec.taints[{i}]"
        if not taint.get("key"):
            causes.append(required(f"{path}.key", "name part must be non-empty"))
        else:
            causes += validation.qualified_name(f"{path}.key", taint["key"])
        effects = ("NoSchedule", "PreferNoSchedule", "NoExecute")
        if taint.get("effect") not in effects:
            listed = ", ".join(f'"{one}"' for one in effects)
            why = f"Unsupported value: {validation.quoted(taint.get('effect', ''))}: supported values: {listed}"
            causes.append(Cause(f"{path}.effect", "FieldValueNotSupported", why))
        identity = (taint.get("key"), taint.get("effect"))
        if identity in seen:
            why = f"Duplicate value: {validation.quoted(taint)}: taints must be unique by key and effect pair"
            causes.append(Cause(path, "FieldValueDuplicate", why))
        seen.add(identity)
    return causes


def _node_update(new: Obj, old: Obj) -> list[Cause]:
    causes = _node_causes(new)
    for part in ("podCIDR", "podCIDRs", "providerID"):
        before = old["spec"].get(part)
        if before and new["spec"].get(part) != before:
            causes.append(forbidden_field("spec", f"node updates may only change labels, taints, or capacity ({part})"))
    return causes


def _namespace(namespace: Obj, context: Context) -> None:
    name = namespace["metadata"].get("name")
    if name:
        namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    finalizers = namespace["spec"].setdefault("finalizers", [])
    if "kubernetes" not in finalizers:
        finalizers.append("kubernetes")
    namespace["status"] = {"phase": "Active"}


def _namespace_update(new: Obj, old: Obj, context: Context) -> None:
    new["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = new["metadata"]["name"]
    new["spec"] = old["spec"]  # only the finalize subresource changes it


def _namespace_held(namespace: Obj) -> bool:
    return bool((namespace.get("spec") or {}).get("finalizers"))


def _namespace_terminating(namespace: Obj) -> Obj:
    metadata = {key: value for key, value in namespace["metadata"].items() if key != "deletionGracePeriodSeconds"}
    return {**namespace, "metadata": metadata, "status": {**namespace["status"], "phase": "Terminating"}}


def _lease_causes(lease: Obj) -> list[Cause]:
    duration = lease["spec"].get("leaseDurationSeconds")
    if isinstance(duration, int) and duration <= 0:
        return [invalid("spec.leaseDurationSeconds", str(duration), "must be greater than 0")]
    return []


def _lease_update(new: Obj, old: Obj) -> list[Cause]:
    return _lease_causes(new)


def _secret(secret: Obj, context: Context) -> None:
    secret.setdefault("type", "Opaque")
    plain = secret.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def _secret_prepare_update(new: Obj, old: Obj, context: Context) -> None:
    _secret(new, context)


def _data_causes(obj: Obj) -> list[Cause]:
    causes = []
    for key in {**(obj.get("data") or {}), **(obj.get("binaryData") or {})}:
        if not key or any(not (char.isalnum() or char in "-_.") for char in key):
            why = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
            causes.append(invalid(f"data[{key}]", validation.quoted(key), why))
    return causes


def _secret_causes(secret: Obj) -> list[Cause]:
    causes = _data_causes(secret)
    for key, value in (secret.get("data") or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError, TypeError):
            causes.append(invalid(f"data[{key}]", validation.quoted(value), "illegal base64 data"))
    return causes


def _frozen_causes(new: Obj, old: Obj) -> list[Cause]:
    if not old.get("immutable"):
        return []
    causes = []
    if not new.get("immutable"):
        causes.append(forbidden_field("immutable", "field is immutable when `immutable` is set"))
    causes += [
        forbidden_field(part, "field is immutable when `immutable` is set")
        for part in ("data", "binaryData")
        if new.get(part) != old.get(part)
    ]
    return causes


def _config_map_update(new: Obj, old: Obj) -> list[Cause]:
    return _data_causes(new) + _frozen_causes(new, old)


def _secret_update(new: Obj, old: Obj) -> list[Cause]:
    causes = _secret_causes(new) + _frozen_causes(new, old)
    return causes + validation.immutable("type", new.get("type"), old.get("type"))


def _event_causes(event: Obj) -> list[Cause]:
    involved = event["involvedObject"].get("namespace", "")
    namespace = event["metadata"].get("namespace")
    if involved and involved != namespace:
        return [invalid("involvedObject.namespace", validation.quoted(involved), "does not match event.namespace")]
    return []


def _priority_class(obj: Obj, context: Context) -> None:
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _priority_update(new: Obj, old: Obj) -> list[Cause]:
    if new.get("value") != old.get("value"):
        return [forbidden_field("value", "may not be changed in an update.")]
    return validation.immutable("preemptionPolicy", new.get("preemptionPolicy"), old.get("preemptionPolicy"))


def _binding(obj: Obj, context: Context) -> None:
    for subject in obj.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            subject.setdefault("apiGroup", "rbac.authorization.k8s.io")
    obj.get("roleRef", {}).setdefault("apiGroup", "rbac.authorization.k8s.io")


def _definition_causes(definition: Obj) -> list[Cause]:
    """A CustomResourceDefinition that names everything by which its kind is found."""
    spec = definition.get("spec") or {}
    names = spec.get("names") or {}
    causes = [required(f"spec.{part}") for part in ("group", "scope", "versions") if not spec.get(part)]
    causes += [required(f"spec.names.{part}") for part in ("plural", "kind") if not names.get(part)]
    causes += [
        required(f"spec.versions[{i}].name") for i, one in enumerate(spec.get("versions") or []) if not one.get("name")
    ]
    wanted = f"{names.get('plural')}.{spec.get('group')}"
    if not causes and definition["metadata"].get("name") != wanted:
        why = "must be spec.names.plural+'.'+spec.group"
        causes.append(invalid("metadata.name", validation.quoted(definition["metadata"].get("name")), why))
    return causes


def _definition_update(new: Obj, old: Obj) -> list[Cause]:
    return _definition_causes(new)


DEFINITION = Strategy(validate=_definition_causes, validate_update=_definition_update, generation=True)
NODE = Strategy(prepare_create=_node, validate=_node_causes, validate_update=_node_update, status_on_create=True)
NAMESPACE = Strategy(
    prepare_create=_namespace,
    prepare_update=_namespace_update,
    held=_namespace_held,
    terminating=_namespace_terminating,
    label_names=True,
    returns_deleted=True,
)
LEASE = Strategy(
    validate=_lease_causes, validate_update=_lease_update, unconditional_update=False, create_on_update=True
)
SECRET = Strategy(
    prepare_create=_secret,
    prepare_update=_secret_prepare_update,
    validate=_secret_causes,
    validate_update=_secret_update,
)
CONFIG_MAP = Strategy(validate=_data_causes, validate_update=_config_map_update)
SERVICE_ACCOUNT = Strategy(returns_deleted=True)
EVENT = Strategy(validate=_event_causes, create_on_update=True)
PRIORITY_CLASS = Strategy(prepare_create=_priority_class, validate_update=_priority_update, generation=True)
RBAC = Strategy(path_names=True, create_on_update=True)
RBAC_BINDING = Strategy(prepare_create=_binding, path_names=True, create_on_update=True)
