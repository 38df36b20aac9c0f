"""Requests in Kubernetes' protobuf encoding, which kubectl sends for what it makes up itself.

`kubectl create namespace|deployment|...`, `kubectl drain` and `kubectl auth can-i` write protobuf whatever the server
says it understands; answers may be JSON. So only reading is needed, of the kinds that kubectl makes up, and of the
fields that it fills in. Field numbers are those of the published API; anything else is refused with 415.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from hamgr_sandbox.apiserver import schema
from hamgr_sandbox.apiserver.errors import ApiFailure
from hamgr_sandbox.apiserver.schema import ANY, QUANTITIES, Type

Obj = dict[str, Any]

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\0"


def _numbered(text: str) -> dict[int, str]:
    """ "metadata spec - status" -> {1: metadata, 2: spec, 4: status}; "N=name" sets a number of its own."""
    found = {}
    number = 0
    for word in text.split():
        explicit, equals, name = word.rpartition("=")
        number = int(explicit) if equals else number + 1
        if name != "-":
            found[number] = name
    return found


_WHOLE = "metadata spec status"
_FIELDS: Mapping[str, dict[int, str]] = {
    model: _numbered(text)
    for model, text in {
        "V1ObjectMeta": "name generateName namespace selfLink uid resourceVersion generation creationTimestamp "
        "deletionTimestamp deletionGracePeriodSeconds labels annotations ownerReferences finalizers",
        "V1OwnerReference": "kind 3=name uid apiVersion controller blockOwnerDeletion",
        "V1LabelSelector": "matchLabels matchExpressions",
        "V1LabelSelectorRequirement": "key operator values",
        "V1Namespace": _WHOLE,
        "V1NamespaceSpec": "finalizers",
        "V1ConfigMap": "metadata data binaryData immutable",
        "V1Secret": "metadata data type stringData immutable",
        "V1ServiceAccount": "metadata secrets imagePullSecrets automountServiceAccountToken",
        "V1Service": _WHOLE,
        "V1ServiceSpec": "ports selector clusterIP type externalIPs 7=sessionAffinity loadBalancerIP "
        "loadBalancerSourceRanges externalName externalTrafficPolicy healthCheckNodePort publishNotReadyAddresses "
        "18=clusterIPs",
        "V1ServicePort": "name protocol port targetPort nodePort appProtocol",
        "V1ResourceQuota": _WHOLE,
        "V1ResourceQuotaSpec": "hard scopes",
        "V1Pod": _WHOLE,
        "V1PodTemplateSpec": "metadata spec",
        "V1PodSpec": "volumes containers restartPolicy terminationGracePeriodSeconds activeDeadlineSeconds dnsPolicy "
        "nodeSelector serviceAccountName serviceAccount nodeName hostNetwork hostPID hostIPC securityContext "
        "imagePullSecrets hostname subdomain affinity schedulerName initContainers automountServiceAccountToken "
        "tolerations hostAliases priorityClassName priority",
        "V1Container": "name image command args workingDir ports env resources volumeMounts 13=terminationMessagePath "
        "imagePullPolicy 16=stdin stdinOnce tty 20=terminationMessagePolicy",
        "V1ContainerPort": "name hostPort containerPort protocol hostIP",
        "V1EnvVar": "name value",
        "V1ResourceRequirements": "limits requests",
        "V1LocalObjectReference": "name",
        "V1Deployment": _WHOLE,
        "V1DeploymentSpec": "replicas selector template strategy minReadySeconds revisionHistoryLimit paused "
        "9=progressDeadlineSeconds",
        "V1DeploymentStrategy": "type",
        "V1Job": _WHOLE,
        "V1JobSpec": "parallelism completions activeDeadlineSeconds selector manualSelector template backoffLimit "
        "ttlSecondsAfterFinished",
        "V1CronJob": _WHOLE,
        "V1CronJobSpec": "schedule startingDeadlineSeconds concurrencyPolicy suspend jobTemplate "
        "successfulJobsHistoryLimit failedJobsHistoryLimit timeZone",
        "V1JobTemplateSpec": "metadata spec",
        "V1PodDisruptionBudget": _WHOLE,
        "V1PodDisruptionBudgetSpec": "minAvailable selector maxUnavailable",
        "V1PriorityClass": "metadata value globalDefault description preemptionPolicy",
        "V1Role": "metadata rules",
        "V1ClusterRole": "metadata rules",
        "V1PolicyRule": "verbs apiGroups resources resourceNames nonResourceURLs",
        "V1RoleBinding": "metadata subjects roleRef",
        "V1ClusterRoleBinding": "metadata subjects roleRef",
        "RbacV1Subject": "kind apiGroup name namespace",
        "V1RoleRef": "apiGroup kind name",
        "V1Eviction": "metadata deleteOptions",
        "V1DeleteOptions": "gracePeriodSeconds preconditions orphanDependents propagationPolicy dryRun",
        "V1Preconditions": "uid resourceVersion",
        "V1SelfSubjectAccessReview": _WHOLE,
        "V1SelfSubjectAccessReviewSpec": "resourceAttributes nonResourceAttributes",
        "V1ResourceAttributes": "namespace verb group version resource subresource name",
        "V1NonResourceAttributes": "path verb",
        "V1SelfSubjectReview": "metadata status",
    }.items()
}

# Go writes every number and string that is not a pointer, zero or not; here zero was meant.
_MEANT_ZERO = frozenset(
    {
        ("V1DeploymentSpec", "replicas"),
        ("V1JobSpec", "backoffLimit"),
        ("V1DeleteOptions", "gracePeriodSeconds"),
        ("V1DeleteOptions", "orphanDependents"),
        ("V1PriorityClass", "value"),
    }
)


def _refuse(why: str) -> ApiFailure:
    message = f"the sandbox's API server reads protobuf only as far as kubectl makes it up: {why}; send JSON instead"
    return ApiFailure(415, "UnsupportedMediaType", message, {})


def decode(raw: bytes) -> Obj:
    """The object in a protobuf request body; raises ApiFailure 415 for what is not known here."""
    if not raw.startswith(_MAGIC):
        raise _refuse("the body does not begin with k8s\\0")
    envelope = dict(_parts(raw[len(_MAGIC) :]))
    type_meta = dict(_parts(_as_bytes(envelope.get(1, b""))))
    api_version, kind = (_as_bytes(type_meta.get(number, b"")).decode() for number in (1, 2))
    model = _model(api_version, kind)
    body = _struct(model, _as_bytes(envelope.get(2, b"")))
    return {"apiVersion": api_version, "kind": kind, **body}


def _model(api_version: str, kind: str) -> str:
    model = "V1" + kind
    if model not in _FIELDS or not api_version.endswith("v1"):
        raise _refuse(f"{api_version} {kind} is not among it")
    return model


def _as_bytes(value: int | bytes) -> bytes:
    return value if isinstance(value, bytes) else b""


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if not byte & 0x80:
            return value, at


def _parts(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: number and value, an int or the bytes of what has a length."""
    at = 0
    try:
        while at < len(raw):
            tag, at = _varint(raw, at)
            number, wire = tag >> 3, tag & 7
            if wire == 0:
                value, at = _varint(raw, at)
                yield number, value - (1 << 64) if value >> 63 else value
            elif wire == 2:
                length, at = _varint(raw, at)
                if at + length > len(raw):
                    raise _refuse("the message is cut short")
                yield number, raw[at : at + length]
                at += length
            else:
                raise _refuse(f"wire type {wire}")
    except IndexError as error:
        raise _refuse("the message is cut short") from error


def _struct(model: str, raw: bytes) -> Obj:
    names = _FIELDS.get(model)
    types = schema.fields(model)
    result: Obj = {}
    for number, value in _parts(raw):
        name = (names or {}).get(number)
        if name is None:
            if model.endswith("Status"):
                continue  # nobody may set it this way
            raise _refuse(f"field {number} of {model}")
        type_ = types.get(name, ANY)
        if type_.shape == "list":
            result.setdefault(name, []).append(_single(type_.item or ANY, value, model, name))
        elif type_.shape == "map":
            key, one = _entry(type_.item or ANY, _as_bytes(value), model, name)
            result.setdefault(name, {})[key] = one
        else:
            found = _single(type_, value, model, name)
            if found not in (None, "", 0) or ((model, name) in _MEANT_ZERO and found is not None):
                result[name] = found
    return result


def _entry(item: Type, raw: bytes, model: str, name: str) -> tuple[str, Any]:
    parts = dict(_parts(raw))
    return _as_bytes(parts.get(1, b"")).decode(), _single(item, parts.get(2, b""), model, name)


def _single(type_: Type, value: int | bytes, model: str, name: str) -> Any:
    if isinstance(value, int):
        return bool(value) if type_.name == "boolean" else value
    if (model, name) in QUANTITIES:
        return _as_bytes(dict(_parts(value)).get(1, b"")).decode()
    if (model, name) in (("V1Secret", "data"), ("V1ConfigMap", "binaryData")):
        return base64.b64encode(value).decode()
    if type_.shape == "struct":
        return _struct(type_.name, value)
    if type_.name == "time":
        return _time(value)
    if type_.shape == "any":
        return _int_or_string(value)
    return value.decode()


def _time(raw: bytes) -> str | None:
    seconds = dict(_parts(raw)).get(1)
    if not isinstance(seconds, int):
        return None
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _int_or_string(raw: bytes) -> int | str:
    parts = dict(_parts(raw))
    if parts.get(1):
        return _as_bytes(parts.get(3, b"")).decode()
    number = parts.get(2, 0)
    return number if isinstance(number, int) else 0
