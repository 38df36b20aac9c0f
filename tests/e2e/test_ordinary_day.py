"""An operator's ordinary day: after each order what lives and what is attached is what `hamgr status` says, for good.

A parked pod waits for nothing but a free disk, so each state in which nothing should run is looked at for longer than
Kubernetes takes to attach one and start a pod.
"""

from __future__ import annotations

import pytest
from fixtures.live_cluster import CLUSTER, stays

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.timeout(200)]
_FOR_4_S = 40
NODES = ("n1", "n2", "n3")
WITHOUT = CLUSTER.partition("\nresources:")[0] + "\nresources: []\n"


def parked_pod(live):
    return f"kv-{live.resource('kv').note.removeprefix('parked on ')}"


def assert_that_nothing_runs(live, parked=""):
    """Soon no pod is left, for good; the parked one, if given, never ran on the way."""
    ran = set()

    def look():
        pods = pods_of(live)
        ran.update(pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running")
        return not pods and live.agrees() and not live.resource("kv").nodes

    live.wait(look)
    assert parked not in ran
    assert stays(lambda: live.agrees() and not live.active_pod(), _FOR_4_S), live.differences()


def pods_of(live):
    return live.request("get", "/api/v1/namespaces/default/pods", labelSelector="hamgr.io/resource=kv")["items"]


def assert_well(live, fences):
    """Whole again, no node was fenced or barred for an order of an operator's, and OK is said."""
    live.await_whole()
    try:
        live.wait(lambda: live.said()[0] == 0)
    except AssertionError:
        pytest.fail(f"OK was never said, at last: {live.said()[1]}")
    assert live.status().failcounts == ()
    assert len(live.fences()) == fences


def test_disable_and_enable(live):
    fences, parked = len(live.fences()), parked_pod(live)
    assert live.hamgr("disable", "database").returncode == 0
    assert_that_nothing_runs(live, parked)
    code, line = live.said()
    assert code == 1
    assert "database is disabled; `hamgr enable database`" in line
    assert live.hamgr("enable", "database").returncode == 0
    assert_well(live, fences)


def test_every_node_in_standby_and_back(live):
    fences = len(live.fences())
    for node in NODES:
        assert live.hamgr("standby", node).returncode == 0
    assert_that_nothing_runs(live)
    live.wait(lambda: "n3: it is in standby" in live.said()[1])
    code, line = live.said()
    assert code == 2
    assert "database (disk, kv, clients) is down and should run" in line
    for node in NODES:
        assert live.hamgr("unstandby", node).returncode == 0
    assert_well(live, fences)


def test_banned_everywhere_and_cleared(live):
    fences = len(live.fences())
    for node in NODES:
        assert live.hamgr("ban", "database", node).returncode == 0
    assert_that_nothing_runs(live)
    live.wait(lambda: "`hamgr clear" in live.said()[1])
    assert live.said()[0] == 2
    assert live.hamgr("clear", "database").returncode == 0
    assert_well(live, fences)


def test_out_of_the_cluster_file_and_in_again(live):
    fences, parked = len(live.fences()), parked_pod(live)
    live.apply(WITHOUT)
    assert_that_nothing_runs(live, parked)
    live.apply()
    assert_well(live, fences)


def test_renamed_and_back(live):
    """The pods' names change with the resource's, and no two of them ever have the disk."""
    fences = len(live.fences())
    renamed = CLUSTER.replace("id: kv\n", "id: kv-two\n").replace("resource: kv}", "resource: kv-two}")
    live.apply(renamed.replace("id: disk,", "id: volume,"))
    live.wait(lambda: live.resource("kv-two").role == "Started" and live.agrees())
    assert stays(live.agrees), live.differences()
    live.apply()
    with live.writing("renamed"):
        pass
    assert_well(live, fences)


def test_a_container_that_crashes_twice(live):
    fences = len(live.fences())
    with live.writing("crashes") as writer:
        for _ in range(2):
            before = live.identity()
            live.sandbox.kill_container(live.active_pod()["metadata"]["name"])
            live.wait(lambda before=before: live.identity() not in (before, ("", 0)))
            live.await_more(writer)
            live.wait(live.agrees)
    live.hamgr("cleanup")
    assert_well(live, fences)
