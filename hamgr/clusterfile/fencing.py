"""Fencing in a cluster file: levels, devices and which node has which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from hamgr.cib.fence_parameters import AGENT, ORDERS, PARAMETER_NAME, is_open_secret, is_powerful
from hamgr.clusterfile.options import instead
from hamgr.clusterfile.resources import Operations, PrimitiveMeta
from hamgr.clusterfile.values import (
    Complaint,
    Duration,
    Id,
    NodeRef,
    Section,
    Value,
    ValueSets,
    known_things,
    raise_all,
    require_regex,
    wrong,
)

LEVELS = ("volume", "node", "watchdog", "manual")


class FenceLevel(Section):
    """One level with its own times; written as the bare name when the defaults do."""

    level: str
    timeout: Duration | None = None
    retries: Annotated[int, Field(ge=0, le=100)] | None = None
    delay: Duration | None = None  # static
    random_delay: Duration | None = None  # and up to so much more, at random
    devices: tuple[str, ...] = ()  # of level "node": which devices, all of which must succeed; empty: those of the node

    @model_validator(mode="after")
    def _known_level(self, info: ValidationInfo) -> FenceLevel:
        devices = known_things(info).devices
        problems: list[Complaint] = []
        if self.level not in LEVELS and self.level not in devices:
            allowed = [*LEVELS, *devices]
            message = f"there is no fencing level or device '{self.level}'{instead(self.level, allowed)}"
            problems.append((("level",), message))
        for index, device in enumerate(self.devices):
            if device not in devices:
                message = f"there is no fencing device '{device}'{instead(device, devices)}"
                problems.append((("devices", index), message))
        raise_all("FenceLevel", problems)
        return self


def _fence_level(value: Any) -> Any:
    if isinstance(value, str):
        return {"level": value}
    return {"level": "node", "devices": value} if isinstance(value, list) else value


Levels = tuple[Annotated[FenceLevel, BeforeValidator(_fence_level)], ...]


class FenceTarget(Section):
    """Levels of their own for one node, for nodes by a regular expression, or by an attribute's value."""

    node: NodeRef | None = None
    pattern: str | None = None
    attribute: str | None = None
    value: Value = ""
    levels: Annotated[Levels, Field(min_length=1)]

    @model_validator(mode="after")
    def _one_target(self) -> FenceTarget:
        if sum(part is not None for part in (self.node, self.pattern, self.attribute)) != 1:
            raise wrong("name exactly one of node, pattern (a regular expression) and attribute (with value)")
        require_regex(self.pattern)
        return self


class FenceDevice(Section):
    """A device that can switch nodes off: a ClusterLabs fence agent and how to call it."""

    id: Id
    agent: str
    params: ValueSets = ()
    params_from: str | None = None  # secret/NAME or file:/PATH: more parameters, kept out of the configuration
    nodes: tuple[NodeRef, ...] = ()  # which nodes it can fence; empty: it is asked
    action: Literal["off", "reboot"] | None = None
    meta: PrimitiveMeta = ()
    operations: Operations = Field(default_factory=dict)

    @model_validator(mode="after")
    def _usable(self) -> FenceDevice:
        problems: list[Complaint] = []
        if not AGENT.match(self.agent):
            allowed = "write fence_NAME, cloud, or the absolute name of a program that hamgrd.yaml lists"
            problems.append((("agent",), f"'{self.agent}' is no fence agent: {allowed}"))
        source = self.params_from
        if source is not None and not re.match(r"(secret/[-.a-z0-9]+|file:/.+)\Z", source):
            problems.append((("params-from",), f"'{source}': write secret/NAME or file:/PATH"))
        for name in dict.fromkeys(name for values in self.params for name in values.values):
            if not PARAMETER_NAME.match(name):
                problems.append((("params",), f"{name!r} is no name of a parameter: letters, digits, - and _"))
            elif name in ORDERS:
                problems.append((("params",), f"'{name}' is hamgr's to say; `action: reboot` belongs to the device"))
            elif is_powerful(name):
                where = "keep it in a file of root's (params-from: file:/etc/hamgr/NAME)"
                problems.append((("params",), f"'{name}' names what the agent runs or writes as root: {where}"))
        raise_all("FenceDevice", problems)
        return self


class Fencing(Section):
    """How a node or an instance is proved gone; the levels are tried in order."""

    levels: Levels = Field(default_factory=lambda: (FenceLevel.model_construct(level="volume", devices=()),))
    drivers: tuple[str, ...] = ()  # CSI drivers known to detach at the storage, besides the built-in list
    devices: tuple[FenceDevice, ...] = ()
    topology: tuple[FenceTarget, ...] = ()
    max_fences: Annotated[int, Field(ge=1)] = 5  # ... in the time of max-fences-interval, then a person must look
    max_fences_interval: Duration = "10min"
    fence_loop_interval: Duration = "1h"  # a node fenced three times within this time is left alone for a while


def with_timeout(fencing: Fencing, timeout: str) -> Fencing:
    """The same with a timeout for each level that has none."""

    def filled(levels: Levels) -> Levels:
        return tuple(one if one.timeout else one.model_copy(update={"timeout": timeout}) for one in levels)

    topology = tuple(one.model_copy(update={"levels": filled(one.levels)}) for one in fencing.topology)
    return fencing.model_copy(update={"levels": filled(fencing.levels), "topology": topology})


def open_secrets(fencing: Fencing) -> list[str]:
    """A warning for each device with a secret in the file, which everybody can read who may read the configuration."""
    found = {
        device.id: sorted({name for values in device.params for name in values.values if is_open_secret(name)})
        for device in fencing.devices
    }
    return [
        f"fence device {device}: {', '.join(names)} in the cluster file can be read by all who may read it: keep "
        "it in a Secret or a file of root's (params-from: secret/NAME, or file:/etc/hamgr/NAME)"
        for device, names in found.items()
        if names
    ]


def levels_for(fencing: Fencing, node: str, attributes: Mapping[str, str]) -> tuple[FenceLevel, ...]:
    """The levels to try for a node, in order: its own, else those of a pattern, of an attribute, or the default."""
    named = [entry for entry in fencing.topology if entry.node == node]
    patterns = [entry for entry in fencing.topology if entry.pattern and re.search(entry.pattern, node)]
    by_value = [
        entry for entry in fencing.topology if entry.attribute and attributes.get(entry.attribute) == entry.value
    ]
    for entry in (*named, *patterns, *by_value):
        return entry.levels
    return fencing.levels
