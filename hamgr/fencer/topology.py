"""Which levels are tried for which node, in which order and how: Pacemaker's fencing topology as values.

Source: "Fencing Topologies" and the pcmk_* device parameters in Pacemaker Explained; what each level proves is in
docs/fencing.md.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """What a level does to make sure that the old writer cannot write."""

    STOP = "stop"
    VOLUME = "volume"
    NODE = "node"
    WATCHDOG = "watchdog"
    MANUAL = "manual"


class FencingConfigError(ValueError):
    """The fencing settings are wrong; the message names the setting, what is wrong, and what is allowed."""


# Drivers whose ControllerUnpublish detaches at the hypervisor or storage, without the node's help.
DEFAULT_DRIVERS = frozenset(
    {
        "cinder.csi.openstack.org",
        "csi.vsphere.vmware.com",
        "disk.csi.azure.com",
        "disk.sandbox.hamgr.io",
        "ebs.csi.aws.com",
        "pd.csi.storage.gke.io",
    }
)


@dataclass(frozen=True, slots=True)
class Delay:
    """How long to hold back before a level: `base_s` always, up to `random_s` more by chance (pcmk_delay_base,
    pcmk_delay_max), `priority_s` more when the target carries the more important resources (priority-fencing-delay).
    """

    base_s: float = 0.0
    random_s: float = 0.0
    priority_s: float = 0.0

    def seconds(self, chance: float, target_is_more_important: bool) -> float:
        """The delay, given a random number in [0, 1)."""
        return self.base_s + self.random_s * chance + (self.priority_s if target_is_more_important else 0.0)


@dataclass(frozen=True, slots=True)
class LevelConfig:
    """One level of a topology. `timeout_s` is for one attempt; `devices` (level node) must all say that it is off.

    action: `off` leaves the node off, `reboot` switches it on again after the proof.
    """

    level: Level
    devices: tuple[str, ...] = ()
    timeout_s: float = 60.0
    attempts: int = 1
    delay: Delay = field(default_factory=Delay)
    action: str = "off"

    @classmethod
    def from_json(cls, value: Any, where: str = "level") -> LevelConfig:
        """Read a level's settings. Raises FencingConfigError."""
        if isinstance(value, str):
            value = {"level": value}
        _check_keys(value, cls, where)
        level = _level(value.get("level"), where)
        delay = value.get("delay") or {}
        if isinstance(delay, int | float):
            delay = {"base_s": delay}
        _check_keys(delay, Delay, f"{where}.delay")
        action = value.get("action", "off")
        if action not in ("off", "reboot"):
            raise FencingConfigError(f"{where}.action is {action!r}: it must be off or reboot")
        config = cls(
            level,
            tuple(str(device) for device in value.get("devices") or ()),
            _positive(value.get("timeout_s", 60.0), f"{where}.timeout_s"),
            int(_positive(value.get("attempts", 1), f"{where}.attempts")),
            Delay(**{key: _not_negative(entry, f"{where}.delay.{key}") for key, entry in delay.items()}),
            action,
        )
        if level is Level.NODE and not config.devices:
            raise FencingConfigError(f"{where}: level node needs devices, the names of one or more fence devices")
        return config


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """A fence device: a ClusterLabs fence agent with its parameters, or the built-in `cloud`.

    params: what is given to the agent. secret_files: parameter to file that holds its value. plug: what the agent calls
    the node (default: the node's name); `port_map`: node to plug.
    """

    name: str
    agent: str
    params: Mapping[str, str] = field(default_factory=dict)
    secret_files: Mapping[str, str] = field(default_factory=dict)
    port_map: Mapping[str, str] = field(default_factory=dict)
    plug_param: str = "port"
    timeout_s: float = 30.0

    @classmethod
    def from_json(cls, name: str, value: Any) -> DeviceConfig:
        """Read a device's settings. Raises FencingConfigError."""
        where = f"fencing.devices.{name}"
        _check_keys(value, cls, where, skip={"name"})
        if not value.get("agent"):
            raise FencingConfigError(
                f"{where}.agent is missing: the name of a fence agent (fence_ipmilan, ...) or cloud"
            )
        tables = {key: _table(value.get(key), f"{where}.{key}") for key in ("params", "secret_files", "port_map")}
        return cls(
            name,
            str(value["agent"]),
            **tables,
            plug_param=str(value.get("plug_param", "port")),
            timeout_s=_positive(value.get("timeout_s", 30.0), f"{where}.timeout_s"),
        )


@dataclass(frozen=True, slots=True)
class TopologyEntry:
    """Levels for the nodes whose name matches `nodes` (a shell pattern)."""

    nodes: str
    levels: tuple[LevelConfig, ...]


DEFAULT_LEVELS = (LevelConfig(Level.VOLUME),)


@dataclass(frozen=True, slots=True)
class FencingConfig:
    """All settings of fencing. The first entry of `topology` that matches a node holds for it."""

    topology: tuple[TopologyEntry, ...] = ()
    devices: Mapping[str, DeviceConfig] = field(default_factory=dict)
    drivers: frozenset[str] = DEFAULT_DRIVERS
    watchdog_margin_s: float = 2.0
    keep_history: int = 100

    def levels_for(self, node: str) -> tuple[LevelConfig, ...]:
        """The levels to try for a node, in order."""
        for entry in self.topology:
            if fnmatch.fnmatchcase(node, entry.nodes):
                return entry.levels
        return DEFAULT_LEVELS

    def levels_named(self, node: str, level: Level) -> tuple[LevelConfig, ...]:
        """The configured levels of one kind for a node, or that level with default settings."""
        chosen = tuple(config for config in self.levels_for(node) if config.level is level)
        return chosen or (LevelConfig(level),)

    @classmethod
    def from_json(cls, value: Any) -> FencingConfig:
        """Read the `fencing:` part of a cluster file. Raises FencingConfigError."""
        value = value or {}
        _check_keys(value, cls, "fencing")
        devices = {name: DeviceConfig.from_json(name, entry) for name, entry in (value.get("devices") or {}).items()}
        topology = tuple(_entry(entry, number) for number, entry in enumerate(value.get("topology") or ()))
        for item in topology:
            for level in item.levels:
                for device in level.devices:
                    if device not in devices:
                        known = ", ".join(sorted(devices)) or "none"
                        raise FencingConfigError(
                            f"fencing.topology for {item.nodes} names device {device!r}, which is not in "
                            f"fencing.devices (configured: {known})"
                        )
        drivers = value.get("drivers")
        return cls(
            topology,
            devices,
            DEFAULT_DRIVERS if drivers is None else frozenset(str(driver) for driver in drivers),
            _not_negative(value.get("watchdog_margin_s", 2.0), "fencing.watchdog_margin_s"),
            int(_positive(value.get("keep_history", 100), "fencing.keep_history")),
        )


def _entry(value: Any, number: int) -> TopologyEntry:
    where = f"fencing.topology[{number}]"
    _check_keys(value, TopologyEntry, where)
    levels = value.get("levels")
    if not isinstance(levels, Sequence) or isinstance(levels, str) or not levels:
        raise FencingConfigError(f"{where}.levels must be a list of at least one level")
    parsed = tuple(LevelConfig.from_json(level, f"{where}.levels[{at}]") for at, level in enumerate(levels))
    return TopologyEntry(str(value.get("nodes", "*")), parsed)


def _level(value: Any, where: str) -> Level:
    try:
        return Level(value)
    except ValueError:
        allowed = ", ".join(Level)
        raise FencingConfigError(f"{where}: there is no level {value!r}; the levels are {allowed}") from None


def _check_keys(value: Any, cls: type, where: str, skip: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    if not isinstance(value, Mapping):
        raise FencingConfigError(f"{where} must be a table of settings, not {value!r}")
    allowed = {item.name for item in fields(cls)} - skip
    for key in value:
        if key not in allowed:
            raise FencingConfigError(f"{where} has no setting {key!r}; allowed are {', '.join(sorted(allowed))}")


def _table(value: Any, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise FencingConfigError(f"{where} must be a table of names and values, not {value!r}")
    return {str(key): str(entry) for key, entry in value.items()}


def _positive(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise FencingConfigError(f"{where} must be a number above 0, not {value!r}")
    return float(value)


def _not_negative(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise FencingConfigError(f"{where} must be a number of 0 or more, not {value!r}")
    return float(value)
