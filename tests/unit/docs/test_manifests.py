"""The manifests in config/ are about one account and the same namespaces."""

from pathlib import Path

import yaml

CONFIG = Path(__file__).parents[3] / "config"


def manifests(name: str) -> list[dict]:
    return list(yaml.safe_load_all((CONFIG / name).read_text()))


def test_the_admission_policy_is_about_the_account_and_the_namespaces_of_the_rights():
    rights = manifests("rbac.yaml")
    (account,) = [each["metadata"] for each in rights if each["kind"] == "ServiceAccount"]
    makes_pods = [
        each for each in rights if each["kind"] == "Role" and any("pods" in r["resources"] for r in each["rules"])
    ]
    namespaces = [each["metadata"]["namespace"] for each in makes_pods]
    policy, binding = manifests("admission.yaml")
    user = f"system:serviceaccount:{account['namespace']}:{account['name']}"
    assert user in policy["spec"]["matchConditions"][0]["expression"]
    assert policy["spec"]["validations"][0]["expression"] == f"request.namespace in {namespaces}"
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert policy["spec"]["failurePolicy"] == "Fail"
