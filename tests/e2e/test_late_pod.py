"""A pod that comes late, on a node that was fenced, bars nobody from the disk."""

from __future__ import annotations

import pytest

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.timeout(200)]
_PODS = "/api/v1/namespaces/default/pods"


def pods_of(live):
    return live.request("get", _PODS, labelSelector="hamgr.io/resource=kv")["items"]


def is_down(live):
    return not pods_of(live) and live.status().transition is None


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
    victim, fences = live.host(), len(live.fences())
    live.sandbox.crash(victim)
    try:
        live.wait(lambda: live.moved_from(victim) and live.status().transition is None)
        assert live.hamgr("disable", "database").returncode == 0
        live.wait(lambda: is_down(live) and not attached_to(live))
        live.request("post", _PODS, late_pod(victim))
        live.wait(lambda: "late-pod" in {fence.reason.code for fence in live.fences()[fences:]})
        live.wait(lambda: not pods_of(live) and not attached_to(live))
        assert live.hamgr("enable", "database").returncode == 0
        live.wait(lambda: live.moved_from(victim))
        assert [entry for entry in live.status().failcounts if entry.count == "INFINITY"] == []
    finally:
        live.hamgr("enable", "database")
        live.sandbox.start(victim)
    live.await_whole()
    live.judge([])
