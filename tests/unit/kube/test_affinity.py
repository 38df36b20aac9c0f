"""Which nodes a pod or volume may have, by values."""

from __future__ import annotations

from typing import Any

import pytest

from hamgr.kube.affinity import why_not_for_pod, why_not_for_volume

NODE = {"metadata": {"name": "n1", "labels": {"zone": "a", "cores": "8"}}}


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    return {"nodeSelectorTerms": list(terms)}


def label(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("term", "fits"),
    [
        (label("zone", "In", "a", "b"), True),
        (label("zone", "In", "b"), False),
        (label("zone", "NotIn", "b"), True),
        (label("rack", "NotIn", "b"), True),
        (label("rack", "Exists"), False),
        (label("rack", "DoesNotExist"), True),
        (label("cores", "Gt", "4"), True),
        (label("cores", "Lt", "4"), False),
        (label("zone", "Gt", "4"), False),
        (label("zone", "Resembles", "a"), False),
        ({}, False),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}, True),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}, False),
    ],
)
def test_terms(term: dict[str, Any], fits: bool) -> None:
    pv = {"metadata": {"name": "pv-1"}, "spec": {"nodeAffinity": {"required": required(term)}}}
    assert (why_not_for_volume(pv, NODE) == "") is fits
    spec = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required(term)}}}
    assert (why_not_for_pod(spec, NODE) == "") is fits


def test_terms_are_alternatives_and_a_terms_expressions_are_not() -> None:
    parts = (label("zone", "In", "a"), label("rack", "Exists"))
    both = {"matchExpressions": [e for part in parts for e in part["matchExpressions"]]}
    pv = {"metadata": {"name": "pv-1"}, "spec": {"nodeAffinity": {"required": required(both)}}}
    assert why_not_for_volume(pv, NODE) == "PersistentVolume pv-1 is for nodes with zone=a and rack"
    pv["spec"]["nodeAffinity"]["required"] = required(both, label("zone", "In", "a"))
    assert why_not_for_volume(pv, NODE) == ""


def test_what_a_volume_is_for_is_told_in_words() -> None:
    terms = (label("zone", "In", "b", "c"), label("zone", "NotIn", "a"), label("cores", "Lt", "4"))
    absent = {
        "matchExpressions": [
            *label("zone", "NotIn", "a", "b")["matchExpressions"],
            {"key": "zone", "operator": "DoesNotExist"},
        ]
    }
    pv = {"metadata": {"name": "p"}, "spec": {"nodeAffinity": {"required": required(*terms, absent, {})}}}
    assert why_not_for_volume(pv, NODE) == (
        "PersistentVolume p is for nodes with zone in (b, c) or zone!=a or cores < 4 or zone not in (a, b) and no zone "
        "or nothing that exists"
    )
    spec = {"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required(terms[0])}}}
    assert why_not_for_pod(spec, NODE) == "required node affinity wants zone in (b, c)"


def test_a_node_selector_names_what_is_missing() -> None:
    assert why_not_for_pod({"nodeSelector": {"zone": "a"}}, NODE) == ""
    assert why_not_for_pod({"nodeSelector": {"zone": "b"}}, NODE) == "nodeSelector wants zone=b"
    assert why_not_for_pod({}, NODE) == ""
    assert why_not_for_volume({"metadata": {"name": "pv-1"}, "spec": {}}, NODE) == ""
