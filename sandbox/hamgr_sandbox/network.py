"""The sandbox's network as root: a bridge, a namespace for each node and each pod, and cables that can be cut.

A partition is a set of nftables rules in the node's own namespace. Everything on the node runs on, its connections stay
open and nothing tells either side that the other is gone: that is what a failed switch looks like.
"""

import json
import re
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from hamgr_sandbox.addresses import AddressPlan

UPLINK = "eth0"
"""The device by which a node, or a pod, reaches everything else."""

_TABLE = "hamgr_partition"
_POD_BRIDGE = "pods"


class NetworkError(Exception):
    """A network command failed; the text is its message and what it was about."""


class Direction(StrEnum):
    """Which way packets are dropped, as the node sees it."""

    BOTH = "both"
    IN = "in"
    OUT = "out"


class Peer(StrEnum):
    """From whom a node is cut off. CLIENTS is everybody but etcd and the API server."""

    ALL = "all"
    ETCD = "etcd"
    API = "api"
    CLIENTS = "clients"


@dataclass(frozen=True, slots=True)
class Cut:
    """One partition that is in force."""

    peer: Peer
    direction: Direction


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An address and TCP port of etcd or the API server."""

    address: str
    port: int


class Network:
    """The bridge and the nodes' namespaces of one sandbox. Names carry its id; all operations may be repeated."""

    def __init__(self, sandbox: str, plan: AddressPlan) -> None:
        self._id = sandbox
        self._plan = plan
        self._bridge = f"h{sandbox}-br"

    def up(self) -> None:
        """Make the bridge, with the machine's own address and the range of the load balancers on it."""
        self._remove_previous_owner()
        prefix = self._plan.network.rpartition("/")[2]
        _ip(
            [
                f"link add {self._bridge} type bridge stp_state 0 forward_delay 0",
                f"address add {self._plan.host}/{prefix} dev {self._bridge}",
                f"link set {self._bridge} up",
                # Every address of this range is this machine's, so a balancer may bind any of them.
                f"route add local {self._plan.balancer_network} dev {self._bridge}",
            ]
        )

    def _remove_previous_owner(self) -> None:
        """The range is ours by reservation; a bridge that still has it belongs to a sandbox whose directory is gone."""
        for link in json.loads(_run(["ip", "-json", "address", "show", "to", self._plan.host]) or "[]"):
            if name := re.fullmatch(r"h([0-9a-f]{6})-br", str(link.get("ifname", ""))):
                Network(name.group(1), self._plan).down()

    def node_namespace(self, number: int) -> str:
        """Name of the node's network namespace, as `ip netns exec` takes it."""
        return f"hamgr-{self._id}-{number}"

    def add_node(self, number: int, count: int) -> None:
        """Make the namespace of node `number` of `count`, cabled to the bridge, with routes to the others' pods."""
        self.remove_node(number)
        namespace, address = self.node_namespace(number), self._plan.node(number)
        prefix = self._plan.network.rpartition("/")[2]
        outside, inside = f"h{self._id}-{number}", f"h{self._id}-{number}n"
        _ip(
            [
                f"netns add {namespace}",
                f"link add {outside} type veth peer name {inside}",
                f"link set {inside} netns {namespace} name {UPLINK}",
                f"link set {outside} master {self._bridge} up",
                f"route replace {self._plan.pod_cidr(number)} via {address} dev {self._bridge}",
            ]
        )
        others = [other for other in range(1, count + 1) if other != number]
        _ip(
            [
                "link set lo up",
                f"address add {address}/{prefix} dev {UPLINK}",
                f"link set {UPLINK} up",
                f"route add default via {self._plan.host}",
                *(f"route add {self._plan.pod_cidr(other)} via {self._plan.node(other)}" for other in others),
            ],
            namespace,
        )
        _run(["ip", "netns", "exec", namespace, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1"])

    def remove_node(self, number: int) -> None:
        """Delete the node's namespace and cable."""
        _try(["ip", "netns", "delete", self.node_namespace(number)])
        _try(["ip", "link", "delete", f"h{self._id}-{number}"])

    def partition(self, number: int, cuts: Iterable[Cut], etcd: Sequence[Endpoint], api: Sequence[Endpoint]) -> None:
        """Let exactly these cuts be in force for the node; none heals it."""
        rules = partition_rules(cuts, etcd, api)
        _run(["ip", "netns", "exec", self.node_namespace(number), "nft", "-f", "-"], rules)

    def down(self) -> None:
        """Delete all that this sandbox has made, also what an earlier run left behind."""
        for namespace in Path("/run/netns").glob(f"hamgr-{self._id}-*"):
            _try(["ip", "netns", "delete", namespace.name])
        for device in Path("/sys/class/net").glob(f"h{self._id}-*"):
            _try(["ip", "link", "delete", device.name])


def partition_rules(cuts: Iterable[Cut], etcd: Sequence[Endpoint], api: Sequence[Endpoint]) -> str:
    """The nftables script that makes exactly these cuts; one transaction, so there is no moment with half of them."""
    # The cut from clients accepts what it spares, which ends the chain: it comes after all others, as in Peer.
    cuts = sorted(cuts, key=lambda cut: list(Peer).index(cut.peer))
    into = [rule for cut in cuts if cut.direction != Direction.OUT for rule in _drops(cut.peer, etcd, api, "s")]
    out = [rule for cut in cuts if cut.direction != Direction.IN for rule in _drops(cut.peer, etcd, api, "d")]
    script = [f"table inet {_TABLE}", f"delete table inet {_TABLE}"]
    if into or out:
        script += [
            f"table inet {_TABLE} {{",
            " chain into { type filter hook prerouting priority -350;",
            f'  iifname != "{UPLINK}" accept',
            *(f"  {rule}" for rule in into),
            " }",
            " chain out { type filter hook postrouting priority 350;",
            f'  oifname != "{UPLINK}" accept',
            *(f"  {rule}" for rule in out),
            " }",
            "}",
        ]
    return "\n".join(script) + "\n"


def _drops(peer: Peer, etcd: Sequence[Endpoint], api: Sequence[Endpoint], side: str) -> list[str]:
    """Rules for one direction; `side` is s or d: whether the peer is the packets' source or their destination."""

    def match(endpoints: Sequence[Endpoint], verdict: str) -> list[str]:
        return [f"ip {side}addr {each.address} tcp {side}port {each.port} {verdict}" for each in endpoints]

    if peer == Peer.ALL:
        return ["drop"]
    if peer == Peer.ETCD:
        return match(etcd, "drop")
    if peer == Peer.API:
        return match(api, "drop")
    return [*match([*etcd, *api], "accept"), "drop"]


class PodNetwork:
    """The pods' side of one node; used by the node agent inside its node's namespaces.

    Addresses are remembered by the kernel alone: each pod's end of the cable is named after its address, so an agent
    that was restarted knows which are taken.
    """

    def __init__(self, cidr: str) -> None:
        self._base, _, self._prefix = cidr.partition("/")
        self._base = self._base.rpartition(".")[0]
        self._netns = Path("/run/netns")

    def up(self) -> None:
        """Make the node's pod bridge. Idempotent."""
        if not _has_link(_POD_BRIDGE):
            _ip(
                [
                    f"link add {_POD_BRIDGE} type bridge stp_state 0 forward_delay 0",
                    f"address add {self._base}.1/{self._prefix} dev {_POD_BRIDGE}",
                    f"link set {_POD_BRIDGE} up",
                ]
            )

    def add(self, name: str) -> str:
        """Make the network namespace `name` (below /run/netns) for a pod and return its address. Idempotent."""
        if (self._netns / name).exists() and (address := self._address_of(name)):
            return address
        self.remove(name)
        number = self._free_number()
        outside = f"pod{number}"
        address = f"{self._base}.{number}"
        _ip(
            [
                f"netns add {name}",
                f"link add {outside} type veth peer name {UPLINK} netns {name}",
                f"link set {outside} alias {name}",
                f"link set {outside} master {_POD_BRIDGE} up",
            ]
        )
        _ip(
            [
                "link set lo up",
                f"address add {address}/{self._prefix} dev {UPLINK}",
                f"link set {UPLINK} up",
                f"route add default via {self._base}.1",
            ],
            name,
        )
        # As container runtimes do: a pod's process may listen on any port without being root.
        _run(["ip", "netns", "exec", name, "sysctl", "-q", "-w", "net.ipv4.ip_unprivileged_port_start=0"])
        return address

    def remove(self, name: str) -> None:
        """Delete the pod's namespace and cable. Idempotent."""
        if (self._netns / name).exists():
            _try(["ip", "netns", "delete", name])
        for link in _links():
            if link.get("ifalias") == name:
                _try(["ip", "link", "delete", str(link["ifname"])])

    def _address_of(self, name: str) -> str | None:
        for link in _links():
            if link.get("ifalias") == name:
                return f"{self._base}.{str(link['ifname']).removeprefix('pod')}"
        return None

    def _free_number(self) -> int:
        taken = {str(link["ifname"]) for link in _links()}
        for number in range(2, 255):
            if f"pod{number}" not in taken:
                return number
        raise NetworkError(f"all 253 pod addresses of {self._base}.0/{self._prefix} are in use")


def _has_link(name: str) -> bool:
    return any(link["ifname"] == name for link in _links())


def _links() -> list[dict[str, object]]:
    listed = _run(["ip", "-json", "link", "show"])
    links: list[dict[str, object]] = json.loads(listed or "[]")
    return [{**link, "ifname": str(link["ifname"]).partition("@")[0]} for link in links]


def _ip(commands: Sequence[str], namespace: str | None = None) -> None:
    """Run ip commands in one process, in a network namespace when given. Raises NetworkError."""
    where = ["-netns", namespace] if namespace else []
    _run(["ip", *where, "-batch", "-"], "\n".join(commands) + "\n")


def _run(command: Sequence[str], text: str | None = None) -> str:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        about = f" (given {text!r})" if text else ""
        raise NetworkError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}{about}")
    return done.stdout


def _try(command: Sequence[str]) -> None:
    with suppress(NetworkError):
        _run(command)
