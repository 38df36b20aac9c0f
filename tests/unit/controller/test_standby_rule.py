"""The mark of a standby that is to take a resource over, and what it draws."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from fixtures.leader_world import World

from hamgr.cib.model import Cib, Location, NodeState
from hamgr.controller.standby import preference_rule

COUNTS = {"fail-count-db#monitor_10000": "1", "parkedly": "x"}
BOTH = NodeState("n2", attributes={**COUNTS, "parked-db": "INFINITY", "parked-web": "INFINITY"})


def test_marks_come_and_go_and_nothing_else_does() -> None:
    bare = NodeState("n2", attributes=COUNTS)
    marked = preference_rule.mark(preference_rule.mark(bare, "db"), "web")
    assert marked == BOTH
    assert dict(preference_rule.unmark(BOTH, "db").attributes) == {**COUNTS, "parked-web": "INFINITY"}
    assert preference_rule.unmark(BOTH) == bare
    assert preference_rule.unmark(bare) == bare


@pytest.mark.parametrize(("resource", "is_marked"), [("db", True), ("", True), ("disk", False)])
def test_whether_a_node_is_marked(resource: str, is_marked: bool) -> None:
    assert preference_rule.is_marked(BOTH, resource) is is_marked
    assert not preference_rule.is_marked(NodeState("n2", attributes=COUNTS), resource)


def test_each_marked_resource_is_drawn_once() -> None:
    drawn = preference_rule.drawn(Cib(node_states=(BOTH, preference_rule.mark(NodeState("n3"), "db"))))
    locations = [entry for entry in drawn.constraints if isinstance(entry, Location)]
    assert [(entry.id, entry.rsc) for entry in locations] == [("parked-db", "db"), ("parked-web", "web")]
    assert preference_rule.drawn(Cib()).constraints == ()


FILE = """\
cluster: test
nodes: [n1, n2, n3]
resources:
  - {id: db, agent: dummy}
  - {id: web, agent: dummy}
constraints:
  - {location: {resource: db, node: n1, score: 50}}
"""


@pytest.mark.parametrize(
    ("stickiness", "constraint", "stays"),
    [
        (0, "", False),  # back where it likes to be
        (100, "", True),
        (100, "  - {colocation: {resource: web, with: db, score: -INFINITY}}\n", True),  # another one has to go, not it
        (100, "  - {location: {resource: db, node: n2, score: -200}}\n", False),
    ],
)
def test_a_standby_is_worth_it_only_where_the_resource_would_be_left(
    stickiness: int, constraint: str, stays: bool
) -> None:
    world = World(FILE.replace("agent: dummy}", f"agent: dummy, meta: {{resource-stickiness: {stickiness}}}}}", 1))
    world.settle()
    assert world.where("db") == ["n1"]
    world.apply(world.text + constraint)
    world.leader.cluster_state.set_state(preference_rule.mark(world.leader.cluster_state.state("n2"), "db"))
    assert preference_rule.would_stay(world.leader.cib(), "db", "n2", datetime.fromtimestamp(world.time, UTC)) is stays
