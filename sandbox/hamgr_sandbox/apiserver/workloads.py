"""How Deployments, ReplicaSets, StatefulSets, DaemonSets, Jobs and disruption budgets are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hamgr_sandbox.apiserver import pods, selectors, validation
from hamgr_sandbox.apiserver.errors import Cause, forbidden_field, invalid, required
from hamgr_sandbox.apiserver.kinds import Context, Strategy
from hamgr_sandbox.apiserver.volumes import claim_defaults

Obj = dict[str, Any]


def _template_defaults(spec: Obj) -> None:
    template = spec.get("template")
    if template and template.get("spec", {}).get("containers"):
        pods.spec_defaults(template["spec"])


def _rolling(strategy: Obj, defaults: Obj) -> None:
    strategy.setdefault("type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        for key, value in defaults.items():
            rolling.setdefault(key, value)


def _deployment(obj: Obj, context: Context) -> None:
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    _template_defaults(spec)
    _rolling(spec.setdefault("strategy", {}), {"maxUnavailable": "25%", "maxSurge": "25%"})
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)


def _replica_set(obj: Obj, context: Context) -> None:
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    _template_defaults(spec)


def _stateful_set(obj: Obj, context: Context) -> None:
    spec = obj["spec"]
    spec.setdefault("replicas", 1)
    spec.setdefault("podManagementPolicy", "OrderedReady")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("persistentVolumeClaimRetentionPolicy", {"whenDeleted": "Retain", "whenScaled": "Retain"})
    _template_defaults(spec)
    _rolling(spec.setdefault("updateStrategy", {}), {"partition": 0})
    for claim in spec.get("volumeClaimTemplates") or []:
        claim.setdefault("apiVersion", "v1")
        claim.setdefault("kind", "PersistentVolumeClaim")
        claim_defaults(claim)
        claim["status"] = {"phase": "Pending"}


def _daemon_set(obj: Obj, context: Context) -> None:
    spec = obj["spec"]
    _template_defaults(spec)
    _rolling(spec.setdefault("updateStrategy", {}), {"maxUnavailable": 1, "maxSurge": 0})
    spec.setdefault("revisionHistoryLimit", 10)


def _selector_causes(obj: Obj) -> list[Cause]:
    spec = obj["spec"]
    selector = spec.get("selector")
    if selector is None:
        return [required("spec.selector")]
    template = spec.get("template") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    causes = validation.labels("spec.template.metadata.labels", labels)
    found = selectors.from_object(selector)
    if not selector:
        causes.append(invalid("spec.selector", "{}", "empty selector is invalid for deployment"))
    elif found is not None and not found.matches(labels):
        path = "spec.template.metadata.labels"
        causes.append(invalid(path, validation.quoted(labels), "`selector` does not match template `labels`"))
    causes += validation.not_negative("spec.replicas", spec.get("replicas"))
    claims = [str((claim.get("metadata") or {}).get("name")) for claim in spec.get("volumeClaimTemplates") or []]
    causes += pods.spec_causes(template.get("spec") or {}, "spec.template.spec", claims)
    restart = (template.get("spec") or {}).get("restartPolicy")
    if restart not in (None, "Always"):
        why = f'Unsupported value: {validation.quoted(restart)}: supported values: "Always"'
        causes.append(Cause("spec.template.spec.restartPolicy", "FieldValueNotSupported", why))
    return causes


def _strategy_causes(obj: Obj) -> list[Cause]:
    strategy = obj["spec"].get("strategy") or {}
    if strategy.get("type") == "Recreate" and strategy.get("rollingUpdate"):
        why = "may not be specified when strategy `type` is 'Recreate'"
        return [forbidden_field("spec.strategy.rollingUpdate", why)]
    return []


def _deployment_causes(obj: Obj) -> list[Cause]:
    return _selector_causes(obj) + _strategy_causes(obj)


def _fixed_selector(new: Obj, old: Obj) -> list[Cause]:
    causes = validation.immutable("spec.selector", new["spec"].get("selector"), old["spec"].get("selector"))
    return causes + _selector_causes(new)


def _deployment_update(new: Obj, old: Obj) -> list[Cause]:
    return _fixed_selector(new, old) + _strategy_causes(new)


_STATEFUL_MUTABLE = (
    "replicas",
    "ordinals",
    "template",
    "updateStrategy",
    "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy",
    "minReadySeconds",
)


def _stateful_update(new: Obj, old: Obj) -> list[Cause]:
    fixed = {key: value for key, value in new["spec"].items() if key not in _STATEFUL_MUTABLE}
    before = {key: value for key, value in old["spec"].items() if key not in _STATEFUL_MUTABLE}
    if fixed == before:
        return _selector_causes(new)
    listed = ", ".join(f"'{one}'" for one in _STATEFUL_MUTABLE[:-1])
    why = f"updates to statefulset spec for fields other than {listed} and '{_STATEFUL_MUTABLE[-1]}' are forbidden"
    return [forbidden_field("spec", why)]


def _on_update(defaults: Any) -> Any:
    def prepare(new: Obj, old: Obj, context: Context) -> None:
        defaults(new, context)

    return prepare


def _job(obj: Obj, context: Context) -> None:
    spec = obj["spec"]
    for key, value in (("parallelism", 1), ("completions", 1), ("backoffLimit", 6), ("suspend", False)):
        spec.setdefault(key, value)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("manualSelector", False)
    spec.setdefault("podReplacementPolicy", "TerminatingOrFailed")
    uid = obj["metadata"]["uid"]
    labels = spec["template"].setdefault("metadata", {}).setdefault("labels", {})
    labels.setdefault("batch.kubernetes.io/controller-uid", uid)
    labels.setdefault("batch.kubernetes.io/job-name", obj["metadata"]["name"])
    spec.setdefault("selector", {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}})
    _template_defaults(spec)


def _budget_causes(obj: Obj) -> list[Cause]:
    spec = obj["spec"]
    if "minAvailable" in spec and "maxUnavailable" in spec:
        value = validation.quoted({"MinAvailable": spec["minAvailable"], "MaxUnavailable": spec["maxUnavailable"]})
        return [invalid("spec", value, "minAvailable and maxUnavailable cannot be both set")]
    return validation.not_negative("spec.minAvailable", spec.get("minAvailable"))


def _workload(
    defaults: Callable[[Obj, Context], None],
    validate: Callable[[Obj], list[Cause]],
    validate_update: Callable[[Obj, Obj], list[Cause]],
) -> Strategy:
    """What has a template, a selector and a status that its controller alone writes."""
    return Strategy(
        prepare_create=defaults,
        prepare_update=_on_update(defaults),
        validate=validate,
        validate_update=validate_update,
        generation=True,
        status_metadata=False,
    )


DEPLOYMENT = _workload(_deployment, _deployment_causes, _deployment_update)
REPLICA_SET = _workload(_replica_set, _selector_causes, _fixed_selector)
STATEFUL_SET = _workload(_stateful_set, _selector_causes, _stateful_update)
DAEMON_SET = _workload(_daemon_set, _selector_causes, _fixed_selector)
JOB = Strategy(prepare_create=_job, generation=True)
CONTROLLER = Strategy(prepare_create=_replica_set, prepare_update=_on_update(_replica_set), generation=True)
DISRUPTION_BUDGET = Strategy(
    validate=_budget_causes,
    generation=True,
    unconditional_update=False,
)
