"""What an instance is stopped by: what it was started with, whatever the cluster file says by then."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from fixtures.leader_world import REGISTRY, World, cluster_file

from hamgr.cib import history
from hamgr.cib.model import Started
from hamgr.executor.operations import Op

TEMPLATE = {
    "spec": {
        "containers": [
            {
                "name": "db",
                "image": "db:1",
                "args": ["--password=hunter2"],
                "env": [{"name": "PASSWORD", "value": "hunter2"}],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
            {"name": "keys", "secret": {"secretName": "db-keys"}},
        ],
    }
}


def text(*resources: object) -> str:
    return yaml.safe_dump({"cluster": "test", "nodes": ["n1", "n2", "n3"], "resources": list(resources)})


def disk(**params: str) -> dict[str, object]:
    return {"id": "disk", "agent": "volume", "params": {"claim": "data", "namespace": "shop", **params}}


def stop_of(world: World, name: str) -> Op:
    world.until(lambda: bool(world.ops("stop", name)))
    return world.ops("stop", name)[0]


def running(*resources: object) -> World:
    world = World(text(*resources))
    world.settle()
    return world


@pytest.mark.parametrize("changed", [{"namespace": "other"}, {"claim": "other"}, {"pv": "pv-7"}])
def test_a_stop_goes_by_what_was_started_and_the_start_after_it_by_the_file(changed: dict[str, str]) -> None:
    world = running(disk())
    world.apply(text(disk(**changed)))
    assert stop_of(world, "disk").params == {"claim": "data", "namespace": "shop"}
    world.until(lambda: bool(world.ops("start", "disk")))
    assert world.ops("start", "disk")[0].params == {"claim": "data", "namespace": "shop", **changed}


def test_the_next_leader_stops_what_the_last_one_started() -> None:
    world = running(disk())
    world.lead()
    world.apply(text(disk(claim="other")))
    assert stop_of(world, "disk").params["claim"] == "data"


def test_what_is_not_in_the_file_any_more_is_stopped_as_it_was_started_in_the_time_it_had() -> None:
    world = running(disk() | {"operations": {"stop": {"timeout": "77s"}}})
    world.apply(text({"id": "web", "agent": "dummy"}))
    op = stop_of(world, "disk")
    assert (op.agent, dict(op.params), op.timeout_ms) == ("volume", {"claim": "data", "namespace": "shop"}, 77_000)
    world.settle()
    assert world.where("disk") == []


def test_without_a_time_of_its_own_it_has_what_its_agent_advises() -> None:
    world = running({"id": "db", "agent": "pod", "params": {"image": "db:1"}})
    node = world.where("db")[0]
    world.leader.cluster_state.update(node, lambda state: history.note_started(state, "db", _untimed(world, node)))
    world.apply(text({"id": "web", "agent": "dummy"}))
    assert stop_of(world, "db").timeout_ms == 90_000


def _untimed(world: World, node: str) -> Started:
    started = history.last_start(world.leader.cluster_state.state(node), "db")
    assert started is not None
    return replace(started, timeouts={})


def test_an_instance_is_stopped_by_the_agent_that_started_it() -> None:
    world = running({"id": "db", "agent": "pod", "params": {"image": "db:1"}})
    world.apply(text({"id": "db", "agent": "dummy"}))
    op = stop_of(world, "db")
    assert (op.agent, op.params["image"]) == ("pod", "db:1")


@pytest.mark.parametrize(
    "after",
    [text({"id": "web", "agent": "dummy"}), text(disk(claim="other"))],
    ids=["orphan", "changed"],
)
def test_a_stop_whose_leader_died_is_taken_up_by_the_next_when_no_probe_would_find_the_instance(after: str) -> None:
    world = running(disk())
    world.apply(after)
    stop_of(world, "disk")
    (node,) = world.where("disk")
    world.lead()
    op = stop_of(world, "disk")
    assert (op.node, op.params["claim"]) == (node, "data")
    assert ("disk", node) in world.truth


def test_a_stop_whose_leader_died_is_probed_where_the_definition_is_the_same() -> None:
    world = running(disk())
    world.text = text(disk() | {"meta": {"target-role": "Stopped"}})
    world.apply(world.text)
    stop_of(world, "disk")
    world.lead()
    world.until(lambda: bool(world.ops("monitor", "disk")))


def test_cleaning_up_does_not_forget_what_no_probe_would_find() -> None:
    world = running(disk())
    (node,) = world.where("disk")
    world.leader.configure(cluster_file(text(disk(namespace="other"))))
    world.leader.forget(node, "disk")
    world.leader.touch("test")
    assert stop_of(world, "disk").params["namespace"] == "shop"


def test_no_secret_is_on_record() -> None:
    pod = {"id": "db", "agent": "mariadb", "params": {"template": TEMPLATE, "secret": "db-auth"}}
    world = running(pod)
    written = json.dumps({key: value for key, value in world.etcd.values.items() if key.startswith("state/")})
    assert "hunter2" not in written
    assert "db-auth" in written  # where the secret is
    (node,) = world.where("db")
    started = history.last_start(world.leader.cluster_state.state(node), "db")
    assert started is not None
    kept = json.loads(started.params["template"])["spec"]
    assert kept["volumes"] == TEMPLATE["spec"]["volumes"]
    assert kept["containers"][0]["volumeMounts"] == [{"name": "data", "mountPath": "/data"}]


def test_a_password_is_never_recorded_and_comes_from_the_file_while_that_has_it() -> None:
    agent = REGISTRY.get("dummy")
    assert agent.to_record({"state": "x", "passwd": "hunter2", "password": "hunter2"}) == {"state": "x"}


def test_what_an_earlier_version_started_is_completed_from_the_file_that_it_was_started_by() -> None:
    world = running(disk())
    (node,) = world.where("disk")
    key = f"state/history/{node}/disk"
    del world.etcd.values[key]["started"]
    world.lead()
    world.apply(text(disk(claim="other")))
    assert stop_of(world, "disk").params["claim"] == "data"


def test_a_start_on_record_that_nobody_can_read_counts_as_none() -> None:
    world = running(disk())
    (node,) = world.where("disk")
    for broken in ("x", [], {"agent": 1}, {"agent": {}, "params": [], "timeouts": {}, "digest": "", "group": ""}):
        document = {**world.etcd.values[f"state/history/{node}/disk"], "started": broken}
        assert history.history_from_json(document).started is None
