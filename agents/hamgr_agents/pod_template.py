"""From a pod template to the pod of one resource on one node: pure functions over JSON."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import yaml

from hamgr.kube.objects import (
    ANNOTATION_PARKED,
    DEPLOYMENT,
    LABEL_CLUSTER,
    LABEL_NODE,
    LABEL_RESOURCE,
    LABEL_ROLE,
    SECRET,
    STATEFUL_SET,
    Kind,
    Obj,
    name_of,
)
from hamgr.kube.pods import SCHEDULER
from hamgr.kube.volumes import claims_of_set, first_pod_of_set

ANNOTATION_TEMPLATE = "hamgr.io/template"
"""Fingerprint of what the pod was made from: a parked pod made from another template is not adopted."""

CONFIG_MAP = Kind("ConfigMap", "/api/v1", "configmaps")
WORKLOADS = {"deployment": DEPLOYMENT, "statefulset": STATEFUL_SET}

# Labels by which other controllers would take the pod for one of theirs.
_FOREIGN_LABELS = (
    "pod-template-hash",
    "controller-revision-hash",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
)
# It is hamgr that decides when the pod leaves an unreachable node, not Kubernetes' taint manager after five minutes.
_TOLERATED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class TemplateError(ValueError):
    """The template cannot be made into a pod; the message says why."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An object that a pod cannot start without."""

    kind: Kind
    name: str
    used_for: str


class TemplateNotThere(TemplateError):
    """The workload that lends its template does not exist, or still runs pods of its own: that may change."""


def parse_template(text: str) -> Obj:
    """A pod template given as text, YAML or JSON: ``{metadata, spec}``, or a bare pod spec. Raises TemplateError."""
    try:
        parsed = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TemplateError(f"the template is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(parsed, dict):
        raise TemplateError("the template is not a mapping")
    template = {"spec": parsed} if "containers" in parsed else parsed
    return _checked(template, "the template")


@lru_cache(maxsize=1024)
def essence(text: str) -> str:
    """Of a pod template in text what its pod's end depends on, as JSON: the volumes, and who writes to them.

    Neither commands nor environment, where passwords may stand; of Secrets the names. Empty for a template that nobody
    can read: no pod was ever made of it.
    """
    try:
        spec = parse_template(text)["spec"]
    except TemplateError:
        return ""
    kept: Obj = {"volumes": [_without_attributes(volume) for volume in spec.get("volumes") or []]}
    for key in ("containers", "initContainers"):
        if spec.get(key):
            kept[key] = [
                {name: container[name] for name in ("name", "image", "volumeMounts") if name in container}
                for container in spec[key]
            ]
    return json.dumps({"spec": kept}, sort_keys=True)


def _without_attributes(volume: Obj) -> Obj:
    """A volume without what only its driver understands, and may hold a key."""
    return {
        kind: {k: v for k, v in source.items() if k not in ("volumeAttributes", "options")}
        if isinstance(source, dict)
        else source
        for kind, source in volume.items()
    }


def simple_template(image: str, port: int | None, claim: str, mount_path: str) -> Obj:
    """The template of one container with at most one port, probed, and one claim. Raises TemplateError."""
    container: Obj = {"name": "main", "image": image}
    spec: Obj = {"containers": [container]}
    if port is not None:
        container["ports"] = [{"containerPort": port}]
        container["readinessProbe"] = {"tcpSocket": {"port": port}, "periodSeconds": 1, "failureThreshold": 2}
    if bool(claim) != bool(mount_path):
        raise TemplateError("claim and mount_path belong together: give both or neither")
    if claim:
        container["volumeMounts"] = [{"name": "data", "mountPath": mount_path}]
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}]
    return {"spec": spec}


def parse_source(text: str) -> tuple[Kind, str]:
    """``deployment/NAME`` or ``statefulset/NAME``. Raises TemplateError."""
    kind, _, name = text.partition("/")
    if kind not in WORKLOADS or not name or "/" in name:
        raise TemplateError(f"template_from is {text!r}; it must be deployment/NAME or statefulset/NAME")
    return WORKLOADS[kind], name


def workload_template(workload: Mapping[str, Any], kind: Kind, *, identity: bool = True) -> Obj:
    """The template of a Deployment or StatefulSet that is scaled to 0. Raises TemplateError.

    The claims that a StatefulSet would have made for its first pod (``TEMPLATE-NAME-0``) are mounted by that name.
    identity: the pod also has that pod's stable host name (``NAME-0``, subdomain: the set's serviceName), as the
    StatefulSet controller would give it. Not for the instances of a clone, which are several at a time.
    """
    name = f"{kind.name} {name_of(workload)}"
    spec, status = workload.get("spec") or {}, workload.get("status") or {}
    asked, left = spec.get("replicas"), int(status.get("replicas") or 0)
    if asked != 0:
        asked = 1 if asked is None else asked
        told = f"{name} still asks for {asked} replicas of its own: scale it to 0 and let hamgr run it"
        raise TemplateNotThere(told)
    if left:
        told = f"{name} is scaled to 0, but {left} of its pods still exist: wait until they are gone"
        raise TemplateNotThere(told)
    template = _checked(copy.deepcopy(spec.get("template") or {}), f"the template of {name}")
    return _as_first_pod(template, workload, identity=identity) if kind is STATEFUL_SET else template


def _as_first_pod(template: Obj, workload: Mapping[str, Any], *, identity: bool) -> Obj:
    """What the StatefulSet controller makes of its template for the first ordinal (stateful_set_utils.go)."""
    spec = workload["spec"]
    first, made = first_pod_of_set(name_of(workload), spec), claims_of_set(name_of(workload), spec)
    kept = [volume for volume in template["spec"].get("volumes") or [] if volume.get("name") not in made]
    claims = [{"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in made.items()]
    if kept or claims:
        template["spec"]["volumes"] = [*kept, *claims]
    if identity:
        template["spec"] |= {"hostname": first, "subdomain": str(spec.get("serviceName") or "")}
    return template


def _checked(template: Obj, what: str) -> Obj:
    spec = template.get("spec")
    if not isinstance(spec, dict) or not isinstance(spec.get("containers"), list) or not spec["containers"]:
        raise TemplateError(f"{what} has no spec.containers")
    for container in spec["containers"]:
        if not isinstance(container, dict) or not container.get("name") or not container.get("image"):
            raise TemplateError(f"{what} has a container without name or image")
    return template


def pod_name(resource: str, node: str) -> str:
    """The one name of a resource's pod on a node."""
    return f"{resource}-{node}"


def render(template: Mapping[str, Any], *, cluster: str, resource: str, node: str, namespace: str) -> Obj:
    """The pod of ``resource`` for ``node``: labeled as hamgr's own, fingerprinted, inert until it is bound to it."""
    metadata, spec = template.get("metadata") or {}, copy.deepcopy(template["spec"])
    labels = {k: v for k, v in (metadata.get("labels") or {}).items() if k not in _FOREIGN_LABELS and k != LABEL_ROLE}
    labels |= {LABEL_CLUSTER: cluster, LABEL_RESOURCE: resource, LABEL_NODE: node}
    for decided_here in ("nodeName", "schedulingGates", "schedulerName"):
        spec.pop(decided_here, None)
    spec["tolerations"] = [*(spec.get("tolerations") or []), *_tolerations(spec)]
    annotations = {k: v for k, v in (metadata.get("annotations") or {}).items() if k != ANNOTATION_PARKED}
    annotations[ANNOTATION_TEMPLATE] = _fingerprint(spec, labels, annotations)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_name(resource, node),
            "namespace": namespace,
            "labels": labels,
            "annotations": annotations,
        },
        "spec": spec | {"schedulerName": SCHEDULER},
    }


def parked(pod: Mapping[str, Any]) -> Obj:
    """The same pod, marked as parked."""
    copied = copy.deepcopy(dict(pod))
    copied["metadata"]["annotations"][ANNOTATION_PARKED] = "true"
    return copied


def _tolerations(spec: Mapping[str, Any]) -> list[Obj]:
    present = {t.get("key") for t in spec.get("tolerations") or []}
    return [{"key": k, "operator": "Exists", "effect": "NoExecute"} for k in _TOLERATED if k not in present]


def _fingerprint(*parts: Any) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def references(pod: Mapping[str, Any]) -> list[Reference]:
    """The Secrets and ConfigMaps without which the kubelet cannot start the pod, each once, optional ones left out."""
    found = dict.fromkeys((*_of_containers(pod["spec"]), *_of_volumes(pod["spec"])))
    unique: dict[tuple[str, str], Reference] = {}
    for reference in found:
        unique.setdefault((reference.kind.name, reference.name), reference)
    return list(unique.values())


def _of_containers(spec: Mapping[str, Any]) -> Iterator[Reference]:
    for container in [*(spec.get("initContainers") or []), *spec["containers"]]:
        for variable in container.get("env") or []:
            source = variable.get("valueFrom") or {}
            used = f"environment variable {variable['name']} of container {container['name']}"
            yield from _named(source.get("secretKeyRef"), SECRET, "name", used)
            yield from _named(source.get("configMapKeyRef"), CONFIG_MAP, "name", used)
        for source in container.get("envFrom") or []:
            used = f"the environment of container {container['name']}"
            yield from _named(source.get("secretRef"), SECRET, "name", used)
            yield from _named(source.get("configMapRef"), CONFIG_MAP, "name", used)


def _of_volumes(spec: Mapping[str, Any]) -> Iterator[Reference]:
    for volume in spec.get("volumes") or []:
        used = f"volume {volume['name']}"
        yield from _named(volume.get("secret"), SECRET, "secretName", used)
        yield from _named(volume.get("configMap"), CONFIG_MAP, "name", used)
        for source in (volume.get("projected") or {}).get("sources") or []:
            yield from _named(source.get("secret"), SECRET, "name", used)
            yield from _named(source.get("configMap"), CONFIG_MAP, "name", used)


def _named(source: Any, kind: Kind, key: str, used_for: str) -> Iterator[Reference]:
    if isinstance(source, dict) and source.get(key) and not source.get("optional"):
        yield Reference(kind, str(source[key]), used_for)


def secret_behind(pod: Mapping[str, Any], variables: tuple[str, ...]) -> tuple[str, str] | None:
    """(Secret, key) from which a container takes the first of these environment variables that it sets."""
    for variable in variables:
        for container in pod["spec"]["containers"]:
            for entry in container.get("env") or []:
                source = (entry.get("valueFrom") or {}).get("secretKeyRef")
                if entry.get("name") == variable and source:
                    return str(source["name"]), str(source["key"])
    return None
