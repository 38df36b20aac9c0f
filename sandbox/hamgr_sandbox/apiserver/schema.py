"""What fields Kubernetes' objects have, so that unknown ones are dropped and wrong types refused.

The field types are read from the sources of the official client's generated models, which say for every field its
JSON name and its type. Reading the text of a model costs a tenth of a millisecond; importing all of them costs a
second and 60 MB, so nothing is imported. Both layouts of the generator (client 32 to 37) name the two tables alike.

Two things the client's models do not tell are tables here: fields that Go writes although they are empty, and fields
that hold quantities.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Obj = dict[str, Any]
Shape = Literal["scalar", "struct", "list", "map", "any"]


@dataclass(frozen=True, slots=True)
class Type:
    """The type of a field: a scalar (string, integer, number, boolean, time), a struct, or a list or map of a type."""

    shape: Shape
    name: str = ""
    item: Type | None = None

    def go(self) -> str:
        """The type as Go's decoder would name it in a complaint."""
        if self.shape == "list":
            return f"[]{self.item.go() if self.item else ''}"
        if self.shape == "map":
            return f"map[string]{self.item.go() if self.item else ''}"
        if self.shape == "struct":
            return "v1." + re.sub(r"^(?:[A-Z][a-z]+)?V\d+", "", self.name)
        return {"integer": "int32", "boolean": "bool", "number": "float64", "time": "time.Time"}.get(
            self.name, "string"
        )


ANY = Type("any")
_SCALARS = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "datetime": "time",
    "date": "time",
    "bytearray": "string",
}

# Fields that Go writes without `omitempty`, or as structs by value, which are never empty to it. STRUCT is the empty
# value of the field's own struct.
STRUCT = "\0struct"
ALWAYS: Mapping[str, Mapping[str, Any]] = {
    "V1Pod": {"spec": STRUCT, "status": STRUCT},
    "V1PodSpec": {"containers": None},
    "V1PodTemplateSpec": {"metadata": STRUCT, "spec": STRUCT},
    "V1Container": {"resources": STRUCT},
    "V1EphemeralContainer": {"resources": STRUCT},
    "V1ContainerStatus": {
        "state": STRUCT,
        "lastState": STRUCT,
        "ready": False,
        "restartCount": 0,
        "image": "",
        "imageID": "",
    },
    "V1ContainerStateRunning": {"startedAt": None},
    "V1ContainerStateTerminated": {"exitCode": 0, "startedAt": None, "finishedAt": None},
    "V1PodCondition": {"lastProbeTime": None, "lastTransitionTime": None},
    "V1Node": {"spec": STRUCT, "status": STRUCT},
    "V1NodeStatus": {"daemonEndpoints": STRUCT, "nodeInfo": STRUCT},
    "V1NodeDaemonEndpoints": {"kubeletEndpoint": STRUCT},
    "V1DaemonEndpoint": {"Port": 0},
    "V1NodeSystemInfo": dict.fromkeys(
        (
            "machineID",
            "systemUUID",
            "bootID",
            "kernelVersion",
            "osImage",
            "containerRuntimeVersion",
            "kubeletVersion",
            "kubeProxyVersion",
            "operatingSystem",
            "architecture",
        ),
        "",
    ),
    "V1NodeCondition": {"lastHeartbeatTime": None, "lastTransitionTime": None},
    "V1Namespace": {"spec": STRUCT, "status": STRUCT},
    "V1Service": {"spec": STRUCT, "status": STRUCT},
    "V1ServiceStatus": {"loadBalancer": STRUCT},
    "V1PersistentVolume": {"spec": STRUCT, "status": STRUCT},
    "V1PersistentVolumeClaim": {"spec": STRUCT, "status": STRUCT},
    "V1PersistentVolumeClaimSpec": {"resources": STRUCT},
    "V1ReplicationController": {"spec": STRUCT, "status": STRUCT},
    "V1ReplicationControllerStatus": {"replicas": 0},
    "V1ResourceQuota": {"spec": STRUCT, "status": STRUCT},
    "V1Deployment": {"spec": STRUCT, "status": STRUCT},
    "V1DeploymentSpec": {"selector": None, "template": STRUCT, "strategy": STRUCT},
    "V1DeploymentCondition": {"lastUpdateTime": None, "lastTransitionTime": None},
    "V1ReplicaSet": {"spec": STRUCT, "status": STRUCT},
    "V1ReplicaSetSpec": {"selector": None},
    "V1ReplicaSetStatus": {"replicas": 0},
    "V1StatefulSet": {"spec": STRUCT, "status": STRUCT},
    "V1StatefulSetSpec": {"selector": None, "template": STRUCT, "updateStrategy": STRUCT},
    "V1StatefulSetStatus": {"replicas": 0, "availableReplicas": 0},
    "V1DaemonSet": {"spec": STRUCT, "status": STRUCT},
    "V1DaemonSetSpec": {"selector": None, "template": STRUCT, "updateStrategy": STRUCT},
    "V1DaemonSetStatus": {
        "currentNumberScheduled": 0,
        "numberMisscheduled": 0,
        "desiredNumberScheduled": 0,
        "numberReady": 0,
    },
    "V1Job": {"spec": STRUCT, "status": STRUCT},
    "V1JobSpec": {"template": STRUCT},
    "V1CronJob": {"spec": STRUCT, "status": STRUCT},
    "V1PodDisruptionBudget": {"spec": STRUCT, "status": STRUCT},
    "V1PodDisruptionBudgetStatus": {
        "disruptionsAllowed": 0,
        "currentHealthy": 0,
        "desiredHealthy": 0,
        "expectedPods": 0,
    },
    "V1VolumeAttachment": {"spec": STRUCT, "status": STRUCT},
    "V1VolumeAttachmentSpec": {"source": STRUCT},
    "V1VolumeAttachmentStatus": {"attached": False},
    "V1CSIDriver": {"spec": STRUCT},
    "V1CSINode": {"spec": STRUCT},
    "V1CSINodeSpec": {"drivers": None},
    "V1Lease": {"spec": STRUCT},
    "V1EndpointSlice": {"endpoints": None, "ports": None},
    "V1Endpoint": {"addresses": None, "conditions": STRUCT},
    "CoreV1Event": {
        "involvedObject": STRUCT,
        "source": STRUCT,
        "firstTimestamp": None,
        "lastTimestamp": None,
        "eventTime": None,
        "reportingComponent": "",
        "reportingInstance": "",
    },
    "EventsV1Event": {"eventTime": None, "regarding": STRUCT},
    "V1ClusterRole": {"rules": None},
    "V1Role": {"rules": None},
    "V1PodTemplate": {"template": STRUCT},
    "V1Scale": {"spec": STRUCT, "status": STRUCT},
    "V1ScaleStatus": {"replicas": 0},
    "V1LimitRange": {"spec": STRUCT},
    "V1NetworkPolicy": {"spec": STRUCT},
    "V1Ingress": {"spec": STRUCT, "status": STRUCT},
    "V1FlowSchema": {"spec": STRUCT, "status": STRUCT},
    "V1PriorityLevelConfiguration": {"spec": STRUCT, "status": STRUCT},
    "V2HorizontalPodAutoscaler": {"spec": STRUCT, "status": STRUCT},
    "V1PriorityClass": {"value": 0},
}

# Numbers in a status that Go leaves out when they are zero.
OMIT_ZERO: Mapping[str, frozenset[str]] = {
    "V1DeploymentStatus": frozenset(
        {"replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "unavailableReplicas"}
    ),
    "V1ReplicaSetStatus": frozenset({"fullyLabeledReplicas", "readyReplicas", "availableReplicas"}),
    "V1StatefulSetStatus": frozenset({"readyReplicas", "currentReplicas", "updatedReplicas"}),
}

# Maps and fields whose strings are quantities: Go also reads a bare number there.
QUANTITIES = frozenset(
    {
        ("V1ResourceRequirements", "limits"),
        ("V1ResourceRequirements", "requests"),
        ("V1VolumeResourceRequirements", "limits"),
        ("V1VolumeResourceRequirements", "requests"),
        ("V1PersistentVolumeSpec", "capacity"),
        ("V1PersistentVolumeClaimStatus", "capacity"),
        ("V1PersistentVolumeClaimStatus", "allocatedResources"),
        ("V1NodeStatus", "capacity"),
        ("V1NodeStatus", "allocatable"),
        ("V1PodSpec", "overhead"),
        ("V1EmptyDirVolumeSource", "sizeLimit"),
        ("V1ResourceFieldSelector", "divisor"),
        ("V1ResourceQuotaSpec", "hard"),
        ("V1ResourceQuotaStatus", "hard"),
        ("V1ResourceQuotaStatus", "used"),
        ("V1CSIStorageCapacity", "capacity"),
    }
)

# Maps that stay although they are empty, because their presence means something.
KEEP_EMPTY = frozenset({("V1EndpointSlice", "endpoints")})


class WrongType(Exception):
    """A value whose JSON type does not fit its field; the text is Go's decoder's."""


@functools.cache
def _sources() -> dict[str, Path]:
    spec = importlib.util.find_spec("kubernetes")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the package 'kubernetes' is not installed: its models tell the fields of every kind")
    models = Path(spec.submodule_search_locations[0]) / "client" / "models"
    return {path.stem.replace("_", ""): path for path in models.glob("*.py")}


def _table(text: str, name: str) -> dict[str, str]:
    found = re.search(rf"^    {name}\b[^=\n]*= (\{{.*?^    \}}|\{{\}})", text, re.DOTALL | re.MULTILINE)
    if found is None:
        return {}
    table: dict[str, str] = ast.literal_eval(found.group(1))
    return table


def _parse_type(text: str) -> Type:
    wrapped = re.fullmatch(r"(list|dict)[\[(](?:str, )?(.*)[\])]", text, re.IGNORECASE)
    if wrapped:
        shape: Shape = "list" if wrapped.group(1).lower() == "list" else "map"
        return Type(shape, item=_parse_type(wrapped.group(2)))
    if text in _SCALARS:
        return Type("scalar", _SCALARS[text])
    if text in {"object", "Any"} or text.replace("_", "").lower() not in _sources():
        return ANY
    return Type("struct", text)


@functools.cache
def fields(model: str) -> dict[str, Type]:
    """JSON field name -> type, of one of the official client's models, such as V1PodSpec."""
    path = _sources().get(model.replace("_", "").lower())
    if path is None:
        raise LookupError(f"the official Kubernetes client has no model {model}")
    text = path.read_text(encoding="utf-8")
    types, names = _table(text, "openapi_types"), _table(text, "attribute_map")
    return {names[attribute]: _parse_type(type_) for attribute, type_ in types.items()}


@functools.cache
def descriptions(model: str) -> dict[str, str]:
    """JSON field name -> description, where the installed client's source tells it on the field's own line."""
    path = _sources()[model.replace("_", "").lower()]
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match = re.match(r'^    \w+: .*?Field\(.*?description=("(?:[^"\\]|\\.)*")', line)
        if match:
            alias = re.search(r'serialization_alias="(\w+)"', line)
            name = alias.group(1) if alias else line.split(":", 1)[0].strip()
            found[name] = ast.literal_eval(match.group(1))
    return found


@dataclass(slots=True)
class Decoded:
    """An object with its known fields only, and the paths of the unknown ones."""

    value: Obj
    unknown: list[str] = field(default_factory=list)


def decode(model: str, value: Obj) -> Decoded:
    """Bring an object to the form that Go would write back: known fields, right types, no empty lists and maps.

    Raises WrongType. The result shares nothing mutable with `value`.
    """
    decoded = Decoded({})
    decoded.value = _struct(model, value, "", decoded.unknown)
    return decoded


def zero(model: str) -> Obj:
    """The empty object of a model, as Go writes it (a watch bookmark carries one)."""
    return _struct(model, {}, "", [])


def clone(value: Any) -> Any:
    """A deep copy of JSON data; four times as fast as copy.deepcopy."""
    if isinstance(value, dict):
        return {key: clone(one) for key, one in value.items()}
    if isinstance(value, list):
        return [clone(one) for one in value]
    return value


def _struct(model: str, value: Obj, path: str, unknown: list[str]) -> Obj:
    known = fields(model)
    result: Obj = {}
    omit_zero = OMIT_ZERO.get(model, frozenset())
    for name, raw in value.items():
        type_ = known.get(name)
        here = f"{path}.{name}" if path else name
        if type_ is None:
            unknown.append(here)
        elif raw is not None:
            one = _value(type_, raw, model, name, here, unknown)
            empty = one in ({}, []) and type_.shape in ("list", "map") and (model, name) not in KEEP_EMPTY
            if not empty and not (name in omit_zero and one == 0):
                result[name] = one
    for name, default in ALWAYS.get(model, {}).items():
        if name not in result:
            type_ = known[name]
            result[name] = _struct(type_.name, {}, "", []) if default is STRUCT else default
    return result


def _value(type_: Type, raw: Any, model: str, name: str, path: str, unknown: list[str]) -> Any:
    if type_.shape == "any":
        return clone(raw)
    if type_.shape == "struct":
        if not isinstance(raw, dict):
            raise WrongType(_mismatch(raw, model, path, type_))
        return _struct(type_.name, raw, path, unknown)
    if type_.shape == "list":
        if not isinstance(raw, list):
            raise WrongType(_mismatch(raw, model, path, type_))
        item = type_.item or ANY
        return [_value(item, one, model, name, f"{path}[{i}]", unknown) for i, one in enumerate(raw) if one is not None]
    if type_.shape == "map":
        if not isinstance(raw, dict):
            raise WrongType(_mismatch(raw, model, path, type_))
        item = type_.item or ANY
        return {key: _map_value(item, one, model, name, path, unknown) for key, one in raw.items()}
    return _scalar(type_, raw, model, name, path)


def _map_value(item: Type, raw: Any, model: str, name: str, path: str, unknown: list[str]) -> Any:
    if raw is None and item.name == "string":
        return ""  # Go reads null into a string as the empty string
    return _value(item, raw, model, name, path, unknown)


def _scalar(type_: Type, raw: Any, model: str, name: str, path: str) -> Any:
    if type_.name == "boolean":
        fits = isinstance(raw, bool)
    elif type_.name == "integer":
        fits = isinstance(raw, int) and not isinstance(raw, bool)
    elif type_.name == "number":
        fits = isinstance(raw, (int, float)) and not isinstance(raw, bool)
    elif (model, name) in QUANTITIES and isinstance(raw, (int, float)) and not isinstance(raw, bool):
        return str(raw)
    else:
        fits = isinstance(raw, str)
    if not fits:
        raise WrongType(_mismatch(raw, model, path, type_))
    return raw


def _mismatch(raw: Any, model: str, path: str, type_: Type) -> str:
    if isinstance(raw, bool):
        found = "bool"
    elif isinstance(raw, (int, float)):
        found = "number"
    else:
        found = "string" if isinstance(raw, str) else "array" if isinstance(raw, list) else "object"
    owner = re.sub(r"^(?:[A-Z][a-z]+)?V\d+", "", model)
    plain = re.sub(r"\[\d+\]", "", path)
    return f"json: cannot unmarshal {found} into Go struct field {owner}.{plain} of type {type_.go()}"
