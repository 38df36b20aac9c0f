"""From the cluster file's words on fencing to the fencer's."""

from __future__ import annotations

from collections.abc import Mapping

from hamgr.cib.config_fencing import FenceDevice, FenceLevel, Fencing, levels_for
from hamgr.cib.durations import parse_ms
from hamgr.fencer.topology import DEFAULT_DRIVERS, Delay, DeviceConfig, FencingConfig, Level, LevelConfig, TopologyEntry


def fencing_config(fencing: Fencing, nodes: Mapping[str, Mapping[str, str]]) -> FencingConfig:
    """The fencer's settings for these nodes. nodes: name to node attributes, which levels may be chosen by."""
    topology = tuple(
        TopologyEntry(node, tuple(_level(level, fencing, node) for level in levels_for(fencing, node, attributes)))
        for node, attributes in nodes.items()
    )
    return FencingConfig(
        topology=topology,
        devices={device.id: _device(device) for device in fencing.devices},
        drivers=DEFAULT_DRIVERS | frozenset(fencing.drivers),
    )


def _level(level: FenceLevel, fencing: Fencing, node: str) -> LevelConfig:
    names = {device.id for device in fencing.devices}
    kind, devices = Level.NODE, level.devices
    if level.level in names:
        devices = (level.level,)
    else:
        kind = Level(level.level)
    if kind is Level.NODE and not devices:
        devices = tuple(device.id for device in fencing.devices if not device.nodes or node in device.nodes)
    defaults = LevelConfig(kind)
    return LevelConfig(
        kind,
        devices,
        _seconds(level.timeout, defaults.timeout_s),
        defaults.attempts if level.retries is None else level.retries + 1,
        Delay(_seconds(level.delay, 0.0), _seconds(level.random_delay, 0.0)),
        "reboot" if any(device.action == "reboot" for device in fencing.devices if device.id in devices) else "off",
    )


def _device(device: FenceDevice) -> DeviceConfig:
    params = {name: value for nvset in reversed(device.params) for name, value in nvset.values.items()}
    return DeviceConfig.from_params(device.id, device.agent, params, device.params_from or "")


def _seconds(text: str | None, default: float) -> float:
    return default if text is None else parse_ms(text) / 1000
