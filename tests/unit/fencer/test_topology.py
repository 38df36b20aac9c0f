"""Which levels hold for a node, and devices as Pacemaker configures them."""

import re
from pathlib import Path

import pytest

from hamgr.fencer.topology import (
    DEFAULT_DRIVERS,
    Delay,
    DeviceConfig,
    FencingConfig,
    FencingConfigError,
    Level,
    LevelConfig,
    TopologyEntry,
)

POWER = LevelConfig(Level.NODE, ("pdu",), timeout_s=20.0)
CONFIG = FencingConfig(
    topology=(
        TopologyEntry("db-*", (LevelConfig(Level.VOLUME), POWER)),
        TopologyEntry("*", (LevelConfig(Level.MANUAL),)),
    )
)


def test_the_first_entry_that_matches_holds() -> None:
    assert [level.level for level in CONFIG.levels_for("db-1")] == [Level.VOLUME, Level.NODE]
    assert [level.level for level in CONFIG.levels_for("web-1")] == [Level.MANUAL]
    assert FencingConfig().levels_for("any") == (LevelConfig(Level.VOLUME),)


def test_a_level_by_name_keeps_its_settings() -> None:
    assert CONFIG.levels_named("db-1", Level.NODE) == (POWER,)
    assert CONFIG.levels_named("db-1", Level.MANUAL) == (LevelConfig(Level.MANUAL),)


def test_what_nobody_has_set() -> None:
    config = FencingConfig()
    assert (config.watchdog_margin_s, config.keep_history) == (2.0, 100)
    assert LevelConfig(Level.NODE) == LevelConfig(Level.NODE, (), 60.0, 1, Delay(0.0, 0.0, 0.0), "off")
    assert LevelConfig.from_json({"level": "node"}) == LevelConfig(Level.NODE)


def test_the_drivers_that_are_trusted_unasked_are_those_that_the_page_names() -> None:
    page = (Path(__file__).parents[3] / "docs" / "fencing.md").read_text()
    (paragraph,) = (text for text in page.split("\n\n") if text.startswith("The list of drivers trusted"))
    named = {name for name in re.findall(r"`([a-z.]+)`", paragraph) if "csi" in name}
    assert named | {"disk.sandbox.hamgr.io"} == DEFAULT_DRIVERS
    assert named <= set(re.findall(r"^\| `([a-z.]+)` \(", page, re.MULTILINE)), "what was read of each is told"


def test_delays_add_up() -> None:
    assert Delay(base_s=1.0, random_s=4.0).seconds(0.5) == 3.0
    assert Delay(base_s=1.0, priority_s=10.0).seconds(0.0) == 11.0


def test_pacemakers_parameters_are_the_fencers_and_the_rest_the_agents() -> None:
    params = {
        "ip": "10.0.0.9",
        "pcmk_host_map": "n1:7;n2:8 n3:9",
        "pcmk_host_argument": "plug",
        "pcmk_off_timeout": "2min",
        "pcmk_delay_max": "5s",
    }
    device = DeviceConfig.from_params("pdu", "fence_apc", params, "secret/pdu")
    plugs, nodes = {"n1": "7", "n2": "8", "n3": "9"}, ("n1", "n2", "n3")
    assert device == DeviceConfig("pdu", "fence_apc", {"ip": "10.0.0.9"}, "secret/pdu", plugs, "plug", 120.0, nodes)
    plain = DeviceConfig.from_params("pdu", "fence_apc", {})
    assert (plain.plug_param, plain.timeout_s, plain.port_map, plain.nodes) == ("", 30.0, {}, ())


def test_which_nodes_a_device_is_for() -> None:
    both = {"pcmk_host_list": "n1, n4", "pcmk_host_map": "n1:7;n2:8"}
    assert DeviceConfig.from_params("pdu", "fence_apc", both).nodes == ("n1", "n4", "n2")
    assert DeviceConfig.from_params("pdu", "fence_apc", both, nodes=["n3"]).nodes == ("n3",)


@pytest.mark.parametrize(
    "params",
    [
        {"pcmk_host_map": "n1=7"},
        {"pcmk_host_map": "n1:"},
        {"pcmk_host_map": ":7"},
        {"pcmk_off_timeout": "soon"},
        {"pcmk_off_timeout": "0"},
    ],
)
def test_wrong_parameters_of_pacemaker_are_named(params: dict[str, str]) -> None:
    with pytest.raises(FencingConfigError, match=f"fence device pdu: {next(iter(params))}"):
        DeviceConfig.from_params("pdu", "fence_apc", params)
