"""Speak for the node: register it, renew its Lease, report its status, as a kubelet does.

The status goes out every ten seconds, and then only when something in it has changed or five minutes have passed. The
disks in use travel with it: this is the one moment at which ``volumesInUse`` changes, and at which the volume manager
learns that its disks have been reported.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import platform
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hamgr_sandbox.client import STRATEGIC_MERGE_PATCH, ApiError, Client
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.disks import DRIVER
from hamgr_sandbox.node.events import Recorder
from hamgr_sandbox.node.status import micro_timestamp, timestamp
from hamgr_sandbox.node.volumes import Volumes

Json = dict[str, Any]
log = logging.getLogger(__name__)
KUBELET_VERSION = "v1.36.2"
_FULL_REPORT_S = 300.0
_RETRIES, _RETRY_S = 5, 0.2
_REGISTER_RETRY_S = 0.5
_LEASE_SECONDS = 40
_PRESSURES = (
    ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    """What a node says about itself. ``boot_id`` changes when the node starts anew, not when its agent does.

    ``reserved`` is what pods cannot have of cpu, memory and ephemeral-storage.
    """

    name: str
    address: str
    port: int
    boot_id: str
    max_pods: int = 110
    reserved: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def boot_id_of_kernel() -> str:
    """The kernel's boot id; a sandbox node that is a machine of its own has one of its own."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def node_object(machine: Machine) -> Json:
    """The Node to register."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": machine.name,
            "labels": {
                "kubernetes.io/hostname": machine.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": _architecture(),
                "beta.kubernetes.io/os": "linux",
                "beta.kubernetes.io/arch": _architecture(),
                **machine.labels,
            },
            "annotations": {
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
                "csi.volume.kubernetes.io/nodeid": f'{{"{DRIVER}":"{machine.name}"}}',
            },
        },
        "spec": {},
        "status": steady_status(machine),
    }


def steady_status(machine: Machine) -> Json:
    """The parts of a node's status that stay while its agent runs."""
    memory_kib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1024
    disk = os.statvfs("/")
    capacity = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{memory_kib}Ki",
        "ephemeral-storage": f"{disk.f_blocks * disk.f_frsize // 1024}Ki",
        "pods": str(machine.max_pods),
    }
    return {
        "capacity": capacity,
        "allocatable": {name: _less(amount, machine.reserved.get(name, "0")) for name, amount in capacity.items()},
        "addresses": [
            {"type": "InternalIP", "address": machine.address},
            {"type": "Hostname", "address": machine.name},
        ],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": machine.port}},
        "nodeInfo": {
            "machineID": hashlib.sha256(machine.name.encode()).hexdigest()[:32],
            "systemUUID": hashlib.sha256(b"uuid" + machine.name.encode()).hexdigest()[:32],
            "bootID": machine.boot_id,
            "kernelVersion": platform.release(),
            "osImage": _os_name(),
            "containerRuntimeVersion": "hamgr://0.1.0",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": _architecture(),
        },
    }


def _less(amount: str, reserved: str) -> str:
    """``amount`` less ``reserved``, both Kubernetes' quantities; never below 0."""
    if not (taken := objects.quantity(reserved)):
        return amount
    left = max(objects.quantity(amount) - taken, 0.0)
    return f"{round(left * 1000)}m" if left % 1 else f"{left:.0f}"


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def _os_name() -> str:
    with contextlib.suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    return "Linux"


def conditions(previous: list[Json], now: float) -> list[Json]:
    """All is well, as conditions; times of transition are kept from ``previous`` where the status is the same."""
    moment = timestamp(now)
    wanted = [(kind, "False", reason, message) for kind, reason, message in _PRESSURES]
    wanted.append(("Ready", "True", "KubeletReady", "kubelet is posting ready status"))
    found = []
    for kind, status, reason, message in wanted:
        kept = next((c for c in previous if c["type"] == kind and c["status"] == status), None)
        found.append(
            {
                "type": kind,
                "status": status,
                "lastHeartbeatTime": moment,
                "lastTransitionTime": (kept or {}).get("lastTransitionTime") or moment,
                "reason": reason,
                "message": message,
            }
        )
    return found


def needs_report(reported: Json, steady: Json, in_use: list[str], since_last_s: float) -> bool:
    """Whether the node's status must be written: something differs, or it has been silent for five minutes."""
    current = {c["type"]: c["status"] for c in reported.get("conditions") or []}
    healthy = {"Ready": "True", **{kind: "False" for kind, _, _ in _PRESSURES}}
    return (
        since_last_s >= _FULL_REPORT_S
        or sorted(reported.get("volumesInUse") or []) != in_use
        or any(current.get(kind) != status for kind, status in healthy.items())
        or any(reported.get(field) != value for field, value in steady.items())
    )


class Heartbeat:
    """Keeps one node known to the API server."""

    def __init__(self, client: Client, machine: Machine, volumes: Volumes, events: Recorder) -> None:
        self._client = client
        self._machine = machine
        self._volumes = volumes
        self._events = events
        self._reported_at = -_FULL_REPORT_S
        self._path = f"/api/v1/nodes/{machine.name}"
        self._uid = ""

    async def register(self) -> Json:
        """Make the Node and its CSINode, or take them over; repeated until the API server has both."""
        while True:
            try:
                node = await self._registered()
                self._uid = node["metadata"].get("uid", "")
                await self._register_driver()
                return node
            except ApiError as error:
                log.warning("node %s cannot be registered: %s", self._machine.name, error)
                await asyncio.sleep(_REGISTER_RETRY_S)

    async def _registered(self) -> Json:
        wanted = node_object(self._machine)
        with contextlib.suppress(ApiError):
            return await self._client.post("/api/v1/nodes", wanted)
        patch = {"metadata": {"labels": wanted["metadata"]["labels"], "annotations": wanted["metadata"]["annotations"]}}
        return await self._client.patch(self._path, patch, STRATEGIC_MERGE_PATCH)

    async def _register_driver(self) -> None:
        name = self._machine.name
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self._uid}
        keys = [objects.ZONE] if objects.ZONE in self._machine.labels else None
        driver = {"name": DRIVER, "nodeID": name, "topologyKeys": keys}
        body = {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "CSINode",
            "metadata": {"name": name, "ownerReferences": [owner]},
            "spec": {"drivers": [driver]},
        }
        base = "/apis/storage.k8s.io/v1/csinodes"
        try:
            await self._client.post(base, body)
        except ApiError as error:
            if error.code != 409:
                raise
            await self._client.patch(f"{base}/{name}", {"spec": {"drivers": [driver]}})

    def announce(self) -> None:
        """The events of a kubelet that has just started."""
        self._events.node("Starting", "Starting kubelet.")
        for reason in ("NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID"):
            self._events.node(reason, f"Node {self._machine.name} status is now: {reason}")

    # Status

    async def run_status(self, interval_s: float) -> None:
        """Report the node's status every ``interval_s`` until cancelled."""
        due = time.monotonic()
        while True:
            await self._tried("status", self.report)
            due = max(due + interval_s, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    async def _tried(self, what: str, write: Callable[[], Awaitable[None]]) -> None:
        """Write, up to five times in a row; a failure is logged and never ends the agent."""
        for _ in range(_RETRIES):
            try:
                await write()
                return
            except ApiError as error:
                log.warning("the %s of node %s cannot be written: %s", what, self._machine.name, error)
                await asyncio.sleep(_RETRY_S)
            except Exception:
                log.exception("the %s of node %s cannot be written", what, self._machine.name)
                return

    async def report(self) -> None:
        """One report: read the node, write what has changed. Raises ApiError."""
        in_use = self._volumes.in_use()
        try:
            node = await self._client.get(self._path)
        except ApiError as error:
            if error.code == 404:  # somebody deleted the Node; a kubelet registers again when it starts only
                log.warning("node %s is not known to the API server", self._machine.name)
            raise
        reported = node.get("status") or {}
        steady = steady_status(self._machine)
        if needs_report(reported, steady, in_use, time.monotonic() - self._reported_at):
            told = conditions(reported.get("conditions") or [], time.time())
            status = {**steady, "conditions": told, "volumesInUse": in_use or None}
            await self._client.patch(f"{self._path}/status", {"status": status}, STRATEGIC_MERGE_PATCH)
            self._reported_at = time.monotonic()
            was = {c["type"]: c["status"] for c in reported.get("conditions") or []}
            if was.get("Ready") != "True":
                self._events.node("NodeReady", f"Node {self._machine.name} status is now: NodeReady")
        self._volumes.mark_reported(in_use)

    # Lease

    async def run_lease(self, interval_s: float) -> None:
        """Renew the node's Lease every ``interval_s`` (and up to 4 % more) until cancelled."""
        while True:
            await self._tried("lease", self._renew)
            await asyncio.sleep(interval_s * random.uniform(1.0, 1.04))

    async def _renew(self) -> None:
        name, base = self._machine.name, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        spec = {
            "holderIdentity": name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": micro_timestamp(time.time()),
        }
        try:
            await self._client.patch(f"{base}/{name}", {"spec": spec})
        except ApiError as error:
            if error.code != 404:
                raise
            owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self._uid}
            metadata = {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]}
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}
            await self._client.post(base, lease)
