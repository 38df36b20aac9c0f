"""What a bundle's container agents are told: the launch options that docker, podman or rkt get for each replica.

Implements "Bundle Network Resources" and "Bundle Container Properties" of Pacemaker Explained. The texts have to be the
ones that Pacemaker makes, to the space: their digests are recorded, and a container whose digest differs is restarted.
"""

from __future__ import annotations

from collections.abc import Sequence

from hamgr.cib import model
from hamgr.cib.records import dataclass

REMOTE_PORT = "3121"  # on which pacemaker-remoted listens, unless control-port says otherwise
_KEY = "/etc/pacemaker/authkey"
_LOGS = "/var/log/pacemaker/bundles"


@dataclass(frozen=True, slots=True)
class Mount:
    """A directory of the host in the container; ``each`` replica may have one of its own below ``source``."""

    source: str
    target: str
    options: str = ""
    each: bool = False


def addresses(config: model.Bundle, replicas: int) -> list[str]:
    """The replicas' addresses, counted up from ip-range-start; "" where there is none."""
    start = config.network.get("ip-range-start")
    if start is None:
        return [""] * replicas
    found = [start]
    while len(found) < replicas:
        # Where counting fails, the next replica starts over: no good, but what Pacemaker does.
        found.append(_following(found[-1]) if found[-1] else start)
    return found


def _following(address: str) -> str:
    """The next IPv4 address, "" when there is none (or no such address to count from)."""
    octets = address.split(".", 3)
    if len(octets) != 4 or not all(0 < len(_digits(octet)) < 10 for octet in octets):
        return ""
    a, b, c, d = (int(_digits(octet)) for octet in octets)
    if c > 253:
        return ""
    return f"{a}.{b}.{c + 1}.1" if d > 253 else f"{a}.{b}.{c}.{d + 1}"


def _digits(text: str) -> str:
    return text[: len(text) - len(text.lstrip("0123456789"))]


def _mounts(config: model.Bundle) -> list[Mount]:
    found = []
    for mapping in config.storage:
        source = mapping.source_dir or mapping.source_dir_root
        if source and mapping.target_dir:
            found.append(Mount(source, mapping.target_dir, mapping.options, each=not mapping.source_dir))
    if config.primitive is not None:
        has_logs = any(mount.target == "/var/log" for mount in found)
        found.append(Mount(_KEY, _KEY))
        if not has_logs:
            found.append(Mount(_LOGS, "/var/log", each=True))
    return found


def _ports(config: model.Bundle) -> list[tuple[str, str]]:
    """Ports as (outside, inside)."""
    found = []
    for mapping in config.ports:
        outside = mapping.port or mapping.range
        if outside:
            inside = mapping.internal_port if mapping.port else ""
            found.append((outside, inside or outside))
    if config.primitive is not None:
        port = config.network.get("control-port", REMOTE_PORT)
        found.append((port, port))
    return found


def _mount_source(config: model.Bundle, mount: Mount, index: int) -> str:
    return f"{mount.source}/{config.id}-{index}" if mount.each else mount.source


def _host_entries(config: model.Bundle, known: Sequence[str]) -> str:
    """How each replica learns the names of all of them."""
    add_host = config.network.get("add-host", "").lower() not in ("false", "off", "no", "n", "0")
    entries = []
    for index, address in enumerate(known):
        # An address that could not be counted up is printed as C prints a missing string.
        text = address or "(null)"
        if config.technology != "rkt" and add_host:
            entries.append(f" --add-host={config.id}-{index}:{text}")
        else:
            entries.append(f" --hosts-entry={text}={config.id}-{index}")
    return "".join(entries) if "ip-range-start" in config.network else ""


def _run_options(config: model.Bundle, index: int, known: Sequence[str]) -> str:
    rkt = config.technology == "rkt"
    hostname, environment = ("--hostname=", "--environment=") if rkt else ("-h ", "-e ")
    options = [" --restart=no"] if config.technology == "docker" else []
    if "ip-range-start" in config.network:
        options.append(f" {hostname}{config.id}-{index}")
    options.append(f" {environment}PCMK_stderr=1")
    if "network" in config.container:
        options.append(f" --net={config.container['network']}")
    options.append(f" {environment}PCMK_remote_port={config.network.get('control-port', REMOTE_PORT)}")
    for number, mount in enumerate(_mounts(config)):
        source = _mount_source(config, mount, index)
        if rkt:
            extra = f",{mount.options}" if mount.options else ""
            volume = f"vol{number},kind=host,source={source}{extra}"
            options.append(f" --volume {volume} --mount volume=vol{number},target={mount.target}")
        else:
            options.append(f" -v {source}:{mount.target}" + (f":{mount.options}" if mount.options else ""))
    options += [_port_option(config, known[index], outside, inside) for outside, inside in _ports(config)]
    if "options" in config.container:
        options.append(f" {config.container['options']}")
    return "".join(options) + f" {_host_entries(config, known)}"


def _port_option(config: model.Bundle, address: str, outside: str, inside: str) -> str:
    if config.technology == "rkt":
        return f" --port={inside}:{address}:{outside}" if address else f" --port={inside}:{outside}"
    if address:
        return f" -p {address}:{outside}:{inside}"
    # A container in the host's own network has no ports to map.
    return "" if config.container.get("network") == "host" else f" -p {outside}:{inside}"


def container_params(config: model.Bundle, index: int, known: Sequence[str]) -> dict[str, str]:
    """The container agent's parameters for one replica; ``known`` are the addresses of all replicas."""
    each = [mount for mount in _mounts(config) if mount.each]
    params = {
        "allow_pull": "true",
        "force_kill": "false",
        "reuse": "false",
        "run_opts": _run_options(config, index, known),
        "mount_points": ",".join(_mount_source(config, mount, index) for mount in each),
        "monitor_cmd": "/bin/true",
    }
    if "image" in config.container:
        params["image"] = config.container["image"]
    if "run-command" in config.container:
        params["run_cmd"] = config.container["run-command"]
    elif config.primitive is not None:
        params["run_cmd"] = "/usr/sbin/pacemaker-remoted"
    return params


def complaints(config: model.Bundle) -> list[str]:
    """Settings that are passed over because nothing can be made of them."""
    found = [
        f'Bundle "{config.id}": storage mapping "{mapping.id}" is left out: it needs a target-dir and a source-dir.'
        for mapping in config.storage
        if not (mapping.target_dir and (mapping.source_dir or mapping.source_dir_root))
    ]
    found += [
        f'Bundle "{config.id}": port mapping "{mapping.id}" is left out: it has neither port nor range.'
        for mapping in config.ports
        if not (mapping.port or mapping.range)
    ]
    start = config.network.get("ip-range-start")
    if start is not None and not _following(start):
        found.append(f'Bundle "{config.id}": ip-range-start="{start}" is no IPv4 address to count up from.')
    return found
