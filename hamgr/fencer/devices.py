"""Fence devices: ClusterLabs fence agents through their standard interface, and the cloud controller's word.

The interface (FenceAgentAPI.md of the fence-agents project): parameters on standard input as `name=value` lines, the
action among them; exit code 0 is success, and for `status` 2 means off; `metadata` prints XML. Nothing is ever passed
on the command line, where every user of the machine could read it.
"""

from __future__ import annotations

import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from hamgr.fencer.levels.node import Device, DeviceError
from hamgr.fencer.observe import see_node
from hamgr.fencer.topology import DeviceConfig, FencingConfig, FencingConfigError
from hamgr.kube import nodes
from hamgr.kube.errors import KubeError, NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import NODE

STATUS_OFF = 2
CLOUD = "cloud"
_TOLD = 300


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter as an agent's metadata describes it."""

    name: str
    required: bool = False
    default: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an agent says of itself."""

    name: str
    parameters: Mapping[str, Parameter]
    actions: frozenset[str]


def parse_metadata(xml: str) -> Metadata:
    """Read an agent's metadata. Raises ValueError when it is none."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(f"the agent's metadata is no XML: {error}") from None
    if root.tag != "resource-agent":
        raise ValueError(f"the agent's metadata begins with <{root.tag}>, not <resource-agent>")
    parameters = {}
    for node in root.iter("parameter"):
        content = node.find("content")
        default = None if content is None else content.get("default")
        name = str(node.get("name"))
        described = (node.findtext("shortdesc") or "").strip()
        parameters[name] = Parameter(name, node.get("required") == "1", default, described)
    actions = frozenset(str(node.get("name")) for node in root.iter("action"))
    return Metadata(str(root.get("name")), parameters, actions)


def check_parameters(config: DeviceConfig, metadata: Metadata) -> list[str]:
    """What is wrong with a device's parameters by its agent's metadata, as sentences; empty when all is well."""
    given = {*config.params, *config.secret_files}
    told = [
        f"fence device {config.name}: agent {config.agent} has no parameter {name!r}"
        for name in sorted(given - metadata.parameters.keys())
    ]
    supplied = given | {"action", config.plug_param}
    told += [
        f"fence device {config.name}: agent {config.agent} needs parameter {parameter.name!r}"
        for parameter in metadata.parameters.values()
        if parameter.required and parameter.default is None and parameter.name not in supplied
    ]
    told += [
        f"fence device {config.name}: agent {config.agent} cannot do {action!r}"
        for action in ("off", "status")
        if action not in metadata.actions
    ]
    return told


class AgentDevice:
    """A device behind a fence agent program. Thread-safe: each call is a process of its own."""

    acts = True

    def __init__(self, config: DeviceConfig) -> None:
        self.config = config
        self.name = config.name

    def off(self, node: str) -> None:
        """The agent's `off`. Raises DeviceError."""
        self._succeed("off", node)

    def on(self, node: str) -> None:
        """The agent's `on`. Raises DeviceError."""
        self._succeed("on", node)

    def state(self, node: str) -> str:
        """The agent's `status`: `off`, `on`. Raises DeviceError."""
        code, told = self._run("status", node)
        if code == STATUS_OFF:
            return "off"
        if code == 0:
            return "on"
        raise DeviceError(told)

    def monitor(self) -> None:
        """The agent's `monitor`. Raises DeviceError."""
        self._succeed("monitor", "")

    def metadata(self) -> Metadata:
        """The agent's own description. Raises DeviceError."""
        code, told = self._run("metadata", "", with_parameters=False)
        if code != 0:
            raise DeviceError(told)
        try:
            return parse_metadata(told)
        except ValueError as error:
            raise DeviceError(str(error)) from None

    def _succeed(self, action: str, node: str) -> None:
        code, told = self._run(action, node)
        if code != 0:
            raise DeviceError(told)

    def _run(self, action: str, node: str, *, with_parameters: bool = True) -> tuple[int, str]:
        program = shutil.which(self.config.agent) or shutil.which(self.config.agent, path="/usr/sbin:/sbin")
        if program is None:
            raise DeviceError(f"there is no program {self.config.agent}: install the package fence-agents")
        given = self._parameters(action, node) if with_parameters else {"action": action}
        text = "".join(f"{name}={value}\n" for name, value in given.items())
        try:
            done = subprocess.run(
                [program], input=text, capture_output=True, text=True, timeout=self.config.timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            raise DeviceError(f"{action} was not over after {self.config.timeout_s:g} s") from None
        except OSError as error:
            raise DeviceError(f"{self.config.agent} cannot be run: {error.strerror}") from None
        if done.returncode == 0:
            return 0, done.stdout
        return done.returncode, self._without_secrets(done.stderr or done.stdout, action, done.returncode)

    def _parameters(self, action: str, node: str) -> dict[str, str]:
        given = {"action": action, **self.config.params, **self._secrets()}
        if node:
            given[self.config.plug_param] = self.config.port_map.get(node, node)
        for name, value in given.items():
            if "\n" in value:
                raise DeviceError(f"parameter {name} holds a line break, which fence agents cannot take")
        return given

    def _secrets(self) -> dict[str, str]:
        found = {}
        for name, path in self.config.secret_files.items():
            try:
                found[name] = Path(path).read_text().rstrip("\n")
            except OSError as error:
                raise DeviceError(f"secret file {path} of parameter {name}: {error.strerror}") from None
        return found

    def _without_secrets(self, told: str, action: str, code: int) -> str:
        last = [line for line in told.strip().splitlines() if line.strip()][-1:]
        text = last[0].strip() if last else f"{action} ended with exit code {code}"
        hidden = {*self._secrets().values(), *(v for k, v in self.config.params.items() if "passw" in k.lower())}
        for secret in hidden:
            text = text.replace(secret, "***") if secret else text
        return text[:_TOLD]


class CloudDevice:
    """The cloud controller manager's word: the instance is shut down (taint), or it and its Node are gone.

    It only proves; it switches nothing off. A Node that somebody deleted by hand looks the same as one that the cloud
    controller deleted: whoever configures this device promises that nobody does that to running nodes.
    """

    acts = False

    def __init__(self, config: DeviceConfig, kube: Kube) -> None:
        self.name = config.name
        self._kube = kube

    def off(self, node: str) -> None:
        """Nothing: the cloud controller acts by itself."""

    def on(self, node: str) -> None:
        """Nothing."""

    def state(self, node: str) -> str:
        """`off` when the cloud controller says so, else `unknown`. Raises DeviceError."""
        try:
            found = self._kube.get(NODE.path(node))
        except NotFound:
            return "off"
        except KubeError as error:
            raise DeviceError(error.message) from None
        return "off" if nodes.has_taint(found, nodes.CLOUD_SHUTDOWN) else "unknown"

    def monitor(self) -> None:
        """Whether nodes can be read. Raises DeviceError."""
        try:
            see_node(self._kube, "hamgr-monitor")
        except KubeError as error:
            raise DeviceError(error.message) from None


def make_devices(config: FencingConfig, kube: Kube) -> dict[str, Device]:
    """All configured devices by name."""
    make: Callable[[DeviceConfig], Device]
    found: dict[str, Device] = {}
    for name, device in config.devices.items():
        make = (lambda entry: CloudDevice(entry, kube)) if device.agent == CLOUD else AgentDevice
        found[name] = make(device)
    return found


def verify_devices(config: FencingConfig) -> None:
    """Check every agent's parameters against its metadata. Raises FencingConfigError with all that is wrong."""
    told: list[str] = []
    for device in config.devices.values():
        if device.agent == CLOUD:
            continue
        try:
            told += check_parameters(device, AgentDevice(device).metadata())
        except DeviceError as error:
            told.append(f"fence device {device.name}: {error}")
    if told:
        raise FencingConfigError("; ".join(told))
