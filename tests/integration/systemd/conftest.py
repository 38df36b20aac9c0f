"""A booted systemd with hamgr's unit, beside an etcd and an HTTPS API server; all of it gone after the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from fixtures.etcd import EtcdServer, require_etcd
from fixtures.systemd_container import CHECKOUT, Container, installed, require_container
from fixtures.waiting import wait_until
from hamgr_sandbox import access

from hamgr.kube.connection import KubeConfig
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import NODE
from hamgr.store import Store, StoreConfig

UNIT = "hamgrd.service"


@dataclass
class Host:
    """Node n1: a machine with systemd. Node n2: a plain hamgrd beside it."""

    home: Path
    etcd: EtcdServer
    api: str
    container: Container
    store: Store
    kube: Kube
    etc: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def settings(self, node: str, **more: Any) -> dict[str, Any]:
        return {
            "cluster": "t",
            "node": node,
            "etcd": {"endpoints": [self.etcd.endpoint]},
            "kubernetes": {"kubeconfig": "kubeconfig"},
            "times": {"join-wait": "1s"},
        } | more

    def configure(self, **more: Any) -> None:
        """Write the settings of the unit's hamgrd."""
        (self.etc / "hamgrd.yaml").write_text(yaml.safe_dump(self.settings("n1", **more)))

    def systemctl(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.container.run("systemctl", *words)

    def show(self, name: str) -> str:
        return self.container.show(UNIT, name)

    def journal(self) -> str:
        return "\n".join(self.container.journal(UNIT))

    def start(self) -> None:
        done = self.systemctl("start", UNIT)
        assert done.returncode == 0, done.stderr + self.journal()

    def drop_in(self, name: str, text: str) -> None:
        """Add settings to the unit until the end of the test's container."""
        folder = f"/etc/systemd/system/{UNIT}.d"
        self.container.write(f"{folder}/{name}.conf", text)
        assert self.systemctl("daemon-reload").returncode == 0

    def hamgr(self, *words: str) -> subprocess.CompletedProcess[str]:
        """The command, on the machine with systemd."""
        return self.container.run("/opt/hamgr/bin/hamgr", *words)

    def other(self) -> subprocess.Popen[bytes]:
        """A hamgrd for node n2, outside of the container."""
        file = self.home / "n2.yaml"
        settings = self.settings("n2", **{"boot-id-file": str(self.home / "n2.boot")})
        (self.home / "n2.boot").write_text("boot-of-n2\n")
        file.write_text(yaml.safe_dump(settings | {"kubernetes": {"kubeconfig": str(self.etc / "kubeconfig")}}))
        with (self.home / "n2.log").open("ab") as log:
            command = [sys.executable, "-m", "hamgr.daemon.main", "--config", str(file)]
            self.processes.append(subprocess.Popen(command, stdout=log, stderr=log))
        wait_until(lambda: "members/n2" in self.store.read("members/").entries)
        return self.processes[-1]

    def leader(self) -> str:
        entry = self.store.get("leader")
        return "" if entry is None else str(entry.value["node"])


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="hs-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def etcd(home: Path) -> Iterator[EtcdServer]:
    require_container()
    require_etcd()
    server = EtcdServer(home / "etcd")
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def api(home: Path) -> Iterator[tuple[str, access.User]]:
    """An API server that speaks HTTPS and wants a token: its address, and who may speak to it."""
    require_container()
    user, ready = access.daemon("n1"), home / "api.ready"
    access.write_tokens(home / "tokens", [user])
    command = [sys.executable, "-m", "hamgr_sandbox.apiserver", "--listen=127.0.0.1:0", f"--tls-dir={home / 'tls'}"]
    command += [f"--token-file={home / 'tokens'}", f"--ready-file={ready}"]
    with (home / "api.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_until(ready.exists)
        yield ready.read_text().strip(), user
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def booted(home: Path, etcd: EtcdServer, api: tuple[str, access.User]) -> Iterator[Host]:
    etc = home / "etc"
    etc.mkdir(mode=0o755)
    url, user = api
    access.write_kubeconfig(etc / "kubeconfig", url, home / "tls/ca.crt", user)
    unit = {f"/etc/systemd/system/{UNIT}": CHECKOUT / "systemd" / UNIT}
    container = Container(home, f"hamgr-test-{os.getpid()}", {"/etc/hamgr": etc}, {**installed(home), **unit})
    store = Store(StoreConfig((etcd.endpoint,), cluster="t"))
    kube = Kube(KubeConfig(kubeconfig=etc / "kubeconfig"))
    host = Host(home, etcd, url, container, store, kube, etc)
    for node in ("n1", "n2"):
        kube.post(NODE.collection(), {"apiVersion": "v1", "kind": "Node", "metadata": {"name": node}})
        ready = {"type": "Ready", "status": "True", "reason": "x", "message": "x"}
        kube.patch_strategic(f"{NODE.path(node)}/status", {"status": {"conditions": [ready]}})
    try:
        container.boot()
        yield host
    finally:
        container.close()
        for process in host.processes:
            process.kill()
            process.wait()
        kube.close()
        store.close()


@pytest.fixture
def host(booted: Host) -> Iterator[Host]:
    """The machine, with a unit that is stopped before and after, with its settings as shipped."""
    booted.configure()
    yield booted
    booted.systemctl("stop", UNIT)
    for process in booted.processes:
        process.kill()
        process.wait()
    booted.processes.clear()
    booted.container.run("rm", "-rf", f"/etc/systemd/system/{UNIT}.d")
    booted.systemctl("daemon-reload")
    booted.systemctl("reset-failed", UNIT)
