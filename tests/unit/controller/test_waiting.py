"""A start that waits for something outside is no failure, bans no node, and is tried again when that is there."""

from __future__ import annotations

from fixtures.leader_world import NODES, World

from hamgr.cib import history
from hamgr.executor.ocf import ExecStatus, Ocf
from hamgr.executor.operations import Op, OpResult
from hamgr.scheduler import schedule

WHY = "pod db-n1 cannot start: Secret default/db does not exist"


def waits(world: World, op: Op) -> None:
    world.executor.in_flight.remove(op)
    world.leader.operation_ended(OpResult(op, Ocf.ERR_GENERIC, ExecStatus.DONE, WHY, waiting=True))


def answer(world: World, rc: Ocf) -> None:
    (op,) = world.ops("may-start")
    world.executor.in_flight.remove(op)
    world.leader.operation_ended(OpResult(op, rc, ExecStatus.DONE, WHY if rc else ""))


def waiting() -> World:
    world = World()
    world.until(lambda: world.ops("start", "db") != [])
    waits(world, world.ops("start", "db")[0])
    world.until(lambda: world.leader.idle)
    return world


def test_it_is_no_failure_and_no_other_node_is_tried() -> None:
    world = waiting()
    assert world.where("db") == []
    assert len(world.where("disk")) == 1
    for node in NODES:
        state = world.leader.cluster_state.state(node)
        assert history.fail_counts(state) == {}
        assert not [op for entry in state.resources for op in entry.ops if "last_failure" in op.id]
    assert world.ops("start") == []
    assert [text for code, text in world.told if code == "waiting"] == [f"db waits: {WHY}"]
    assert [rule.why for rule in world.leader.cluster_state.rules] == [WHY]


def test_what_is_asked_meanwhile_is_the_agent_every_two_seconds() -> None:
    world = waiting()
    world.advance()
    assert world.ops("may-start") == []
    world.advance(2.0)
    assert len(world.ops("may-start")) == 1
    world.advance(10.0)
    assert len(world.ops("may-start")) == 1
    answer(world, Ocf.ERR_GENERIC)
    world.advance(1.0)
    assert world.ops("may-start") == []
    world.advance(1.1)
    assert len(world.ops("may-start")) == 1
    assert world.ops("start") == []


def test_it_starts_as_soon_as_it_may() -> None:
    world = waiting()
    world.advance(2.1)
    answer(world, Ocf.OK)
    world.settle()
    assert world.where("db") == world.where("disk")
    assert world.leader.cluster_state.rules == ()


def test_what_nobody_can_look_at_is_tried_less_and_less_often() -> None:
    world, pauses = waiting(), []
    for _ in range(6):
        began = world.time
        while not world.ops("may-start"):
            world.advance(1.0)
        pauses.append(world.time - began)
        answer(world, Ocf.OK)
        world.until(lambda: world.ops("start", "db") != [])
        waits(world, world.ops("start", "db")[0])
        world.until(lambda: world.leader.idle)
    assert pauses == sorted(pauses)
    assert 28 <= pauses[-1] <= 31


def test_another_leader_tries_again_at_once_and_others_see_what_it_would_do() -> None:
    world = waiting()
    assert [a for a in schedule(world.leader.cib(), int(world.time)).actions if a.task == "start"] == []
    world.lead()
    world.settle()
    assert world.where("db") == world.where("disk")


def test_an_instance_that_runs_elsewhere_is_left_alone() -> None:
    text = "cluster: test\nnodes: [n1, n2, n3]\nresources:\n  - {clone: dbs, of: {id: db, agent: dummy}}\n"
    world = World(text)
    world.until(lambda: len(world.ops("start")) == 3)
    first, second, third = world.ops("start")
    world.end(first)
    world.end(second)
    waits(world, third)
    world.until(lambda: world.leader.idle)
    assert world.where("db") or len(world.truth) == 2
    assert world.ops("stop") == []
    assert [rule.resource for rule in world.leader.cluster_state.rules] == ["db"]
