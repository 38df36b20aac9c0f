"""How an agent describes itself: parameters, actions with their usual times, and the OCF XML that tools expect.

The XML follows the OCF Resource Agent API 1.1 (ra-api.rng).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from hamgr.clusterfile.agents import ActionSpec, AgentSpec, ParameterSpec


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. ``type`` is string, integer, boolean, duration, select (of ``choices``) or object (JSON text).

    ``default`` is what counts when it is not given, None: nothing does. A ``unique`` parameter may have a value once
    a cluster; a ``reloadable`` one may change while the resource runs; the value of a ``private`` one is a secret, and
    is put on no record.
    """

    name: str
    description: str
    type: str = "string"
    default: str | None = None
    required: bool = False
    unique: bool = False
    reloadable: bool = False
    private: bool = False
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """One action and the times that its author advises, in seconds; an interval above 0 makes it a recurring one."""

    name: str
    timeout_s: float
    interval_s: float = 0.0
    role: str = ""


@dataclass(frozen=True, slots=True)
class Metadata:
    """All that can be known of an agent without running it."""

    name: str
    version: str
    shortdesc: str
    longdesc: str
    parameters: tuple[Parameter, ...]
    actions: tuple[Action, ...]
    exactly_one_of: tuple[tuple[str, ...], ...] = ()

    def has(self, name: str) -> bool:
        """Whether the agent has a parameter of that name."""
        return any(parameter.name == name for parameter in self.parameters)

    @property
    def force_restart(self) -> str | None:
        """The parameters whose change needs a restart, as Pacemaker records them (op-force-restart): separated and
        surrounded by spaces. None: the agent cannot reload, so each change does."""
        if not any(action.name == "reload-agent" for action in self.actions):
            return None
        return "".join(f" {p.name}" for p in self.parameters if not p.reloadable) + " "

    def with_defaults(self, params: Mapping[str, str]) -> dict[str, str]:
        """The parameters as given, completed by the defaults."""
        return {p.name: p.default for p in self.parameters if p.default is not None} | dict(params)

    def spec(self, alias: str = "") -> AgentSpec:
        """In the words of the cluster file's reader (`hamgr.cib`)."""
        return AgentSpec(
            name=alias or self.name,
            parameters={
                p.name: ParameterSpec(p.name, p.required, p.type, p.choices, _first_line(p.description), p.unique)
                for p in self.parameters
            },
            actions=tuple(
                ActionSpec(a.name, round(a.timeout_s * 1000), round(a.interval_s * 1000), a.role) for a in self.actions
            ),
            exactly_one_of=self.exactly_one_of,
        )

    def to_xml(self) -> str:
        """The OCF metadata document."""
        root = ET.Element("resource-agent", name=self.name, version=self.version)
        ET.SubElement(root, "version").text = "1.1"
        _described(root, self.shortdesc, self.longdesc)
        parameters = ET.SubElement(root, "parameters")
        for parameter in self.parameters:
            _parameter_xml(parameters, parameter)
        actions = ET.SubElement(root, "actions")
        for action in self.actions:
            entry = ET.SubElement(actions, "action", name=action.name, timeout=f"{action.timeout_s:g}s")
            if action.interval_s:
                entry.set("interval", f"{action.interval_s:g}s")
                entry.set("depth", "0")
            if action.role:
                entry.set("role", action.role)
        ET.indent(root)
        return '<?xml version="1.0"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


_OCF_TYPES = {"duration": "time", "object": "string"}


def _parameter_xml(parent: ET.Element, parameter: Parameter) -> None:
    entry = ET.SubElement(parent, "parameter", name=parameter.name)
    for attribute, said in (
        ("required", parameter.required),
        ("unique", parameter.unique),
        ("reloadable", parameter.reloadable),
    ):
        entry.set(attribute, "1" if said else "0")
    _described(entry, _first_line(parameter.description), parameter.description)
    content = ET.SubElement(entry, "content", type=_OCF_TYPES.get(parameter.type, parameter.type))
    if parameter.default is not None:
        content.set("default", parameter.default)
    for choice in parameter.choices:
        ET.SubElement(content, "option", value=choice)


def _described(parent: ET.Element, short: str, long: str) -> None:
    ET.SubElement(parent, "longdesc", lang="en").text = long
    ET.SubElement(parent, "shortdesc", lang="en").text = short


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0].split(". ", 1)[0].rstrip(".:")
