"""From the cluster file's words on fencing to the fencer's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hamgr.cib.durations import parse_ms
from hamgr.clusterfile.fencing import FenceDevice, FenceLevel, Fencing, levels_for
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


def fencing_config(
    fencing: Fencing, nodes: Mapping[str, Mapping[str, str]], namespace: str = "default"
) -> tuple[FencingConfig, list[str]]:
    """The fencer's settings for these nodes, and what is wrong with devices that are left out for it, as sentences.

    nodes: name to node attributes, which levels may be chosen by. namespace: where the devices' Secrets are. A level
    with a device that was left out fails when its turn comes; the other levels stand.
    """
    devices, troubles = usable_devices(fencing)
    serves = {
        device.id: devices[device.id].nodes if device.id in devices else device.nodes for device in fencing.devices
    }
    topology = tuple(
        TopologyEntry(
            node, tuple(_level(level, fencing, serves, node) for level in levels_for(fencing, node, attributes))
        )
        for node, attributes in nodes.items()
    )
    config = FencingConfig(
        topology=topology,
        devices=devices,
        drivers=DEFAULT_DRIVERS | frozenset(fencing.drivers),
        secrets_namespace=namespace,
    )
    return config, troubles


def usable_devices(fencing: Fencing) -> tuple[dict[str, DeviceConfig], list[str]]:
    """The devices whose settings can be used, by name, and what is wrong with the others."""
    found, troubles = {}, []
    for device in fencing.devices:
        try:
            found[device.id] = _device(device)
        except FencingConfigError as error:
            troubles.append(str(error))
    return found, troubles


def _level(level: FenceLevel, fencing: Fencing, serves: Mapping[str, Sequence[str]], node: str) -> LevelConfig:
    """serves: device to the nodes that it can switch off; none: any."""
    names = {device.id for device in fencing.devices}
    kind, devices = Level.NODE, level.devices
    if level.level in names:
        devices = (level.level,)
    else:
        kind = Level(level.level)
    if kind is Level.NODE and not devices:
        devices = tuple(name for name, nodes in serves.items() if not nodes or node in nodes)
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
    return DeviceConfig.from_params(device.id, device.agent, params, device.params_from or "", device.nodes)


def _seconds(text: str | None, default: float) -> float:
    return default if text is None else parse_ms(text) / 1000
