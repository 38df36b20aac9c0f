"""Nodes and disks of a sandbox in a cluster that the sandbox has not started, reached over this machine's loopback."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fixtures.etcd import EtcdServer
from hamgr_sandbox import observe
from hamgr_sandbox.cluster import Sandbox
from hamgr_sandbox.layout import Options
from hamgr_sandbox.network import Peer

pytestmark = [
    pytest.mark.root,
    pytest.mark.etcd,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]


@pytest.fixture
def foreign_kubeconfig(tmp_path: Path) -> Iterator[Path]:
    """An API server with client certificates in files beside its kubeconfig, as kubeadm and kind write them."""
    tls, ready = tmp_path / "tls", tmp_path / "ready"
    arguments = ["--listen", "127.0.0.1:0", "--tls-dir", str(tls), "--ready-file", str(ready)]
    with subprocess.Popen([sys.executable, "-m", "hamgr_sandbox.apiserver", *arguments]) as server:
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        config = {
            "current-context": "it",
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "me"}}],
            "clusters": [
                {"name": "it", "cluster": {"server": ready.read_text().strip(), "certificate-authority": "tls/ca.crt"}}
            ],
            "users": [{"name": "me", "user": {"client-certificate": "tls/admin.pem", "client-key": "tls/admin.pem"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump(config))
        yield path
        server.terminate()


def test_nodes_join_a_cluster_outside(tmp_path: Path, foreign_kubeconfig: Path, etcd_server: EtcdServer) -> None:
    options = Options(nodes=2, kubeconfig=str(foreign_kubeconfig), etcd_endpoints=(etcd_server.endpoint,), hamgrd=False)
    sandbox = Sandbox(tmp_path / "sandbox", options)
    heard: list[str] = []
    # Nobody takes the taint of new nodes away here: that is the cluster's node lifecycle controller's task.
    controllers = [sys.executable, "-m", "hamgr_sandbox.controllers", "--kubeconfig", str(foreign_kubeconfig)]
    with subprocess.Popen(controllers, stderr=subprocess.DEVNULL) as process:
        try:
            sandbox.up(heard.append)
            assert not [line for line in heard if "etcd" in line or "API server" in line]
            assert set(sandbox.status().control) == {"attacher", "balancer", "proxy"}
            nodes = observe.look(foreign_kubeconfig, sandbox.etcd_endpoints).nodes
            assert nodes == {"n1": True, "n2": True}
            assert observe.read(foreign_kubeconfig, "/apis/storage.k8s.io/v1/storageclasses/sandbox-disk")
            assert answers(sandbox, "n1", etcd_server.endpoint)
            sandbox.partition("n1", Peer.ETCD)
            assert not answers(sandbox, "n1", etcd_server.endpoint)
            assert answers(sandbox, "n2", etcd_server.endpoint)
            sandbox.heal("n1")
            assert answers(sandbox, "n1", etcd_server.endpoint)
        finally:
            sandbox.down()
            process.terminate()
    assert (tmp_path / "sandbox" / "disks").is_dir(), "the volumes of the other cluster still stand for these disks"


def answers(sandbox: Sandbox, node: str, url: str) -> bool:
    seen = sandbox.record.seen_from(node, url)
    script = f"import urllib.request; urllib.request.urlopen('{seen}/health', timeout=0.5)"
    command = ["nsenter", "-t", str(sandbox.host(node).running().pid), "-n", sys.executable, "-S", "-c", script]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
