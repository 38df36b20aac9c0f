"""Where the demo plays: a sandbox with MariaDB on it, and all that the story needs to see and touch."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pymysql
import yaml

from hamgr.api.events import Event
from hamgr.api.status import ResourceStatus, StatusDoc
from hamgr.store.config import StoreConfig
from hamgr.store.errors import StoreError
from hamgr.store.eventlog import read_events
from hamgr.store.store import Store
from hamgr_sandbox.client import ApiError, Client
from hamgr_sandbox.cluster import Sandbox
from hamgr_sandbox.demo.writer import ANSWER_TIMEOUT_S, CONNECT_TIMEOUT_S
from hamgr_sandbox.layout import Options
from hamgr_sandbox.observe import look, read

EXAMPLES = Path(__file__).parents[3] / "config" / "examples"
NAMESPACE = "default"
SERVICE = "mariadb"
DATABASE = "mariadb"  # the resource's id
_COLLECTIONS = {
    "Secret": "/api/v1/namespaces/default/secrets",
    "PersistentVolumeClaim": "/api/v1/namespaces/default/persistentvolumeclaims",
    "Deployment": "/apis/apps/v1/namespaces/default/deployments",
    "Service": "/api/v1/namespaces/default/services",
}
_LOOK_S = 0.05

T = TypeVar("T")


class NotInTime(Exception):
    """Something that the story waits for did not happen; the message says what."""


@dataclass(frozen=True, slots=True)
class PodState:
    """What Kubernetes shows of a pod: where, in which state, how often its container was started again."""

    node: str
    state: str
    restarts: int

    def describe(self, before: PodState | None) -> str:
        """In words, against what was seen before."""
        if before is not None and self.restarts > before.restarts:
            return f"was started again in place on {self.node}"
        return f"is {self.state}" + (f" on {self.node}" if self.node else "")


class DemoCluster:
    """A sandbox with the example on it. `hamgr` says whether hamgr runs the database, or plain Kubernetes does."""

    def __init__(self, directory: Path, *, hamgr: bool = True) -> None:
        self.hamgr = hamgr
        self.sandbox = Sandbox(directory, Options(nodes=3, hamgrd=hamgr))
        self.password = ""
        self._store: Store | None = None

    # --- setting up --------------------------------------------------------------------------------------------------

    def up(self, say: Callable[[str], None]) -> None:
        """Start the sandbox, create the example's objects and wait until the database answers through its Service."""
        self.sandbox.down()
        self.sandbox.up(say)
        self._create_objects()
        if self.hamgr:
            endpoints = tuple(self.sandbox.etcd_endpoints)
            self._store = Store(StoreConfig(endpoints, "sandbox"))
            self._apply()
        say("waiting for the database's first start")
        self.wait(self._answers, 90, "the database to answer through its Service")

    def down(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
        self.sandbox.down()

    def _create_objects(self) -> None:
        for obj in yaml.safe_load_all((EXAMPLES / "mariadb.yaml").read_text()):
            if obj["kind"] == "Secret":
                self.password = obj["stringData"]["root-password"]
            if not self.hamgr and obj["kind"] == "Deployment":
                obj["spec"]["replicas"] = 1
            if not self.hamgr and obj["kind"] == "Service":
                del obj["spec"]["selector"]["hamgr.io/role"]
            self.request("post", _COLLECTIONS[obj["kind"]], obj)

    def _apply(self) -> None:
        command = [sys.executable, "-m", "hamgr.cli.main", "--config", str(self.sandbox.layout.user_settings)]
        done = subprocess.run(
            [*command, "apply", "-f", str(EXAMPLES / "mariadb-cluster.yaml")],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise NotInTime(f"hamgr apply failed: {done.stderr.strip()}")

    # --- Kubernetes --------------------------------------------------------------------------------------------------

    def request(self, verb: str, path: str, *body: Any) -> dict[str, Any]:
        """One request to the API server. Raises ApiError."""

        async def ask() -> dict[str, Any]:
            async with Client.from_kubeconfig(self.sandbox.kubeconfig, timeout_s=5.0) as client:
                answer: dict[str, Any] = await getattr(client, verb)(path, *body)
                return answer

        return asyncio.run(ask())

    def pods(self) -> list[dict[str, Any]]:
        """The database's pods."""
        listed = read(self.sandbox.kubeconfig, f"/api/v1/namespaces/{NAMESPACE}/pods?labelSelector=app%3Dmariadb")
        return list(listed.get("items") or [])

    def active_pod(self) -> dict[str, Any]:
        """The pod that is ready and not on its way out. Raises NotInTime when there is none."""
        for pod in self.pods():
            conditions = pod.get("status", {}).get("conditions") or []
            ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
            if ready and not pod["metadata"].get("deletionTimestamp"):
                return pod
        raise NotInTime("no pod of the database is ready")

    def pod_states(self) -> dict[str, PodState]:
        """The database's pods by name; empty when Kubernetes cannot be asked."""
        try:
            return {str(pod["metadata"]["name"]): _pod_state(pod) for pod in self.pods()}
        except ApiError:
            return {}

    def delete_pod(self, name: str) -> None:
        self.request("delete", f"/api/v1/namespaces/{NAMESPACE}/pods/{name}")

    # --- hamgr -------------------------------------------------------------------------------------------------------

    def status(self) -> StatusDoc | None:
        """The leader's summary; None while there is none."""
        if self._store is None:
            return None
        try:
            entry = self._store.get("status")
        except StoreError:
            return None
        return None if entry is None else StatusDoc.from_value(entry.value)

    def leader(self) -> str:
        """The node of the leading hamgrd; empty when nobody leads."""
        if self._store is None:
            return ""
        try:
            entry = self._store.get("leader")
        except StoreError:
            return ""
        return "" if entry is None else str(entry.value["node"])

    def events(self) -> list[Event]:
        """Everything the leaders have told so far."""
        if self._store is None:
            return []
        try:
            return [Event.from_value(value) for _, value in read_events(self._store)]
        except StoreError:
            return []

    @property
    def calm(self) -> str:
        """What `quiet` waits for, in words."""
        if self.hamgr:
            return "the cluster to be whole, with a parked standby"
        return "the nodes to be ready and the database to answer"

    def quiet(self) -> bool:
        """Whether the cluster is whole again: all nodes online, nothing in progress, a pod parked as a standby."""
        if not self.hamgr:
            return all(look(self.sandbox.kubeconfig, ()).nodes.values()) and self._answers()
        document = self.status()
        if document is None or document.transition is not None or not self.leader():
            return False
        database = _find(document.resources, DATABASE)
        whole = all(node.online and node.hamgrd and node.ready for node in document.nodes)
        return whole and database is not None and database.role == "Started" and database.note.startswith("parked on")

    # --- the database ------------------------------------------------------------------------------------------------

    def connect(self) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """A new connection through the load balancer. Raises OSError, pymysql's errors."""
        address = self.sandbox.load_balancer_address(SERVICE, NAMESPACE) if not self._address else self._address
        if address is None:
            raise ConnectionRefusedError("the Service has no address yet")
        self._address = address
        return self.connect_to(*address)

    _address: tuple[str, int] | None = None

    def connect_to(self, host: str, port: int) -> pymysql.Connection[pymysql.cursors.Cursor]:
        """A new connection to one server."""
        return pymysql.connect(
            host=host,
            port=port,
            user="root",
            password=self.password,
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=ANSWER_TIMEOUT_S,
            write_timeout=ANSWER_TIMEOUT_S,
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query through the load balancer. Raises OSError, pymysql's errors."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                rows = list(cursor.fetchall())
            connection.commit()
            return rows
        finally:
            connection.close()

    def _answers(self) -> bool:
        try:
            return self.query("SELECT 1") == [(1,)]
        except (pymysql.MySQLError, OSError, EOFError, ApiError):
            return False

    # --- waiting -----------------------------------------------------------------------------------------------------

    def wait(self, look: Callable[[], object], timeout_s: float, what: str) -> None:
        """Look again and again until something is true. Raises NotInTime."""
        deadline = time.monotonic() + timeout_s
        while not look():
            if time.monotonic() > deadline:
                raise NotInTime(f"waited {timeout_s:g} s for {what}")
            time.sleep(_LOOK_S)


def _pod_state(pod: dict[str, Any]) -> PodState:
    status = pod.get("status", {})
    containers = status.get("containerStatuses") or [{}]
    waiting = containers[0].get("state", {}).get("waiting", {}).get("reason")
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or [])
    state = "ready" if ready else waiting or ("not ready" if status.get("phase") == "Running" else "Pending")
    if pod["metadata"].get("deletionTimestamp"):
        state = "Terminating"
    return PodState(str(pod["spec"].get("nodeName", "")), state, int(containers[0].get("restartCount", 0)))


def _find(resources: tuple[ResourceStatus, ...], wanted: str) -> ResourceStatus | None:
    for resource in resources:
        found = resource if resource.id == wanted else _find(resource.children, wanted)
        if found is not None:
            return found
    return None
