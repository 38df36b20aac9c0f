"""The service agent: clients go to one pod, and only while the cluster says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fixtures.scripted_cluster import ScriptedCluster
from fixtures.waiting import wait_until
from hamgr_agents.service import ServiceAgent

from hamgr.executor.agent import ActionContext, ActionTimeout
from hamgr.executor.ocf import Ocf
from hamgr.kube.objects import POD, SERVICE, labels_of
from hamgr.kube.services import endpoints

Context = Callable[..., ActionContext]
AGENT = ServiceAgent()
PARAMS = {"service": "db", "resource": "db"}
SELECTOR = {"hamgr.io/cluster": "test", "hamgr.io/resource": "db", "hamgr.io/role": "active"}


def add_pod(world: ScriptedCluster, node: str, **labels: str) -> None:
    name = f"db-{node}"
    own = {"hamgr.io/cluster": "test", "hamgr.io/resource": "db", "hamgr.io/node": node} | labels
    spec = {"nodeName": node, "containers": [{"name": "main", "image": "i"}]}
    world.kube.post(POD.collection("default"), {"metadata": {"name": name, "labels": own}, "spec": spec})
    wait_until(lambda: world.kube.get(POD.path(name, "default"))["status"].get("phase") == "Running")


def add_service(world: ScriptedCluster, selector: dict[str, str]) -> None:
    spec: dict[str, Any] = {"selector": selector, "ports": [{"port": 3306}]}
    world.kube.post(SERVICE.collection("default"), {"metadata": {"name": "db"}, "spec": spec})


def role(world: ScriptedCluster, node: str) -> str | None:
    return labels_of(world.kube.get(POD.path(f"db-{node}", "default"))).get("hamgr.io/role")


def test_clients_follow_the_active_pod(world: ScriptedCluster, context: Context) -> None:
    add_service(world, SELECTOR)
    add_pod(world, "n1")
    add_pod(world, "n2")
    assert AGENT.perform("monitor", context("ip", "n1", **PARAMS)).rc is Ocf.NOT_RUNNING
    assert AGENT.perform("start", context("ip", "n1", **PARAMS)).rc is Ocf.OK
    assert [(e.pod, e.ready) for e in endpoints(world.kube, "default", "db")] == [("db-n1", True)]
    wait_until(lambda: AGENT.perform("monitor", context("ip", "n1", **PARAMS)).rc is Ocf.OK)
    assert AGENT.perform("monitor", context("ip", "n2", **PARAMS)).rc is Ocf.NOT_RUNNING
    assert AGENT.perform("start", context("ip", "n2", **PARAMS)).rc is Ocf.OK
    assert (role(world, "n1"), role(world, "n2")) == (None, "active")
    assert [e.pod for e in endpoints(world.kube, "default", "db")] == ["db-n2"]
    assert AGENT.perform("stop", context("ip", "n2", **PARAMS)).rc is Ocf.OK
    assert endpoints(world.kube, "default", "db") == []
    assert AGENT.perform("stop", context("ip", "n3", **PARAMS)).rc is Ocf.OK


def test_without_a_pod_there_is_nothing_to_send_clients_to(world: ScriptedCluster, context: Context) -> None:
    add_service(world, SELECTOR)
    result = AGENT.perform("start", context("ip", "n1", **PARAMS))
    assert result.rc is Ocf.ERR_GENERIC
    assert "there is no pod default/db-n1" in result.reason


def test_a_missing_service_is_named_or_made(world: ScriptedCluster, context: Context) -> None:
    add_pod(world, "n1")
    for action in ("start", "validate-all"):
        missing = AGENT.perform(action, context("ip", "n1", **PARAMS))
        assert (missing.waiting, missing.rc is Ocf.ERR_CONFIGURED) == (action == "start", action == "validate-all")
        assert "Service default/db does not exist; create it, or set manage: true" in missing.reason
    assert AGENT.perform("start", context("ip", "n1", manage="true", port="3307", **PARAMS)).rc is Ocf.OK
    made = world.kube.get(SERVICE.path("db", "default"))
    assert made["spec"]["selector"] == SELECTOR
    assert (made["spec"]["type"], made["spec"]["ports"][0]["port"]) == ("LoadBalancer", 3307)


def test_a_service_that_selects_something_else_is_explained(world: ScriptedCluster, context: Context) -> None:
    add_service(world, {"app": "shop"})
    add_pod(world, "n1")
    result = AGENT.perform("start", context("ip", "n1", **PARAMS))
    assert result.rc is Ocf.ERR_CONFIGURED
    assert "it should select hamgr.io/cluster: test, hamgr.io/resource: db, hamgr.io/role: active" in result.reason
    assert role(world, "n1") is None


def test_start_waits_for_the_endpoints(world: ScriptedCluster, context: Context) -> None:
    add_service(world, SELECTOR)
    add_pod(world, "n1")
    world.script.no_endpoints = True
    with pytest.raises(ActionTimeout, match="do not show pod db-n1 as ready yet"):
        AGENT.perform("start", context("ip", "n1", timeout_s=0.5, **PARAMS))


def test_lagging_endpoints_do_not_fail_a_stop(world: ScriptedCluster, context: Context) -> None:
    add_service(world, SELECTOR)
    add_pod(world, "n1")
    assert AGENT.perform("start", context("ip", "n1", **PARAMS)).rc is Ocf.OK
    world.script.no_endpoints = True
    result = AGENT.perform("stop", context("ip", "n1", timeout_s=1, **PARAMS))
    assert result.rc is Ocf.OK
    assert "still show pod db-n1" in result.reason
    assert role(world, "n1") is None


def test_a_pod_that_is_not_ready_is_its_own_agents_matter(world: ScriptedCluster, context: Context) -> None:
    add_service(world, SELECTOR)
    add_pod(world, "n1")
    assert AGENT.perform("start", context("ip", "n1", **PARAMS)).rc is Ocf.OK
    world.script.unready.add("db-n1")
    world.nudge()
    wait_until(lambda: "clients wait" in AGENT.perform("monitor", context("ip", "n1", **PARAMS)).reason)
    assert AGENT.perform("monitor", context("ip", "n1", **PARAMS)).rc is Ocf.OK
