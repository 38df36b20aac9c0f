"""Subresources that are more than a part of the object: binding, eviction, scale, finalize."""

from __future__ import annotations

from typing import Any

from hamgr_sandbox.apiserver import deletion, selectors, validation
from hamgr_sandbox.apiserver.clock import timestamp
from hamgr_sandbox.apiserver.errors import (
    ApiFailure,
    bad_request,
    forbidden,
    invalid,
    invalid_object,
    precondition_failed,
    success,
    too_many_disruptions,
)
from hamgr_sandbox.apiserver.kinds import Kind
from hamgr_sandbox.apiserver.registry import Registry, WriteOptions
from hamgr_sandbox.apiserver.schema import clone

Obj = dict[str, Any]

_BUDGETS = "policy/poddisruptionbudgets"


def _binding_conflict(name: str, why: str) -> ApiFailure:
    message = f'Operation cannot be fulfilled on pods/binding "{name}": {why}'
    return ApiFailure(409, "Conflict", message, {"name": name, "kind": "pods/binding"})


def with_condition(pod: Obj, condition: Obj) -> Obj:
    """A pod with one condition set; an older one of the same type goes."""
    status = pod.get("status") or {}
    others = [one for one in status.get("conditions") or [] if one["type"] != condition["type"]]
    made = {"lastProbeTime": None, "lastTransitionTime": timestamp(), **condition}
    return {**pod, "status": {**status, "conditions": [*others, made]}}


def bind(registry: Registry, kind: Kind, namespace: str, name: str, body: Obj, options: WriteOptions) -> Obj:
    """Give a pod its node; raises ApiFailure 409 when it has one, is gated, is being deleted, or is not the one in the
    state that the binding's metadata names."""
    node = (body.get("target") or {}).get("name")
    if not node:
        raise invalid_object(kind, name, [invalid("target.name", '""', "Required value")])
    pod = registry.get(kind, namespace, name)
    for given, what in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
        wanted, found = (body.get("metadata") or {}).get(given), pod["metadata"][given]
        if wanted and wanted != found:
            why = f"Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}"
            raise precondition_failed(kind, name, why)
    if "deletionTimestamp" in pod["metadata"]:
        raise _binding_conflict(name, f"pod {name} is being deleted, cannot be assigned to a host")
    if pod["spec"].get("nodeName"):
        raise _binding_conflict(name, f'pod {name} is already assigned to node "{pod["spec"]["nodeName"]}"')
    if pod["spec"].get("schedulingGates"):
        raise _binding_conflict(name, f"pod {name} has non-empty .spec.schedulingGates")
    bound = with_condition(clone(pod), {"type": "PodScheduled", "status": "True"})
    bound["spec"]["nodeName"] = node
    annotations = (body.get("metadata") or {}).get("annotations")
    if annotations:
        bound["metadata"]["annotations"] = {**(bound["metadata"].get("annotations") or {}), **annotations}
    registry.overwrite(kind, bound, options)
    return success(201)


def _healthy(pod: Obj) -> bool:
    if "deletionTimestamp" in pod["metadata"]:
        return False
    conditions = (pod.get("status") or {}).get("conditions") or []
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _share(value: Any, whole: int) -> int:
    """An int or a percentage of `whole`, rounded up."""
    if isinstance(value, str) and value.endswith("%"):
        return -(-int(value[:-1]) * whole // 100)
    return int(value)


def disruptions_allowed(budget: Obj, pods: list[Obj]) -> tuple[int, int, int]:
    """How many of the budget's pods may go now, how many must be healthy, and how many are."""
    spec = budget["spec"]
    healthy = sum(1 for pod in pods if _healthy(pod))
    if "maxUnavailable" in spec:
        desired = max(0, len(pods) - _share(spec["maxUnavailable"], len(pods)))
    else:
        desired = _share(spec.get("minAvailable", 1), len(pods))
    return max(0, healthy - desired), desired, healthy


def _check_budgets(registry: Registry, pod: Obj) -> None:
    """Raises ApiFailure 429 when a budget forbids that the pod goes; pods that are not running never count."""
    namespace = pod["metadata"]["namespace"]
    phase = (pod.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed", "Pending") or "deletionTimestamp" in pod["metadata"]:
        return
    everybody = registry.storage.items("/pods", namespace)
    for budget in registry.storage.items(_BUDGETS, namespace):
        selector = selectors.from_object(budget["spec"].get("selector"))
        if selector is None or not selector.matches(pod["metadata"].get("labels")):
            continue
        chosen = [one for one in everybody if selector.matches(one["metadata"].get("labels"))]
        allowed, desired, healthy = disruptions_allowed(budget, chosen)
        if not _healthy(pod) and healthy >= desired:
            continue  # IfHealthyBudget: a pod that is not ready may go while enough others are
        if allowed <= 0:
            name = budget["metadata"]["name"]
            raise too_many_disruptions(
                f"The disruption budget {name} needs {desired} healthy pods and has {healthy} currently"
            )


def evict(registry: Registry, kind: Kind, namespace: str, name: str, body: Obj, options: WriteOptions) -> Obj:
    """Delete a pod gracefully if its disruption budget allows; raises ApiFailure 429 when not."""
    found = (body.get("metadata") or {}).get("name", name)
    if found != name:
        raise bad_request("name in URL does not match name in Eviction object")
    pod = registry.get(kind, namespace, name)
    how = deletion.DeleteOptions.parse(body.get("deleteOptions") or {}, {"dryRun": "All"} if options.dry_run else {})
    deletion.check_preconditions(kind, pod, how)
    _check_budgets(registry, pod)
    if not options.dry_run:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting",
        }
        known = {one["type"] for one in (pod.get("status") or {}).get("conditions") or []}
        if "DisruptionTarget" not in known:
            registry.overwrite(kind, with_condition(pod, condition), options)
            if how.resource_version:
                current = registry.get(kind, namespace, name)["metadata"]["resourceVersion"]
                how = deletion.DeleteOptions(how.grace, how.uid, current, how.policy)
        registry.delete(kind, namespace, name, how)
    return success(201)


def _at(obj: Obj, path: str) -> Any:
    value: Any = obj
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _selector_text(selector: Any) -> str:
    if not isinstance(selector, dict):
        return str(selector or "")
    labels = selector.get("matchLabels") if "matchLabels" in selector or "matchExpressions" in selector else selector
    parts = [f"{key}={value}" for key, value in sorted((labels or {}).items())]
    for one in selector.get("matchExpressions") or []:
        values = ",".join(sorted(one.get("values") or []))
        forms = {"In": f"{one['key']} in ({values})", "NotIn": f"{one['key']} notin ({values})", "Exists": one["key"]}
        parts.append(forms.get(one["operator"], f"!{one['key']}"))
    return ",".join(parts)


def scale_of(kind: Kind, obj: Obj) -> Obj:
    """The Scale of an object that can be scaled."""
    assert kind.scale_paths is not None
    spec_path, status_path, selector_path = kind.scale_paths
    metadata = obj["metadata"]
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    replicas = _at(obj, spec_path)
    scale: Obj = {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {part: metadata[part] for part in kept if part in metadata},
        "spec": {"replicas": replicas} if replicas else {},
        "status": {"replicas": _at(obj, status_path) or 0},
    }
    text = _selector_text(_at(obj, selector_path)) if selector_path else ""
    if text:
        scale["status"]["selector"] = text
    return scale


def rescaled(kind: Kind, obj: Obj, scale: Obj) -> Obj:
    """The object with the replicas of a Scale; raises ApiFailure 422."""
    assert kind.scale_paths is not None
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    causes = validation.not_negative("spec.replicas", replicas)
    if not isinstance(replicas, int) or causes:
        why = causes or [invalid("spec.replicas", validation.quoted(replicas), "must be a number")]
        raise invalid_object(kind, obj["metadata"]["name"], why)
    changed = clone(obj)
    holder: Obj = changed
    *steps, last = kind.scale_paths[0].split(".")
    for step in steps:
        holder = holder.setdefault(step, {})
    holder[last] = replicas
    sent = (scale.get("metadata") or {}).get("resourceVersion")
    if sent:
        changed["metadata"]["resourceVersion"] = sent
    result: Obj = changed
    return result


def finalize(registry: Registry, kind: Kind, name: str, body: Obj, options: WriteOptions) -> Obj:
    """Set a namespace's own finalizers; one that is being deleted goes with the last of them."""
    namespace = clone(registry.get(kind, "", name))
    if "deletionTimestamp" not in namespace["metadata"]:
        raise forbidden(kind, name, "the namespace is not being deleted")
    finalizers = (body.get("spec") or {}).get("finalizers") or []
    namespace["spec"] = {"finalizers": finalizers} if finalizers else {}
    return registry.overwrite(kind, namespace, options)
