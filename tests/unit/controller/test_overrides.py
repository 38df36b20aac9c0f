"""What operators change at run time, applied to a configuration, with values."""

from __future__ import annotations

import json

from hamgr.cib.model import Agent, Cib, Clone, Group, Location, Node, NvSet, Primitive
from hamgr.cib.rules import Context, values
from hamgr.cib.scores import INFINITY
from hamgr.controller.requests.overrides import Overrides

AGENT = Agent("ocf", "dummy", "hamgr")
CIB = Cib(
    nodes=(Node("n1", attributes=(NvSet((("standby", "off"), ("zone", "a"))),)), Node("n2")),
    resources=(
        Group("web", (Primitive("disk", AGENT), Primitive("app", AGENT))),
        Clone("ping-clone", Primitive("ping", AGENT)),
    ),
    options=(NvSet((("maintenance-mode", "false"),), id="cib-bootstrap-options"),),
)


def attribute(cib: Cib, node: str, name: str) -> str | None:
    entry = next(n for n in cib.nodes if n.name == node)
    return values(entry.attributes, Context(now=0)).get(name)


def test_nothing_overridden_changes_nothing() -> None:
    assert Overrides().apply(CIB) == CIB


def test_standby_wins_over_the_configured_attribute_and_leaves_others() -> None:
    cib = Overrides().node_attribute("n1", "standby", "on").apply(CIB)
    assert attribute(cib, "n1", "standby") == "on"
    assert attribute(cib, "n1", "zone") == "a"
    assert attribute(cib, "n2", "standby") is None


def test_an_option_wins_over_the_bootstrap_set() -> None:
    cib = Overrides().option("maintenance-mode", "true").apply(CIB)
    assert values(cib.options, Context(now=0), first_id="cib-bootstrap-options")["maintenance-mode"] == "true"


def test_a_ban_is_a_location_of_minus_infinity_and_a_move_one_of_infinity() -> None:
    cib = Overrides().ban("web", "n1").prefer("web", "n2").apply(CIB)
    assert cib.constraints == (
        Location("cli-ban-web-on-n1", "web", node="n1", score=-INFINITY),
        Location("cli-prefer-web", "web", node="n2", score=INFINITY),
    )


def test_moving_again_replaces_the_earlier_move() -> None:
    overrides = Overrides().prefer("web", "n1").prefer("web", "n2")
    assert [entry.node for entry in overrides.locations.values()] == ["n2"]


def test_clearing_takes_only_what_was_named() -> None:
    overrides = Overrides().ban("web", "n1").ban("web", "n2").ban("ping-clone", "n1")
    assert sorted(overrides.clear("web", "n1").locations) == ["cli-ban-ping-clone-on-n1", "cli-ban-web-on-n2"]
    assert sorted(overrides.clear("web").locations) == ["cli-ban-ping-clone-on-n1"]


def test_a_ban_with_a_lifetime_runs_out() -> None:
    overrides = Overrides().ban("web", "n1", until=100.0)
    assert overrides.expire(99.0) is overrides
    assert overrides.expire(100.0).locations == {}


def test_a_target_role_reaches_groups_their_members_and_cloned_primitives() -> None:
    overrides = Overrides()
    for name in ("web", "app", "ping"):
        overrides = overrides.resource_meta(name, "target-role", "Stopped")
    group, clone = overrides.apply(CIB).resources
    assert isinstance(group, Group)
    assert isinstance(clone, Clone)
    assert group.meta[0].pairs == (("target-role", "Stopped"),)
    assert group.members[0].meta == ()
    assert group.members[1].meta[0].pairs == (("target-role", "Stopped"),)
    assert clone.member.meta[0].pairs == (("target-role", "Stopped"),)


def test_what_is_removed_is_gone_without_a_trace() -> None:
    overrides = Overrides().node_attribute("n1", "standby", "on").option("maintenance-mode", "true")
    overrides = overrides.node_attribute("n1", "standby", None).option("maintenance-mode", None)
    assert overrides == Overrides()


def test_overrides_survive_the_way_through_json() -> None:
    overrides = Overrides().ban("web", "n1", "Promoted", 5.0).node_attribute("n1", "standby", "on")
    overrides = overrides.resource_meta("web", "target-role", "Stopped").option("maintenance-mode", "true")
    assert Overrides.from_json(json.loads(json.dumps(overrides.to_json()))) == overrides
    assert Overrides.from_json({}) == Overrides()
