"""priority-fencing-delay: who is given time before it is fenced."""

from __future__ import annotations

import pytest
from fixtures.leader_world import World

from hamgr.controller.fencing.priority_delay import priority_delay_s

TWO = """\
cluster: test
nodes: [n1, n2]
options: {priority-fencing-delay: 15s}
resources:
  - {id: db, agent: dummy, meta: {priority: 10}}
  - {id: web, agent: dummy, meta: {priority: PRIORITY}}
constraints:
  - location: {resource: db, node: n1, score: 500}
  - location: {resource: web, node: n2, score: 500}
"""


def delay_of(text: str, lost: str) -> float:
    """How long the fence of a lost node is held back."""
    world = World(text)
    world.settle()
    world.lose(lost)
    world.until(lambda: bool(world.fencer.running), rounds=5)
    (record,) = world.fencer.running.values()
    assert record.target.node == lost
    return record.levels[0].delay.seconds(0.0)


@pytest.mark.parametrize(("priority", "lost", "delay_s"), [("1", "n1", 15.0), ("1", "n2", 0.0), ("10", "n1", 0.0)])
def test_of_two_nodes_the_more_important_one_is_given_time(priority: str, lost: str, delay_s: float) -> None:
    assert delay_of(TWO.replace("PRIORITY", priority), lost) == delay_s


def test_it_is_the_lost_nodes_own_importance_that_counts() -> None:
    swapped = TWO.replace("db, node: n1", "db, node: N").replace("web, node: n2", "web, node: n1").replace("N,", "n2,")
    assert delay_of(swapped.replace("PRIORITY", "1"), "n2") == 15.0


def test_only_who_is_lost_is_given_time() -> None:
    world = World(TWO.replace("PRIORITY", "1"))
    world.settle()
    world.lose("n1")
    world.advance()
    assert priority_delay_s(world.leader.cib(), "n1", 0) == 15.0
    for node in ("n2", "unheard-of"):
        assert priority_delay_s(world.leader.cib(), node, 0) == 0.0
    other = World(TWO.replace("PRIORITY", "1"))
    other.settle()
    other.lose("n2")
    other.advance()
    assert priority_delay_s(other.leader.cib(), "n1", 0) == 0.0  # the more important one, and online


def test_with_a_majority_nobody_is_given_time() -> None:
    assert delay_of(TWO.replace("PRIORITY", "1").replace("[n1, n2]", "[n1, n2, n3]"), "n1") == 0.0


def test_without_the_option_nobody_is_given_time() -> None:
    text = TWO.replace("PRIORITY", "1").replace("options: {priority-fencing-delay: 15s}\n", "")
    assert delay_of(text, "n1") == 0.0
