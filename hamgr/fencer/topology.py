"""Which levels are tried for which node, in which order and how: Pacemaker's fencing topology as values.

Source: "Fencing Topologies" and the pcmk_* device parameters in Pacemaker Explained; what each level proves is said by
its module in hamgr.fencer.levels.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hamgr.cib.durations import parse_ms


class Level(StrEnum):
    """What a level does to make sure that the old writer cannot write."""

    STOP = "stop"
    VOLUME = "volume"
    NODE = "node"
    WATCHDOG = "watchdog"
    MANUAL = "manual"


class FencingConfigError(ValueError):
    """The fencing settings are wrong; the message names the setting, what is wrong, and what is allowed."""


# Drivers whose ControllerUnpublish detaches at the hypervisor or storage, without the node's help, and for a machine
# that they do not know either ask the disk (Azure) or go by the service that runs the machines and refuses to attach a
# disk twice (EC2, Compute Engine). Not so vSphere and OpenStack, where a machine can be lost from the books and run on.
# What was read in which driver stands in docs/fencing.md ("Which one").
DEFAULT_DRIVERS = frozenset(
    {
        "disk.csi.azure.com",
        "disk.sandbox.hamgr.io",
        "ebs.csi.aws.com",
        "pd.csi.storage.gke.io",
    }
)


@dataclass(frozen=True, slots=True)
class Delay:
    """How long to hold back before a level: `base_s` always, up to `random_s` more by chance (pcmk_delay_base,
    pcmk_delay_max), and `priority_s`, which is set when the target carries the more important resources
    (priority-fencing-delay).
    """

    base_s: float = 0.0
    random_s: float = 0.0
    priority_s: float = 0.0

    def seconds(self, chance: float) -> float:
        """The delay, given a random number in [0, 1)."""
        return self.base_s + self.random_s * chance + self.priority_s


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
    def from_json(cls, value: Mapping[str, Any]) -> LevelConfig:
        """Read a level out of a fence record. Raises ValueError, TypeError, KeyError."""
        return cls(
            Level(value["level"]),
            tuple(value.get("devices") or ()),
            float(value.get("timeout_s", 60.0)),
            int(value.get("attempts", 1)),
            Delay(**(value.get("delay") or {})),
            str(value.get("action", "off")),
        )


@dataclass(frozen=True, slots=True)
class DeviceConfig:
    """A fence device: a ClusterLabs fence agent with its parameters, or the built-in `cloud`.

    params: what is given to the agent. params_from: where more parameters are, such as passwords: `file:/PATH` of
    `name=value` lines, or `secret/NAME`, a Secret. port_map: node to what the agent calls it (default: the node's
    name), which is given as parameter `plug_param` (empty: the one that the agent's metadata names). timeout_s: for one
    call of the agent. nodes: which nodes it can switch off; empty: any that it is asked to.
    """

    name: str
    agent: str
    params: Mapping[str, str] = field(default_factory=dict)
    params_from: str = ""
    port_map: Mapping[str, str] = field(default_factory=dict)
    plug_param: str = ""
    timeout_s: float = 30.0
    nodes: tuple[str, ...] = ()

    @classmethod
    def from_params(
        cls, name: str, agent: str, params: Mapping[str, str], params_from: str = "", nodes: Sequence[str] = ()
    ) -> DeviceConfig:
        """A device as Pacemaker configures it: `pcmk_*` parameters are the fencer's, all others the agent's.

        Known are pcmk_host_list, pcmk_host_map (`node:plug;node:plug`), pcmk_host_argument and pcmk_off_timeout; other
        pcmk_* say what the topology says here, and are skipped. nodes: which it is for, by the cluster file; else those
        of list and map. Raises FencingConfigError.
        """
        timeout_ms = parse_ms(params.get("pcmk_off_timeout", "30s"))
        if timeout_ms <= 0:
            raise FencingConfigError(f"fence device {name}: pcmk_off_timeout must be a duration, such as 30s or 2min")
        port_map = _host_map(name, params.get("pcmk_host_map", ""))
        listed = re.split(r"[\s,;]+", params.get("pcmk_host_list", "").strip(" ,;"))
        return cls(
            name,
            agent,
            {key: value for key, value in params.items() if not key.startswith("pcmk_")},
            params_from,
            port_map,
            params.get("pcmk_host_argument", ""),
            timeout_ms / 1000,
            tuple(nodes) or tuple(dict.fromkeys(node for node in (*listed, *port_map) if node)),
        )


def _host_map(device: str, text: str) -> dict[str, str]:
    found = {}
    for entry in re.split(r"[;\s]+", text.strip()):
        if not entry:
            continue
        node, _, plug = entry.partition(":")
        if not (node and plug):
            raise FencingConfigError(f"fence device {device}: pcmk_host_map has {entry!r}: write NODE:PLUG;NODE:PLUG")
        found[node] = plug
    return found


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
    secrets_namespace: str = "default"  # where `secret/NAME` of a device is

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
