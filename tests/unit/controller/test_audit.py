"""Every pod of ours is held against the records; what should not run is found, named, and ended by the rule for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from fixtures.leader_world import World

from hamgr.cib import history
from hamgr.cli.render.status import render_oneline, render_status
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.pods.audit import Kind, Known, Rule, audit
from hamgr.controller.status.report import Reporter

FILE = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - {id: db, agent: pod, params: {image: i, claim: data, mount_path: /x}}
  - {id: web, agent: dummy}
constraints:
  - location: {resource: db, node: n1, score: 50}
"""
KNOWN = Known(
    "test",
    memberships={
        "n1": MembershipState.MEMBER,
        "n2": MembershipState.KUBELET,
        "n3": MembershipState.FENCED,
        "n4": MembershipState.LOST,
    },
    homes={"db": frozenset({"shop"}), "web": frozenset({"default"})},
    expected=frozenset({("db", "n1")}),
    down=frozenset({("db", "n2")}),
    dealt_with=frozenset({"old"}),
)


def pod(node: str, *, resource: str = "db", parked: bool = False, runs: bool = True, **metadata: Any) -> dict[str, Any]:
    labels = {"hamgr.io/cluster": "test", "hamgr.io/resource": resource, "hamgr.io/node": node}
    own = {"name": f"{resource}-{node}", "namespace": "shop", "uid": f"uid-{node}", "labels": labels}
    own |= {"annotations": {"hamgr.io/parked": "true"}} if parked else {}
    state: dict[str, Any] = {"running": {}} if runs else {"waiting": {"reason": "ContainerCreating"}}
    return {
        "metadata": {**own, **metadata},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "containerStatuses": [{"name": "c", "state": state}]},
    }


@pytest.mark.parametrize(
    ("found", "kind", "rule"),
    [
        (pod("n2"), Kind.STRAY, Rule.PROBE),
        (pod("n2", parked=True), Kind.STRAY, Rule.PROBE),
        (pod("n1", resource="gone"), Kind.UNKNOWN, Rule.RECORD),
        (pod("n1", resource="gone", name="by-hand"), Kind.UNKNOWN, Rule.DELETE),
        (pod("n1", name="db-by-hand"), Kind.MISNAMED, Rule.DELETE),
        (pod("n1", namespace="default"), Kind.MISNAMED, Rule.DELETE),
        (pod("n3"), Kind.LATE, Rule.FENCE),
        (pod("n3", parked=True, runs=False), Kind.LATE, Rule.FENCE),
        (pod("n3", deletionTimestamp="t"), Kind.LATE, Rule.FENCE),
        (pod("n1", namespace="tenant"), Kind.BORROWED, Rule.NONE),
    ],
)
def test_each_pod_that_should_not_run_is_found(found: dict[str, Any], kind: Kind, rule: Rule) -> None:
    (finding,) = audit([found], KNOWN)
    assert (finding.kind, finding.rule) == (kind, rule)
    assert finding.critical == (kind is not Kind.BORROWED)
    assert found["metadata"]["name"] in finding.text
    assert found["spec"]["nodeName"] in finding.text or kind is Kind.BORROWED


@pytest.mark.parametrize(
    "fine",
    [
        pod("n1"),
        pod("n2", parked=True, runs=False),
        pod("n2", deletionTimestamp="t"),
        pod("n3", uid="old"),
        pod("n4"),
        pod("n2") | {"status": {"phase": "Succeeded"}},
        pod("n2", labels={"hamgr.io/cluster": "another", "hamgr.io/resource": "db"}),
        pod("n2", labels={}),
    ],
)
def test_what_is_as_it_should_be_is_not(fine: dict[str, Any]) -> None:
    assert audit([fine], KNOWN) == ()


def test_what_nothing_is_known_of_is_told_if_no_probe_comes() -> None:
    (finding,) = audit([pod("n1", resource="web", namespace="default")], KNOWN)
    assert (finding.kind, finding.rule) == (Kind.UNWATCHED, Rule.NONE)
    assert finding.patience_s > 0


# --- at work ---


def at_rest() -> World:
    world = World(FILE)
    world.settle()
    assert world.where("db") == ["n1"]
    return world


def look(world: World, *pods: dict[str, Any]) -> list[Kind]:
    world.leader.audit(pods, "test")
    return [finding.kind for finding in world.leader.auditor.findings]


def default(node: str, **how: Any) -> dict[str, Any]:
    return pod(node, **{"namespace": "default", **how})


def test_a_parked_pod_that_kubernetes_has_started_is_adopted_where_it_may_run() -> None:
    world = at_rest()
    world.leader.cluster_state.set_overrides(world.leader.cluster_state.overrides.ban("db", "n1", "", None))
    world.leader.touch("test")
    world.until(lambda: bool(world.ops("stop", "db")))
    (stop,) = world.ops("stop", "db")
    world.end(stop)
    world.executor.in_flight.clear()
    world.lead()  # before it could start anything
    world.truth = {("db", "n2"), ("web", world.where("web")[0])}
    world.settle()
    assert world.where("db") == ["n2"]
    assert look(world, default("n2", parked=True)) == []


def test_what_kubernetes_has_started_where_nothing_may_run_is_stopped() -> None:
    world = at_rest()
    world.apply(FILE.replace("{id: db, agent: pod,", "{id: db, agent: pod, meta: {target-role: Stopped},"))
    world.settle()
    world.truth.add(("db", "n2"))
    assert look(world, default("n2", parked=True)) == []  # it may be about to be put on record
    world.time += 3
    assert look(world, default("n2", parked=True)) == [Kind.STRAY]
    world.settle()
    assert world.where("db") == []


def test_an_instance_of_what_is_not_in_the_file_is_put_on_record_and_stopped() -> None:
    world = at_rest()
    world.truth.add(("gone", "n2"))
    assert look(world, default("n2", resource="gone")) == [Kind.UNKNOWN]
    world.until(lambda: bool(world.ops("stop", "gone")))
    (stop,) = world.ops("stop", "gone")
    assert (stop.agent, stop.node, dict(stop.params), stop.timeout_ms) == (
        *("pod", "n2", {"namespace": "default"}),
        90_000,
    )
    assert look(world, default("n2", resource="gone")) == []  # it is on record now
    world.settle()
    assert world.where("gone") == []


def test_what_no_stop_would_find_is_deleted_once() -> None:
    world, ended = at_rest(), []
    world.leader.auditor.end_pod = lambda name, namespace, uid: ended.append((namespace, name, uid))
    for _ in range(3):
        assert look(world, default("n2", name="db-by-hand")) == [Kind.MISNAMED]
        world.advance()
    assert ended == [("default", "db-by-hand", "uid-n2")]


def fenced() -> World:
    world = at_rest()
    world.lose("n1")
    world.settle()
    assert world.leader.cluster_state.membership("n1") is MembershipState.FENCED
    return world


def test_a_late_pod_on_a_node_that_was_fenced_has_it_fenced_again() -> None:
    world = fenced()
    assert look(world, default("n1", uid="late")) == [Kind.LATE]
    (record,) = world.fencer.running.values()
    assert (record.target.node, record.reason.code) == ("n1", "late-pod")
    assert "default/db-n1" in str(record.reason)
    assert look(world, default("n1", uid="late")) == []  # it is being fenced
    world.fenced(record)
    world.settle()
    assert world.where("db") != ["n1"]
    assert world.where("db")


def test_it_is_fenced_again_as_soon_as_that_is_allowed() -> None:
    world = fenced()
    world.refusals["n1"] = "maintenance"
    assert look(world, default("n1", uid="late")) == [Kind.LATE]
    assert not world.fencer.running
    world.refusals.clear()
    look(world, default("n1", uid="late"))
    assert world.fencer.running


def test_a_fence_for_it_that_fails_is_tried_again_after_a_while() -> None:
    world = fenced()
    look(world, default("n1", uid="late"))
    (record,) = world.fencer.running.values()
    world.fenced(record, succeeded=False)
    assert look(world, default("n1", uid="late")) == [Kind.LATE]
    assert not world.fencer.running
    world.time += 61
    look(world, default("n1", uid="late"))
    assert world.fencer.running


def test_a_pod_that_a_transition_starts_is_no_stray() -> None:
    world = at_rest()
    world.lose("n1")
    world.until(lambda: bool(world.fencer.running))
    world.fenced(next(iter(world.fencer.running.values())))
    world.until(lambda: bool(world.ops("start", "db")))
    (start,) = world.ops("start", "db")
    world.truth.add(("db", start.node))
    world.time += 5
    assert look(world, default(start.node, parked=True)) == []


def test_what_is_stopped_on_record_is_down_for_the_audit() -> None:
    world = at_rest()
    entry = next(h for h in world.leader.cluster_state.state("n2").resources if h.id == "db")
    assert not history.is_active(entry)


def test_it_is_critical_for_whoever_watches_the_cluster() -> None:
    world = at_rest()
    leadership: Any = SimpleNamespace(token=None, node="n1")
    reporter = Reporter(world.leader, leadership, None, clock=lambda: world.time, now=lambda: world.time)
    before = render_oneline(reporter.document())[1]
    assert before < 2
    look(world, default("n2", name="db-by-hand"))
    line, code = render_oneline(reporter.document())
    assert code == 2
    assert "pod default/db-by-hand runs on n2" in line
    assert "pod default/db-by-hand runs on n2" in render_status(reporter.document())
