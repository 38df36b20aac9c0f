"""Node conditions, lease ages by our own clock, and endpoints."""

from __future__ import annotations

import pytest

from hamgr.kube.events import event_body
from hamgr.kube.nodes import LeaseAges, boot_id, has_taint, internal_address, ready
from hamgr.kube.objects import LEASE, NODE, POD
from hamgr.kube.services import endpoints_among, selects


@pytest.mark.parametrize(("status", "expected"), [("True", True), ("False", False), ("Unknown", None)])
def test_ready(status: str, expected: bool | None) -> None:
    assert ready({"status": {"conditions": [{"type": "Ready", "status": status}]}}) is expected
    assert ready({}) is None


def test_what_a_node_says() -> None:
    node = {
        "spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
        "status": {
            "nodeInfo": {"bootID": "b"},
            "addresses": [{"type": "Hostname", "address": "h"}, {"type": "InternalIP", "address": "10.0.0.1"}],
        },
    }
    assert (boot_id(node), internal_address(node)) == ("b", "10.0.0.1")
    assert has_taint(node, "a")
    assert not has_taint({}, "a")


def lease(name: str, renewed: str, namespace: str = "kube-node-lease") -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": namespace}, "spec": {"renewTime": renewed}}


def test_a_lease_ages_from_when_we_saw_it_change() -> None:
    now = [1000.0]
    ages = LeaseAges(clock=lambda: now[0])
    assert ages.age_s("n1") is None
    ages.observe(LEASE, "ADDED", lease("n1", "2001-01-01T00:00:00Z"), None)
    now[0] += 7
    assert ages.age_s("n1") == 7
    ages.observe(LEASE, "MODIFIED", lease("n1", "2001-01-01T00:00:00Z"), None)  # something else changed
    assert ages.age_s("n1") == 7
    ages.observe(LEASE, "MODIFIED", lease("n1", "1999-01-01T00:00:00Z"), None)  # a clock set back is a sign of life
    assert ages.age_s("n1") == 0
    ages.observe(LEASE, "MODIFIED", lease("n2", "x", namespace="default"), None)
    ages.observe(NODE, "MODIFIED", lease("n3", "x"), None)
    assert (ages.age_s("n2"), ages.age_s("n3")) == (None, None)
    ages.observe(LEASE, "DELETED", lease("n1", "x"), None)
    assert ages.age_s("n1") is None


def test_endpoints_of_one_service() -> None:
    slices = [
        {
            "metadata": {"name": "s-1", "namespace": "x", "labels": {"kubernetes.io/service-name": "s"}},
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {}, "targetRef": {"name": "a", "uid": "1"}, "nodeName": "n1"},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": False}, "targetRef": {"name": "b", "uid": "2"}},
            ],
        },
        {
            "metadata": {"name": "t-1", "namespace": "x", "labels": {"kubernetes.io/service-name": "t"}},
            "endpoints": None,
        },
    ]
    found = endpoints_among(slices, "x", "s")
    assert [(e.pod, e.pod_uid, e.ready, e.node) for e in found] == [("a", "1", True, "n1"), ("b", "2", False, "")]
    assert endpoints_among(slices, "x", "t") == []
    assert endpoints_among(slices, "y", "s") == []


def test_a_service_without_selector_selects_nothing() -> None:
    assert selects({"spec": {"selector": {"a": "1"}}}, {"a": "1", "b": "2"})
    assert not selects({"spec": {"selector": {"a": "1"}}}, {"a": "2"})
    assert not selects({"spec": {}}, {"a": "1"})


def test_an_event_about_a_node_lands_in_default() -> None:
    from datetime import UTC, datetime

    now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    node = {"metadata": {"name": "n1", "uid": "u"}}
    body = event_body(
        node, kind="Node", reason="Fenced", message="m" * 2000, severity="Warning", now=now, instance="n2"
    )
    assert body["metadata"]["namespace"] == "default"
    assert body["involvedObject"] == {"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "u"}
    assert body["lastTimestamp"] == "2026-01-02T03:04:05Z"
    assert len(body["message"]) == 1024


def test_paths_need_a_namespace_exactly_where_one_belongs() -> None:
    assert POD.path("a", "x") == "/api/v1/namespaces/x/pods/a"
    assert NODE.path("n1") == "/api/v1/nodes/n1"
    with pytest.raises(ValueError, match="needs a namespace"):
        POD.path("a")
    with pytest.raises(ValueError, match="has no namespace"):
        NODE.path("n1", "x")
