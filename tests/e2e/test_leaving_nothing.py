"""What is stopped for good leaves nothing behind that Kubernetes would start, and is back at once when it is wanted."""

from __future__ import annotations

import pytest
import yaml
from fixtures.live_cluster import CLUSTER

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.timeout(200)]
_PODS = "/api/v1/namespaces/default/pods"


def pods_of(live, resource="kv"):
    return live.request("get", _PODS, labelSelector=f"hamgr.io/resource={resource}")["items"]


def is_down(live):
    return not pods_of(live) and live.status().transition is None


def is_back_without_a_failure(live):
    live.await_whole()
    assert [entry for entry in live.status().failcounts if entry.count == "INFINITY"] == []
    assert [entry for entry in live.status().failed if entry.task != "monitor"] == []


def test_disabled_and_enabled_again(live):
    fences, host = len(live.fences()), live.host()
    (standby,) = [pod["metadata"]["name"] for pod in pods_of(live) if pod["spec"]["nodeName"] != host]
    assert live.hamgr("disable", "database").returncode == 0
    seen_running = set()

    def look():
        for pod in pods_of(live):
            if pod["spec"]["nodeName"] != host and pod["status"].get("phase") == "Running":
                seen_running.add(pod["metadata"]["name"])
        return is_down(live)

    live.wait(look)
    assert standby not in seen_running
    assert live.hamgr("enable", "database").returncode == 0
    is_back_without_a_failure(live)
    assert len(live.fences()) == fences


def test_taken_out_of_the_file_and_put_back_under_another_name(live):
    fences = len(live.fences())
    file = yaml.safe_load(CLUSTER)
    try:
        live.apply(yaml.safe_dump({**file, "resources": [], "constraints": []}))
        live.wait(lambda: is_down(live))
        live.apply(CLUSTER)
        is_back_without_a_failure(live)
        disk, app = file["resources"][0]["members"][:2]
        renamed = [{**disk, "id": "volume"}, {**app, "id": "store"}]  # without the Service, which selects the old id
        live.apply(yaml.safe_dump({**file, "resources": [{"group": "database", "members": renamed}]}))
        live.wait(lambda: not pods_of(live))
        live.wait(lambda: any(pod["status"].get("phase") == "Running" for pod in pods_of(live, "store")))
    finally:
        live.apply(CLUSTER)
    is_back_without_a_failure(live)
    assert pods_of(live, "store") == []
    assert len(live.fences()) == fences
    live.judge([])


def late_pod(node):
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"kv-{node}",
            "labels": {"hamgr.io/cluster": "sandbox", "hamgr.io/resource": "kv", "hamgr.io/node": node},
        },
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "hamgr/kvapp"}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "kv-data"}}],
        },
    }


def attached_to(live):
    listed = live.request("get", "/apis/storage.k8s.io/v1/volumeattachments")["items"]
    return [entry["spec"]["nodeName"] for entry in listed]


def test_a_late_pod_on_a_node_that_was_fenced_bars_nobody(live):
    victim = live.host()
    live.sandbox.crash(victim)
    try:
        live.wait(lambda: live.moved_from(victim) and live.status().transition is None)
        assert live.hamgr("disable", "database").returncode == 0
        live.wait(lambda: is_down(live) and not attached_to(live))
        live.request("post", _PODS, late_pod(victim))
        live.wait(lambda: live.fences()[-1].reason.code == "late-pod")
        live.wait(lambda: not pods_of(live) and not attached_to(live))
        assert live.hamgr("enable", "database").returncode == 0
        live.wait(lambda: live.moved_from(victim))
        assert [entry for entry in live.status().failcounts if entry.count == "INFINITY"] == []
    finally:
        live.hamgr("enable", "database")
        live.sandbox.start(victim)
    live.await_whole()
    live.judge([])
