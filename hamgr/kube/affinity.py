"""Which nodes a pod or a volume may have: nodeSelector, required node affinity, a volume's node affinity. Pure.

As Kubernetes' scheduler matches them (component-helpers/scheduling/corev1/nodeaffinity): terms are alternatives, the
expressions of a term must all hold, an empty term matches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hamgr.kube.objects import Obj, labels_of, name_of


def why_not_for_pod(spec: Mapping[str, Any], node: Obj) -> str:
    """Why a pod with this spec may not be on a node; empty: it may."""
    wanted = spec.get("nodeSelector") or {}
    for key, value in wanted.items():
        if labels_of(node).get(key) != value:
            return f"nodeSelector wants {key}={value}"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required or _any_term(required, node):
        return ""
    return f"required node affinity wants {_told(required)}"


def why_not_for_volume(pv: Mapping[str, Any], node: Obj) -> str:
    """Why a node cannot have a PersistentVolume; empty: it can, as far as the volume says."""
    required = ((pv.get("spec") or {}).get("nodeAffinity") or {}).get("required")
    if not required or _any_term(required, node):
        return ""
    return f"PersistentVolume {name_of(pv)} is for nodes with {_told(required)}"


def _told(selector: Mapping[str, Any]) -> str:
    """A node selector as a person reads it: `zone=a`, `zone in (a, b) and disk`."""
    return " or ".join(_told_term(term) for term in selector.get("nodeSelectorTerms") or []) or "nothing that exists"


def _told_term(term: Mapping[str, Any]) -> str:
    expressions = [*(term.get("matchExpressions") or []), *(term.get("matchFields") or [])]
    return " and ".join(_told_expression(each) for each in expressions) or "nothing that exists"


def _told_expression(expression: Mapping[str, Any]) -> str:
    key, values = str(expression.get("key")), [str(value) for value in expression.get("values") or []]
    match expression.get("operator"):
        case "In":
            return f"{key}={values[0]}" if len(values) == 1 else f"{key} in ({', '.join(values)})"
        case "NotIn":
            return f"{key}!={values[0]}" if len(values) == 1 else f"{key} not in ({', '.join(values)})"
        case "Exists":
            return key
        case "DoesNotExist":
            return f"no {key}"
        case "Gt" | "Lt" as operator:
            return f"{key} {'>' if operator == 'Gt' else '<'} {values[0] if values else ''}".rstrip()
    return f"{key} {expression.get('operator')}"


def _any_term(selector: Mapping[str, Any], node: Obj) -> bool:
    return any(_term_holds(term, node) for term in selector.get("nodeSelectorTerms") or [])


def _term_holds(term: Mapping[str, Any], node: Obj) -> bool:
    by_label, by_field = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not by_label and not by_field:
        return False
    fields = {"metadata.name": name_of(node)}
    return all(_holds(e, labels_of(node)) for e in by_label) and all(_holds(e, fields) for e in by_field)


def _holds(expression: Mapping[str, Any], values: Mapping[str, str]) -> bool:
    found, wanted = values.get(str(expression.get("key"))), [str(v) for v in expression.get("values") or []]
    match expression.get("operator"):
        case "In":
            return found in wanted
        case "NotIn":
            return found not in wanted
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case "Gt" | "Lt" as operator:
            return _compared(operator, found, wanted)
    return False


def _compared(operator: str, found: str | None, wanted: list[str]) -> bool:
    try:
        left, right = int(found or ""), int(wanted[0])
    except (ValueError, IndexError):
        return False
    return left > right if operator == "Gt" else left < right
