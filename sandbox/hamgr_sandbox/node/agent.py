"""Wire a node agent together and keep it running: the pods bound to this node, each with its worker."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hamgr_sandbox.client import Client, Informer, all_synced
from hamgr_sandbox.disks import DiskStore
from hamgr_sandbox.images import Images
from hamgr_sandbox.node.admission import Admissions
from hamgr_sandbox.node.background import Background
from hamgr_sandbox.node.containers import Containers
from hamgr_sandbox.node.events import Recorder
from hamgr_sandbox.node.heartbeat import Heartbeat, Machine
from hamgr_sandbox.node.lookup import Lookup
from hamgr_sandbox.node.podnetwork import pod_network
from hamgr_sandbox.node.reporter import Reporter
from hamgr_sandbox.node.runtime import Container
from hamgr_sandbox.node.server import Server
from hamgr_sandbox.node.track import EarlierRuns
from hamgr_sandbox.node.volumes import Volumes
from hamgr_sandbox.node.worker import Node, Worker

Json = dict[str, Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """How a node agent is set up. Durations are seconds; the defaults are a kubelet's."""

    name: str
    root: Path
    disks: Path
    images: Path
    address: str
    port: int
    pod_cidr: str
    boot_id: str
    status_interval_s: float = 10.0
    lease_interval_s: float = 10.0
    relist_interval_s: float = 1.0
    volume_interval_s: float = 0.1
    max_pods: int = 110
    reserved: Mapping[str, str] = field(default_factory=dict)
    """What the machine itself needs of its cpu, memory, ephemeral-storage: a pod cannot have it."""
    labels: Mapping[str, str] = field(default_factory=dict)


def may_isolate(disks: Path) -> bool:
    """Whether containers may have mounts of their own: as root, over disks that are devices.

    A disk that is a plain directory is pulled by finding and killing whoever has files of it open, by their paths. A
    container with a mount of its own would hide from that, and go on writing.
    """
    return os.geteuid() == 0 and (disks / "kind").read_text() == "image"


class Agent:
    """One node's agent; ``run`` until cancelled. Containers outlive it."""

    def __init__(self, client: Client, options: Options) -> None:
        self._options = options
        self._client = client
        self._workers: dict[str, Worker] = {}
        self._background = Background(_worker_failed)
        self._events = Recorder(client, options.name)
        disks = DiskStore(options.disks)
        self._containers = Containers(options.root, self._exited, isolate=may_isolate(options.disks))
        lookup = Lookup(client)
        self._volumes = Volumes(
            options.root,
            options.name,
            options.address,
            disks,
            lookup,
            self._mounted,
            lambda pod, reason, message: self._events.pod(pod, reason, message, warning=True),
        )
        self._node = Node(
            options.name,
            options.address,
            options.root,
            Admissions(self._known_node, self._asked_node),
            self._containers,
            self._volumes,
            pod_network(options.pod_cidr, options.root),
            Images(options.images),
            lookup,
            self._events,
            Reporter(client),
        )
        self._pods = Informer(
            client, "/api/v1/pods", field_selector=f"spec.nodeName={options.name}", on_event=self._on_pod
        )
        self._self = Informer(
            client, "/api/v1/nodes", field_selector=f"metadata.name={options.name}", on_event=self._on_node
        )
        self._server = Server(options.root, self._find, lambda: list(self._pods.items.values()))
        self._earlier = EarlierRuns()

    async def run(self) -> None:
        """Register the node and run its pods until cancelled."""
        options = self._options
        self._earlier.found(await self._containers.connect())
        port = await self._server.listen(options.address, options.port)
        machine = Machine(
            options.name, options.address, port, options.boot_id, options.max_pods, options.reserved, options.labels
        )
        heartbeat = Heartbeat(self._client, machine, self._volumes, self._events)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._events.run())
                await heartbeat.register()
                heartbeat.announce()
                group.create_task(heartbeat.run_lease(options.lease_interval_s))
                group.create_task(self._self.run())
                await all_synced([self._self])
                group.create_task(self._pods.run())
                await all_synced([self._pods])
                self._begin_those_found()
                self._end_orphans()
                log.info("node %s: %d pods, port %d, pid %d", options.name, len(self._workers), port, os.getpid())
                group.create_task(self._volumes.run(options.volume_interval_s))
                group.create_task(heartbeat.run_status(options.status_interval_s))
                group.create_task(self._relist(options.relist_interval_s))
        finally:
            self._background.cancel()
            await self._server.close()
            await self._containers.close()

    def _begin_those_found(self) -> None:
        """Of the pods that were there before this agent the oldest comes first: there may not be room for all."""
        for pod in sorted(self._pods.items.values(), key=lambda pod: str(pod["metadata"].get("creationTimestamp"))):
            if pod["metadata"]["uid"] not in self._workers:
                self._begin(pod)

    def _known_node(self) -> Json | None:
        return self._self.items.get(("", self._options.name))

    async def _asked_node(self) -> Json:
        return await self._client.get(f"/api/v1/nodes/{self._options.name}")

    def _end_orphans(self) -> None:
        """Pods that this node still has something of, and that the API server does not know any more."""
        for path in self._options.root.glob("pods/*/pod.json"):
            uid = path.parent.name
            if uid in self._workers:
                continue
            with contextlib.suppress(OSError, ValueError, KeyError):
                pod = json.loads(path.read_text())
                log.info("pod %s is gone from the API server: ending it", pod["metadata"]["name"])
                self._begin(pod).vanish()

    def _on_pod(self, kind: str, pod: Json, _: Json | None) -> None:
        worker = self._workers.get(pod["metadata"]["uid"])
        if kind == "DELETED":
            if worker is not None:
                worker.update(pod)
                worker.vanish()
        elif worker is not None:
            worker.update(pod)
        elif self._pods.synced.is_set():
            self._begin(pod)

    def _begin(self, pod: Json) -> Worker:
        runs = self._earlier.take(pod["metadata"]["uid"])
        worker = Worker(self._node, pod, runs, self._gone)
        self._workers[worker.uid] = worker
        self._background.spawn(worker.run())
        return worker

    def _gone(self, uid: str) -> None:
        self._workers.pop(uid, None)

    def _on_node(self, kind: str, node: Json, _: Json | None) -> None:
        attached = (node.get("status") or {}).get("volumesAttached") or []
        self._volumes.set_attached(set() if kind == "DELETED" else {each["name"] for each in attached})

    def _exited(self, run: Container) -> None:
        worker = self._workers.get(run.pod_uid)
        if worker is not None:
            worker.exited(run)
        else:
            self._earlier.exited(run)

    def _mounted(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.mounted()

    def _find(self, namespace: str, name: str) -> Json | None:
        return self._pods.items.get((namespace, name))

    async def _relist(self, interval_s: float) -> None:
        while True:
            await asyncio.sleep(interval_s)
            for worker in list(self._workers.values()):
                worker.relist()


def _worker_failed(error: BaseException) -> None:
    log.error("a pod's worker failed: %s", error, exc_info=error)
