"""Where a campaign plays: a sandbox with impatient settings and the key-value application on it, run by hamgr."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hamgr.api.status import ResourceStatus, StatusDoc
from hamgr.clusterfile.load import load_yaml
from hamgr.executor.registry import Registry
from hamgr.fencer.records import Outcome
from hamgr.kube.pods import is_parked
from hamgr.store.config import StoreConfig
from hamgr.store.errors import StoreError
from hamgr.store.requests import Requests
from hamgr.store.store import Store
from hamgr_sandbox.campaign.etcd_history import EtcdHistory
from hamgr_sandbox.campaign.schedule import NODES, Levels
from hamgr_sandbox.client import ApiError, Client
from hamgr_sandbox.cluster import Sandbox
from hamgr_sandbox.disks import DRIVER
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.kvapp import LOG_NAME
from hamgr_sandbox.layout import CLUSTER_NAME, Options
from hamgr_sandbox.plane import HAMGRD

APPLICATION, DISK, SERVICE, CLAIM = "kv", "kv-disk", "kv-clients", "kv"
PORT = 6380
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
PODS = "/api/v1/namespaces/default/pods"
_REQUEST_TIMEOUT_S = 5.0
_GLANCE_S = 0.3  # for a look that must not hold up the faults

_SELF_FENCING = {
    "self-fencing": "kill",
    "self-fence": {"find": ["environment"], "state-dir": "guard", "kill-suffices": True},
}


def options(*, self_fencing: bool) -> Options:
    """Everything that takes minutes in earnest takes seconds here, so that a schedule of some seconds reaches it."""
    times = {"member-ttl": "3s", "settle": "2s", "join-wait": "5s", "api-stale": "4s"}
    return Options(
        nodes=3,
        attach_latency_s=0.05,
        detach_latency_s=0.05,
        hamgrd_settings={"times": times, **(_SELF_FENCING if self_fencing else {})},
        node_args=("--node-status-update-frequency=1", "--lease-renew=2"),
        controllers_args=(
            "--node-monitor-period=1",
            "--node-monitor-grace-period=10",
            "--attach-detach-reconcile-sync-period=5",
        ),
    )


_OBJECTS: tuple[tuple[str, dict[str, Any]], ...] = (
    (
        "/api/v1/namespaces/default/persistentvolumeclaims",
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": CLAIM},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
        },
    ),
    (
        "/api/v1/namespaces/default/services",
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": APPLICATION},
            "spec": {
                "type": "LoadBalancer",
                "selector": {"hamgr.io/resource": APPLICATION, "hamgr.io/role": "active"},
                "ports": [{"port": PORT, "targetPort": PORT}],
            },
        },
    ),
)

_CLUSTER = """\
cluster: {cluster}
namespace: {namespace}
nodes: [n1, n2, n3]
options:
  cluster-recheck-interval: 5s
fencing:
  levels: {levels}
  devices:
    - {{id: switch, agent: {switch}, action: reboot}}
  max-fences: 100
  fence-loop-interval: 1s     # one node is fenced again and again here: by different schedules
resources: {resources}
"""

_RESOURCES = """
  - group: store
    members:
      - id: {disk}
        agent: volume
        params: {{claim: {claim}}}
      - id: {application}
        agent: pod
        params:
          image: hamgr/kvapp
          port: {port}
          claim: {claim}
          mount_path: /data
          restart_grace: 4s
        operations:
          monitor: {{interval: {monitor_s}s, timeout: 10s}}
      - id: {service}
        agent: service
        params: {{service: {clients}, resource: {application}}}
"""


_LEVELS = {
    Levels.VOLUME: "[{level: volume, timeout: 20s}]",
    Levels.NODE: "[{level: switch, timeout: 10s}, {level: volume, timeout: 20s}]",
    Levels.WATCHDOG: "[{level: watchdog, timeout: 20s}, {level: volume, timeout: 20s}]",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a cluster file says; the defaults are as it should be. without: it has no resources at all."""

    monitor_s: int = 5
    application: str = APPLICATION
    namespace: str = "default"
    claim: str = CLAIM
    without: bool = False

    @property
    def is_usual(self) -> bool:
        """Whether it is what is applied in the end, be it with another interval of the monitor."""
        return replace(self, monitor_s=5) == Shape()


def cluster_file(switch: Path, levels: Levels = Levels.VOLUME, shape: Shape | None = None) -> str:
    """The cluster file. switch: the power switch's agent."""
    shape = shape or Shape()
    resources = _RESOURCES.format(
        disk=DISK,
        claim=shape.claim,
        application=shape.application,
        port=PORT,
        service=SERVICE,
        clients=APPLICATION,
        monitor_s=shape.monitor_s,
    )
    return _CLUSTER.format(
        cluster=CLUSTER_NAME,
        namespace=shape.namespace,
        switch=switch,
        levels=_LEVELS[levels],
        resources="[]" if shape.without else resources,
    )


class Harness:
    """One sandbox with the application. `sandbox` is there for faults; the rest is for looking and asking.

    levels: how nodes are fenced now.
    """

    def __init__(self, directory: Path, *, self_fencing: bool = False) -> None:
        self.sandbox = Sandbox(directory, options(self_fencing=self_fencing))
        self.levels = Levels.VOLUME
        self.shape = Shape()
        self._store: Store | None = None
        self._address: tuple[str, int] | None = None
        self._lock = threading.Lock()

    def up(self) -> None:
        """Start it all and apply the cluster file. Raises SandboxError, ApiError, StoreError."""
        self.sandbox.down()
        self._address = None
        self.sandbox.up()
        for path, body in _OBJECTS:
            self.request("post", path, body)
        self._store = Store(StoreConfig(tuple(self.sandbox.etcd_endpoints), CLUSTER_NAME))
        self.apply()

    def down(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        self.sandbox.down()

    @property
    def store(self) -> Store:
        """hamgr's own view of etcd, from outside of all nodes."""
        assert self._store is not None, "the sandbox is not up"
        return self._store

    @property
    def past(self) -> EtcdHistory:
        """What etcd remembers."""
        return EtcdHistory(self.sandbox.etcd_endpoints)

    # --- Kubernetes --------------------------------------------------------------------------------------------------

    def request(self, verb: str, path: str, *body: Any) -> dict[str, Any]:
        """One request to the API server. Raises ApiError."""

        async def ask() -> dict[str, Any]:
            async with Client.from_kubeconfig(self.sandbox.kubeconfig, timeout_s=_REQUEST_TIMEOUT_S) as client:
                answer: dict[str, Any] = await getattr(client, verb)(path, *body)
                return answer

        return asyncio.run(ask())

    def pods(self) -> list[dict[str, Any]]:
        """The application's pods. Raises ApiError."""
        return list(self.request("get", f"{PODS}?labelSelector=hamgr.io/resource%3D{APPLICATION}").get("items") or [])

    def living_pods(self) -> dict[str, str]:
        """The pods of hamgr's of which a container runs, by their kubelets' word, and where. Raises ApiError."""
        query = f"labelSelector=hamgr.io/cluster%3D{CLUSTER_NAME}"
        pods = self.request("get", f"/api/v1/pods?{query}").get("items") or []
        return {str(pod["metadata"]["name"]): str(pod["spec"].get("nodeName", "")) for pod in pods if _lives(pod)}

    def active_pod(self) -> dict[str, Any] | None:
        """The pod that is ready and is not parked; None when there is none or nobody answers."""
        try:
            ready = [pod for pod in self.pods() if is_ready(pod)]
        except ApiError:
            return None
        return ready[0] if ready else None

    def standby(self) -> str:
        """The node on which a parked pod waits; empty when there is none or nobody answers."""
        try:
            pods = self.pods()
        except ApiError:
            return ""
        return next((str(pod["spec"]["nodeName"]) for pod in pods if is_parked(pod)), "")

    def tainted_nodes(self) -> list[str]:
        """Nodes that are out of service. Raises ApiError."""
        nodes = self.request("get", "/api/v1/nodes").get("items") or []
        return [
            str(node["metadata"]["name"])
            for node in nodes
            if any(taint["key"] == OUT_OF_SERVICE for taint in node["spec"].get("taints") or [])
        ]

    def address(self) -> tuple[str, int]:
        """Where clients reach the application. Raises OSError while there is no such place."""
        with self._lock:
            if self._address is None:
                try:
                    self._address = self.sandbox.load_balancer_address(APPLICATION)
                except ApiError as error:
                    raise ConnectionRefusedError(str(error)) from error
            if self._address is None:
                raise ConnectionRefusedError("the Service has no address yet")
            return self._address

    # --- hamgr -------------------------------------------------------------------------------------------------------

    def status(self) -> StatusDoc | None:
        """The leader's summary; None while there is no leader, or no etcd."""
        try:
            entries = self.store.read("status").entries
            leader = self.store.get("leader")
        except StoreError:
            return None
        entry = entries.get("status")
        return StatusDoc.from_value(entry.value) if entry is not None and leader is not None else None

    def leader(self) -> str:
        """The node of the leading hamgrd; empty when nobody leads."""
        try:
            entry = self.store.get("leader")
        except StoreError:
            return ""
        return "" if entry is None else str(entry.value["node"])

    def joined(self, node: str) -> bool:
        """Whether the node's member key is that of the hamgrd that runs there now, and no dead one's."""
        host = self.sandbox.host(node)
        try:
            process = Path(f"/proc/{host.service(HAMGRD)}/status").read_text()
            entry = self.store.get(f"members/{node}")
        except (StoreError, SandboxError, OSError):
            return False
        if entry is None:
            return False
        numbers = next(line for line in process.splitlines() if line.startswith("NSpid:")).split()
        boot_id = (host.home / "boot_id").read_text().strip()
        return (str(entry.value["pid"]), entry.value["boot_id"]) == (numbers[-1], boot_id)

    def leader_answers(self) -> bool:
        """Whether there is a leader at work, as opposed to the key of a dead one."""
        try:
            self.ask("fence-plan", {"target": NODES[0], "level": ""}, timeout_s=2.0)
        except StoreError:
            return False
        return True

    def fence_by(self, levels: Levels) -> None:
        """Have nodes fenced in this way from now on. Raises StoreError."""
        if levels is not self.levels:
            self.levels = levels
            self.apply()

    def apply(self, shape: Shape | None = None) -> None:
        """Make the cluster file, in this shape, the configuration. Raises StoreError."""
        shape = shape or Shape()
        text = cluster_file(self.sandbox.layout.fence_agent, self.levels, shape)
        load_yaml(text, "the campaign's cluster file", Registry().specs())
        current = self.store.get("config")
        document = {
            "text": text,
            "file": "campaign",
            "applied_by": "campaign",
            "applied_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self.store.compare_and_put("config", document, current.mod_revision if current else 0)
        self.shape = shape

    def fence_under_way(self, since: int) -> bool:
        """Whether a fence that began after that revision of etcd has not ended; False also when etcd is silent."""
        try:
            records = self.past.read("fences/", since=since, timeout_s=_GLANCE_S)
        except (OSError, ValueError):
            return False
        return any(kept.value["outcome"] == Outcome.PENDING for kept in records)

    def ask(self, kind: str, body: Mapping[str, Any], timeout_s: float = _REQUEST_TIMEOUT_S) -> None:
        """Ask the leader for something and wait for the answer. Raises StoreError."""
        requests = Requests(self.store)
        requests.wait(requests.submit(kind, dict(body), ttl_s=round(timeout_s) + 1), timeout_s)

    # --- the disk ----------------------------------------------------------------------------------------------------

    def log_of_active_pod(self) -> Path:
        """The application's log where it is served now. Raises ValueError without a pod, SandboxError, ApiError."""
        pod = self.active_pod()
        if pod is None:
            raise ValueError("the application runs nowhere, so its log cannot be read")
        return self.log_of(str(pod["spec"]["nodeName"]))

    def log_of(self, node: str) -> Path:
        """The application's log as the node that has its disk mounted sees it. Raises SandboxError, ApiError."""
        handle = self.sandbox.storage.handle(CLAIM)
        folder = hashlib.sha256(handle.encode()).hexdigest()
        init = self.sandbox.host(node).running().pid
        kubelet = self.sandbox.layout.node(node) / "kubelet"
        inside = kubelet / "plugins/kubernetes.io/csi" / DRIVER / folder / "globalmount" / LOG_NAME
        return Path(f"/proc/{init}/root{inside}")


def _lives(pod: Mapping[str, Any]) -> bool:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return any("running" in (each.get("state") or {}) for each in statuses)


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a pod serves and is not on its way out."""
    conditions = pod.get("status", {}).get("conditions") or []
    ready = any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)
    return ready and not pod["metadata"].get("deletionTimestamp")


def leaves(resources: tuple[ResourceStatus, ...]) -> Iterator[ResourceStatus]:
    """All primitives of a status document."""
    for resource in resources:
        if resource.children:
            yield from leaves(resource.children)
        else:
            yield resource
