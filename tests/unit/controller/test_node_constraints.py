"""Where resources are not started for the time being, as values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fixtures.leader_world import NODES, World, cluster_file

from hamgr.cib import history
from hamgr.cib.model import Location
from hamgr.controller.placement.node_constraints import (
    NodeRule,
    is_ours,
    located,
    node_rules,
    tolerations_of,
    while_another_can,
)
from hamgr.controller.standby.parking import successor
from hamgr.scheduler import schedule

FILE = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - group: database
    members:
      - {id: disk, agent: dummy}
      - id: db
        agent: pod
        params:
          template:
            containers: [{name: main, image: i}]
            tolerations: [{key: db, operator: Exists}]
        operations: {monitor: {interval: 10s}}
"""
CORDONED = {
    "spec": {"unschedulable": True, "taints": [{"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]}
}
RULE = NodeRule("cordoned", "database", "n1", "node n1 is cordoned")


def tainted(key: str, effect: str = "NoSchedule", value: str = "") -> dict[str, Any]:
    return {"spec": {"taints": [{"key": key, "effect": effect, "value": value}]}}


def named(**nodes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {name: {**node, "metadata": {"name": name}} for name, node in nodes.items()}


def rules(**nodes: dict[str, Any]) -> tuple[NodeRule, ...]:
    cib = cluster_file(FILE).to_live_cib()
    others = {name: {"spec": {}} for name in NODES}
    return node_rules(cib, named(**(others | nodes)), tolerations_of(cib))


def test_a_cordoned_node_is_one_rule_for_the_whole_group() -> None:
    assert rules(n1=CORDONED, n2={"spec": {}}) == (RULE,)


def test_a_node_that_kubernetes_does_not_know_is_not_started_on() -> None:
    """Nothing is ever attached to it, and Kubernetes removes its pods after 40 s."""
    cib = cluster_file(FILE).to_live_cib()
    found = node_rules(cib, named(n1={"spec": {}}, n3={"spec": {}}), tolerations_of(cib))
    assert found == (NodeRule("absent", "database", "n2", "node n2 has no Node object in Kubernetes"),)
    made = [entry for entry in located(cib, found).constraints if isinstance(entry, Location)]
    assert [(entry.rsc, entry.node) for entry in made] == [("database", "n2")]
    assert is_ours(made[0].id)
    assert node_rules(cib, {}, tolerations_of(cib)) == (), "who sees no node at all knows nothing"


@pytest.mark.parametrize("effect", ["NoSchedule", "NoExecute"])
def test_a_taint_that_the_template_does_not_tolerate_keeps_it_off(effect: str) -> None:
    assert [(rule.code, rule.why) for rule in rules(n2=tainted("gpu", effect))] == [
        ("tainted", f"node n2 has the taint gpu:{effect}")
    ]


@pytest.mark.parametrize(
    "node", [tainted("db", value="x"), tainted("gpu", "PreferNoSchedule"), tainted("node.kubernetes.io/not-ready")]
)
def test_other_taints_do_not(node: dict[str, Any]) -> None:
    """Whether a node is alive hamgr judges itself."""
    assert rules(n2=node) == ()


@pytest.mark.parametrize(
    ("toleration", "kept"),
    [
        ({"operator": "Exists"}, False),
        ({"key": "gpu", "value": "a100"}, False),
        ({"key": "gpu", "operator": "Equal", "value": "a100", "effect": "NoSchedule"}, False),
        ({"key": "gpu", "value": "other"}, True),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, True),
        ({"key": "other", "operator": "Exists"}, True),
    ],
)
def test_tolerations_match_as_in_kubernetes(toleration: dict[str, str], kept: bool) -> None:
    cib = cluster_file(FILE).to_live_cib()
    nodes = named(n1=tainted("gpu", value="a100"), n2={"spec": {}}, n3={"spec": {}})
    found = node_rules(cib, nodes, {"db": (toleration,)})
    assert bool(found) is kept


def everywhere() -> tuple[NodeRule, ...]:
    return tuple(replace(RULE, node=node) for node in NODES)


def test_a_cordoned_node_is_not_started_on_while_another_can() -> None:
    world = World()
    world.advance()
    cib = world.leader.cib(ruled=False)
    some = everywhere()[:2]
    assert while_another_can(cib, some, 1000) == some
    started = [a.node for a in schedule(located(cib, some), 1000).actions if (a.task, a.resource) == ("start", "db")]
    assert started == ["n3"]
    assert while_another_can(cib, everywhere(), 1000) == ()


def test_what_waits_waits_though_it_could_run_nowhere_else() -> None:
    world = World()
    rule = NodeRule("waits", "db", "", "Secret default/db is missing")
    cib = world.leader.cib(ruled=False)
    assert while_another_can(cib, (rule,), 1000) == (rule,)
    made = [entry for entry in located(cib, (rule,)).constraints if isinstance(entry, Location)]
    assert [(entry.rsc, entry.node) for entry in made] == [("db", node) for node in NODES]
    assert all(is_ours(entry.id) for entry in made)


def test_what_runs_well_stays_and_what_has_failed_goes() -> None:
    world = World(FILE)
    world.settle()
    (node,) = world.where("db")
    cordons = named(**({name: {"spec": {}} for name in NODES} | {node: CORDONED}))
    world.leader.observations.node_object = cordons.get  # type: ignore[method-assign]
    world.settle()
    assert world.where("db") == [node]
    assert [rule.node for rule in world.leader.cluster_state.rules] == [node]
    (monitor,) = [op for op in world.executor.monitors.values() if op.name == "db"]
    world.report(monitor, 7)
    world.settle()
    assert world.where("db") != [node]
    cordons[node]["spec"] = {}
    world.settle()
    assert world.leader.cluster_state.rules == ()


def test_nothing_is_parked_on_a_cordoned_node_while_another_can() -> None:
    world = World()
    world.settle()
    (node,) = world.where("db")
    first, second = [name for name in NODES if name != node]
    bare = world.leader.cib(ruled=False)
    for name, other in ((first, second), (second, first)):
        found = successor(located(bare, (replace(RULE, node=name),)), "db", node, 1000)  # type: ignore[arg-type]
        assert found is not None
        assert found.node == other


def test_rules_are_recorded_for_the_next_leader() -> None:
    world = World()
    world.leader.cluster_state.set_rules((RULE,))
    world.leader.cluster_state.flush()
    world.lead()
    assert world.leader.cluster_state.rules == (RULE,)
    assert history.fail_counts(world.leader.cluster_state.state("n1")) == {}
