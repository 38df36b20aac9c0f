"""One term of leadership, with values: what the leader does about nodes, results and fences in every order."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest
from fixtures.leader_world import FILE, World

from hamgr.controller.fencing.targets import PodTarget
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.nodes.observations import NodeObservations
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import Outcome, Target, new_record
from hamgr.fencer.topology import Level, LevelConfig
from hamgr.kube.kubelets import Contact
from hamgr.kube.nodes import LeaseAges
from hamgr.kube.objects import LEASE
from hamgr.scheduler.transition import GraphAction, Transition
from hamgr.store.values import Change, Entry, Snapshot

ORDER = reason("operator", user="somebody")
NO_MEMBERS = Snapshot("members/", 1, MappingProxyType({}))


def settled() -> World:
    world = World()
    world.settle()
    return world


def serving() -> tuple[World, str]:
    """A settled cluster, and the node on which its database runs."""
    world = settled()
    (node,) = world.where("db")
    return world, node


def with_lost_node() -> tuple[World, str]:
    """A cluster whose leader has just found that the database's node is lost, and that node."""
    world, node = serving()
    world.lose(node)
    world.advance()
    return world, node


def test_a_new_cluster_starts_everything_once() -> None:
    world = settled()
    assert [len(world.where(name)) for name in ("disk", "db", "web")] == [1, 1, 1]
    assert world.where("disk") == world.where("db")
    assert world.violations == []


def test_a_lost_node_is_fenced_before_anything_starts_elsewhere() -> None:
    world, node = with_lost_node()
    assert [record.target.node for record in world.fencer.running.values()] == [node]
    assert world.ops("start") == []
    world.settle()
    assert world.where("db") not in ([], [node])
    assert world.violations == []


def test_a_node_that_comes_back_before_its_fence_begins_is_monitored_again() -> None:
    """Its monitors ended when it was lost; on record they seemed to run, so nobody would have noticed a crash."""
    world, node = serving()
    world.refusals[node] = "most-nodes-bad"
    world.lose(node)
    world.advance()
    world.join(node)
    world.settle()
    assert world.where("db") == [node]
    assert {op.name for op in world.executor.monitors.values() if op.node == node} >= {"db"}


def test_what_was_in_flight_on_a_node_that_comes_back_is_probed() -> None:
    world, node = serving()
    world.leader.cluster_state.set_overrides(
        world.leader.cluster_state.overrides.resource_meta("db", "target-role", "Stopped")
    )
    world.leader.touch("test")
    world.until(lambda: bool(world.ops("stop", "db")))
    world.refusals[node] = "most-nodes-bad"
    world.lose(node)
    world.advance()
    world.join(node)
    world.advance()
    assert [op.node for op in world.ops("monitor", "db")] == [node]
    (told,) = [text for code, text in world.told if code == "operation_unknown"]
    assert told == f"how the last operation on db ended is not known: {node} is probed"
    world.settle()
    assert world.where("db") == []


def test_a_pod_fence_ends_what_is_in_flight_for_its_resources() -> None:
    """The walk would have waited for ever: no result comes of an operation that was abandoned."""
    world = World()
    world.until(lambda: bool(world.ops("start", "db")))
    (starting,) = world.ops("start", "db")
    record = world.leader.fence_pod(PodTarget("default", f"db-{starting.node}", "db", starting.node), ORDER, "somebody")
    world.fenced(record)
    world.settle()
    assert len(world.where("db")) == 1
    assert world.where("db") != [starting.node]


def test_nothing_is_started_while_a_node_is_fenced_by_order() -> None:
    world, node = serving()
    record = world.leader.fence_node(node, ORDER, "somebody")
    world.advance()
    for monitor in list(world.executor.monitors.values()):
        if monitor.node == node:
            world.report(monitor, 7)  # the fence deletes its pods
    world.advance()
    assert [op for op in world.executor.in_flight if op.task in ("start", "stop")] == []
    world.fenced(record)
    assert world.where("db") == []
    world.settle()
    assert len(world.where("db")) == 1


def test_an_operation_under_way_on_a_node_that_is_fenced_by_order_is_given_up() -> None:
    """It might put back behind the fence's back what the fence has taken away."""
    world = World()
    world.until(lambda: bool(world.ops("start", "db")))
    (starting,) = world.ops("start", "db")
    world.leader.fence_node(starting.node, ORDER, "somebody")
    assert [op for op in world.executor.in_flight if op.node == starting.node] == []
    world.settle()
    assert len(world.where("db")) == 1


def test_a_late_result_says_nothing_of_a_node_that_was_fenced_since() -> None:
    world, node = serving()
    monitor = next(op for op in world.executor.monitors.values() if op.node == node and op.name == "db")
    world.lose(node)
    world.advance()
    (record,) = world.fencer.running.values()
    world.fenced(record)
    world.report(monitor, 0)
    assert world.leader.cluster_state.state(node).resources == ()


def test_an_intent_that_was_recorded_and_not_carried_out_is_probed() -> None:
    """etcd was away when the write was to be confirmed: the start never began, but it is on record as under way."""
    world = World()
    world.until(lambda: bool(world.ops("start", "disk")))
    (starting,) = world.ops("start", "disk")
    world.end(starting)
    world.etcd.answering = False
    world.advance()
    world.etcd.answering = True
    world.leader.touch("something else happened")
    world.settle()
    assert len(world.where("db")) == 1


def test_fencing_that_has_to_wait_is_told_once_though_its_reason_counts_seconds() -> None:
    world, node = serving()
    world.lose(node)
    world.waiting_s = {node: 60.0}
    for _ in range(20):
        world.advance(1.0)
    assert [code for code, _ in world.told].count("fencing_held") == 1
    world.waiting_s = {}
    world.settle()
    assert world.leader.cluster_state.membership(node) is MembershipState.FENCED


def test_a_new_leader_does_not_wait_again_for_a_node_that_was_never_seen() -> None:
    world, node = serving()
    world.leader.cluster_state.set_membership("n3", MembershipState.UNSEEN)
    world.leader.cluster_state.flush()
    world.members.pop("n3")
    world.join_wait_s = 15.0
    world.lead()
    world.lose(node)
    world.advance()
    world.advance()
    assert node in {record.target.node for record in world.fencer.running.values()}


def test_a_pod_fence_resumed_by_another_leader_says_nothing_of_the_rest_of_its_node() -> None:
    """It counted as a fence of the whole node: what else ran there was started a second time elsewhere."""
    world, node = serving()
    pod = PodTarget("default", f"db-{node}", "db", node)
    world.leader.fence_pod(pod, ORDER, "somebody")
    world.lead()
    (record,) = world.fencer.running.values()
    world.fenced(record)
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER
    ended = {entry.id: entry.ops[-1].operation for entry in world.leader.cluster_state.state(node).resources}
    assert (ended["disk"], ended["db"]) == ("stop", "stop")
    world.settle()
    assert len(world.where("db")) == 1
    assert world.violations == []


def test_a_standbys_mark_does_not_outlive_the_failure_that_it_was_for() -> None:
    world, node = serving()
    standby = next(name for name in ("n1", "n2", "n3") if name != node)
    world.leader.standby_preference.standby_of = lambda _resource: standby
    world.leader.cluster_state.set_overrides(
        world.leader.cluster_state.overrides.resource_meta("db", "is-managed", "false")
    )
    world.leader.touch("test")
    world.settle()
    monitor = next(op for op in world.executor.monitors.values() if op.name == "db")
    world.report(monitor, 7)
    assert "parked-db" in world.leader.cluster_state.state(standby).attributes
    world.settle()
    world.advance(61.0)
    assert "parked-db" not in world.leader.cluster_state.state(standby).attributes


def test_a_scheduler_that_fails_does_not_end_the_term(monkeypatch: pytest.MonkeyPatch) -> None:
    world = settled()
    with monkeypatch.context() as patch:
        patch.setattr("hamgr.controller.leader.schedule", lambda *_: 1 / 0)
        world.leader.touch("test")
        world.advance()
        world.advance()
    assert [code for code, _ in world.told].count("scheduler_failed") == 1
    world.lose(world.where("db")[0])
    world.settle()
    assert len(world.where("db")) == 1


def test_a_transition_that_cannot_be_walked_is_not_asked_for_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it can begin and nothing has failed: the scheduler would say the same five times a second."""
    world = settled()
    before = world.leader.cluster_state.transitions
    action = GraphAction(1, "rsc", "db_start_0", task="start", resource="db", node="n1")
    loop = Transition(actions=(action,), edges=((1, 1),))
    monkeypatch.setattr("hamgr.controller.leader.schedule", lambda *_: loop)
    world.leader.touch("test")
    for _ in range(20):
        world.advance()
    assert world.leader.cluster_state.transitions == before + 1


def ended_but_unsettled(world: World, node: str) -> None:
    """The fence of the node has succeeded, and its leader dies before it can put that on record."""
    (record,) = world.fencer.running.values()
    world.etcd.answering = False
    world.fenced(record)
    world.etcd.answering = True
    world.fencer.running.clear()
    assert world.etcd.values[f"state/nodes/{node}"]["standing"] == "lost"
    world.lead()


def test_a_fence_that_ended_with_its_leader_is_not_repeated() -> None:
    world, node = with_lost_node()
    ended_but_unsettled(world, node)
    assert world.leader.cluster_state.membership(node) is MembershipState.FENCED
    world.settle()
    assert len(world.fences) == 1
    assert world.where("db") not in ([], [node])
    assert world.violations == []


def test_a_node_that_is_back_before_the_next_leader_is_let_in_as_after_any_fence() -> None:
    """Taken for one that was never fenced, it would keep the fence's taint."""
    world, node = with_lost_node()
    world.members[node] = {"node": node, "boot_id": "boot-2", "id": "again"}
    ended_but_unsettled(world, node)
    assert world.leader.cluster_state.membership(node) is MembershipState.FENCED
    assert world.leader.cluster_state.state(node).resources == ()
    world.settle()
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER
    assert len(world.fences) == 1
    assert world.violations == []


def test_a_settled_fence_is_not_settled_again_after_the_node_has_come_back() -> None:
    world, node = serving()
    world.lose(node)
    world.settle()
    world.join(node)
    world.settle()
    world.lead()
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER
    world.settle()
    assert len(world.fences) == 1


def test_records_of_a_version_that_noted_no_fences_are_left_as_they_are() -> None:
    world, node = serving()
    world.lose(node)
    world.settle()
    world.join(node)
    world.settle()
    for key, value in world.etcd.values.items():
        if key.startswith("state/nodes/"):
            value.pop("fence")
    world.lead()
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER
    world.settle()
    world.lead()
    assert world.leader.cluster_state.settled_fence(node) == next(iter(world.fences))


def test_the_newest_fence_is_the_one_that_was_begun_last_whatever_the_clock_said() -> None:
    world = settled()
    first, second = (new_record(Target("n1"), reason("node-lost", node="n1"), "n2", (LevelConfig(Level.VOLUME),))
                     for _ in range(2))  # fmt: skip
    first, second = replace(first, id="9"), replace(second, id="1")
    for record in (first, second):
        world.leader.fences.note(replace(record, outcome=Outcome.SUCCEEDED))
    last = world.leader.fences.last_of("n1")
    assert last is not None
    assert last.id == "1"


def test_a_new_leader_tells_no_news_of_the_configuration() -> None:
    world = World()
    world.advance()
    (why,) = [text for code, text in world.told if code == "transition"]
    assert "a new leader" in why
    assert "configuration" not in why


def test_a_standby_from_which_it_would_be_moved_back_is_not_preferred() -> None:
    text = FILE + "constraints: [{location: {resource: database, node: n2, score: 500}}]\n"
    world = World(text)
    world.settle()
    assert world.where("db") == ["n2"]
    world.leader.standby_preference.standby_of = lambda _resource: "n3"
    monitor = next(op for op in world.executor.monitors.values() if op.name == "db")
    world.truth.discard(("db", "n2"))
    world.report(monitor, 7)
    assert "parked-db" not in world.leader.cluster_state.state("n3").attributes
    world.settle()
    assert world.where("db") == ["n2"]


def test_a_course_that_is_left_does_not_wait_for_the_first_answer_of_a_monitor() -> None:
    """While the API server is away monitors have nothing to say, and other nodes may have to be fenced."""
    world = World()
    world.until(lambda: bool(world.ops("monitor", "db")) and any(op.interval_ms for op in world.ops("monitor", "db")))
    for op in list(world.executor.in_flight):
        if not op.interval_ms:
            world.end(op)
    (silent,) = [op for op in world.ops("monitor", "db") if op.interval_ms]
    victim = next(node for node in ("n1", "n2", "n3") if node not in world.where("db"))
    world.lose(victim)
    world.advance()
    world.advance()
    assert [record.target.node for record in world.fencer.running.values()] == [victim]
    world.end(silent)
    world.settle()
    assert world.violations == []


class Kubelet:
    """A node's kubelet, alive in this boot, whose Lease is renewed when a test says so."""

    def __init__(self, world: World, node: str, *, boot_id: str = "", port: Contact | None = None) -> None:
        self._ages = LeaseAges(clock=lambda: world.time)
        self._node = node
        self._renewals = 0
        self.renew()
        ready = {"type": "Ready", "status": "True"}
        status = {"conditions": [ready], "nodeInfo": {"bootID": boot_id}}
        cache: Any = SimpleNamespace(
            get=lambda _kind, name: {"metadata": {"name": name}, "status": status},
            seen_for_s=lambda _kind: self.seen_for_s,
        )
        self.seen_for_s = 1000.0
        kubelets: Any = SimpleNamespace(look=lambda _node: port, get_to_know=lambda _node: None)
        observations = NodeObservations(NO_MEMBERS, cache, self._ages, lambda: world.time, kubelets=kubelets)
        world.leader.node_monitor.observations = observations
        for other in world.members:
            observations.note([Change(f"members/{other}", Entry(world.members[other], 1, 1))])

    @classmethod
    def alone(cls, world: World, node: str, *, port: Contact | None = None) -> Kubelet:
        """Of a node that is alive by it alone, its hamgrd having been stopped."""
        kubelet = cls(world, node, port=port)
        goodbye = Change(f"members/{node}", Entry(world.members[node] | {"leaving": True}, 2, 2))
        world.leader.observations.note([goodbye, Change(f"members/{node}", None)])
        world.advance()
        assert world.leader.cluster_state.membership(node) is MembershipState.KUBELET
        return kubelet

    def renew(self) -> None:
        self._renewals += 1
        lease = {
            "metadata": {"name": self._node, "namespace": "kube-node-lease"},
            "spec": {"renewTime": str(self._renewals)},
        }
        self._ages.observe(LEASE, "MODIFIED", lease, None)


def test_a_node_that_was_switched_off_and_on_within_its_lease_is_not_fenced_for_the_end_of_that() -> None:
    """The hamgrd of the new boot waits for that lease; what is there until then is the word of a dead one."""
    world, node = serving()
    record = world.leader.fence_node(node, ORDER, "somebody", (LevelConfig(Level.NODE, ("switch",)),))
    Kubelet(world, node, boot_id="boot-2")
    world.fenced(replace(record, boot_id=f"boot-{node}"))
    assert node in world.leader.observations.members
    world.advance()
    assert world.leader.cluster_state.membership(node) in (MembershipState.FENCED, MembershipState.KUBELET)
    world.lose(node)
    world.advance()
    assert world.leader.cluster_state.membership(node) in (MembershipState.FENCED, MembershipState.KUBELET)
    world.join(node)
    world.leader.observations.note(
        [Change(f"members/{node}", Entry(world.members[node] | {"boot_id": "boot-2"}, 3, 3))]
    )
    world.settle()
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER
    assert len(world.fences) == 1
    assert world.violations == []


def test_a_fenced_node_that_was_let_in_again_without_a_restart_is_a_member() -> None:
    world, node = serving()
    record = world.leader.fence_node(node, ORDER, "somebody", (LevelConfig(Level.WATCHDOG),))
    Kubelet(world, node, boot_id=f"boot-{node}")
    world.fenced(replace(record, boot_id=f"boot-{node}"))
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER


def test_a_lost_node_that_is_heard_of_again_before_it_may_be_fenced_is_back() -> None:
    """Else nodes without hamgrd stayed lost for ever after an outage that most of them shared, and the guard, which
    takes that for our own trouble, refused every fence from then on."""
    world, node = serving()
    kubelet = Kubelet.alone(world, node)
    world.refusals[node] = "most-nodes-bad"
    world.advance(26.0)
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.LOST
    kubelet.renew()
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.KUBELET
    del world.refusals[node]
    world.settle()
    assert world.where("db") == [node]
    assert (world.fences, world.violations) == ({}, [])


def test_a_member_key_that_is_missing_in_a_view_that_is_not_whole_is_no_loss() -> None:
    world, node = serving()
    world.settled = False
    world.lose(node)
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER
    world.settled = True
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.LOST


def test_a_lease_that_was_renewed_before_the_node_was_lost_is_no_sign_of_life() -> None:
    """Kubernetes calls a host that has just crashed well for most of a minute."""
    world, node = serving()
    kubelet = Kubelet(world, node)
    world.join(node)
    world.advance()
    kubelet.renew()
    world.advance(1.0)
    world.refusals[node] = "most-nodes-bad"
    world.lose(node)
    for _ in range(3):
        world.advance()
        assert world.leader.cluster_state.membership(node) is MembershipState.LOST
    kubelet.renew()
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.KUBELET


def test_a_fenced_node_that_lives_is_let_in_when_it_was_found_clean_and_not_before() -> None:
    world, node = serving()
    world.rejoin.unclean.add(node)
    world.lose(node)
    world.settle()
    assert world.rejoin.asked == []  # it shows no life
    world.join(node)
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.FENCED
    assert world.rejoin.asked == [node]
    world.rejoin.unclean.clear()
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER
    world.rejoin.asked.clear()
    world.settle()
    assert world.rejoin.asked == []
    assert world.violations == []


def test_a_fence_that_goes_on_after_another_one_of_the_node_has_ended_holds_nobody_up() -> None:
    """As when a detach hangs and an operator, asked for it, says that the node is off."""
    world, node = serving()
    world.lose(node)
    world.until(lambda: bool(world.fencer.running), rounds=5)
    (hanging,) = world.fencer.running.values()
    world.leader.touch("something else")
    world.fenced(replace(hanging, id="another"))
    assert [record.id for record in world.leader.fences.running] == [hanging.id]
    world.until(lambda: bool(world.ops("start", "db")))
    assert world.violations == []


def test_a_fence_that_has_begun_is_not_taken_back_by_a_sign_of_life() -> None:
    world, node = serving()
    kubelet = Kubelet.alone(world, node)
    world.advance(26.0)
    world.until(lambda: bool(world.fencer.running), rounds=5)
    kubelet.renew()
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.LOST
    world.fenced(*world.fencer.running.values())
    assert world.leader.cluster_state.membership(node) is MembershipState.FENCED


def test_an_outage_of_the_api_server_is_not_held_against_kubelets() -> None:
    world, node = serving()
    kubelet = Kubelet.alone(world, node)
    kubelet.seen_for_s = 0.0
    world.advance(600.0)
    kubelet.seen_for_s = 24.0
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.KUBELET
    kubelet.seen_for_s = 25.0
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.LOST


def test_a_database_that_answers_keeps_its_node_from_being_fenced_for_a_silent_kubelet() -> None:
    world, node = serving()
    Kubelet.alone(world, node, port=Contact(False, 9.0))
    assert world.executor.poked == []
    world.time += 13.0
    world.executor.heard[node] = 0.5
    world.advance()
    assert world.executor.poked == []  # it was just asked
    world.executor.heard[node] = 1.5
    world.advance()
    assert world.executor.poked == [node]
    assert world.leader.cluster_state.membership(node) is MembershipState.KUBELET
    world.executor.heard[node] = 6.0
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.LOST


def failed_once() -> tuple[World, str, dict[str, str]]:
    """A cluster at rest after a failure of `db`; the node that counts it, and the node's attributes."""
    world = World()
    world.settle()
    (monitor,) = [op for op in world.executor.monitors.values() if op.name == "db"]
    world.truth.discard(("db", monitor.node))
    world.report(monitor, 7)
    world.settle()
    attributes = dict(world.leader.cluster_state.state(monitor.node).attributes)
    assert "fail-count-db#monitor_10000" in attributes
    return world, monitor.node, attributes


def test_transient_attributes_go_with_a_node_that_is_lost_and_permanent_ones_stay() -> None:
    """As in Pacemaker: the controller deletes them when the peer is gone, be it to come back unfenced."""
    world, node, _ = failed_once()
    overrides = world.leader.cluster_state.overrides.node_attribute(node, "maintenance", "true")
    world.leader.cluster_state.set_overrides(overrides)
    world.refusals[node] = "node-maintenance"
    world.lose(node)
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.LOST
    assert world.leader.cluster_state.state(node).attributes == {}
    assert world.leader.node_attributes(node) == {"maintenance": "true"}
    world.join(node)
    world.advance()
    assert world.leader.cluster_state.membership(node) is MembershipState.MEMBER
    assert world.leader.cluster_state.state(node).attributes == {}
    assert world.leader.node_attributes(node) == {"maintenance": "true"}


def test_a_stopped_hamgrd_takes_no_attributes_along() -> None:
    """Its node goes on to take part: what runs there is still monitored and counted, by the leader."""
    world, node, attributes = failed_once()
    overrides = world.leader.cluster_state.overrides.node_attribute(node, "maintenance", "true")
    world.leader.cluster_state.set_overrides(overrides)
    Kubelet.alone(world, node)
    assert dict(world.leader.cluster_state.state(node).attributes) == attributes
    assert world.leader.node_attributes(node) == {"maintenance": "true"}
