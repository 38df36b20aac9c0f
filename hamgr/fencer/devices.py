"""Fence devices: ClusterLabs fence agents through their standard interface, and the cloud controller's word.

The interface (FenceAgentAPI.md of the fence-agents project): parameters on standard input as `name=value` lines, the
action among them; exit code 0 is success, and for `status` 2 means off; `metadata` prints XML. Nothing is ever passed
on the command line, where every user of the machine could read it.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from hamgr.fencer.levels.node import Device, DeviceError
from hamgr.fencer.observe import see_node
from hamgr.fencer.topology import DeviceConfig, FencingConfig, FencingConfigError
from hamgr.kube import nodes
from hamgr.kube.errors import KubeError, NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import NODE, SECRET

STATUS_OFF = 2
CLOUD = "cloud"
ReadMore: TypeAlias = Callable[[str], Mapping[str, str]]
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


def check_parameters(config: DeviceConfig, more: Collection[str], metadata: Metadata) -> list[str]:
    """What is wrong with a device's parameters by its agent's metadata, as sentences; empty when all is well.

    `more`: the names of parameters that come from elsewhere.
    """
    given = {*config.params, *more}
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

    def __init__(self, config: DeviceConfig, read_more: ReadMore) -> None:
        """`read_more(params_from)` gives the parameters that are kept elsewhere; it is asked at each call."""
        self.config = config
        self.name = config.name
        self._read_more = read_more

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
                [program],
                input=text,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.config.timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise DeviceError(f"{action} was not over after {self.config.timeout_s:g} s") from None
        except OSError as error:
            raise DeviceError(f"{self.config.agent} cannot be run: {error.strerror}") from None
        if done.returncode == 0:
            return 0, done.stdout
        return done.returncode, _complaint(done.stderr or done.stdout, action, done.returncode, self._secrets())

    def _parameters(self, action: str, node: str) -> dict[str, str]:
        given = {**self.config.params, **self.more(), "action": action}
        if node:
            given[self.config.plug_param] = self.config.port_map.get(node, node)
        for name, value in given.items():
            if "\n" in value:
                raise DeviceError(f"parameter {name} holds a line break, which fence agents cannot take")
        return given

    def more(self) -> Mapping[str, str]:
        """The parameters that are kept elsewhere. Raises DeviceError."""
        return self._read_more(self.config.params_from) if self.config.params_from else {}

    def _secrets(self) -> set[str]:
        """Values that no log may show: all that are kept elsewhere, and whatever is called a password."""
        passwords = {value for name, value in self.config.params.items() if "pass" in name.lower()}
        return {*self.more().values(), *passwords}


def _complaint(told: str, action: str, code: int, secrets: Collection[str]) -> str:
    """The agent's last line, without secrets; what it was doing when it said nothing."""
    last = [line for line in told.strip().splitlines() if line.strip()][-1:]
    text = last[0].strip() if last else f"{action} ended with exit code {code}"
    for secret in secrets:
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


def make_devices(config: FencingConfig, kube: Kube, namespace: str) -> dict[str, Device]:
    """All configured devices by name; Secrets are looked for in `namespace`."""

    def read_more(source: str) -> Mapping[str, str]:
        kind, _, name = source.partition("/")
        return _secret(kube, namespace, name) if kind == "secret" else _file(source.removeprefix("file:"))

    return {
        name: CloudDevice(device, kube) if device.agent == CLOUD else AgentDevice(device, read_more)
        for name, device in config.devices.items()
    }


def verify_devices(devices: Iterable[Device]) -> None:
    """Check every agent's parameters against its metadata. Raises FencingConfigError with all that is wrong."""
    told: list[str] = []
    for device in devices:
        if not isinstance(device, AgentDevice):
            continue
        try:
            told += check_parameters(device.config, device.more().keys(), device.metadata())
        except DeviceError as error:
            told.append(f"fence device {device.name}: {error}")
    if told:
        raise FencingConfigError("; ".join(told))


def check_device(config: DeviceConfig) -> tuple[list[str], str]:
    """What is wrong with a device's parameters by its agent on this machine, and why they were not checked, if so.

    What is kept elsewhere is not read: a parameter may be missing then.
    """
    if config.agent == CLOUD:
        return [], ""
    device = AgentDevice(config, lambda _source: {})
    try:
        metadata = device.metadata()
    except DeviceError as error:
        return [], f"fence device {config.name} was not checked: {error}"
    wanted = [name for name, parameter in metadata.parameters.items() if parameter.required]
    return check_parameters(config, wanted if config.params_from else (), metadata), ""


def _file(path: str) -> dict[str, str]:
    """`name=value` lines; empty ones and comments (#) are skipped."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise DeviceError(f"parameter file {path}: {error.strerror}") from None
    found = {}
    for number, line in enumerate(lines, start=1):
        name, equals, value = line.partition("=")
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if not equals:
            raise DeviceError(f"parameter file {path}, line {number}: write name=value")
        found[name.strip()] = value
    return found


def _secret(kube: Kube, namespace: str, name: str) -> dict[str, str]:
    try:
        data = kube.get(SECRET.path(name, namespace)).get("data") or {}
    except KubeError as error:
        raise DeviceError(f"Secret {namespace}/{name}: {error.message}") from None
    return {key: base64.b64decode(value).decode().rstrip("\n") for key, value in data.items()}
