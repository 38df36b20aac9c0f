"""priority-fencing-delay: who is given time before it is fenced."""

from __future__ import annotations

import pytest
from fixtures.term_world import World

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


def test_with_a_majority_nobody_is_given_time() -> None:
    assert delay_of(TWO.replace("PRIORITY", "1").replace("[n1, n2]", "[n1, n2, n3]"), "n1") == 0.0


def test_without_the_option_nobody_is_given_time() -> None:
    text = TWO.replace("PRIORITY", "1").replace("options: {priority-fencing-delay: 15s}\n", "")
    assert delay_of(text, "n1") == 0.0
