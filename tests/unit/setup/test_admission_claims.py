"""config/admission-claims.yaml is of one piece and lets hamgr itself through. No server evaluates it here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).parents[3] / "config"


def manifests(name: str) -> dict[str, dict[str, Any]]:
    return {item["kind"]: item for item in yaml.safe_load_all((CONFIG / name).read_text())}


def test_the_binding_names_the_policy_and_the_parameters_that_are_shipped() -> None:
    found = manifests("admission-claims.yaml")
    policy, binding = found["ValidatingAdmissionPolicy"], found["ValidatingAdmissionPolicyBinding"]
    assert {policy["apiVersion"], binding["apiVersion"]} == {"admissionregistration.k8s.io/v1"}
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert binding["spec"]["paramRef"]["name"] == found["ConfigMap"]["metadata"]["name"]
    assert policy["spec"]["paramKind"] == {"apiVersion": "v1", "kind": "ConfigMap"}
    assert "Deny" in binding["spec"]["validationActions"]


def test_the_account_of_rbac_is_let_through() -> None:
    account = manifests("rbac.yaml")["ServiceAccount"]["metadata"]
    (condition,) = manifests("admission-claims.yaml")["ValidatingAdmissionPolicy"]["spec"]["matchConditions"]
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    assert condition["expression"] == f"request.userInfo.username != '{user}'"


def test_parentheses_and_quotes_are_closed() -> None:
    (rule,) = manifests("admission-claims.yaml")["ValidatingAdmissionPolicy"]["spec"]["validations"]
    depth = 0
    for letter in rule["expression"]:
        depth += {"(": 1, ")": -1}.get(letter, 0)
        assert depth >= 0
    assert depth == 0
    assert rule["expression"].count("'") % 2 == 0
