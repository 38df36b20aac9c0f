"""Node lifecycle, taint eviction and pod garbage collection, by values."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hamgr_sandbox.controllers import nodehealth, objects
from hamgr_sandbox.controllers.nodehealth import Timings, Zone
from hamgr_sandbox.controllers.podgc import to_collect
from hamgr_sandbox.controllers.tainteviction import patience

TIMINGS = Timings()


def node(ready: str = "", name: str = "n1", taints: list[dict[str, str]] | None = None, **spec: Any) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": "before"}] if ready else []
    return {
        "metadata": {"name": name},
        "spec": {"taints": taints or [], **spec},
        "status": {"conditions": conditions},
    }


def test_a_node_is_silent_after_its_grace_period() -> None:
    assert not nodehealth.is_silent(node("True"), 100.0, 150.0, TIMINGS)
    assert nodehealth.is_silent(node("True"), 100.0, 150.1, TIMINGS)


def test_a_node_that_never_reported_has_the_longer_startup_grace() -> None:
    assert not nodehealth.is_silent(node(), 100.0, 160.0, TIMINGS)
    assert nodehealth.is_silent(node(), 100.0, 160.1, TIMINGS)


def test_a_silent_nodes_conditions() -> None:
    conditions = nodehealth.silent_conditions(node("True"), "now")
    assert conditions is not None
    ready, *rest = conditions
    assert ready == {
        "type": "Ready",
        "status": "Unknown",
        "reason": "NodeStatusUnknown",
        "message": "Kubelet stopped posting node status.",
        "lastTransitionTime": "now",
    }
    assert {entry["message"] for entry in rest} == {"Kubelet never posted node status."}
    silent = {**node(), "status": {"conditions": conditions}}
    assert nodehealth.silent_conditions(silent, "later") is None


@pytest.mark.parametrize(
    ("ready", "key"),
    [("False", objects.NOT_READY), ("Unknown", objects.UNREACHABLE), ("", objects.NOT_READY)],
)
def test_taints_against_scheduling_follow_readiness(ready: str, key: str) -> None:
    assert nodehealth.with_scheduling_taints(node(ready), "now") == [
        {"key": key, "effect": "NoSchedule", "timeAdded": "now"}
    ]


def test_taints_of_others_stay_where_they_are() -> None:
    foreign = {"key": objects.OUT_OF_SERVICE, "effect": "NoSchedule"}
    old = {"key": objects.NOT_READY, "effect": "NoSchedule"}
    evicting = {"key": objects.UNREACHABLE, "effect": "NoExecute"}
    back = node("True", taints=[foreign, old, evicting])
    assert nodehealth.with_scheduling_taints(back, "now") == [foreign, evicting]
    assert nodehealth.with_evicting_taint(back, "", "now") == [foreign, old]


def test_nothing_to_change_is_said() -> None:
    assert nodehealth.with_scheduling_taints(node("True"), "now") is None
    assert nodehealth.with_evicting_taint(node("True"), "", "now") is None


def test_cordon_is_a_taint() -> None:
    assert nodehealth.scheduling_taints(node("True", unschedulable=True)) == {objects.UNSCHEDULABLE}


@pytest.mark.parametrize(
    ("states", "zone"),
    [
        (["True", "Unknown", "Unknown"], Zone.NORMAL),
        (["True", "True", "Unknown", "Unknown", "Unknown"], Zone.PARTLY_DISRUPTED),
        (["True", "True", "True", "Unknown", "Unknown", "Unknown"], Zone.NORMAL),
        (["Unknown"], Zone.FULLY_DISRUPTED),
    ],
)
def test_zone_states(states: list[str], zone: Zone) -> None:
    nodes = [node(ready, f"n{number}") for number, ready in enumerate(states)]
    assert list(nodehealth.zones(nodes, 0.55).values()) == [zone]


def test_when_every_zone_is_down_it_is_rather_us() -> None:
    assert nodehealth.all_down({"a": Zone.FULLY_DISRUPTED, "b": Zone.FULLY_DISRUPTED})
    assert not nodehealth.all_down({"a": Zone.FULLY_DISRUPTED, "b": Zone.NORMAL})
    assert not nodehealth.all_down({})


EXECUTE = {"key": objects.UNREACHABLE, "effect": "NoExecute"}


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        ([], 0.0),
        ([{"key": objects.UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}], 300.0),
        ([{"key": objects.UNREACHABLE, "operator": "Exists", "effect": "NoSchedule"}], 0.0),
        ([{"operator": "Exists"}], math.inf),
        ([{"key": objects.NOT_READY, "operator": "Exists"}], 0.0),
        ([{"operator": "Exists", "tolerationSeconds": 9}, {"operator": "Exists", "tolerationSeconds": 7}], 7.0),
        ([{"operator": "Exists", "tolerationSeconds": -1}], 0.0),
    ],
)
def test_patience(tolerations: list[dict[str, Any]], seconds: float) -> None:
    assert patience(tolerations, [EXECUTE]) == seconds


def pod(name: str, on: str, *, deleted: bool = False) -> dict[str, Any]:
    metadata = {"name": name} | ({"deletionTimestamp": "now"} if deleted else {})
    return {"metadata": metadata, "spec": {"nodeName": on} if on else {}, "status": {}}


def test_pods_that_no_kubelet_will_end() -> None:
    taint = [{"key": objects.OUT_OF_SERVICE, "effect": "NoSchedule"}]
    nodes = {
        ("", "off"): node("Unknown", taints=taint),
        ("", "on"): node("True", taints=taint),
        ("", "silent"): node("Unknown"),
    }
    pods = [
        pod("a", "off", deleted=True),
        pod("b", "off"),
        pod("c", "on", deleted=True),
        pod("d", "silent", deleted=True),
        pod("e", "removed"),
        pod("f", "just-removed"),
        pod("g", "", deleted=True),
    ]
    found = [(item["metadata"]["name"], cause) for item, cause in to_collect(pods, nodes, {"removed"})]
    assert found == [("a", "out of service"), ("e", "orphaned"), ("g", "never scheduled")]
