"""An operator at work on the live cluster: nothing that was acknowledged is lost on the way."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from fixtures.live_cluster import CLUSTER, stays

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.timeout(200)]


def settled_elsewhere(live, node):
    return live.moved_from(node) and live.status().transition is None


def test_a_planned_move_there_and_back(live):
    fences, host = len(live.fences()), live.host()
    there = next(name for name in ("n1", "n2", "n3") if name != host)
    with live.writing("move") as writer:
        assert live.hamgr("move", "database", there).returncode == 0
        live.wait(lambda: live.active_pod() and live.host() == there)
        live.await_more(writer)
        assert live.hamgr("clear", "database").returncode == 0
        live.await_whole()
        assert live.host() == there
    assert len(live.fences()) == fences  # an orderly move needs no force


def test_ban_and_clear(live):
    host = live.host()
    with live.writing("ban") as writer:
        assert live.hamgr("ban", "database", host).returncode == 0
        live.wait(lambda: settled_elsewhere(live, host))
        live.await_more(writer)
        assert live.hamgr("clear", "database").stdout.split() == ["removed", f"cli-ban-database-on-{host}"]
    live.await_whole()


def test_standby_and_back(live):
    host, fences = live.host(), len(live.fences())
    with live.writing("standby") as writer:
        assert live.hamgr("standby", host).returncode == 0
        live.wait(lambda: settled_elsewhere(live, host))
        live.wait(lambda: live.node(host).standby)
        live.await_more(writer)
        assert live.hamgr("unstandby", host).returncode == 0
        live.wait(lambda: not live.node(host).standby)
    live.await_whole()
    assert len(live.fences()) == fences


def test_maintenance_keeps_hands_off(live):
    identity, fences = live.identity(), len(live.fences())
    assert live.hamgr("maintenance", "on").returncode == 0
    live.wait(lambda: live.status().maintenance)
    try:
        live.sandbox.kill_container(live.active_pod()["metadata"]["name"])
        live.wait(lambda: live.identity()[1] > identity[1])  # its kubelet alone restarts it
        assert live.identity()[0] == identity[0]
    finally:
        assert live.hamgr("maintenance", "off").returncode == 0
    live.wait(lambda: not live.status().maintenance)
    live.await_whole()
    with live.writing("after-maintenance"):
        pass
    assert len(live.fences()) == fences


def test_a_changed_cluster_file_that_is_wrong_changes_nothing(live):
    identity, before = live.identity(), live.store.get("config").mod_revision
    file = live.directory / "wrong.yaml"
    file.write_text(CLUSTER.replace("agent: pod", "agent: prod"))
    done = live.hamgr("apply", "-f", str(file))
    assert done.returncode == 78
    assert "there is no agent 'prod'" in done.stderr
    assert live.store.get("config").mod_revision == before
    assert stays(lambda: live.identity() == identity)


NEEDY = """
  - id: needy
    agent: pod
    params:
      template:
        spec:
          containers:
            - name: main
              image: hamgr/kvapp
              env: [{name: PASSWORD, valueFrom: {secretKeyRef: {name: not-there, key: password}}}]
              resources: {requests: {cpu: 100m}}
"""
THERE = "  - location: {resource: needy, node: n3, score: 20}\n"


SECRET = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "not-there"}, "data": {"password": "eA=="}}


def occupy(live, node):
    """Somebody's pod takes all of a node's processors."""
    cores = live.request("get", f"/api/v1/nodes/{node}")["status"]["allocatable"]["cpu"]
    container = {"name": "c", "image": "x", "command": ["sleep", "1000"], "resources": {"requests": {"cpu": cores}}}
    spec = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 1}
    live.request("post", "/api/v1/namespaces/default/pods", {"metadata": {"name": "greedy"}, "spec": spec})


def test_a_missing_secret_is_waited_for_then_a_full_node_is_passed_over_and_others_are_left_alone(live):
    identity, fences = live.identity(), len(live.fences())
    occupy(live, "n3")
    live.apply(CLUSTER.replace("\nconstraints:", NEEDY + "constraints:") + THERE)
    try:
        live.wait(lambda: any(warning.startswith("needy waits: ") for warning in live.status().warnings))
        shown = live.hamgr("status")
        assert "Secret default/not-there" in shown.stdout
        assert stays(lambda: "needy" not in {count.resource for count in live.status().failcounts})
        assert "needy" not in {failed.resource for failed in live.status().failed}
        live.request("post", "/api/v1/namespaces/default/secrets", SECRET)
        live.wait(lambda: live.resource("needy").nodes not in ((), ("n3",)))
        live.wait(lambda: live.resource("needy").role == "Started" and live.status().transition is None)
        live.wait(lambda: not any(warning.startswith("needy waits") for warning in live.status().warnings))
        assert live.resource("needy").nodes[0] != "n3"
        (failed,) = [entry for entry in live.status().failed if entry.resource == "needy"]
        assert (failed.node, failed.task) == ("n3", "start")
        assert "pod needy-n3 was rejected by its kubelet (OutOfcpu): Node didn't have enough resource" in failed.reason
        assert "needy may not run on n3 any more: needy start failed on n3 (pod needy-n3 was" in live.said()[1]
    finally:
        live.apply()
        live.request("delete", "/api/v1/namespaces/default/pods/greedy")
    live.wait(lambda: "needy" not in {resource.id for resource in live.status().resources})
    assert live.identity() == identity
    assert len(live.fences()) == fences


def kubectl(live, *arguments):
    command = ["kubectl", "--kubeconfig", str(live.sandbox.kubeconfig), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_a_node_is_drained_as_the_documentation_says(live):
    host, fences = live.host(), len(live.fences())
    refused = kubectl(live, "drain", host, "--ignore-daemonsets", "--timeout=60s")
    try:
        assert refused.returncode != 0
        assert "use --force" in refused.stderr
        assert live.host() == host  # cordoned, and what runs there stays
        assert live.hamgr("standby", host).returncode == 0
        live.wait(lambda: settled_elsewhere(live, host) and not live.node(host).resources_running)
        drained = kubectl(live, "drain", host, "--ignore-daemonsets", "--timeout=60s")
        assert drained.returncode == 0, drained.stderr
    finally:
        assert kubectl(live, "uncordon", host).returncode == 0
        assert live.hamgr("unstandby", host).returncode == 0
    live.await_whole()
    assert len(live.fences()) == fences


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_what_is_drained_by_force_is_not_started_again_on_the_cordoned_node(live):
    host, fences = live.host(), len(live.fences())
    there = live.resource("kv").note.removeprefix("parked on ")
    try:
        assert kubectl(live, "cordon", there).returncode == 0
        live.wait(lambda: live.resource("kv").note not in ("", f"parked on {there}"))
        drained = kubectl(live, "drain", host, "--force", "--ignore-daemonsets", "--timeout=60s")
        assert drained.returncode == 0, drained.stderr
        live.wait(lambda: live.active_pod() and live.status().transition is None)
        assert live.host() not in (host, there)
    finally:
        for node in (host, there):
            assert kubectl(live, "uncordon", node).returncode == 0
    live.hamgr("cleanup")
    live.await_whole()
    assert len(live.fences()) == fences


def test_what_kubernetes_evicts_is_recovered_at_the_standby(live):
    host, fences = live.host(), len(live.fences())
    there = live.resource("kv").note.removeprefix("parked on ")
    taint = {"key": "maintenance", "effect": "NoExecute"}
    with live.writing("evicted") as writer:
        live.request("patch", f"/api/v1/nodes/{host}", {"spec": {"taints": [taint]}})
        try:
            live.wait(lambda: live.moved_from(host) and live.status().transition is None)
            assert live.host() == there
            live.await_more(writer)
            (failed,) = [entry for entry in live.status().failed if entry.resource == "kv"]
            assert (failed.node, failed.task) == (host, "monitor")
            told = f"pod kv-{host} is being deleted (Taint manager: deleting due to NoExecute taint)"
            assert failed.reason == told
            live.wait(lambda: f"node {host} has the taint maintenance:NoExecute" in live.said()[1])
            live.wait(lambda: live.resource("kv").note not in ("", f"being parked on {host}", f"parked on {host}"))
        finally:
            live.request("patch", f"/api/v1/nodes/{host}", {"spec": {"taints": None}})
    assert live.hamgr("cleanup").returncode == 0
    live.await_whole()
    assert len(live.fences()) == fences


def test_a_cleanup_of_what_runs_restarts_nothing_and_keeps_the_standby(live):
    before = live.identity()
    live.sandbox.kill_container(live.active_pod()["metadata"]["name"])
    live.wait(lambda: live.identity()[1] > before[1])
    live.await_whole()
    identity, parked = live.identity(), live.resource("kv").note
    assert live.hamgr("cleanup").returncode == 0
    assert stays(lambda: live.identity() == identity and live.resource("kv").note == parked)
