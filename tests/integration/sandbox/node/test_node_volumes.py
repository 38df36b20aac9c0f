"""When a node mounts a disk, when it lets go of it, and what the database on it keeps."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import pymysql
import pytest
from fixtures.node_cluster import Cluster, container, mariadb, needs_mariadb, on_disk
from fixtures.waiting import eventually
from hamgr_sandbox import blockdev
from hamgr_sandbox.kvapp import LOG_NAME, Acknowledged, audit

Json = dict[str, Any]
NAME = "kubernetes.io/csi/disk.sandbox.hamgr.io^d"
FOREVER = 'trap "exit 0" TERM; while :; do sleep 1 & wait; done'
KVAPP: Json = {
    "name": "kv",
    "image": "hamgr/kvapp:1",
    "readinessProbe": {"tcpSocket": {"port": 6380}, "periodSeconds": 1},
}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="disks that can be pulled need root")


def idle(claim: str) -> Json:
    return on_disk(claim, "/data", container("sh", "-c", FOREVER))


def waits(status: Json) -> bool:
    state = (status.get("containerStatuses") or [{}])[0].get("state") or {}
    return (state.get("waiting") or {}).get("reason") == "ContainerCreating"


class KeyValue:
    """A client of the key-value app that remembers what it was promised."""

    def __init__(self, address: str) -> None:
        self._file = socket.create_connection((address, 6380), timeout=10).makefile("rw")
        self.promised: list[Acknowledged] = []

    def ask(self, command: str) -> str:
        self._file.write(command + "\n")
        self._file.flush()
        return self._file.readline().rstrip("\n")

    def set(self, key: str, value: str) -> None:
        answer = self.ask(f"SET {key} {value}")
        assert answer.startswith("OK "), answer
        self.promised.append(Acknowledged(int(answer.removeprefix("OK ")), key, value))


def test_a_disk_is_mounted_only_after_a_report_that_it_is_in_use(cluster: Cluster) -> None:
    """Reports once in an hour: the one at the start comes before the pod, so the pod must wait although attached."""
    cluster.start_agent("n1", "--node-status-update-frequency", "60m")
    cluster.disk("d", "n1")
    cluster.create("p", idle("d"))
    cluster.await_status("p", waits, "waiting")
    time.sleep(1.0)
    assert waits((cluster.api.pod("p") or {})["status"])
    assert cluster.in_use("n1") == []


def test_a_parked_pod_starts_as_soon_as_its_disk_is_attached(node: Cluster) -> None:
    node.disk("d")
    node.create("p", idle("d"))
    eventually(lambda: node.in_use("n1") == [NAME], "the wanted disk is reported before it is attached")
    assert waits((node.api.pod("p") or {})["status"])
    node.attach("d", "n1")
    node.await_ready("p")


def test_a_disk_leaves_volumes_in_use_after_it_was_unmounted(node: Cluster) -> None:
    node.disk("d", "n1")
    node.create("p", idle("d"))
    node.await_ready("p")
    assert node.in_use("n1") == [NAME]
    assert node.mounts("n1", "globalmount")
    assert node.mounts("n1", "kubernetes.io~csi/pv-d/mount")
    node.delete("p")
    node.await_gone("p")
    assert not node.mounts("n1", "kubernetes.io")
    eventually(lambda: node.in_use("n1") == [], "no disk in use")


@needs_root
def test_an_unmounted_disk_is_free_while_other_containers_run(node: Cluster) -> None:
    """A container that kept a copy of another pod's mount would keep its file system alive, and unflushed."""
    node.disk("d", "n1")
    node.create("first", idle("d"))
    node.await_ready("first")
    node.create("other", {"containers": [container("sh", "-c", FOREVER)]})
    node.await_ready("other")
    device = next(disk.device for disk in node.disks.disks())
    assert device is not None
    assert blockdev.is_mounted(device)
    node.delete("first")
    node.await_gone("first")
    assert not blockdev.is_mounted(device)
    assert node.running() == ["other"]


def test_a_missing_claim_is_an_event_and_a_retry(node: Cluster) -> None:
    node.create("p", idle("d"))
    eventually(lambda: "FailedMount" in node.api.reasons("p"), "an event")
    node.disk("d", "n1")
    node.await_ready("p")


def test_the_storage_refuses_a_node_that_does_not_hold_the_disk(node: Cluster) -> None:
    """The Node object says attached, the storage says otherwise: the storage is right."""
    node.disk("d", "n1")
    node.disks.detach("d", "n1")
    node.disks.attach("d", "n2")
    node.create("p", idle("d"))
    told = eventually(lambda: [e for e in node.api.events("p") if e["reason"] == "FailedMount"], "an event")
    assert "is not attached to node 'n1'" in told[0]["message"]
    node.disks.detach("d", "n2")
    node.disks.attach("d", "n1")
    node.await_ready("p")


def test_mounts_are_found_again_by_the_next_agent(node: Cluster) -> None:
    node.disk("d", "n1")
    node.create("p", idle("d"))
    node.create("gone", {"containers": [container("sh", "-c", FOREVER)]})
    node.await_ready("p")
    node.stop_agent("n1")
    node.delete("p", grace_s=0)
    node.resume_agent("n1")
    eventually(lambda: "p" not in node.running(), "the pod that was deleted meanwhile has ended")
    eventually(lambda: not node.mounts("n1", "kubernetes.io"), "its disk is unmounted")
    eventually(lambda: node.in_use("n1") == [], "no disk in use")


def test_every_acknowledged_write_is_found_on_the_next_node(cluster: Cluster) -> None:
    cluster.start_agent("n1")
    cluster.start_agent("n2")
    cluster.disk("d", "n1")
    cluster.create("kv", on_disk("d", "/data", KVAPP))
    client = KeyValue(cluster.await_ready("kv")["podIP"])
    for number in range(20):
        client.set(f"k{number}", "one")
    cluster.crash("n1")
    cluster.delete("kv", grace_s=0)
    cluster.detach("d", "n1")
    cluster.create("kv2", on_disk("d", "/data", KVAPP), "n2")
    cluster.attach("d", "n2")
    second = KeyValue(cluster.await_ready("kv2")["podIP"])
    assert second.ask("GET k19") == "VALUE 21 one"
    second.set("k19", "two")
    assert judged(cluster, "kv2", "n2", [*client.promised, *second.promised]).clean


def judged(cluster: Cluster, pod: str, node: str, promised: list[Acknowledged]) -> Any:
    """The audit of the log on disk d, taken after the pod has ended and the disk has come to us."""
    cluster.delete(pod)
    cluster.await_gone(pod)
    cluster.detach("d", node)
    place = cluster.directory / "audit"
    cluster.disks.attach("d", "auditor")
    cluster.disks.stage("d", "auditor", place)
    try:
        return audit(place / LOG_NAME, promised)
    finally:
        cluster.disks.unstage("d", "auditor", place)
        cluster.disks.detach("d", "auditor")


@needs_root
def test_a_writer_whose_disk_is_pulled_is_cut_off_before_the_next_one_starts(cluster: Cluster) -> None:
    """A partition as the storage sees it: the old pod lives on and tries to write."""
    cluster.start_agent("n1")
    cluster.start_agent("n2")
    cluster.disk("d", "n1")
    cluster.create("kv", on_disk("d", "/data", KVAPP))
    client = KeyValue(cluster.await_ready("kv")["podIP"])
    client.set("a", "old")
    cluster.stop_agent("n1")
    cluster.delete("kv", grace_s=0)
    cluster.detach("d", "n1")
    assert client.ask("SET a late").startswith("ERR ")
    cluster.create("kv2", on_disk("d", "/data", KVAPP), "n2")
    cluster.attach("d", "n2")
    second = KeyValue(cluster.await_ready("kv2")["podIP"])
    second.set("a", "new")
    cluster.resume_agent("n1")
    eventually(lambda: not cluster.running("n1"), "the old pod has ended")
    eventually(lambda: not cluster.mounts("n1", "kubernetes.io"), "the dead mount is gone")
    found = judged(cluster, "kv2", "n2", [*client.promised, *second.promised])
    assert found.clean
    assert len(found.writers) == 2


@needs_mariadb
@pytest.mark.mariadb
def test_mariadb_on_a_disk_survives_kill_and_move(cluster: Cluster) -> None:
    cluster.start_agent("n1")
    cluster.start_agent("n2")
    cluster.disk("d", "n1")
    cluster.create("db", on_disk("d", "/var/lib/mysql", mariadb("it's \\ secret")))
    address = cluster.await_ready("db")["podIP"]
    execute(address, "CREATE DATABASE t")
    execute(address, "CREATE TABLE t.rows_ (i INT PRIMARY KEY)")
    execute(address, "INSERT INTO t.rows_ VALUES (1)")
    cluster.kill("db")
    eventually(lambda: rows(address) == [1], "the row after a kill")
    execute(address, "INSERT INTO t.rows_ VALUES (2)")
    cluster.delete("db")
    cluster.await_gone("db")
    cluster.detach("d", "n1")
    cluster.create("db", on_disk("d", "/var/lib/mysql", mariadb("ignored, since there are data")), "n2")
    cluster.attach("d", "n2")
    assert rows(cluster.await_ready("db")["podIP"]) == [1, 2]


@needs_mariadb
@pytest.mark.mariadb
def test_mariadb_without_a_password_says_what_is_missing(node: Cluster) -> None:
    node.create("db", {"restartPolicy": "Never", "containers": [{"name": "db", "image": "mariadb:10.11"}]})
    node.await_status("db", lambda s: s.get("phase") == "Failed", "Failed")
    assert "set MARIADB_ROOT_PASSWORD" in node.log("db", "db")


@needs_mariadb
@pytest.mark.mariadb
def test_mariadb_makes_the_database_and_the_user_it_is_asked_for(node: Cluster) -> None:
    names = {"ROOT_PASSWORD": "r", "DATABASE": "shop", "USER": "app", "PASSWORD": "p'q"}
    made = mariadb()
    made["env"] = [{"name": f"MARIADB_{name}", "value": value} for name, value in names.items()]
    node.create("db", {"containers": [made]})
    address = node.await_ready("db")["podIP"]
    with connected(address, "app", "p'q") as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE shop.t (i INT)")
        cursor.execute("SHOW DATABASES LIKE 'mysql'")
        assert cursor.fetchall() == ()


def connected(address: str, user: str = "root", password: str = "it's \\ secret") -> Any:
    return pymysql.connect(host=address, user=user, password=password, autocommit=True, connect_timeout=5)


def execute(address: str, statement: str) -> None:
    with connected(address) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def rows(address: str) -> list[int]:
    try:
        with connected(address) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT i FROM t.rows_ ORDER BY i")
            return [int(row[0]) for row in cursor.fetchall()]
    except pymysql.OperationalError:
        return []


def test_a_host_path_and_a_sub_path(node: Cluster, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    volume = {"name": "h", "hostPath": {"path": str(tmp_path / "shared"), "type": "Directory"}}
    mount = {"name": "h", "mountPath": "/in", "subPath": "below"}
    spec = {"containers": [container("touch", "/in/seen", volumeMounts=[mount])], "volumes": [volume]}
    node.create("p", {**spec, "restartPolicy": "Never"})
    node.await_status("p", lambda s: s.get("phase") == "Succeeded", "Succeeded")
    assert (tmp_path / "shared/below/seen").exists()
