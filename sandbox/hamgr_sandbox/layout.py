"""Where a sandbox keeps its files, and what it remembers of how it was started."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hamgr.api.exits import Exit
from hamgr_sandbox.addresses import AddressPlan
from hamgr_sandbox.errors import SandboxError

CLUSTER_NAME = "sandbox"
"""The cluster's name in etcd keys and labels."""


def default_directory() -> Path:
    """$HAMGR_SANDBOX_DIR, then `build/sandbox` in a checkout of hamgr, then the user's state directory."""
    if wanted := os.environ.get("HAMGR_SANDBOX_DIR"):
        return Path(wanted)
    if (Path.cwd() / "hamgr" / "sandbox").is_dir():
        return Path.cwd() / "build" / "sandbox"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "hamgr" / "sandbox"


@dataclass(frozen=True, slots=True)
class Options:
    """How a sandbox is made. Latencies are seconds. `*_args` are passed on to those programs as they are.

    `zones` are those of the first, second, ... node, beginning anew at its end; without any, nodes have no zone.

    With `kubeconfig` the nodes, disks and load balancers join that cluster: no API server and no controllers are
    started. With `etcd_endpoints` (host:port) no etcd is started.
    """

    nodes: int = 3
    etcd_members: int = 1
    etcd_endpoints: tuple[str, ...] = ()
    kubeconfig: str = ""
    hamgrd: bool = True
    attach_latency_s: float = 0.3
    detach_latency_s: float = 0.3
    apiserver_args: tuple[str, ...] = ()
    controllers_args: tuple[str, ...] = ()
    node_args: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    hamgrd_settings: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below the sandbox's directory."""

    root: Path

    @property
    def record(self) -> Path:
        return self.root / "sandbox.json"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def control(self) -> Path:
        return self.root / "control"

    @property
    def fence_agent(self) -> Path:
        """The program by which hamgrd reaches the power switch: `agent:` of a fence device."""
        return self.root / "fence_sandbox"

    @property
    def disks(self) -> Path:
        return self.root / "disks"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def tls(self) -> Path:
        return self.root / "tls"

    @property
    def tokens(self) -> Path:
        return self.root / "tls" / "tokens.csv"

    @property
    def etcd(self) -> Path:
        return self.root / "etcd"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def user_settings(self) -> Path:
        return self.root / "hamgr.yaml"

    @property
    def nodes(self) -> Path:
        return self.root / "nodes"

    def node(self, name: str) -> Path:
        return self.nodes / name

    def node_kubeconfig(self, name: str) -> Path:
        return self.node(name) / "kubeconfig"

    def hamgrd_kubeconfig(self, name: str) -> Path:
        return self.node(name) / "hamgrd.kubeconfig"

    def cuts(self, node: str) -> Path:
        return self.node(node) / "cuts.json"

    def mounts(self, node: str) -> Path:
        """What `DiskStore.mounts_file` says."""
        return self.disks / f"mounts-{node}"


@dataclass(frozen=True, slots=True)
class Record:
    """What `up` did, for all later commands. `etcd` are client URLs, `api` is the API server's URL.

    `relays` are those of them that nodes reach through a proxy, with the proxy's port: everything outside of the
    sandbox, since its network is routed nowhere, and without root all, since proxies are the nodes' cables then.
    """

    id: str
    slot: int
    loopback: bool
    options: Options
    etcd: tuple[str, ...]
    api: str
    kubeconfig: str
    relays: dict[str, int] = field(default_factory=dict)

    @property
    def plan(self) -> AddressPlan:
        """The addresses."""
        return AddressPlan(self.slot, self.loopback)

    @property
    def node_names(self) -> list[str]:
        """All nodes, in order."""
        return [f"n{number}" for number in range(1, self.options.nodes + 1)]

    def node_number(self, name: str) -> int:
        """Which node this is, from 1. Raises SandboxError."""
        if name not in self.node_names:
            known = ", ".join(self.node_names)
            raise SandboxError(f"there is no node {name!r}; the sandbox has {known}", Exit.NO_HOST)
        return self.node_names.index(name) + 1

    def save(self, path: Path) -> None:
        """Write the record; readers see the old or the new one, nothing between."""
        unfinished = path.with_suffix(".new")
        unfinished.write_text(json.dumps(asdict(self), indent=1))
        unfinished.rename(path)

    def seen_from(self, node: str, url: str) -> str:
        """The URL by which a node reaches etcd or the API server."""
        if url not in self.relays:
            return url
        address = self.plan.node(self.node_number(node)) if self.loopback else self.plan.host
        return f"{url.partition('://')[0]}://{address}:{self.relays[url]}"

    @classmethod
    def load(cls, path: Path) -> "Record":
        """Read what `save` has written. Raises SandboxError when there is no sandbox or the file is damaged."""
        try:
            data = json.loads(path.read_text())
            options: dict[str, Any] = {
                name: tuple(value) if isinstance(value, list) else value for name, value in data["options"].items()
            }
            return cls(**{**data, "options": Options(**options), "etcd": tuple(data["etcd"])})
        except FileNotFoundError:
            text = f"no sandbox is up in {path.parent}; start one with `hamgr sandbox up`"
            raise SandboxError(text, Exit.UNAVAILABLE) from None
        except PermissionError as error:
            raise SandboxError(f"{error}; the sandbox belongs to another user", Exit.NO_PERMISSION) from error
        except (ValueError, KeyError, TypeError) as error:
            text = f"{path} is damaged ({error}); `hamgr sandbox down` clears the remains away"
            raise SandboxError(text, Exit.CONFIG) from error
