"""Requests and answers: commands and leader understand each other, or say that they do not."""

from __future__ import annotations

from dataclasses import fields

import pytest
from fixtures.leader_world import World

from hamgr.api import requests as api
from hamgr.api.exits import WHEN, Exit, name_of
from hamgr.api.requests import KINDS, VERSION, NotUnderstood, Request, read_request
from hamgr.api.wire import from_value, hints_of, to_value
from hamgr.cli import orders
from hamgr.controller.requests.handlers import RequestHandlers
from hamgr.store.requests import Request as Queued

SAMPLES = {str: "n1", bool: True, str | None: "Stopped", float | None: 2.5}


def sample(request: type[Request]) -> Request:
    return request(**{item.name: SAMPLES[hints_of(request)[item.name]] for item in fields(request)})


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_is_read_as_it_was_written(kind: str) -> None:
    request = sample(KINDS[kind])
    assert read_request(kind, VERSION, to_value(request)) == request
    assert getattr(api, type(request).__name__) is type(request)


@pytest.mark.parametrize("kind", KINDS)
def test_the_leader_has_a_handler_for_each_request(kind: str) -> None:
    world = World()
    handlers = RequestHandlers(world.leader, None, None, lambda: world.time)
    assert KINDS[kind] in handlers._handlers


@pytest.mark.parametrize(
    ("kind", "version", "body", "complaint"),
    [
        ("dance", 1, {}, "does not know the request 'dance'"),
        ("standby", VERSION + 1, {"node": "n1", "on": True}, f"is of version {VERSION + 1} of hamgr's interface"),
        ("fence", 1, {"target": "n1", "gently": True}, "there is no 'gently' in Fence"),
        ("fence", 1, {}, "Fence lacks 'target'"),
        ("fence", 1, {"target": 3}, "Fence.target is 3, where str belongs"),
        ("standby", 1, {"node": "n1", "on": "no"}, "Standby.on is 'no', where bool belongs"),
        ("fence", 1, ["n1"], "['n1'] where Fence belongs"),
    ],
)
def test_what_a_leader_does_not_understand_it_refuses(kind: str, version: int, body: object, complaint: str) -> None:
    with pytest.raises(NotUnderstood) as refused:
        read_request(kind, version, body)
    assert complaint in str(refused.value)
    assert refused.value.code == Exit.CONFIG


def test_what_is_not_understood_has_no_effect() -> None:
    world = World()
    world.settle()
    handlers = RequestHandlers(world.leader, None, None, lambda: world.time)
    order = Queued("1", "standby", {"node": "n1", "on": True}, "root@n2", 0.0, VERSION + 1)
    with pytest.raises(Exception, match="bring hamgrd up to date"):
        handlers.carry_out(order)
    assert world.leader.idle
    assert world.leader.node_attributes("n1").get("standby") is None


def test_an_answer_may_have_more_to_say_but_nothing_less() -> None:
    topology = {"nodes": [{"node": "n1", "levels": [], "mood": "fine"}], "weather": "rain"}
    assert api.ListLevels().read_answer(topology) == api.Topology((api.NodeLevels("n1", ()),))
    with pytest.raises(NotUnderstood, match=r"answer to fence cannot be read \(FenceBegun lacks 'fence'\)"):
        api.Fence("n1").read_answer({})


def test_answers_with_parts_are_read_as_they_were_written() -> None:
    level = api.TopologyLevel("node", ("rack",), 30.0, 2, 0.0, 1.5, "off")
    for answer in (
        api.Topology((api.NodeLevels("n1", (level,), 3.5), api.NodeLevels("n2", ()))),
        api.FencePlan("n1", (api.PlannedLevel("volume", ("one", "two"), "proof"),)),
        api.FenceDeviceList((api.DeviceDescription("d", "a", ("ip",), "", {"n1": "7"}, 30.0, ("n1",)),), ("t",)),
    ):
        assert from_value(type(answer), to_value(answer), strict=True) == answer


@pytest.mark.parametrize("name", api.VERBS)
def test_a_verb_says_every_field_or_asks_for_it(name: str) -> None:
    request, verb = api.VERBS[name]
    command = orders.command(name)
    given = {param.name: "x" for param in command.params}
    assert given.keys() | verb.sets.keys() == {item.name for item in fields(request)}
    assert "{" not in verb.said.format_map(given)
    assert verb.summary.endswith(".")


def test_every_exit_code_is_explained() -> None:
    codes = {value for name, value in vars(Exit).items() if name.isupper()}
    assert codes == WHEN.keys()
    assert name_of(Exit.NO_HOST) == "NO_HOST"
