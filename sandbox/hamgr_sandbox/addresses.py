"""Which addresses a sandbox uses, so that any number of them can live side by side on one machine.

Each sandbox owns one slot of 4096 addresses: as root in 198.18.0.0/15, the range that RFC 2544 sets apart for
benchmarks and nobody routes; otherwise in 127.0.0.0/8. The first 256 are the machine itself, the nodes and the load
balancers; each node has 256 more for its pods.
"""

import fcntl
import hashlib
import ipaddress
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

MAX_NODES = 15
_SLOTS = 32
_SLOT_SIZE = 4096
_NODES_FROM = 101
_BALANCERS_FROM, _BALANCERS_TO = 200, 250


class NoFreeSlot(Exception):
    """Every slot of addresses belongs to a sandbox that is up; the text names them."""


def sandbox_id(directory: Path) -> str:
    """Six characters that name the sandbox of this directory in namespaces and devices; the same after each restart."""
    return hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:6]


@dataclass(frozen=True, slots=True)
class AddressPlan:
    """The addresses of one sandbox, all computed from its slot. Nodes count from 1."""

    slot: int
    loopback: bool

    @property
    def _base(self) -> ipaddress.IPv4Address:
        if self.loopback:
            return ipaddress.IPv4Address("127.64.0.0") + self.slot * _SLOT_SIZE
        return ipaddress.IPv4Address("198.18.0.0") + self.slot * _SLOT_SIZE

    @property
    def network(self) -> str:
        """All of the slot, such as `198.18.0.0/20`."""
        return f"{self._base}/20"

    @property
    def host(self) -> str:
        """Where etcd, the API server and the controllers listen: the machine as its nodes see it."""
        return str(self._base + 1)

    def node(self, number: int) -> str:
        """The address of a node."""
        return str(self._base + _NODES_FROM + number - 1)

    def pod_cidr(self, number: int) -> str:
        """The range of a node's pods."""
        return f"{self._base + 256 * number}/24"

    @property
    def balancers(self) -> tuple[str, str]:
        """First and last address for Services of type LoadBalancer."""
        return str(self._base + _BALANCERS_FROM), str(self._base + _BALANCERS_TO)

    @property
    def balancer_network(self) -> str:
        """The smallest range that holds `balancers` and no node."""
        return f"{self._base + 192}/26"


def reserve(directory: Path, registry: Path | None = None) -> AddressPlan:
    """The slot of this sandbox: the one that it has already, or a free one. Raises NoFreeSlot.

    A slot is free when the state file of the sandbox that took it is gone. `registry` is where slots are noted,
    one directory a user by default.
    """
    name = sandbox_id(directory)
    with _locked(registry or _registry()) as folder:
        taken = {slot: owner for slot in range(_SLOTS) if (owner := _owner(folder, slot)) is not None}
        mine = [slot for slot, owner in taken.items() if owner == str(directory.resolve())]
        first = int(name, 16) % _SLOTS
        free = [slot for slot in (*range(first, _SLOTS), *range(first)) if slot not in taken]
        if not mine and not free:
            raise NoFreeSlot(f"all {_SLOTS} address ranges are in use, by the sandboxes in {', '.join(taken.values())}")
        slot = (mine or free)[0]
        (folder / f"slot-{slot}").write_text(json.dumps({"directory": str(directory.resolve())}))
    return AddressPlan(slot, loopback=os.geteuid() != 0)


def release(directory: Path, registry: Path | None = None) -> None:
    """Give the slot of this sandbox back. Idempotent."""
    with _locked(registry or _registry()) as folder:
        for slot in range(_SLOTS):
            if _owner(folder, slot) == str(directory.resolve()):
                (folder / f"slot-{slot}").unlink()


def _registry() -> Path:
    return Path("/run/hamgr-sandbox") if os.geteuid() == 0 else Path(f"/tmp/hamgr-sandbox-{os.geteuid()}")


def _owner(folder: Path, slot: int) -> str | None:
    try:
        owner = json.loads((folder / f"slot-{slot}").read_text())["directory"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return str(owner) if Path(owner).is_dir() else None


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
