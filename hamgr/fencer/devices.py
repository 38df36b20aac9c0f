"""Fence devices: ClusterLabs fence agents through their standard interface, and the cloud controller's word.

The interface (FenceAgentAPI.md of the fence-agents project): parameters on standard input as `name=value` lines, the
action among them; exit code 0 is success, and for `status` 2 means off; `metadata` prints XML. Nothing is ever passed
on the command line, where every user of the machine could read it.
"""

from __future__ import annotations

import base64
import re
import subprocess
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TypeAlias

from hamgr.cib.fence_parameters import PARAMETER_NAME, is_powerful, is_secret
from hamgr.fencer.fence_agent_process import always, call_agent
from hamgr.fencer.levels.node import Device, DeviceError
from hamgr.fencer.metadata import (
    PLUGS,
    Metadata,
    check_parameters,
    is_told_the_node,
    parse_metadata,
    plug_parameter,
    wrong_target,
)
from hamgr.fencer.observe import see_node
from hamgr.fencer.programs import NotAllowed, Programs
from hamgr.fencer.topology import DeviceConfig, FencingConfig, FencingConfigError
from hamgr.kube import nodes
from hamgr.kube.errors import KubeError, NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import NODE, SECRET

STATUS_OFF = 2
CLOUD = "cloud"
ReadMore: TypeAlias = Callable[[str], Mapping[str, str]]
_TOLD = 300


class AgentDevice:
    """A device behind a fence agent program. Thread-safe: each call is a process of its own."""

    acts = True

    def __init__(self, config: DeviceConfig, read_more: ReadMore, programs: Programs) -> None:
        """`read_more(params_from)` gives the parameters that are kept elsewhere; it is asked at each call. `programs`:
        those that this node runs.
        """
        self.config = config
        self.name = config.name
        self._read_more = read_more
        self._programs = programs
        self._metadata: Metadata | None = None

    def off(self, node: str, allowed: Callable[[], None] = always) -> None:
        """The agent's `off`. Raises DeviceError, and what `allowed` raises."""
        self._succeed("off", node, allowed)

    def on(self, node: str, allowed: Callable[[], None] = always) -> None:
        """The agent's `on`. Raises DeviceError, and what `allowed` raises."""
        self._succeed("on", node, allowed)

    def state(self, node: str) -> str:
        """The agent's `status`: `off`, `on`. Raises DeviceError."""
        code, told = self._ask("status", self._for_node(node))
        if code == STATUS_OFF:
            return "off"
        if code == 0:
            return "on"
        raise DeviceError(told)

    def monitor(self) -> None:
        """The agent's `monitor`. Raises DeviceError."""
        code, told = self._ask("monitor", self.given())
        if code != 0:
            raise DeviceError(told)

    def metadata(self) -> Metadata:
        """The agent's own description. Raises DeviceError."""
        code, told = self._ask("metadata", {})
        if code != 0:
            raise DeviceError(f"agent {self.config.agent} has no metadata: {told}")
        try:
            self._metadata = parse_metadata(told)
        except ValueError as error:
            raise DeviceError(str(error)) from None
        return self._metadata

    def given(self) -> dict[str, str]:
        """All parameters that are configured, wherever they are kept. Raises DeviceError."""
        more = self._read_more(self.config.params_from) if self.config.params_from else {}
        return {**self.config.params, **more}

    def _succeed(self, action: str, node: str, allowed: Callable[[], None]) -> None:
        code, told = self._ask(action, self._for_node(node), allowed)
        if code != 0:
            raise DeviceError(told)

    def _for_node(self, node: str) -> dict[str, str]:
        """The parameters for one node. Raises DeviceError when another machine might be meant."""
        if self.config.nodes and node not in self.config.nodes:
            raise DeviceError(f"it is configured for {', '.join(self.config.nodes)}, not for {node}")
        metadata, given = self._described(node), self.given()
        told = is_told_the_node(self.config, given, metadata)
        if unclear := wrong_target(self.config, told):
            raise DeviceError(unclear)
        plug = plug_parameter(self.config, metadata)
        if told:
            given[plug] = self.config.port_map.get(node, node)
        return given

    def _described(self, node: str) -> Metadata | None:
        """The metadata, asked for once; None when there is none and it is clear without who is switched off.

        Raises DeviceError when it is not: whether the agent heeds a plug, its metadata alone says.
        """
        if self._metadata is None:
            try:
                return self.metadata()
            except DeviceError as error:
                if not self.config.plug_param and len(self.config.nodes) != 1:
                    text = f"which machine it switches off for {node} is not known: its metadata cannot be read"
                    raise DeviceError(f"{text} ({error})") from None
        return self._metadata

    def _ask(self, action: str, given: Mapping[str, str], allowed: Callable[[], None] = always) -> tuple[int, str]:
        """Exit code and output, or, when it is not 0, the agent's complaint. Raises DeviceError."""
        try:
            program = self._programs.find(self.config.agent)
        except NotAllowed as error:
            raise DeviceError(str(error)) from None
        for name, value in given.items():
            if not PARAMETER_NAME.match(name):
                raise DeviceError(f"{name!r} is no name of a parameter: letters, digits, - and _")
            if "\n" in value or "\0" in value:
                raise DeviceError(f"parameter {name} holds a line break, which fence agents cannot take")
        text = "".join(f"{name}={value}\n" for name, value in {**given, "action": action}.items())
        try:
            code, out, err = call_agent(program, text, self.config.timeout_s, allowed)
        except subprocess.TimeoutExpired:
            raise DeviceError(f"{action} was not over after {self.config.timeout_s:g} s") from None
        except OSError as error:
            raise DeviceError(f"{self.config.agent} cannot be run: {error.strerror}") from None
        return code, out if code == 0 else _complaint(err or out, action, code, self._secrets(given))

    def _secrets(self, given: Mapping[str, str]) -> set[str]:
        """Values that no log may show: all that are kept elsewhere, and whatever is called a password or a key."""
        known = {*self.config.params, *PLUGS, self.config.plug_param}
        return {value for name, value in given.items() if name not in known or is_secret(name)}


_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+ [A-Z]+: ")  # of the fence-agents library
_USAGE = "Please use '-h' for usage"  # what it says last whenever a parameter is wrong


def _complaint(told: str, action: str, code: int, secrets: Collection[str]) -> str:
    """The agent's last telling line, without secrets; what it was doing when it said nothing."""
    lines = [_STAMP.sub("", line.strip()) for line in told.splitlines() if line.strip()]
    telling = [line for line in lines if line != _USAGE]
    text = telling[-1] if telling else f"{action} ended with exit code {code}"
    for secret in sorted(secrets, key=len, reverse=True):
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

    def off(self, node: str, allowed: Callable[[], None] = always) -> None:
        """Nothing: the cloud controller acts by itself."""

    def on(self, node: str, allowed: Callable[[], None] = always) -> None:
        """Nothing."""

    def state(self, node: str) -> str:
        """`off` when the cloud controller says so, else `unknown`. Raises DeviceError."""
        try:
            found = self._kube.get(NODE.path(node))
        except NotFound:
            return "off"
        except KubeError as error:
            raise DeviceError(error.message) from None
        # The cloud controller takes the taint from a node that runs again only some time after it has become Ready.
        told = nodes.has_taint(found, nodes.CLOUD_SHUTDOWN) and not nodes.ready(found)
        return "off" if told else "unknown"

    def monitor(self) -> None:
        """Whether nodes can be read. Raises DeviceError."""
        try:
            see_node(self._kube, "hamgr-monitor")
        except KubeError as error:
            raise DeviceError(error.message) from None


def make_devices(config: FencingConfig, kube: Kube, namespace: str, programs: Programs) -> dict[str, Device]:
    """All configured devices by name; Secrets are looked for in `namespace`, programs and files by `programs`."""

    def read_more(source: str) -> Mapping[str, str]:
        kind, _, name = source.partition("/")
        return _secret(kube, namespace, name) if kind == "secret" else _file(source.removeprefix("file:"), programs)

    return {
        name: CloudDevice(device, kube) if device.agent == CLOUD else AgentDevice(device, read_more, programs)
        for name, device in config.devices.items()
    }


def verify_devices(devices: Iterable[Device]) -> None:
    """Check every agent's parameters against its metadata. Raises FencingConfigError with all that is wrong."""
    told: list[str] = []
    for device in devices:
        if not isinstance(device, AgentDevice):
            continue
        try:
            told += check_parameters(device.config, device.given(), device.metadata())
        except DeviceError as error:
            told.append(f"fence device {device.name}: {error}")
    if told:
        raise FencingConfigError("; ".join(told))


def check_device(config: DeviceConfig, programs: Programs) -> tuple[list[str], str]:
    """What is wrong with a device's parameters by its agent on this machine, and why they were not checked, if so.

    What is kept elsewhere is not read: a parameter may be missing then.
    """
    if config.agent == CLOUD:
        return [], ""
    device = AgentDevice(config, lambda _source: {}, programs)
    try:
        metadata = device.metadata()
    except DeviceError as error:
        return [], f"fence device {config.name} was not checked: {error}"
    plugs = metadata.same(plug_parameter(config, metadata))
    unread = {name: "" for name, parameter in metadata.parameters.items() if parameter.required and name not in plugs}
    return check_parameters(config, {**(unread if config.params_from else {}), **config.params}, metadata), ""


def _file(path: str, programs: Programs) -> dict[str, str]:
    """`name=value` lines; empty ones and comments (#) are skipped."""
    try:
        lines = programs.parameter_file(path).read_text().splitlines()
    except NotAllowed as error:
        raise DeviceError(str(error)) from None
    except UnicodeDecodeError:
        raise DeviceError(f"parameter file {path} is not UTF-8 text") from None
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
    if powerful := sorted(filter(is_powerful, data)):
        text = f"{', '.join(powerful)} names what the agent runs or writes as root: keep it in a file of root's"
        raise DeviceError(f"Secret {namespace}/{name}: {text} (params-from: file:/PATH)")
    try:
        return {key: base64.b64decode(value).decode().rstrip("\n") for key, value in data.items()}
    except ValueError:
        raise DeviceError(f"Secret {namespace}/{name}: a value is not UTF-8 text") from None
