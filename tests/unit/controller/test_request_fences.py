"""An operator's order to fence, and the leader's doubts about its own view."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fixtures.leader_world import FILE, World

from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.requests.handlers import Refusal, RequestHandlers
from hamgr.fencer.reasons import reason
from hamgr.fencer.records import FenceRecord
from hamgr.store.requests import Request

STALE = reason("api-stale", seconds=7.0)


def ask(world: World, **body: object) -> object:
    handlers = RequestHandlers(world.leader, None, None, lambda: world.time)
    return handlers.carry_out(Request("1", "fence", {"target": "n1", "level": "", **body}, "root@n2", 0.0))


def reasons(world: World) -> list[str]:
    return [str(record.reason) for record in world.fencer.running.values()]


def test_with_a_fresh_view_it_is_carried_out() -> None:
    world = World()
    ask(world)
    assert reasons(world) == ["asked for by root@n2"]


def test_with_a_stale_view_it_is_refused_with_what_is_stale() -> None:
    world = World()
    world.doubt = STALE
    with pytest.raises(Refusal, match=r"the Kubernetes API is 7\.0 s old") as refused:
        ask(world)
    assert refused.value.code == 69
    assert reasons(world) == []


def test_the_override_is_recorded() -> None:
    world = World()
    world.doubt = STALE
    ask(world, anyway=True)
    assert reasons(world) == [f"asked for by root@n2, who was told that {STALE}"]


DOOMED = "claim default/data is being deleted: keep the data"


def doomed(node: str, only: object) -> str:
    return DOOMED if node == "n1" and (only is None or "db" in only) else ""  # type: ignore[operator]


LABELS = {"hamgr.io/cluster": "test", "hamgr.io/resource": "db"}


def asked(world: World, kind: str = "fence", **body: object) -> object:
    pod = {"metadata": {"namespace": "default", "name": "db-n1", "labels": LABELS}}
    cache = SimpleNamespace(list=lambda *_: [pod | {"spec": {"nodeName": "n1"}}])
    world.leader.cluster_state.set_homes(frozenset({("default", "db")}))
    handlers = RequestHandlers(world.leader, None, cache, lambda: world.time, doomed)  # type: ignore[arg-type]
    return handlers.carry_out(Request("1", kind, body, "root@n2", 0.0))


@pytest.mark.parametrize(
    ("kind", "body"), [("fence", {"target": "n1"}), ("fence", {"target": "db-n1"}), ("confirm", {"node": "n1"})]
)
def test_what_would_destroy_a_disk_is_refused_with_the_way_out_unless_somebody_insists(
    kind: str, body: dict[str, object]
) -> None:
    world = World()
    world.settle()
    world.refusals["n1"] = "most-nodes-bad"  # the leader itself does not fence
    world.lose("n1")
    world.advance()
    with pytest.raises(Refusal, match=r"is being deleted: keep the data.*--anyway") as refused:
        asked(world, kind, **body)
    assert refused.value.code == 69
    assert reasons(world) == []
    asked(world, kind, anyway=True, **body)
    assert reasons(world) == [f"asked for by root@n2, who was told that {DOOMED}"]


def test_the_fence_of_another_node_destroys_nothing() -> None:
    world = World()
    asked(world, target="n2")
    assert reasons(world) == ["asked for by root@n2"]


def confirm(world: World, **body: object) -> object:
    handlers = RequestHandlers(world.leader, None, None, lambda: world.time)
    return handlers.carry_out(Request("1", "confirm", {"node": "n1", "reason": "", **body}, "root@n2", 0.0))


def test_a_node_that_is_alive_is_not_off_whatever_somebody_says() -> None:
    world = World()
    world.settle()
    with pytest.raises(Refusal, match="its hamgrd holds its lease"):
        confirm(world)
    assert reasons(world) == []
    world.refusals["n1"] = "most-nodes-bad"
    world.lose("n1")
    world.advance()
    confirm(world)
    assert reasons(world) == ["asked for by root@n2"]


def test_a_node_that_was_fenced_and_lives_is_not_off_either() -> None:
    """Its disks were taken from it; the word would have it wait for a restart that nobody has a reason to make."""
    world = World()
    world.settle()
    world.lose("n1")
    world.settle()
    world.join("n1")
    with pytest.raises(Refusal, match="its hamgrd holds its lease"):
        confirm(world)


def test_a_kubelet_that_was_heard_of_since_its_node_is_lost_speaks_against_it_being_off() -> None:
    world = World()
    world.settle()
    world.refusals["n1"] = "maintenance"
    world.lose("n1")
    world.advance()
    renewed_at = world.time + 1.0
    world.leader.observations.renewed_within = lambda _node, seconds: world.time - renewed_at < seconds  # type: ignore[method-assign]
    world.time += 2.0
    with pytest.raises(Refusal, match="renewed its Lease since the node is lost"):
        confirm(world)
    world.time += 30.0
    confirm(world)
    assert reasons(world) == ["asked for by root@n2"]


def test_what_runs_for_a_node_that_is_called_off_all_the_same_is_given_up() -> None:
    world = World()
    world.until(lambda: bool(world.ops("start")))
    (node,) = {op.node for op in world.ops("start", "disk")}
    handlers = RequestHandlers(world.leader, None, None, lambda: world.time)
    handlers.carry_out(Request("1", "confirm", {"node": node, "reason": "", "anyway": True}, "root@n2", 0.0))
    assert not [op for op in world.executor.in_flight if op.node == node]
    world.advance()
    assert not [op for op in world.executor.in_flight if op.node == node]
    world.settle()
    assert world.violations == []


def test_a_level_that_somebody_names_is_tried_though_the_node_is_being_fenced_by_others() -> None:
    """As when a detach hangs: the answer must not be the fence that hangs."""
    world = World()
    world.settle()
    first, again, named = (ask(world, level=level) for level in ("", "", "node"))
    assert first == again != named
    by_levels = [[str(level.level) for level in record.levels] for record in world.fencer.running.values()]
    assert by_levels == [["volume"], ["node"]]


def the_fence(world: World) -> FenceRecord:
    (record,) = world.fencer.running.values()
    return record


def lost_and_being_fenced(world: World) -> FenceRecord:
    """n1 is lost, and the fence that the transition waits for is under way."""
    world.settle()
    world.lose("n1")
    world.until(lambda: bool(world.fencer.running))
    return the_fence(world)


def test_a_word_ends_the_fence_that_is_under_way_and_the_transition_goes_on_with_it() -> None:
    world = World()
    older = lost_and_being_fenced(world)
    confirm(world)
    (word,) = [record for record in world.fencer.running.values() if record.confirmation]
    assert world.fencer.superseded == {older.id: word.id}
    run = world.leader.transition_run
    assert run is not None
    (waiting,) = run.fences_of("n1")
    world.end_superseded()
    assert waiting in run.graph.in_flight  # it did not fail: the word is what it waits for now
    assert f"the fence of n1 by level volume has ended: fence {word.id}" in world.told[-1][1]
    world.fenced(word)
    assert waiting not in run.graph.in_flight
    assert not run.graph.failed
    assert world.leader.cluster_state.membership("n1") is MembershipState.FENCED
    world.settle()
    assert world.violations == []


def test_a_word_that_cannot_be_carried_out_leaves_the_node_to_be_fenced_anew() -> None:
    world = World()
    older = lost_and_being_fenced(world)
    confirm(world)
    world.end_superseded()
    world.fenced(the_fence(world), succeeded=False)
    world.until(lambda: bool(world.fencer.running))
    anew = the_fence(world)
    assert (anew.confirmation, anew.levels) == (None, older.levels)


def test_the_next_leader_ends_what_a_word_has_superseded() -> None:
    """The one that took the word died at once."""
    world = World()
    older = lost_and_being_fenced(world)
    confirm(world)
    (word,) = [record for record in world.fencer.running.values() if record.confirmation]
    world.lead()
    assert set(world.fencer.running) == {older.id, word.id}
    assert world.fencer.superseded == {older.id: word.id}
    world.settle()
    assert {FenceRecord.from_json(value).outcome for value in world.fences.values()} == {"superseded", "succeeded"}
    assert world.violations == []


def test_a_fence_that_somebody_orders_after_the_word_is_not_superseded_by_it() -> None:
    world = World()
    older = lost_and_being_fenced(world)
    confirm(world)
    ask(world, level="node")
    (ordered,) = [record for record in world.fencer.running.values() if record.levels[0].level == "node"]
    assert set(world.fencer.superseded) == {older.id}
    world.lead()
    assert set(world.fencer.superseded) == {older.id}
    assert ordered.id in world.fencer.running


def test_the_fence_of_another_node_goes_on() -> None:
    world = World()
    world.settle()
    ask(world, target="n2")
    world.lose("n1")
    world.advance()
    confirm(world)
    assert world.fencer.superseded == {}


def test_a_word_is_not_held_back() -> None:
    """The delay of level manual is for the race of fences; somebody who has looked waits for nothing."""
    world = World(text=FILE + "fencing: {levels: [{level: manual, delay: 1h}]}\n")
    lost_and_being_fenced(world)
    confirm(world)
    delays = {bool(record.confirmation): record.level.delay.seconds(0.0) for record in world.fencer.running.values()}
    assert delays == {False: 3600.0, True: 0.0}
