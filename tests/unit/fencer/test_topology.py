"""Fencing settings: what they mean, and what is said of wrong ones."""

from typing import Any

import pytest

from hamgr.fencer.topology import DEFAULT_LEVELS, Delay, FencingConfig, FencingConfigError, Level

SETTINGS = {
    "drivers": ["disk.example.com"],
    "devices": {
        "pdu": {"agent": "fence_apc", "params": {"ip": "10.0.0.9"}, "secret_files": {"password": "/etc/hamgr/pdu"}},
        "ccm": {"agent": "cloud"},
    },
    "topology": [
        {
            "nodes": "db-*",
            "levels": ["volume", {"level": "node", "devices": ["pdu"], "timeout_s": 20, "attempts": 2, "delay": 1.5}],
        },
        {"nodes": "*", "levels": [{"level": "node", "devices": ["ccm"], "action": "reboot"}, "manual"]},
    ],
}


def test_the_first_entry_that_matches_holds() -> None:
    config = FencingConfig.from_json(SETTINGS)
    assert [level.level for level in config.levels_for("db-1")] == [Level.VOLUME, Level.NODE]
    assert [level.level for level in config.levels_for("web-1")] == [Level.NODE, Level.MANUAL]
    assert FencingConfig().levels_for("any") == DEFAULT_LEVELS
    pdu = config.levels_for("db-1")[1]
    assert (pdu.timeout_s, pdu.attempts, pdu.delay, pdu.action) == (20.0, 2, Delay(1.5), "off")
    assert config.drivers == {"disk.example.com"}


def test_a_level_by_name_keeps_its_settings() -> None:
    config = FencingConfig.from_json(SETTINGS)
    assert config.levels_named("db-1", Level.NODE)[0].devices == ("pdu",)
    assert config.levels_named("db-1", Level.MANUAL)[0].level is Level.MANUAL


def test_delays_add_up() -> None:
    delay = Delay(base_s=1.0, random_s=4.0, priority_s=10.0)
    assert delay.seconds(0.5, target_is_more_important=False) == 3.0
    assert delay.seconds(0.0, target_is_more_important=True) == 11.0


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (["volume"], "fencing must be a table"),
        ({"colour": 1}, "fencing has no setting 'colour'; allowed are devices, drivers"),
        ({"topology": [{"nodes": "*"}]}, "fencing.topology[0].levels must be a list"),
        ({"topology": [{"levels": ["nuke"]}]}, "there is no level 'nuke'; the levels are stop, volume"),
        ({"topology": [{"levels": ["node"]}]}, "level node needs devices"),
        ({"topology": [{"levels": [{"level": "node", "devices": ["x"]}]}]}, "names device 'x', which is not in"),
        ({"topology": [{"levels": [{"level": "volume", "timeout_s": 0}]}]}, "timeout_s must be a number above 0"),
        ({"topology": [{"levels": [{"level": "volume", "action": "pull"}]}]}, "must be off or reboot"),
        ({"topology": [{"levels": [{"level": "volume", "delay": {"base_s": -1}}]}]}, "delay.base_s must be a number"),
        ({"devices": {"pdu": {}}}, "fencing.devices.pdu.agent is missing"),
        ({"devices": {"pdu": {"agent": "a", "params": []}}}, "fencing.devices.pdu.params must be a table"),
    ],
)
def test_complaints(settings: Any, sentence: str) -> None:
    with pytest.raises(FencingConfigError) as error:
        FencingConfig.from_json(settings)
    assert sentence in str(error.value)
