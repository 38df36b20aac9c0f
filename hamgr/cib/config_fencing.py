"""Fencing in a cluster file: levels, devices and which node has which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, model_validator

from hamgr.cib.config_options import instead
from hamgr.cib.config_resources import Operations, PrimitiveMeta
from hamgr.cib.config_values import (
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
    def _params_source(self) -> FenceDevice:
        source = self.params_from
        if source is not None and not re.match(r"(secret/[-.a-z0-9]+|file:/.+)\Z", source):
            raise_all("FenceDevice", [(("params-from",), f"'{source}': write secret/NAME or file:/PATH")])
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
