"""Agents' self-descriptions: parameters checked, defaults filled in, OCF XML."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest

from hamgr.clusterfile.agents import AgentSpec
from hamgr.executor.agent import ActionContext, ActionResult, Agent
from hamgr.executor.metadata import Action, Metadata, Parameter
from hamgr.executor.ocf import Ocf
from hamgr.executor.registry import Registry, UnknownAgent


class Example(Agent):
    metadata = Metadata(
        name="example",
        version="1.2",
        shortdesc="An example",
        longdesc="An example & more.",
        parameters=(
            Parameter("size", "How large. In cubits.", type="integer", required=True, unique=True),
            Parameter("grace", "Patience", type="duration", default="10s", reloadable=True),
            Parameter("on", "Whether", type="boolean", default="yes"),
            Parameter("color", "Which", type="select", choices=("red", "green")),
            Parameter("left", "One of two"),
            Parameter("right", "The other of two"),
        ),
        actions=(Action("start", 20), Action("monitor", 20, interval_s=10), Action("monitor", 5, 11, role="Promoted")),
        exactly_one_of=(("left", "right"),),
    )

    def start(self, ctx: ActionContext) -> ActionResult:
        return ActionResult(Ocf.OK, f"{ctx.number('size')} {ctx.seconds('grace')} {ctx.flag('on')}")


GOOD = {"size": "3", "left": "x"}


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"left": "x"}, "parameter 'size' is required"),
        (GOOD | {"size": "big"}, "parameter 'size' is 'big', which is not a whole number"),
        (GOOD | {"grace": "soon"}, "which is no duration such as 10s"),
        (GOOD | {"on": "maybe"}, "which is neither true nor false"),
        (GOOD | {"color": "blue"}, "which is none of red, green"),
        (GOOD | {"colour": "red"}, "parameter 'colour' is unknown to agent example"),
        (GOOD | {"right": "y"}, "exactly one of left, right must be given, not left and right"),
        ({"size": "1"}, "exactly one of left, right must be given, not none"),
    ],
)
def test_wrong_parameters_are_a_matter_of_configuration(params: dict[str, str], words: str) -> None:
    result = Example().perform("validate-all", ActionContext("r", "n1", params))
    assert result.rc is Ocf.ERR_CONFIGURED
    assert words in result.reason


def test_good_parameters_and_pacemakers_own_pass() -> None:
    params = GOOD | {"CRM_meta_timeout": "20000", "grace": "PT5M"}
    assert Example().perform("validate-all", ActionContext("r", "n1", params)).rc is Ocf.OK


def test_defaults_are_filled_in() -> None:
    assert Example().perform("start", ActionContext("r", "n1", GOOD)).reason == "3 10.0 True"
    assert Example().perform("start", ActionContext("r", "n1", GOOD | {"grace": "500ms"})).reason == "3 0.5 True"


def test_an_action_that_an_agent_lacks_is_unimplemented() -> None:
    for action in ("stop", "promote", "migrate_to", "notify", "reload-agent", "dance"):
        result = Example().perform(action, ActionContext("r", "n1", GOOD))
        assert result.rc is Ocf.ERR_UNIMPLEMENTED
        assert repr(action) in result.reason


class Stopping(Example):
    def stop(self, ctx: ActionContext) -> ActionResult:
        return ActionResult(Ocf.OK, f"stopped {ctx.text('size')}")


def test_a_stop_without_what_it_cannot_do_without_fails_whatever_the_agent() -> None:
    result = Stopping().perform("stop", ActionContext("r", "n1"))
    assert result.rc is Ocf.ERR_ARGS
    assert "size is not known" in result.reason
    assert Stopping().perform("stop", ActionContext("r", "n1", GOOD)).reason == "stopped 3"


def test_metadata_is_ocf_xml() -> None:
    text = Example().perform("meta-data", ActionContext("r", "n1")).reason
    root = ET.fromstring(text)
    assert (root.tag, root.get("name"), root.findtext("version")) == ("resource-agent", "example", "1.1")
    size = root.find("parameters/parameter[@name='size']")
    assert size is not None
    assert (size.get("required"), size.get("unique"), size.findtext("shortdesc")) == ("1", "1", "How large")
    grace = root.find("parameters/parameter[@name='grace']/content")
    assert grace is not None
    assert (grace.get("type"), grace.get("default")) == ("time", "10s")
    options = root.findall("parameters/parameter[@name='color']/content/option")
    assert [option.get("value") for option in options] == ["red", "green"]
    actions = [(a.get("name"), a.get("timeout"), a.get("interval"), a.get("role")) for a in root.iter("action")]
    assert actions == [
        ("start", "20s", None, None),
        ("monitor", "20s", "10s", None),
        ("monitor", "5s", "11s", "Promoted"),
    ]


def test_installed_agents_describe_themselves_to_the_cluster_file() -> None:
    specs = Registry().specs()
    assert {"volume", "pod", "mariadb", "service", "dummy"} <= specs.keys()
    pod = specs["pod"]
    assert isinstance(pod, AgentSpec)
    assert pod.exactly_one_of == (("template", "template_from", "image"),)
    assert pod.parameters["restart_grace"].type == "duration"
    assert {a.name for a in specs["dummy"].actions} >= {"start", "stop", "monitor", "promote", "demote"}


def test_an_unknown_agent_is_told_from_the_installed_ones() -> None:
    with pytest.raises(UnknownAgent, match="there is no agent 'podd'; installed are dummy, mariadb, pod"):
        Registry().get("podd")
