"""A stand-in API server, a storage system, and node agents as processes of their own, for tests of the node agent."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from hamgr.sandbox.disks import DRIVER, DiskStore
from hamgr.sandbox.node.containers import kill_container, known_containers

Json = dict[str, Any]
PATIENCE_S = 20.0


class Api:
    """The API server, for tests: plain JSON, ``None`` for what does not exist."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, method: str, path: str, body: Json | None = None, kind: str = "application/json") -> Json | None:
        request = urllib.request.Request(
            self.url + path,
            None if body is None else json.dumps(body).encode(),
            {"Content-Type": kind},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                return dict(json.load(response))
        except urllib.error.HTTPError as error:
            if error.code == 404:
                return None
            raise AssertionError(f"{method} {path}: {error.code} {error.read().decode()}") from error

    def patch(self, path: str, body: Json) -> Json | None:
        return self("PATCH", path, body, "application/merge-patch+json")

    def pod(self, name: str) -> Json | None:
        return self("GET", f"/api/v1/namespaces/default/pods/{name}")

    def events(self, name: str) -> list[Json]:
        found = self("GET", f"/api/v1/namespaces/default/events?fieldSelector=involvedObject.name={name}")
        assert found is not None
        return list(found["items"])

    def reasons(self, name: str) -> set[str]:
        return {event["reason"] for event in self.events(name)}


def eventually(check: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """The first true answer of ``check``; fails with ``what`` when none comes."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        if found := check():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {patience_s:g} s: {what}")


@dataclass
class Cluster:
    """API server and disks, and what tests do to them. Agents are killed and devices given back at the end."""

    api: Api
    directory: Path
    disks: DiskStore
    agents: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    net: int = field(default_factory=lambda: uuid.uuid4().int % 200)

    def kubelet(self, node: str) -> Path:
        return self.directory / "nodes" / node / "kubelet"

    def start_agent(self, node: str, *options: str) -> None:
        """Start a node with its agent; returns when it is Ready. It is a machine of its own: processes and mounts."""
        kubeconfig = self.directory / "kubeconfig"
        cluster = {"name": "k", "cluster": {"server": self.api.url}}
        context = {"name": "k", "context": {"cluster": "k", "user": ""}}
        kubeconfig.write_text(json.dumps({"current-context": "k", "clusters": [cluster], "contexts": [context]}))
        number = int(node.removeprefix("n"))
        command = [
            *(sys.executable, "-m", "hamgr.sandbox.node", "--kubeconfig", str(kubeconfig), "--name", node),
            *("--root", str(self.kubelet(node)), "--disks", str(self.disks.root), "--port", "0"),
            *("--images", str(self.directory.parent / "images"), "--pod-cidr", f"127.{self.net}.{number}.0/24"),
            *("--node-status-update-frequency", "1s", "--boot-id", str(uuid.uuid4())),
            *options,
        ]
        # A small init as the first process, so that an agent may be restarted while the node lives.
        wrapped = ["sh", "-c", '"$@" & echo $! >"$0"; while :; do wait; sleep 60 & done', str(self._agent_pid(node))]
        if os.geteuid() == 0:
            wrapped = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *wrapped]
        self.kubelet(node).mkdir(parents=True, exist_ok=True)
        with (self.directory / f"{node}.log").open("ab") as log:
            self.agents[node] = subprocess.Popen([*wrapped, *command], stdout=log, stderr=log, start_new_session=True)
        self._options = command
        eventually(lambda: self.is_ready(node), f"{node} is Ready; see {self.directory}/{node}.log")

    def _agent_pid(self, node: str) -> Path:
        return self.directory / f"{node}.pid"

    def is_ready(self, node: str) -> bool:
        found = self.api("GET", f"/api/v1/nodes/{node}") or {}
        conditions = {c["type"]: c["status"] for c in (found.get("status") or {}).get("conditions") or []}
        return conditions.get("Ready") == "True"

    def crash(self, node: str) -> None:
        """Everything on the node dies at once."""
        process = self.agents.pop(node)
        if os.geteuid() == 0:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in children:
                os.kill(int(child), signal.SIGKILL)
        else:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)

    def disk(self, name: str, node: str | None = None) -> None:
        """A disk with its volume and a bound claim, all of that name, attached to ``node``."""
        self.disks.create(name, 256 << 20)
        claim = {"kind": "PersistentVolumeClaim", "namespace": "default", "name": name}
        volume = {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": f"pv-{name}"},
            "spec": {
                "capacity": {"storage": "256Mi"},
                "accessModes": ["ReadWriteOnce"],
                "csi": {"driver": DRIVER, "volumeHandle": name},
                "claimRef": claim,
            },
        }
        wanted = {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "256Mi"}},
                "volumeName": f"pv-{name}",
            },
        }
        self.api("POST", "/api/v1/persistentvolumes", volume)
        path = "/api/v1/namespaces/default/persistentvolumeclaims"
        self.api("POST", path, wanted)
        self.api.patch(f"{path}/{name}/status", {"status": {"phase": "Bound"}})
        if node:
            self.attach(name, node)

    def attach(self, name: str, node: str) -> None:
        self.disks.attach(name, node)
        attached = [{"name": f"kubernetes.io/csi/{DRIVER}^{name}", "devicePath": ""}]
        self.api.patch(f"/api/v1/nodes/{node}/status", {"status": {"volumesAttached": attached}})

    def detach(self, name: str, node: str) -> None:
        self.api.patch(f"/api/v1/nodes/{node}/status", {"status": {"volumesAttached": None}})
        self.disks.detach(name, node)

    def in_use(self, node: str) -> list[str]:
        found = self.api("GET", f"/api/v1/nodes/{node}")
        assert found is not None
        return list(found["status"].get("volumesInUse") or [])

    def create(self, name: str, spec: Json, node: str = "n1") -> Json:
        """A pod bound to ``node``."""
        spec = {"nodeName": node, "terminationGracePeriodSeconds": 5, **spec}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec}
        made = self.api("POST", "/api/v1/namespaces/default/pods", body)
        assert made is not None
        return made

    def delete(self, name: str, grace_s: int | None = None) -> None:
        options = {} if grace_s is None else {"gracePeriodSeconds": grace_s}
        self.api("DELETE", f"/api/v1/namespaces/default/pods/{name}", options)

    def await_status(self, name: str, check: Callable[[Json], Any], what: str) -> Json:
        """The pod's status once ``check`` holds for it."""

        def fits() -> Json | None:
            status: Json = (self.api.pod(name) or {}).get("status") or {}
            return status if check(status) else None

        try:
            return dict(eventually(fits, what))
        except AssertionError as error:
            now = json.dumps((self.api.pod(name) or {}).get("status"))
            told = [(e["reason"], e["message"]) for e in self.api.events(name)]
            raise AssertionError(f"pod {name}: {error}; status {now}; events {told}") from None

    def await_ready(self, name: str) -> Json:
        return self.await_status(name, lambda s: condition(s, "Ready") == "True", "Ready")

    def await_gone(self, name: str) -> None:
        eventually(lambda: self.api.pod(name) is None, f"pod {name} is gone")

    def kill(self, name: str, node: str = "n1") -> None:
        """SIGKILL the first processes of the pod's containers, as ``hamgr sandbox kill`` does."""
        assert kill_container(self.kubelet(node), "default", name), f"pod {name} has no running container"

    def running(self, node: str = "n1") -> list[str]:
        return [each.pod for each in known_containers(self.kubelet(node)) if each.running]

    def log(self, name: str, container: str, node: str = "n1") -> str:
        files = self.kubelet(node).glob(f"logs/default_{name}_*/{container}/*.log")
        return "".join(path.read_text() for path in sorted(files))

    def close(self) -> None:
        for node in list(self.agents):
            self.crash(node)
        self.disks.close()


def condition(status: Json, kind: str) -> str:
    return next((str(c["status"]) for c in status.get("conditions") or [] if c["type"] == kind), "")


def container(*command: str, **fields: Any) -> Json:
    """A container ``c`` that runs ``command`` on an image of no meaning."""
    return {"name": "c", "image": "example.org/app:1", "command": list(command), **fields}


def on_disk(claim: str, path: str, made: Json) -> Json:
    """The pod spec of one container with the claim's disk at ``path``."""
    return {
        "containers": [{**made, "volumeMounts": [{"name": "data", "mountPath": path}]}],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
    }


def mariadb(password: str = "secret") -> Json:
    """A MariaDB container with a readiness probe."""
    return {
        "name": "db",
        "image": "mariadb:10.11",
        "env": [{"name": "MARIADB_ROOT_PASSWORD", "value": password}],
        "readinessProbe": {"tcpSocket": {"port": 3306}, "periodSeconds": 1},
    }


needs_mariadb = pytest.mark.skipif(shutil.which("mariadbd", path="/usr/sbin:/usr/bin") is None, reason="no MariaDB")
