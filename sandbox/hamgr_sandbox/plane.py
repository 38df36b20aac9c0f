"""What runs in a sandbox, as command lines: the control plane's programs and those of a node.

Kept apart from starting them, so that what is started can be read, and tested, as values.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from hamgr_sandbox import powerswitch
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.etcd import EtcdBinary, EtcdMember, member_command
from hamgr_sandbox.init import Service
from hamgr_sandbox.layout import CLUSTER_NAME, Layout, Record
from hamgr_sandbox.network import Peer
from hamgr_sandbox.proxy import Cable

ATTACHER, BALANCER, CONTROLLERS, API_SERVER, PROXY = "attacher", "balancer", "controllers", "apiserver", "proxy"
NODE_AGENT, HAMGRD = "kubelet", "hamgrd"
POWER_SWITCH = "powerswitch"


def etcd_services(layout: Layout, binary: EtcdBinary, members: Sequence[EtcdMember], logs: Path) -> list[Service]:
    """The members of the sandbox's own etcd. One that dies stays dead, as a host would, until it is started."""
    return [
        Service(
            member.name,
            member_command(binary.path, member, members, layout.etcd / member.name),
            str(logs / f"{member.name}.log"),
            restart_s=None,
        )
        for member in members
    ]


def api_service(layout: Layout, address: str, port: int, logs: Path, more: Sequence[str] = ()) -> Service:
    """The stand-in API server. Killed, it stays down until somebody starts it, and then has its objects again."""
    arguments = [
        f"--listen={address}:{port}",
        f"--tls-dir={layout.tls}",
        f"--token-file={layout.tokens}",
        f"--journal={layout.control / 'apiserver.journal'}",
        *more,
    ]
    return _python(API_SERVER, arguments, logs, restart_s=None)


def storage_services(layout: Layout, record: Record, logs: Path) -> list[Service]:
    """What joins any cluster: the disks' attacher and the load balancers."""
    options = record.options
    first, last = record.plan.balancers
    return [
        _python(
            ATTACHER,
            [
                f"--kubeconfig={record.kubeconfig}",
                f"--disks={layout.disks}",
                f"--attach-latency={options.attach_latency_s}",
                f"--detach-latency={options.detach_latency_s}",
            ],
            logs,
        ),
        _python(BALANCER, [f"--kubeconfig={record.kubeconfig}", f"--addresses={first}-{last}"], logs),
    ]


def controllers_service(record: Record, logs: Path) -> Service:
    """The stand-ins for kube-controller-manager and kube-scheduler."""
    return _python(CONTROLLERS, [f"--kubeconfig={record.kubeconfig}", *record.options.controllers_args], logs)


def proxy_service(cables: Path, logs: Path) -> Service:
    """The nodes' cables, where there are no network namespaces, and the way out, where there are."""
    return _python(PROXY, [f"--cables={cables}"], logs)


def switch_service(layout: Layout, logs: Path) -> Service:
    """The power switch, which has to see the nodes from outside."""
    return _python(POWER_SWITCH, [powerswitch.SERVE, str(layout.root)], logs)


def cables(layout: Layout, record: Record) -> list[Cable]:
    """The proxies: without root those of each node, which can be cut; otherwise one for each server outside."""
    made = []
    for url, port in record.relays.items():
        parts = urlsplit(url)
        target = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
        if record.loopback:
            peer = Peer.API if url == record.api else Peer.ETCD
            for number, name in enumerate(record.node_names, start=1):
                cuts = str(layout.cuts(name))
                made.append(Cable((record.plan.node(number), port), target, peer, cuts))
        else:
            made.append(Cable((record.plan.host, port), target, "", ""))
    return made


def node_services(layout: Layout, record: Record, name: str) -> list[Service]:
    """The node agent, and hamgrd when it is wanted; both are started again when they die, as systemd would."""
    home = layout.node(name)
    number = record.node_number(name)
    agent = [
        f"--kubeconfig={layout.node_kubeconfig(name)}",
        f"--name={name}",
        f"--root={home / 'kubelet'}",
        f"--disks={layout.disks}",
        f"--images={layout.images}",
        f"--address={record.plan.node(number)}",
        f"--pod-cidr={record.plan.pod_cidr(number)}",
        *([f"--node-labels={objects.ZONE}={zone}"] if (zone := _zone(record.options.zones, number)) else []),
        *record.options.node_args,
    ]
    services = [_python("node", agent, home / "logs", name=NODE_AGENT)]
    if record.options.hamgrd:
        command = [sys.executable, "-m", "hamgr.daemon.main", "--config", str(home / "hamgrd.yaml")]
        services.append(Service(HAMGRD, command, str(home / "logs" / "hamgrd.log")))
    return services


def _zone(zones: Sequence[str], number: int) -> str:
    """Of the node with that number, counted from 1; empty: it has none."""
    return zones[(number - 1) % len(zones)] if zones else ""


def hamgrd_settings(layout: Layout, record: Record, name: str) -> dict[str, object]:
    """The settings file of the daemon on one node."""
    settings: dict[str, object] = {
        "cluster": CLUSTER_NAME,
        "node": name,
        "etcd": {"endpoints": [record.seen_from(name, url) for url in record.etcd]},
        "kubernetes": {"kubeconfig": str(layout.hamgrd_kubeconfig(name))},
        "log": {"format": "json"},
        "fence-agents": fence_agents(layout),
    }
    if record.loopback:  # no namespaces: what a node sees for itself elsewhere is a file of its own
        settings["boot_id_file"] = str(layout.node(name) / "boot_id")
        settings["mountinfo_file"] = str(layout.mounts(name))
    return settings | record.options.hamgrd_settings


def fence_agents(layout: Layout) -> dict[str, object]:
    """What the nodes run as fence agents: Debian's, and those in the sandbox's own directory."""
    return {"directories": ["/usr/sbin", str(layout.root)], "parameter-files": str(layout.root)}


def user_settings(layout: Layout, record: Record) -> dict[str, object]:
    """The settings by which the `hamgr` command finds the sandbox ($HAMGR_CONFIG)."""
    return {
        "cluster": CLUSTER_NAME,
        "etcd": {"endpoints": list(record.etcd)},
        "kubernetes": {"kubeconfig": record.kubeconfig},
        "fence-agents": fence_agents(layout),
    }


def _python(
    module: str, arguments: Sequence[str], logs: Path, name: str = "", restart_s: float | None = 1.0
) -> Service:
    command = [sys.executable, "-m", f"hamgr_sandbox.{module}", *arguments]
    return Service(name or module, command, str(logs / f"{name or module}.log"), restart_s=restart_s)
