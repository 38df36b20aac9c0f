"""hamgrd as a process: how it starts, what it tells systemd, how it ends, and what it survives."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from fixtures.etcd import EtcdServer, free_port
from fixtures.waiting import wait_until

from hamgr.daemon.mounts import MountQuestions
from hamgr.kube.volumes import Volume
from hamgr.store import members_of

pytestmark = pytest.mark.etcd


@dataclass
class Hamgrd:
    """One daemon without Kubernetes, beside a service manager that is a socket."""

    home: Path
    etcd: EtcdServer
    more: dict = field(default_factory=dict)
    node: str = "n1"
    process: subprocess.Popen | None = None

    def __post_init__(self):
        self.home.mkdir(exist_ok=True)
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(self.home / "notify"))
        self.manager.setblocking(False)
        self.heard: list[str] = []
        (self.home / "boot_id").write_text(f"boot-of-{self.node}\n")
        self.configure()

    @property
    def config(self) -> Path:
        return self.home / "hamgrd.yaml"

    def configure(self, **changes) -> None:
        settings = {
            "cluster": "t",
            "node": self.node,
            "etcd": {"endpoints": [self.etcd.endpoint], "attempt-timeout": "500ms", "request-timeout": "1s"},
            "kubernetes": {"enabled": False},
            "boot-id-file": str(self.home / "boot_id"),
            "log": {"format": "json"},
        }
        self.config.write_text(yaml.safe_dump(settings | self.more | changes))

    def start(self, log_to=None) -> "Hamgrd":
        environment = os.environ | {"NOTIFY_SOCKET": str(self.home / "notify"), "WATCHDOG_USEC": "1000000"}
        with open(self.home / "log" if log_to is None else log_to, "ab", buffering=0) as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "hamgr.daemon.main", "--config", self.config],
                stdout=log,
                stderr=log,
                env=environment,
            )
        wait_until(lambda: self.said("READY=1") or self.process.poll() is not None)
        assert self.process.poll() is None, self.log()
        return self

    def said(self, text: str) -> int:
        """How often the daemon has said that to its manager."""
        try:
            while True:
                self.heard.append(self.manager.recv(4096).decode())
        except BlockingIOError:
            pass
        return sum(text in message for message in self.heard)

    def log(self) -> str:
        return (self.home / "log").read_text()

    def events(self) -> list[str]:
        lines = [line for line in self.log().splitlines() if line.startswith("{")]
        return [json.loads(line)["event"] for line in lines]

    def end(self, number=signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.manager.close()


@pytest.fixture
def hamgrd(etcd_server, tmp_path):
    made = []

    def make(node="n1", **more):
        made.append(Hamgrd(tmp_path / node, etcd_server, more, node))
        return made[-1]

    yield make
    for daemon in made:
        daemon.close()


def leader(store):
    entry = store.get("leader")
    return None if entry is None else entry.value["node"]


def test_relative_file_names_are_meant_from_the_settings_file(hamgrd, store):
    daemon = hamgrd(**{"boot-id-file": "boot_id", "mountinfo-file": "mounts"})
    (daemon.home / "mounts").write_text("")
    daemon.start()
    assert members_of(store.read("members/"))["n1"].boot_id == "boot-of-n1"
    asked = MountQuestions(store)
    wait_until(lambda: asked.unmounted("n1", Volume("pv-1", "disk.test", "disk-1")) is True)


def test_a_life(hamgrd, store):
    """Start, membership, leadership, watchdog, reload, orderly end."""
    daemon = hamgrd().start()
    wait_until(lambda: leader(store) == "n1")
    assert members_of(store.read("members/"))["n1"].boot_id == "boot-of-n1"
    wait_until(lambda: daemon.said("STATUS=cluster t, node n1: leading with token"))
    wait_until(lambda: daemon.said("WATCHDOG=1") >= 3)

    daemon.configure(log={"format": "json", "level": "debug"}, workers=3)
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: daemon.said("RELOADING=1") and daemon.said("READY=1") == 2)
    wait_until(lambda: "reloaded" in daemon.events())
    assert '"needs_restart": ["workers"]' in daemon.log()

    daemon.config.write_text("cluster: [")
    daemon.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "reload_refused" in daemon.events())

    assert daemon.end() == 0
    assert daemon.said("STOPPING=1") == 1
    assert leader(store) is None
    assert store.read("members/").entries == {}
    assert daemon.events()[-1] == "stopped"
    assert "Traceback" not in daemon.log()


@pytest.mark.parametrize("kind", ["full disk", "stuck pipe"])
def test_it_outlives_its_log(hamgrd, store, kind):
    """It ended within a second with its standard error on a full disk, and hung with it in a full pipe."""
    if kind == "full disk":
        log_to = "/dev/full"
    else:
        reading, log_to = os.pipe()
        os.set_blocking(log_to, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(log_to, b"x" * 4096)
        os.set_blocking(log_to, True)
    daemon = hamgrd(log={"format": "json", "level": "debug"}).start(log_to)
    wait_until(lambda: leader(store) == "n1")
    token = store.get("leader").create_revision
    fed = daemon.said("WATCHDOG=1")
    daemon.process.send_signal(signal.SIGHUP)  # which is logged
    wait_until(lambda: daemon.said("WATCHDOG=1") > fed + 6)
    assert store.get("leader").create_revision == token
    assert daemon.end() == 0
    if kind == "stuck pipe":
        os.close(reading)


def test_a_closed_standard_error_ends_nothing(hamgrd, store):
    daemon = hamgrd()
    command = f"exec {sys.executable} -m hamgr.daemon.main --config {daemon.config} 2>&-"
    daemon.process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.DEVNULL)
    wait_until(lambda: leader(store) == "n1")
    assert daemon.end() == 0


def test_leadership_is_handed_over(hamgrd, store):
    first = hamgrd("n1").start()
    wait_until(lambda: leader(store) == "n1")
    hamgrd("n2").start()
    assert first.end() == 0
    wait_until(lambda: leader(store) == "n2")


def test_the_loss_of_etcd_ends_nothing(hamgrd, store, etcd_server):
    daemon = hamgrd().start()
    wait_until(lambda: leader(store) == "n1")
    etcd_server.kill()
    wait_until(lambda: "etcd_unavailable" in daemon.events() or "deposed" in daemon.events())
    fed = daemon.said("WATCHDOG=1")
    wait_until(lambda: daemon.said("WATCHDOG=1") > fed + 2)
    etcd_server.start()
    wait_until(lambda: leader(store) == "n1" and "n1" in members_of(store.read("members/")))
    assert daemon.end() == 0


def test_a_lost_membership_is_taken_again(hamgrd, store):
    daemon = hamgrd().start()
    wait_until(lambda: "members/n1" in store.read("members/").entries)
    before = store.get("members/n1")
    store.revoke(before.lease)
    wait_until(lambda: (store.get("members/n1") or before).lease != before.lease)
    assert daemon.end() == 0


def test_metrics(hamgrd, store):
    port = free_port()
    hamgrd(metrics={"listen": f"127.0.0.1:{port}"}).start()
    wait_until(lambda: leader(store) == "n1")

    def scraped():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode()

    wait_until(lambda: "hamgr_leader 1.0" in scraped())
    assert "hamgr_etcd_staleness_seconds" in scraped()


# --- failures to start -------------------------------------------------------------------------------------------


def run(config, **environment):
    return subprocess.run(
        [sys.executable, "-m", "hamgr.daemon.main", "--config", config],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


def kubeconfig(path, server, **cluster):
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": server, **cluster}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "x",
            }
        )
    )
    return str(path)


STARTS = {
    "no settings": (lambda d: d.config.unlink(), 66, "the settings file", "cannot be read: No such file or directory"),
    "bad YAML": (lambda d: d.config.write_text("cluster: ["), 78, "hamgrd.yaml:", "this is not YAML"),
    "unknown key": (lambda d: d.configure(worker=1), 78, "worker: there is no such key", "did you mean 'workers'?"),
    "no boot id": (
        lambda d: d.configure(**{"boot-id-file": "/nowhere"}),
        78,
        "boot id file /nowhere",
        "cannot be read",
    ),
    "etcd down": (
        lambda d: d.configure(etcd={"endpoints": ["http://127.0.0.1:1"]}),
        69,
        "etcd endpoint http://127.0.0.1:1",
        "connection refused",
    ),
    "etcd with TLS asked of a clear one": (
        lambda d: d.configure(etcd={"endpoints": [d.etcd.endpoint.replace("http:", "https:")], "ca": pem(d)}),
        78,
        "does not speak TLS",
        "write http://",
    ),
    "no kubeconfig": (
        lambda d: d.configure(kubernetes={"kubeconfig": "gone"}),
        78,
        "kubeconfig",
        "gone does not exist",
    ),
    "API server down": (
        lambda d: d.configure(kubernetes={"kubeconfig": kubeconfig(d.home / "k", "http://127.0.0.1:1")}),
        69,
        "API server at http://127.0.0.1:1",
        "refuses connections",
    ),
    "CA file gone": (
        lambda d: d.configure(
            kubernetes={
                "kubeconfig": kubeconfig(d.home / "k", "https://127.0.0.1:1", **{"certificate-authority": "/gone.crt"})
            }
        ),
        78,
        "cannot be used",
        "/gone.crt",
    ),
}


def pem(daemon):
    trustme = pytest.importorskip("trustme")
    path = daemon.home / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(path))
    return str(path)


@pytest.mark.parametrize("name", STARTS)
def test_a_failure_to_start_is_one_sentence_and_a_code(hamgrd, store, name):
    prepare, code, *words = STARTS[name]
    daemon = hamgrd()
    prepare(daemon)
    done = run(daemon.config)
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("hamgrd: ")
    for word in words:
        assert word in last
    assert "Traceback" not in done.stderr
    assert store.read("members/").entries == {}


def test_a_second_daemon_of_the_same_node_is_refused(hamgrd, tmp_path, store):
    first = hamgrd("n1").start()
    second = tmp_path / "second.yaml"
    settings = yaml.safe_load(first.config.read_text()) | {"times": {"member-ttl": "1s"}}
    second.write_text(yaml.safe_dump(settings))
    done = run(second)
    assert done.returncode == 78
    assert "node name 'n1' is held by another live hamgrd" in done.stderr
    assert first.process.poll() is None
