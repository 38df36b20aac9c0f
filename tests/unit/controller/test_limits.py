"""How many actions of a transition are under way at once, by the options of the cluster file."""

from __future__ import annotations

import pytest
from fixtures.leader_world import World

from hamgr.cib.options import Values
from hamgr.controller.transition.limits import Limits
from hamgr.scheduler.transition import GraphAction

CLONES = """\
cluster: test
nodes: [n1, n2, n3]
options: {%s}
resources: [{clone: all, of: {id: one, agent: dummy}}, {clone: more, of: {id: two, agent: dummy}}]
"""


def most_at_once(option: str) -> tuple[int, int]:
    """How many starts are under way at once at most while a cluster is started: in all, and on one node."""
    world = World(CLONES % option)
    total = on_one = 0
    for _ in range(60):
        world.advance()
        starts = [op.node for op in world.ops("start")]
        total = max(total, len(starts))
        on_one = max([on_one, *(starts.count(node) for node in starts)])
        for op in world.executor.in_flight[:1]:
            world.end(op)
    assert world.leader.idle
    assert len(world.where("one")) == len(world.where("two")) == 3
    return total, on_one


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("", (6, 2)),
        ("batch-limit: 1", (1, 1)),
        ("batch-limit: 4", (4, 2)),
        ("batch-limit: -1", (6, 2)),
        ("node-action-limit: 1", (3, 1)),
    ],
)
def test_a_cluster_is_started_as_fast_as_the_limits_allow(option: str, expected: tuple[int, int]) -> None:
    assert most_at_once(option) == expected


def migration(number: int, source: str, target: str, task: str = "migrate_to") -> GraphAction:
    node = source if task == "migrate_to" else target
    return GraphAction(number, "rsc", task, task, node, migrate_source=source, migrate_target=target)


def test_a_node_takes_part_in_so_many_migrations_as_source_or_target() -> None:
    limits = Limits.of(Values({"migration-limit": "1"}))
    under_way = migration(1, "n1", "n2", "migrate_from")
    others = [migration(2, "n3", "n1"), migration(3, "n2", "n4"), migration(4, "n3", "n4"), migration(5, "n4", "n5")]
    assert [action.id for action in limits.admit(others, [under_way])] == [4]


def test_fences_and_what_is_done_at_once_or_much_later_are_never_held_back() -> None:
    limits = Limits(batch=1, per_node=1, migrations=1)
    busy = GraphAction(1, "rsc", "A_start_0", "start", "n1")
    free = [
        GraphAction(2, "crm", "stonith", "stonith", "n1"),
        GraphAction(3, "pseudo", "x", "x", "n1"),
        GraphAction(4, "rsc", "A_monitor_10", "cancel", "n1"),
        GraphAction(6, "rsc", "A_monitor_10", "monitor", "n1", interval_ms=10, meta={"start-delay": "1h"}),
    ]
    assert limits.admit([*free, GraphAction(5, "rsc", "B_start_0", "start", "n1")], [busy]) == free


def test_without_limits_all_may_begin() -> None:
    ready = [GraphAction(n, "rsc", "x", "start", "n1") for n in range(50)]
    assert Limits.of(Values({})).admit(ready, ready) == ready
