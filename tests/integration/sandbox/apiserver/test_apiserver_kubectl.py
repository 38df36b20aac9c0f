"""kubectl works against the stand-in: every verb that an operator of a sandbox types."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from hamgr_sandbox.apiserver import in_thread

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")

MANIFEST = """
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 10Gi}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: db, labels: {app: db}}
spec:
  replicas: 1
  strategy: {type: Recreate}
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec:
      containers:
      - name: db
        image: mariadb:IMAGE
        ports: [{containerPort: 3306}]
        resources: {limits: {cpu: 1, memory: 1Gi}}
        volumeMounts: [{name: v, mountPath: /var/lib/mysql}]
      volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]
"""
IMAGE = "jsonpath={.spec.template.spec.containers[0].image} {.metadata.generation}"
NODE = """
apiVersion: v1
kind: Node
metadata: {name: NAME}
"""
POD = """
apiVersion: v1
kind: Pod
metadata: {name: NAME, labels: {app: x}}
spec: {nodeName: n1, containers: [{name: c, image: "x:1"}]}
"""


class Kubectl:
    """kubectl with a home of its own, so that it caches nothing between tests."""

    def __init__(self, url: str, home: Path) -> None:
        self.url = url
        self._command = ["kubectl", f"--server={url}"]
        self._environment = {"HOME": str(home), "PATH": os.environ["PATH"]}
        version = json.loads(self("version", "--client", "-o", "json"))
        self.minor = int(version["clientVersion"]["minor"].rstrip("+"))

    def run(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [*self._command, *words]
        return subprocess.run(
            command, input=stdin, env=self._environment, capture_output=True, text=True, timeout=60, check=False
        )

    def __call__(self, *words: str, stdin: str = "") -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def refused(self, *words: str, stdin: str = "") -> str:
        done = self.run(*words, stdin=stdin)
        assert done.returncode != 0, done.stdout
        return done.stderr

    def report_ready(self, pod: str) -> None:
        """What the pod's kubelet would say."""
        status = {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}
        request = urllib.request.Request(
            f"{self.url}/api/v1/namespaces/default/pods/{pod}/status",
            data=json.dumps(status).encode(),
            headers={"Content-Type": "application/merge-patch+json"},
            method="PATCH",
        )
        with urllib.request.urlopen(request, timeout=10):
            pass


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    with in_thread() as url:
        yield Kubectl(url, tmp_path_factory.mktemp("home"))


def test_apply_changes_only_what_changed(kubectl: Kubectl) -> None:
    first, second = MANIFEST.replace("IMAGE", "10.11"), MANIFEST.replace("IMAGE", "10.12")
    assert "deployment.apps/db created" in kubectl("apply", "-f", "-", stdin=first)
    assert "persistentvolumeclaim/data unchanged" in kubectl("apply", "-f", "-", stdin=second)
    assert kubectl("get", "deploy", "db", "-o", IMAGE) == "mariadb:10.12 2"
    wide = kubectl("get", "deploy,pvc", "-o", "wide")
    assert "mariadb:10.12" in wide
    assert "Pending" in wide
    assert "Recreate" in kubectl("describe", "deploy", "db")
    kubectl("delete", "-f", "-", stdin=first)
    assert kubectl("get", "deploy,pvc", "--ignore-not-found") == ""


def test_server_side_apply_and_strict_fields(kubectl: Kubectl) -> None:
    if kubectl.minor < 27:
        pytest.skip("this kubectl does not ask the server to be strict")
    first, second = MANIFEST.replace("IMAGE", "10.11"), MANIFEST.replace("IMAGE", "10.12")
    typo = second.replace("claimName: data", "claimNam: data")
    refused = kubectl.refused("apply", "-f", "-", stdin=typo)
    assert 'unknown field "spec.template.spec.volumes[0].persistentVolumeClaim.claimNam"' in refused
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=second)
    assert "serverside-applied" in kubectl("apply", "--server-side", "-f", "-", stdin=second)
    conflict = kubectl.refused("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=first)
    assert 'conflict with "kubectl": .spec.template.spec.containers[name="db"].image' in conflict
    kubectl("apply", "--server-side", "--field-manager=other", "--force-conflicts", "-f", "-", stdin=first)
    assert kubectl("get", "deploy", "db", "-o", IMAGE) == "mariadb:10.11 2"
    kubectl("delete", "-f", "-", stdin=first)


def test_what_kubectl_makes_up_itself(kubectl: Kubectl) -> None:
    assert "namespace/tmp created" in kubectl("create", "namespace", "tmp")
    kubectl("-n", "tmp", "create", "deployment", "d", "--image=a:1", "--replicas=0", "--port=80")
    kubectl("-n", "tmp", "create", "secret", "generic", "s", "--from-literal=k=v")
    kubectl("-n", "tmp", "create", "service", "clusterip", "svc", "--tcp=80:8080")
    kubectl("-n", "tmp", "create", "role", "r", "--verb=get", "--resource=pods")
    assert kubectl("-n", "tmp", "get", "secret", "s", "-o", "jsonpath={.data.k}") == "dg=="
    assert kubectl("-n", "tmp", "get", "svc", "svc", "-o", "jsonpath={.spec.ports[0].targetPort}") == "8080"
    if kubectl.minor >= 21:  # before, it knew no policy/v1
        kubectl("-n", "tmp", "create", "pdb", "p", "--selector=a=b", "--min-available=50%")
        assert kubectl("-n", "tmp", "get", "pdb", "p", "-o", "jsonpath={.spec.minAvailable}") == "50%"
    kubectl("-n", "tmp", "scale", "deployment", "d", "--replicas=3")
    assert kubectl("-n", "tmp", "get", "deploy", "d", "-o", "jsonpath={.spec.replicas}") == "3"
    assert kubectl("auth", "can-i", "list", "pods").strip() == "yes"
    kubectl("delete", "namespace", "tmp")  # waits until it is gone
    assert "not found" in kubectl.refused("get", "namespace", "tmp")


def test_nodes_are_labeled_tainted_cordoned_and_drained(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=NODE.replace("NAME", "n1"))
    kubectl("create", "-f", "-", stdin=POD.replace("NAME", "w"))
    kubectl("label", "node", "n1", "zone=a")
    kubectl("annotate", "node", "n1", "note=b")
    kubectl("taint", "node", "n1", "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
    kubectl("taint", "node", "n1", "node.kubernetes.io/not-ready-")
    kubectl("cordon", "n1")
    taints = kubectl("get", "node", "n1", "-o", "jsonpath={.spec.taints[*].key} {.spec.unschedulable}")
    assert taints == "node.kubernetes.io/out-of-service true"
    assert "SchedulingDisabled" in kubectl("get", "nodes", "-l", "zone=a")
    assert "evicting pod default/w" in kubectl.run("drain", "n1", "--force", "--timeout=1s").stdout
    assert kubectl("get", "pod", "w", "-o", "jsonpath={.metadata.deletionGracePeriodSeconds}") == "30"
    assert "Terminating" in kubectl("get", "pods", "--field-selector=spec.nodeName=n1")
    kubectl("delete", "pod", "w", "--force", "--grace-period=0")
    kubectl("uncordon", "n1")
    assert "n1" in kubectl("describe", "node", "n1")
    kubectl("delete", "node", "n1")


def test_wait_patch_and_describe_a_pod(kubectl: Kubectl) -> None:
    kubectl("create", "-f", "-", stdin=POD.replace("NAME", "p"))
    assert "timed out" in kubectl.refused("wait", "--for=condition=Ready", "pod/p", "--timeout=0.2s")
    kubectl.report_ready("p")
    assert "condition met" in kubectl("wait", "--for=condition=Ready", "pod/p", "--timeout=10s")
    kubectl("patch", "pod", "p", "--type=json", "-p", '[{"op":"add","path":"/metadata/labels/z","value":"1"}]')
    assert kubectl("get", "pods", "-l", "z=1", "-o", "name") == "pod/p\n"
    described = kubectl("describe", "pod", "p")
    assert re.search(r"^Node: +n1", described, re.MULTILINE)
    assert re.search(r"^ +Image: +x:1", described, re.MULTILINE)
    assert "is invalid" in kubectl.refused("patch", "pod", "p", "-p", '{"spec":{"nodeName":"other"}}')
    kubectl("delete", "pod", "p", "--now", "--wait=false")
    assert kubectl("get", "pod", "p", "-o", "jsonpath={.metadata.deletionGracePeriodSeconds}") == "1"


def test_what_there_is(kubectl: Kubectl) -> None:
    names = kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "volumeattachments.storage.k8s.io", "leases.coordination.k8s.io"} <= {*names}
    assert "v1.36" in kubectl("version")
    if kubectl.minor >= 27:  # older ones want the whole second version of the documents
        assert "nodeName" in kubectl("explain", "pod.spec.nodeName")
    assert kubectl("get", "--raw", "/readyz") == "ok"
