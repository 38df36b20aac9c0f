"""An operator's wish that a resource be stopped or promoted, as far as it means anything for that resource."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fixtures.leader_world import World

from hamgr.controller.requests.handlers import Inquiry, Refusal, RequestHandlers
from hamgr.store.requests import Request


def ask(world: World, resource: str, role: str | None) -> None:
    handlers = RequestHandlers(world.leader, None, None, lambda: world.time)
    handlers.carry_out(Request("1", "target-role", {"resource": resource, "role": role}, "root@n2", 0.0))


def test_a_resource_is_stopped_for_good() -> None:
    world = World()
    ask(world, "db", "Stopped")
    assert "db" in world.leader.cluster_state.overrides.to_json()["resources"]


def test_fencing_is_not_stopped_by_stopping_what_stands_for_it() -> None:
    """Nodes would be fenced all the same; who reads `Stopped` would believe that they are not."""
    world = World()
    before = world.leader.cluster_state.overrides
    with pytest.raises(Refusal, match="fencing-enabled: false") as refused:
        ask(world, "fencing", "Stopped")
    assert refused.value.code == 1
    assert world.leader.cluster_state.overrides == before
    ask(world, "fencing", None)  # to take an earlier wish back is always right


def test_a_lost_node_is_fenced_though_what_stands_for_fencing_is_stopped() -> None:
    world = World()
    world.settle()
    cluster_state = world.leader.cluster_state
    cluster_state.set_overrides(cluster_state.overrides.resource_meta("fencing", "target-role", "Stopped"))
    world.lose("n1")
    world.advance()
    assert [record.target.node for record in world.fencer.running.values()] == ["n1"]


def test_a_file_to_look_at_is_read_beside_the_control_loop() -> None:
    world = World()
    handlers = RequestHandlers(world.leader, SimpleNamespace(), None, lambda: world.time)  # type: ignore[arg-type]
    answer = handlers.carry_out(Request("1", "check-disks", {"text": "no: file"}, "root@n2", 0.0))
    assert isinstance(answer, Inquiry)
    with pytest.raises(Refusal, match=r"cannot use the file: the file:1:1: the key 'cluster' is missing") as refused:
        answer()
    assert refused.value.code == 78
