"""The command line of a node agent: ``python -m hamgr_sandbox.node --name n1 --root DIR --disks DIR``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from hamgr_sandbox.client import Client, KubeconfigError
from hamgr_sandbox.disks import DiskError
from hamgr_sandbox.network import NetworkError
from hamgr_sandbox.node.agent import Agent, Options
from hamgr_sandbox.node.containers import RuntimeFailed
from hamgr_sandbox.node.heartbeat import boot_id_of_kernel

EX_OK, EX_ERROR, EX_CONFIG = 0, 1, 78


def seconds(text: str) -> float:
    """A duration as kubelets take it: 10s, 500ms, 1m, or a number of seconds. Raises ValueError."""
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        if text.endswith(unit):
            return float(text.removesuffix(unit)) * factor
    return float(text)


def pairs(text: str) -> dict[str, str]:
    """``NAME=VALUE,NAME=VALUE`` as kubelets take it. Raises ValueError."""
    entries = [entry.partition("=") for entry in text.split(",") if entry]
    if not all(name and sign for name, sign, _ in entries):
        raise ValueError(text)
    return {name: value for name, _, value in entries}


def parser() -> argparse.ArgumentParser:
    """All options; durations are like 10s."""
    made = argparse.ArgumentParser(prog="python -m hamgr_sandbox.node", description="Run the pods of one sandbox node.")
    made.add_argument("--kubeconfig", type=Path, help="how to reach the API server (default: as kubectl)")
    made.add_argument("--name", required=True, help="name of the Node")
    made.add_argument("--root", type=Path, required=True, help="the kubelet's directory of this node")
    made.add_argument("--disks", type=Path, required=True, help="the directory of the sandbox's disks")
    made.add_argument("--images", type=Path, help="where images keep what they prepare (default: ROOT/images)")
    made.add_argument("--address", default="127.0.0.1", help="the node's InternalIP (default: %(default)s)")
    made.add_argument("--port", type=int, default=10250, help="port for logs and health; 0: any (default: %(default)s)")
    made.add_argument(
        "--pod-cidr",
        default="127.100.0.0/24",
        help="addresses of the pods: in 127.0.0.0/8 they are this machine's own, otherwise each pod has a network "
        "namespace behind a bridge (root) (default: %(default)s)",
    )
    made.add_argument("--boot-id", help="changes at each start of the node (default: the kernel's)")
    made.add_argument("--node-status-update-frequency", type=seconds, default=10.0, metavar="TIME")
    made.add_argument("--lease-renew", type=seconds, default=10.0, metavar="TIME")
    made.add_argument("--relist-period", type=seconds, default=1.0, metavar="TIME", help="how soon exits are noticed")
    made.add_argument("--volume-reconcile-period", type=seconds, default=0.1, metavar="TIME")
    made.add_argument("--max-pods", type=int, default=110, help="how many pods it takes (default: %(default)s)")
    made.add_argument(
        "--system-reserved",
        type=pairs,
        default={},
        metavar="cpu=2,memory=1Gi",
        help="what pods cannot have: allocatable is the machine's less this",
    )
    made.add_argument(
        "--node-labels", type=pairs, default={}, metavar="KEY=VALUE,...", help="further labels of the Node"
    )
    made.add_argument("--log-level", default="INFO", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    return made


async def _run(kubeconfig: Path | None, options: Options) -> None:
    loop = asyncio.get_running_loop()
    async with Client.from_kubeconfig(kubeconfig) as client:
        agent = asyncio.create_task(Agent(client, options).run())
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, agent.cancel)
        try:
            await agent
        except asyncio.CancelledError:
            logging.info("node agent %s ends; its containers run on", options.name)


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM. Exit codes: 0 ended, 1 failed, 78 the kubeconfig cannot be used."""
    given = parser().parse_args(argv)
    logging.basicConfig(level=given.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    options = Options(
        name=given.name,
        root=given.root.absolute(),
        disks=given.disks.absolute(),
        images=(given.images or given.root / "images").absolute(),
        address=given.address,
        port=given.port,
        pod_cidr=given.pod_cidr,
        boot_id=given.boot_id or boot_id_of_kernel(),
        status_interval_s=given.node_status_update_frequency,
        lease_interval_s=given.lease_renew,
        relist_interval_s=given.relist_period,
        volume_interval_s=given.volume_reconcile_period,
        max_pods=given.max_pods,
        reserved=given.system_reserved,
        labels=given.node_labels,
    )
    try:
        options.root.mkdir(parents=True, exist_ok=True)
        asyncio.run(_run(given.kubeconfig, options))
    except KubeconfigError as error:
        print(f"hamgr sandbox node: {error}", file=sys.stderr)
        return EX_CONFIG
    except (RuntimeFailed, DiskError, NetworkError, OSError) as error:
        print(f"hamgr sandbox node {given.name}: {error}", file=sys.stderr)
        return EX_ERROR
    return EX_OK


if __name__ == "__main__":
    sys.exit(main())
