"""How pods are written: defaults, admission, validation, what may change later, and the grace of their deletion."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

from hamgr_sandbox.apiserver import validation
from hamgr_sandbox.apiserver.clock import timestamp
from hamgr_sandbox.apiserver.errors import Cause, forbidden_field, invalid, required, unsupported
from hamgr_sandbox.apiserver.kinds import Context, Strategy
from hamgr_sandbox.apiserver.schema import clone

Obj = dict[str, Any]

_RANDOM_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # no vowels, so that no words come out
_ACCOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
_PRIORITIES = {"system-cluster-critical": 2000000000, "system-node-critical": 2000001000}


def random_suffix(length: int = 5) -> str:
    """The random end of a generated name."""
    return "".join(random.choices(_RANDOM_ALPHABET, k=length))


# --- defaults ---------------------------------------------------------------------------------------------------------


def _probe_defaults(probe: Obj) -> None:
    for name, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        probe.setdefault(name, value)
    _handler_defaults(probe)


def _handler_defaults(handler: Obj) -> None:
    if "httpGet" in handler:
        handler["httpGet"].setdefault("path", "/")
        handler["httpGet"].setdefault("scheme", "HTTP")
    if "grpc" in handler:
        handler["grpc"].setdefault("service", "")


def _container_defaults(container: Obj) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    tag = container.get("image", "").rpartition("/")[2].partition("@")
    latest = not tag[1] and tag[0].partition(":")[2] in ("", "latest")
    container.setdefault("imagePullPolicy", "Always" if latest else "IfNotPresent")
    for port in container.get("ports", []):
        port.setdefault("protocol", "TCP")
    for name in ("livenessProbe", "readinessProbe", "startupProbe"):
        if name in container:
            _probe_defaults(container[name])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict):
            _handler_defaults(hook)
    for variable in container.get("env", []):
        field_ref = (variable.get("valueFrom") or {}).get("fieldRef")
        if field_ref is not None:
            field_ref.setdefault("apiVersion", "v1")
    limits = container.get("resources", {}).get("limits")
    if limits:
        container["resources"]["requests"] = {**limits, **container["resources"].get("requests", {})}


_VOLUME_MODES = ("secret", "configMap", "downwardAPI", "projected")


def _volume_defaults(volume: Obj) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for source in _VOLUME_MODES:
        if source in volume:
            volume[source].setdefault("defaultMode", 420)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    items = [volume.get("downwardAPI") or {}]
    for source in (volume.get("projected") or {}).get("sources", []):
        items.append(source.get("downwardAPI") or {})
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    for holder in items:
        for item in holder.get("items", []):
            if "fieldRef" in item:
                item["fieldRef"].setdefault("apiVersion", "v1")
    for template in [(volume.get("ephemeral") or {}).get("volumeClaimTemplate")]:
        if template:
            template.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def spec_defaults(spec: Obj) -> None:
    """The defaults of a pod spec, in a pod and in a pod template alike."""
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(group) or []:
            _container_defaults(container)
    for volume in spec.get("volumes") or []:
        _volume_defaults(volume)
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("securityContext", {})
    spec.setdefault("schedulerName", "default-scheduler")
    if spec.get("hostNetwork"):
        for container in spec.get("containers") or []:
            for port in container.get("ports", []):
                port.setdefault("hostPort", port.get("containerPort"))
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    elif "serviceAccount" in spec:
        spec["serviceAccountName"] = spec["serviceAccount"]


# --- admission --------------------------------------------------------------------------------------------------------


def _mount_account_token(spec: Obj) -> None:
    """ServiceAccount admission: every container gets the account's token, unless something is mounted there."""
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    wanting = [
        one
        for one in containers
        if all(mount.get("mountPath") != _ACCOUNT_PATH for mount in one.get("volumeMounts") or [])
    ]
    if spec.get("automountServiceAccountToken") is False or not wanting:
        return
    name = f"kube-api-access-{random_suffix()}"
    spec.setdefault("volumes", []).append(_account_volume(name))
    for container in wanting:
        mount = {"name": name, "readOnly": True, "mountPath": _ACCOUNT_PATH}
        container.setdefault("volumeMounts", []).append(mount)


def _account_volume(name: str) -> Obj:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [namespace]}},
        {
            "configMap": {
                "name": "openshift-service-ca.crt",
                "items": [{"key": "service-ca.crt", "path": "service-ca.crt"}],
            }
        },
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": 420}}


def _tolerate_lost_nodes(spec: Obj) -> None:
    """DefaultTolerationSeconds admission: five minutes on a node that is not ready or unreachable."""
    present = spec.get("tolerations") or []
    added = [
        {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        for key in _TOLERATED
        if not any(_tolerates(one, key) for one in present)
    ]
    if present or added:
        spec["tolerations"] = [*present, *added]


def _tolerates(toleration: Obj, key: str) -> bool:
    return toleration.get("key", "") in ("", key) and toleration.get("effect", "") in ("", "NoExecute")


def _assign_priority(spec: Obj, context: Context) -> None:
    """Priority admission: the number and preemption policy of the named class, or of the default class, or 0."""
    classes = {one["metadata"]["name"]: one for one in context.storage.items("scheduling.k8s.io/priorityclasses")}
    name = spec.get("priorityClassName")
    chosen = classes.get(name) if name else next((one for one in classes.values() if one.get("globalDefault")), None)
    if chosen is not None:
        spec["priorityClassName"] = chosen["metadata"]["name"]
        spec["priority"] = chosen["value"]
        spec.setdefault("preemptionPolicy", chosen.get("preemptionPolicy", "PreemptLowerPriority"))
    else:
        spec["priority"] = _PRIORITIES.get(name or "", 0)
        spec.setdefault("preemptionPolicy", "PreemptLowerPriority")


def quality_of_service(spec: Obj) -> str:
    """BestEffort, Burstable or Guaranteed, from the requests and limits of the containers."""
    containers = [*(spec.get("containers") or []), *(spec.get("initContainers") or [])]
    resources = [container.get("resources") or {} for container in containers]
    relevant = [
        {
            part: {k: v for k, v in (one.get(part) or {}).items() if k in ("cpu", "memory")}
            for part in ("requests", "limits")
        }
        for one in resources
    ]
    if all(not one["requests"] and not one["limits"] for one in relevant):
        return "BestEffort"
    guaranteed = all(set(one["limits"]) == {"cpu", "memory"} and one["requests"] == one["limits"] for one in relevant)
    return "Guaranteed" if guaranteed else "Burstable"


def _prepare_create(pod: Obj, context: Context) -> None:
    spec = pod["spec"]
    if spec.get("containers") is None:
        return  # validation says so
    spec.setdefault("serviceAccountName", spec.get("serviceAccount", "default"))
    spec_defaults(spec)
    spec.setdefault("enableServiceLinks", True)
    _mount_account_token(spec)
    _tolerate_lost_nodes(spec)
    _assign_priority(spec, context)
    pod["status"] = {"phase": "Pending", "qosClass": quality_of_service(spec)}
    if spec.get("schedulingGates"):
        gated = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "lastTransitionTime": timestamp(),
            "reason": "SchedulingGated",
            "message": "Scheduling is blocked due to non-empty scheduling gates",
        }
        pod["status"]["conditions"] = [gated]


# --- validation -------------------------------------------------------------------------------------------------------


def _container_causes(container: Obj, path: str) -> list[Cause]:
    causes = []
    if not container.get("name"):
        causes.append(required(f"{path}.name"))
    else:
        causes += validation.dns_label(f"{path}.name", container["name"])
    if not container.get("image"):
        causes.append(required(f"{path}.image"))
    for i, port in enumerate(container.get("ports", [])):
        where = f"{path}.ports[{i}].containerPort"
        if "containerPort" not in port:
            causes.append(required(where))
        causes += validation.in_range(where, port.get("containerPort"), 1, 65535)
    for i, mount in enumerate(container.get("volumeMounts", [])):
        if not mount.get("mountPath"):
            causes.append(required(f"{path}.volumeMounts[{i}].mountPath"))
    return causes


def spec_causes(spec: Obj, path: str = "spec", added: Iterable[str] = ()) -> list[Cause]:
    """What is wrong with a pod spec. added: volumes that a controller will add to it."""
    causes: list[Cause] = []
    if not spec.get("containers"):
        return [required(f"{path}.containers")]
    volumes = {volume.get("name") for volume in spec.get("volumes") or []} | set(added)
    for group in ("initContainers", "containers"):
        containers = spec.get(group) or []
        causes += validation.unique(f"{path}.{group}", containers, "name")
        for i, container in enumerate(containers):
            causes += _container_causes(container, f"{path}.{group}[{i}]")
            for k, mount in enumerate(container.get("volumeMounts", [])):
                if mount.get("name") not in volumes:
                    where = f"{path}.{group}[{i}].volumeMounts[{k}].name"
                    causes.append(
                        Cause(where, "FieldValueNotFound", f"Not found: {validation.quoted(mount.get('name'))}")
                    )
    for i, volume in enumerate(spec.get("volumes") or []):
        causes += validation.dns_label(f"{path}.volumes[{i}].name", volume.get("name") or "")
    causes += validation.unique(f"{path}.volumes", spec.get("volumes") or [], "name")
    if spec.get("restartPolicy") not in (None, "Always", "OnFailure", "Never"):
        supported = ("Always", "OnFailure", "Never")
        causes.append(unsupported(f"{path}.restartPolicy", validation.quoted(spec["restartPolicy"]), supported))
    causes += validation.not_negative(
        f"{path}.terminationGracePeriodSeconds", spec.get("terminationGracePeriodSeconds")
    )
    if spec.get("nodeName"):
        causes += validation.dns_subdomain(f"{path}.nodeName", spec["nodeName"])
        if spec.get("schedulingGates"):
            causes.append(
                forbidden_field(f"{path}.nodeName", "cannot be set until all schedulingGates have been cleared")
            )
    return causes


def _validate(pod: Obj) -> list[Cause]:
    return spec_causes(pod["spec"])


_UPDATABLE = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def _without_updatable(spec: Obj) -> Obj:
    """The part of a spec that may never change."""
    rest = {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations", "schedulingGates")}
    for group in ("containers", "initContainers"):
        if group in rest:
            rest[group] = [{k: v for k, v in one.items() if k != "image"} for one in rest[group] or []]
    return rest


def _changed_lines(new: Obj, old: Obj) -> str:
    lines = []
    for key in sorted({*new, *old}):
        if new.get(key) != old.get(key):
            lines += [f"- {validation.quoted(key)}: {validation.quoted(old.get(key))}"]
            lines += [f"+ {validation.quoted(key)}: {validation.quoted(new.get(key))}"]
    return "".join(line + "\n" for line in lines)


def _validate_update(new: Obj, old: Obj) -> list[Cause]:
    spec, before = new["spec"], old["spec"]
    causes = []
    gates = [one.get("name") for one in before.get("schedulingGates") or []]
    for i, gate in enumerate(spec.get("schedulingGates") or []):
        if gate.get("name") not in gates:
            why = "only deletion is allowed, but found new scheduling gate"
            causes.append(forbidden_field(f"spec.schedulingGates[{i}]", f"{why} '{gate.get('name')}'"))
    kept = spec.get("tolerations") or []
    if any(one not in kept for one in before.get("tolerations") or []):
        causes.append(
            forbidden_field("spec.tolerations", "existing toleration can not be modified except its tolerationSeconds")
        )
    deadline, was = spec.get("activeDeadlineSeconds"), before.get("activeDeadlineSeconds")
    if was is not None and (deadline is None or deadline > was):
        why = f"must be less than or equal to the previous value of {was}"
        causes.append(invalid("spec.activeDeadlineSeconds", validation.quoted(deadline), why))
    fixed, fixed_before = _without_updatable(spec), _without_updatable(before)
    gated = bool(gates)
    if gated:  # a gated pod's placement may still be narrowed
        for rest in (fixed, fixed_before):
            rest.pop("nodeSelector", None)
            rest.pop("affinity", None)
    if fixed != fixed_before:
        why = f"{_UPDATABLE}\n{_changed_lines(fixed, fixed_before)}"
        causes.append(forbidden_field("spec", why))
    return causes


def _prepare_update(new: Obj, old: Obj, context: Context) -> None:
    spec = new["spec"]
    if spec.get("containers"):
        spec_defaults(spec)
    new["status"] = clone(old["status"])


def grace(pod: Obj, requested: int | None) -> int:
    """Seconds that a pod gets to end: what was asked for, or its own; none when no kubelet could be waiting for it."""
    spec, phase = pod["spec"], (pod.get("status") or {}).get("phase")
    period = requested if requested is not None else spec.get("terminationGracePeriodSeconds", 0)
    if not spec.get("nodeName") or phase in ("Failed", "Succeeded"):
        return 0
    return 1 if period < 0 else period


STRATEGY = Strategy(
    prepare_create=_prepare_create,
    prepare_update=_prepare_update,
    validate=_validate,
    validate_update=_validate_update,
    grace=grace,
    generation=True,
    returns_deleted=True,
)
