"""Run the controllers: one process, one cache, each controller under its own name and with its own options."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import logging
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hamgr_sandbox.client import Client, KubeconfigError, all_synced
from hamgr_sandbox.controllers import (
    attachdetach,
    deployments,
    endpoints,
    garbage,
    nodehealth,
    nodelifecycle,
    podgc,
    replicasets,
    scheduler,
    statefulsets,
    tainteviction,
    volumes,
)
from hamgr_sandbox.controllers.cluster import Cluster
from hamgr_sandbox.controllers.events import Recorder

log = logging.getLogger("hamgr_sandbox.controllers")

_RESTART_S = 1.0


class Controller(Protocol):
    """Runs until cancelled, beginning when all caches are filled; its constructor adds its listeners to the caches."""

    async def run(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """A controller by its kube-controller-manager name, and the dataclass of its timings, if it has any."""

    name: str
    make: Callable[..., Controller]
    timings: type | None = None
    prefix: str = ""

    def option(self, field: str) -> str:
        """The option for a timing; where kube-controller-manager has a flag for it, it is of the same name."""
        return f"--{self.prefix or self.name}-{field.removesuffix('_s').replace('_', '-')}"


CONTROLLERS = (
    Known("attach-detach", attachdetach.AttachDetach, attachdetach.Timings),
    Known("deployment", deployments.Deployments),
    Known("endpointslice", endpoints.EndpointSlices),
    Known("garbage-collector", garbage.GarbageCollector),
    Known("persistentvolume-binder", volumes.VolumeBinder),
    Known("node-lifecycle", nodelifecycle.NodeLifecycle, nodehealth.Timings, prefix="node"),
    Known("pod-gc", podgc.PodGarbageCollector, podgc.Timings),
    Known("replicaset", replicasets.ReplicaSets),
    Known("scheduler", scheduler.Scheduler, scheduler.Timings),
    Known("statefulset", statefulsets.StatefulSets),
    Known("taint-eviction", tainteviction.TaintEviction),
)


def parser() -> argparse.ArgumentParser:
    """Every timing of every controller is an option, in seconds; the defaults are Kubernetes' own."""
    result = argparse.ArgumentParser(prog="python -m hamgr_sandbox.controllers", description=__doc__)
    result.add_argument("--kubeconfig", type=Path, help="default: $KUBECONFIG, then ~/.kube/config")
    names = [known.name for known in CONTROLLERS]
    result.add_argument("--disable", action="append", default=[], choices=names, help="may be given several times")
    for known in CONTROLLERS:
        for field in dataclasses.fields(known.timings) if known.timings else ():
            result.add_argument(
                known.option(field.name),
                dest=f"{known.name} {field.name}",
                type=float,
                default=field.default,
                metavar="SECONDS" if field.name.endswith("_s") else "NUMBER",
                help="default: %(default)s",
            )
    return result


def make_controllers(cluster: Cluster, options: argparse.Namespace) -> dict[str, Controller]:
    """The controllers that the options leave enabled, with their timings."""
    made: dict[str, Controller] = {}
    for known in CONTROLLERS:
        if known.name in options.disable:
            continue
        arguments: list[Any] = [cluster]
        if known.timings:
            fields = dataclasses.fields(known.timings)
            arguments.append(known.timings(**{f.name: getattr(options, f"{known.name} {f.name}") for f in fields}))
        made[known.name] = known.make(*arguments)
    return made


async def serve(options: argparse.Namespace) -> None:
    """Run the controllers until cancelled. Raises KubeconfigError."""
    async with Client.from_kubeconfig(options.kubeconfig) as client:
        cluster = Cluster(client, Recorder(client))
        await run_controllers(cluster, make_controllers(cluster, options))


async def run_controllers(cluster: Cluster, controllers: dict[str, Controller]) -> None:
    """Fill the caches, then run all controllers until cancelled."""
    async with asyncio.TaskGroup() as group:
        for informer in cluster.informers:
            group.create_task(informer.run())
        group.create_task(cluster.events.run())
        await all_synced(cluster.informers)
        for name, controller in controllers.items():
            group.create_task(_keep_running(name, controller))
        log.info("controllers are running: %s", ", ".join(controllers))


async def _keep_running(name: str, controller: Controller) -> None:
    """One controller that fails must not take the others with it."""
    while True:
        try:
            await controller.run()
        except Exception:
            log.exception("controller %s failed; starting it again in %.0f s", name, _RESTART_S)
        await asyncio.sleep(_RESTART_S)


async def _until_told(options: argparse.Namespace) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    try:
        await serve(options)
    except asyncio.CancelledError:
        log.info("stopping")


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(_until_told(options))
    except KubeconfigError as error:
        parser().exit(78, f"{error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
