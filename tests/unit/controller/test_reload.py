"""Changed parameters: those that the agent calls reloadable cost no restart, the others do."""

from __future__ import annotations

from fixtures.leader_world import REGISTRY, World

FILE = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - {id: db, agent: dummy, params: {PARAMS}, operations: {monitor: {interval: 10s}}}
"""


def running(params: str) -> tuple[World, str]:
    world = World(FILE.replace("PARAMS", params))
    world.settle()
    (node,) = world.where("db")
    return world, node


def tasks_after(world: World, params: str) -> list[str]:
    """What the new parameters have the leader do, in order."""
    world.apply(FILE.replace("PARAMS", params))
    done: list[str] = []
    while not (world.leader.idle and not world.executor.in_flight):
        world.advance()
        for op in list(world.executor.in_flight):
            done.append(op.task)
            world.end(op)
    return done


def test_what_the_agent_can_reload_is_reloaded() -> None:
    world, node = running("op_sleep: 0s")
    assert tasks_after(world, "op_sleep: 1s") == ["reload-agent", "monitor"]
    assert world.where("db") == [node]
    assert world.violations == []


def test_what_it_cannot_reload_restarts_it() -> None:
    world, node = running("op_sleep: 0s")
    assert tasks_after(world, "op_sleep: 0s, state: /run/db") == ["stop", "start", "monitor"]
    assert world.where("db") == [node]


def test_a_reload_is_on_record_for_the_next_leader() -> None:
    world, _ = running("op_sleep: 0s")
    tasks_after(world, "op_sleep: 1s")
    world.lead()
    world.advance()
    assert [op.task for op in world.executor.in_flight] == ["monitor"]
    world.settle()
    assert tasks_after(world, "op_sleep: 2s") == ["reload-agent", "monitor"]


def test_which_agents_can_reload() -> None:
    assert REGISTRY.force_restart("dummy") == " state fake "
    assert " restart_grace " not in (REGISTRY.force_restart("mariadb") or "")
    assert " template " in (REGISTRY.force_restart("mariadb") or "")
    assert REGISTRY.force_restart("volume") is None
    assert REGISTRY.force_restart("no such agent") is None
