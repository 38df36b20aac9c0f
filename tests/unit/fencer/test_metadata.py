"""What an agent's metadata means for a device: renamed parameters, the plug, and which machine is switched off."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hamgr.fencer.metadata import Metadata, check_parameters, is_told_the_node, parse_metadata, plug_parameter
from hamgr.fencer.topology import DeviceConfig

# As the fence-agents library writes them: each renamed parameter under both names, required under both.
POWER_STRIP = """<?xml version="1.0" ?>
<resource-agent name="fence_strip" shortdesc="Power strip">
<parameters>
<parameter name="action" unique="0" required="1"><content type="string" default="reboot"/></parameter>
<parameter name="ip" unique="0" required="1" obsoletes="ipaddr"><content type="string"/></parameter>
<parameter name="ipaddr" unique="0" required="1" deprecated="1"><content type="string"/></parameter>
<parameter name="password" unique="0" required="0" obsoletes="passwd"><content type="string"/></parameter>
<parameter name="passwd" unique="0" required="0" deprecated="1"><content type="string"/></parameter>
<parameter name="plug" unique="0" required="1" obsoletes="port"><content type="string"/></parameter>
<parameter name="port" unique="0" required="1" deprecated="1"><content type="string"/></parameter>
</parameters>
<actions><action name="on"/><action name="off"/><action name="status"/><action name="monitor"/></actions>
</resource-agent>
"""
STRIP = parse_metadata(POWER_STRIP)
OLD = parse_metadata(POWER_STRIP.replace('<parameter name="plug"', '<parameter name="other"'))
ALONE = parse_metadata(POWER_STRIP.replace('name="plug"', 'name="x"').replace('name="port"', 'name="y"'))
BOARD = parse_metadata(
    POWER_STRIP.replace('name="plug" unique="0" required="1"', 'name="plug" unique="0" required="0"')
    .replace('name="port" unique="0" required="1"', 'name="port" unique="0" required="0"')
    .replace("</parameters>", '<parameter name="port_as_ip" unique="0" required="0"/></parameters>')
)
CONFIG = DeviceConfig("strip", "fence_strip", {"ip": "10.0.0.9"})


def test_all_names_of_a_parameter() -> None:
    assert STRIP.same("ip") == STRIP.same("ipaddr") == {"ip", "ipaddr"}
    assert STRIP.same("action") == {"action"}
    assert STRIP.same("") == frozenset()


@pytest.mark.parametrize("given", [{"ip": "x"}, {"ipaddr": "x"}, {"ip": "x", "passwd": "y"}])
def test_a_renamed_parameter_is_given_under_either_name(given: dict[str, str]) -> None:
    assert check_parameters(CONFIG, given, STRIP) == []


def test_what_is_missing_is_named_once_and_by_its_present_name() -> None:
    assert check_parameters(CONFIG, {}, STRIP) == ["fence device strip: agent fence_strip needs parameter 'ip'"]


def test_an_unknown_parameter_is_named_the_configured_plug_too() -> None:
    told = check_parameters(replace(CONFIG, plug_param="outlet"), {"ip": "x", "adress": "y"}, STRIP)
    assert told == [
        "fence device strip: agent fence_strip has no parameter 'adress'",
        "fence device strip: agent fence_strip has no parameter 'outlet'",
        "fence device strip: agent fence_strip needs parameter 'plug'",
    ]


def test_an_agent_that_cannot_prove_is_refused() -> None:
    blind = replace(STRIP, actions=STRIP.actions - {"status"})
    assert check_parameters(CONFIG, {"ip": "x"}, blind) == ["fence device strip: agent fence_strip cannot do 'status'"]


@pytest.mark.parametrize(
    ("configured", "metadata", "expected"),
    [
        ("", STRIP, "plug"),
        ("", OLD, "port"),
        ("", ALONE, ""),
        ("", None, "port"),
        ("uuid", STRIP, "uuid"),
        ("none", STRIP, ""),
    ],
)
def test_the_plug_is_chosen_as_pacemaker_does(configured: str, metadata: Metadata | None, expected: str) -> None:
    assert plug_parameter(replace(CONFIG, plug_param=configured), metadata) == expected


@pytest.mark.parametrize(
    ("fields", "given", "metadata", "told"),
    [
        ({}, {}, STRIP, True),
        ({}, {"plug": "dynamic"}, STRIP, True),
        ({}, {"plug": "7"}, STRIP, False),
        ({}, {"port": "7"}, STRIP, False),  # under its older name
        ({}, {}, None, True),
        ({}, {"port": "7"}, None, False),
        ({}, {}, ALONE, False),
        ({"plug_param": "none"}, {}, STRIP, False),
        ({}, {}, BOARD, False),  # the plug of a management board is its address, and only if asked for
        ({}, {"port_as_ip": "1"}, BOARD, True),
        ({}, {"port_as_ip": "no"}, BOARD, False),
        ({"plug_param": "plug"}, {}, BOARD, True),  # the operator's word
    ],
)
def test_whether_an_agent_is_told_the_node(
    fields: dict[str, str], given: dict[str, str], metadata: Metadata | None, told: bool
) -> None:
    assert is_told_the_node(replace(CONFIG, **fields), given, metadata) is told  # type: ignore[arg-type]


def test_a_device_that_always_switches_off_the_same_machine_must_say_which_node_that_is() -> None:
    given = {"ip": "10.0.0.9"}
    assert check_parameters(replace(CONFIG, nodes=("n1",)), given, BOARD) == []
    (unclear,) = check_parameters(CONFIG, given, BOARD)
    assert "must name its one node (nodes: [NODE]), and it names none" in unclear
    (unclear,) = check_parameters(replace(CONFIG, nodes=("n1", "n2")), given, BOARD)
    assert "it is for n1, n2" in unclear
