"""What a fence agent says of itself, and what follows from it for a device's settings. Pure.

Sources: FenceAgentAPI.md of the fence-agents project, the metadata of its agents (a renamed parameter is there under
both names: the new one with `obsoletes`, the old one with `deprecated`), and pcmk_host_argument in Pacemaker Explained.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from hamgr.fencer.topology import DeviceConfig

PLUGS = ("plug", "port")  # names under which agents are told the node, the newer one first
UNTOLD = "none"  # pcmk_host_argument: the agent is told no node
_YES = frozenset({"1", "yes", "on", "true"})


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as an agent's metadata describes it. obsoletes: its older name, which the agent takes, too."""

    name: str
    required: bool = False
    default: str | None = None
    description: str = ""
    obsoletes: str = ""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an agent says of itself."""

    name: str
    parameters: Mapping[str, Parameter]
    actions: frozenset[str]

    def same(self, name: str) -> frozenset[str]:
        """All names of one parameter."""
        older = self.parameters[name].obsoletes if name in self.parameters else ""
        newer = {parameter.name for parameter in self.parameters.values() if name and parameter.obsoletes == name}
        return frozenset({name, older, *newer} - {""})


def parse_metadata(xml: str) -> Metadata:
    """Read an agent's metadata. Raises ValueError when it is none."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"the agent's metadata is no XML: {error}") from None
    if root.tag != "resource-agent":
        raise ValueError(f"the agent's metadata begins with <{root.tag}>, not <resource-agent>")
    parameters = (_parameter(node) for node in root.iter("parameter"))
    actions = frozenset(str(node.get("name")) for node in root.iter("action"))
    return Metadata(str(root.get("name")), {parameter.name: parameter for parameter in parameters}, actions)


def _parameter(node: ElementTree.Element) -> Parameter:
    content = node.find("content")
    return Parameter(
        str(node.get("name")),
        node.get("required") == "1",
        None if content is None else content.get("default"),
        (node.findtext("shortdesc") or "").strip(),
        node.get("obsoletes", ""),
    )


def plug_parameter(config: DeviceConfig, metadata: Metadata | None) -> str:
    """The parameter by which the agent is told the node, as Pacemaker chooses it; empty: it is told none.

    metadata: None when the agent has none to show.
    """
    if config.plug_param:
        return "" if config.plug_param == UNTOLD else config.plug_param
    if metadata is None:
        return PLUGS[-1]
    return next((name for name in PLUGS if name in metadata.parameters), "")


def is_told_the_node(config: DeviceConfig, given: Mapping[str, str], metadata: Metadata | None) -> bool:
    """Whether what is switched off depends on the node; if not, it is always the same machine.

    given: all parameters of the device. An agent for one machine's management board takes a plug only for its address
    (`port_as_ip`), and ignores it otherwise. A plug among the device's own parameters holds, unless it is `dynamic`.
    """
    plug = plug_parameter(config, metadata)
    names = metadata.same(plug) if metadata else {plug}
    if not plug or any(given.get(name, "dynamic") != "dynamic" for name in names):
        return False
    if config.plug_param or metadata is None:
        return True
    board = "port_as_ip" in metadata.parameters and not any(metadata.parameters[name].required for name in names)
    return not board or given.get("port_as_ip", "").lower() in _YES


def wrong_target(config: DeviceConfig, told: bool) -> str:
    """Why it is not known which machine a device switches off, as a sentence; empty when it is.

    told: whether its agent is told the node.
    """
    if told or len(config.nodes) == 1:
        return ""
    now = f"it is for {', '.join(config.nodes)}" if config.nodes else "it names none"
    return (
        f"agent {config.agent} switches off the same machine whichever node is meant, so the device must name its one "
        f"node (nodes: [NODE]), and {now}; if the agent is told the node by its plug, say so (pcmk_host_argument: plug)"
    )


def check_parameters(config: DeviceConfig, given: Mapping[str, str], metadata: Metadata) -> list[str]:
    """What is wrong with a device's parameters by its agent's metadata, as sentences; empty when all is well.

    given: all parameters of the device, those from elsewhere among them.
    """
    plug = plug_parameter(config, metadata)
    asked = {*given, plug} - {""}
    told = [
        f"fence device {config.name}: agent {config.agent} has no parameter {name!r}"
        for name in sorted(asked - metadata.parameters.keys())
    ]
    told += [
        f"fence device {config.name}: agent {config.agent} needs parameter {name!r}"
        for name in _lacking(asked | {"action"}, metadata)
    ]
    told += [
        f"fence device {config.name}: agent {config.agent} cannot do {action!r}"
        for action in ("off", "status")
        if action not in metadata.actions
    ]
    unclear = wrong_target(config, is_told_the_node(config, given, metadata))
    return [*told, f"fence device {config.name}: {unclear}"] if unclear else told


def _lacking(supplied: Collection[str], metadata: Metadata) -> Iterable[str]:
    """Required parameters that are supplied under none of their names, by their newest name."""
    for parameter in metadata.parameters.values():
        names = metadata.same(parameter.name)
        outdated = any(other.obsoletes == parameter.name for other in metadata.parameters.values())
        if parameter.required and parameter.default is None and not outdated and names.isdisjoint(supplied):
            yield parameter.name
