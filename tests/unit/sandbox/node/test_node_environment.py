"""Variables and commands of containers."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hamgr_sandbox.node.environment import MissingReference, Sources, environment_of, expanded, references

POD: dict[str, Any] = {
    "metadata": {"name": "p", "namespace": "ns", "uid": "u", "labels": {"app": "db"}},
    "spec": {"nodeName": "n1", "containers": []},
    "status": {"podIP": "10.1.0.1"},
}
SOURCES = Sources(
    {"s": {"data": {"pw": base64.b64encode(b"geheim").decode()}}},
    {"c": {"data": {"level": "3"}, "binaryData": {"raw": base64.b64encode(b"x").decode()}}},
)


def variables(*env: dict[str, Any], env_from: tuple[dict[str, Any], ...] = ()) -> dict[str, str]:
    return environment_of({"env": list(env), "envFrom": list(env_from)}, POD, {"address": "10.0.0.1"}, SOURCES)


def from_(**source: Any) -> dict[str, Any]:
    return {"name": "V", "valueFrom": source}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ({"secretKeyRef": {"name": "s", "key": "pw"}}, "geheim"),
        ({"configMapKeyRef": {"name": "c", "key": "level"}}, "3"),
        ({"configMapKeyRef": {"name": "c", "key": "raw"}}, "x"),
        ({"fieldRef": {"fieldPath": "metadata.labels['app']"}}, "db"),
        ({"fieldRef": {"fieldPath": "metadata.uid"}}, "u"),
        ({"fieldRef": {"fieldPath": "spec.nodeName"}}, "n1"),
        ({"fieldRef": {"fieldPath": "status.podIP"}}, "10.1.0.1"),
        ({"fieldRef": {"fieldPath": "status.hostIP"}}, "10.0.0.1"),
    ],
)
def test_values_from_elsewhere(source: dict[str, Any], value: str) -> None:
    assert variables(from_(**source)) == {"V": value}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"secretKeyRef": {"name": "none", "key": "pw"}}, 'secret "none" not found'),
        ({"secretKeyRef": {"name": "s", "key": "none"}}, "couldn't find key none in Secret ns/s"),
        ({"configMapKeyRef": {"name": "none", "key": "pw"}}, 'configmap "none" not found'),
        ({"fieldRef": {"fieldPath": "spec.containers"}}, "unsupported fieldPath"),
    ],
)
def test_what_is_missing_is_named(source: dict[str, Any], text: str) -> None:
    with pytest.raises(MissingReference, match=text):
        variables(from_(**source))


def test_optional_references_may_be_missing() -> None:
    assert variables(from_(secretKeyRef={"name": "none", "key": "pw", "optional": True})) == {}
    assert variables(env_from=({"configMapRef": {"name": "none", "optional": True}},)) == {}


def test_whole_objects_come_first_and_later_variables_see_earlier_ones() -> None:
    found = variables({"name": "URL", "value": "db:$(P_pw)"}, env_from=({"prefix": "P_", "secretRef": {"name": "s"}},))
    assert found == {"P_pw": "geheim", "URL": "db:geheim"}


def test_references_in_text() -> None:
    assert expanded("$(A) $$(A) $(B) $A", {"A": "1"}) == "1 $(A) $(B) $A"


def test_objects_that_a_pod_mentions() -> None:
    spec = {
        "initContainers": [{"env": [from_(secretKeyRef={"name": "a", "key": "k"})]}],
        "containers": [{"envFrom": [{"configMapRef": {"name": "b"}}, {"secretRef": {"name": "c"}}]}],
        "volumes": [
            {"secret": {"secretName": "d"}},
            {"configMap": {"name": "e"}},
            {"projected": {"sources": [{"secret": {"name": "f"}}, {"configMap": {"name": "g"}}]}},
        ],
    }
    assert references({"spec": spec}) == ({"a", "c", "d", "f"}, {"b", "e", "g"})
