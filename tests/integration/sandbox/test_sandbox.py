"""A whole sandbox on this machine: it comes up, its faults are what they say, and it leaves nothing behind."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from fixtures.running_sandbox import running_sandbox
from fixtures.waiting import eventually
from hamgr_sandbox import blockdev, observe, processes
from hamgr_sandbox.addresses import sandbox_id
from hamgr_sandbox.cluster import Sandbox
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.layout import Options
from hamgr_sandbox.machine import Machine
from hamgr_sandbox.network import Direction, Peer

from hamgr.api.exits import Exit

pytestmark = [pytest.mark.root, pytest.mark.etcd]

DISK_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "writer"},
    "spec": {
        "nodeName": "n2",
        "terminationGracePeriodSeconds": 0,
        "containers": [
            {
                "name": "main",
                "image": "busybox",
                "command": ["sh", "-c", "echo start $$ >> /data/log; sync /data/log; exec sleep 1000"],
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
    },
}
CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
}


def traces(directory: Path) -> list[str]:
    """All that a sandbox of this directory has on the machine: processes, namespaces, devices, mounts."""
    name = sandbox_id(directory)
    found = [str(path) for path in Path("/run/netns").glob(f"hamgr-{name}*")]
    found += [str(path) for path in Path("/sys/class/net").glob(f"h{name}*")]
    found += blockdev.devices_below(directory)
    found += [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(directory) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(directory) in command:
            found.append(command.replace("\0", " "))
    return found


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces and loop devices need root")
    with running_sandbox(Options(nodes=2, hamgrd=False)) as made:
        yield made
    assert traces(made.layout.root) == []


def ran_within(sandbox: Sandbox, node: str, script: str) -> bool:
    """Whether a Python script, run on the node by nsenter, succeeds there."""
    init = sandbox.host(node).running().pid
    command = ["nsenter", "-t", str(init), "-n", "-m", sys.executable, "-S", "-c", script]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def reaches(sandbox: Sandbox, node: str, url: str) -> bool:
    """Whether a server answers the node, whatever it answers."""
    parts = urlsplit(url)
    script = f"import socket; socket.create_connection(('{parts.hostname}', {parts.port}), 0.5)"
    return ran_within(sandbox, node, script)


def create(sandbox: Sandbox, item: dict[str, Any]) -> None:
    command = ["kubectl", "create", "--validate=false", "-f", "-"]
    environment = {**os.environ, "KUBECONFIG": str(sandbox.kubeconfig)}
    subprocess.run(command, input=json.dumps(item), text=True, check=True, env=environment, capture_output=True)


def pod_status(sandbox: Sandbox) -> dict[str, Any]:
    found = observe.read(sandbox.kubeconfig, "/api/v1/namespaces/default/pods/writer").get("status", {})
    statuses: list[dict[str, Any]] = found.get("containerStatuses") or [{}]
    return statuses[0]


def test_up_reports_what_is_there(sandbox: Sandbox) -> None:
    status = sandbox.status()
    assert status.etcd_answers
    assert status.api_answers
    assert set(status.control.values()) == {"running"}
    assert [(node.name, node.state, node.ready) for node in status.nodes] == [
        ("n1", "running", True),
        ("n2", "running", True),
    ]
    with pytest.raises(SandboxError, match="a sandbox is up already"):
        Sandbox(sandbox.layout.root).up()
    with pytest.raises(SandboxError, match="no node 'n7'; the sandbox has n1, n2") as caught:
        sandbox.crash("n7")
    assert caught.value.code == Exit.NO_HOST


@pytest.mark.parametrize(
    ("peer", "direction", "etcd", "api"),
    [
        (Peer.ALL, Direction.BOTH, False, False),
        (Peer.ALL, Direction.IN, False, False),
        (Peer.ETCD, Direction.OUT, False, True),
        (Peer.API, Direction.BOTH, True, False),
        (Peer.CLIENTS, Direction.BOTH, True, True),
    ],
)
def test_a_partitioned_node_runs_on_alone(
    sandbox: Sandbox, peer: Peer, direction: Direction, etcd: bool, api: bool
) -> None:
    before = sandbox.host("n1").services()
    sandbox.partition("n1", peer, direction)
    try:
        assert reaches(sandbox, "n1", sandbox.etcd_endpoints[0]) is etcd
        assert reaches(sandbox, "n1", sandbox.record.api) is api
        assert sandbox.host("n1").services() == before, "its processes must run on"
        assert reaches(sandbox, "n2", sandbox.etcd_endpoints[0])
        assert [(cut.peer, cut.direction) for cut in sandbox.status().nodes[0].cuts] == [(peer, direction)]
    finally:
        sandbox.heal("n1")
    assert reaches(sandbox, "n1", sandbox.etcd_endpoints[0])
    assert reaches(sandbox, "n1", sandbox.record.api)


def test_a_frozen_node_stands_still_as_a_whole(sandbox: Sandbox) -> None:
    init = sandbox.host("n1").running().pid
    sandbox.freeze("n1")
    try:
        assert all(processes.is_frozen(pid) for pid in processes.descendants(init))
        assert sandbox.status().nodes[0].state == "frozen"
    finally:
        sandbox.thaw("n1")
    assert not any(processes.is_frozen(pid) for pid in processes.descendants(init))


def test_a_frozen_etcd_answers_nobody(sandbox: Sandbox) -> None:
    sandbox.freeze("etcd")
    try:
        status = sandbox.status()
        assert not status.etcd_answers
        assert status.api_answers
        assert status.control["etcd"] == "frozen"
    finally:
        sandbox.thaw("etcd")
    eventually(lambda: sandbox.status().etcd_answers, "etcd answers again")


def test_a_killed_program_comes_back_as_its_rule_says(sandbox: Sandbox) -> None:
    agent = sandbox.host("n1").service("kubelet")
    sandbox.kill_kubelet("n1")
    eventually(lambda: sandbox.host("n1").services().get("kubelet") not in (None, agent), "a new node agent")
    sandbox.kill_kubelet("n1", stay_down=True)
    sandbox.kill_program("etcd")
    time.sleep(1.5)  # longer than the init waits before it starts a program again
    assert "kubelet" not in sandbox.host("n1").services()
    assert sandbox.status().control["etcd"] == "down"
    sandbox.start("etcd")
    sandbox.host("n1").start_service("kubelet")
    eventually(lambda: "kubelet" in sandbox.host("n1").services(), "the node agent is started")
    eventually(lambda: sandbox.status().etcd_answers, "etcd is back with its data")


def test_a_killed_container_is_restarted_by_its_node(sandbox: Sandbox) -> None:
    create(sandbox, CLAIM)
    create(sandbox, DISK_POD)
    before = eventually(lambda: (s := pod_status(sandbox)).get("ready") and s, "the pod runs")
    sandbox.kill_container("writer", "main")
    after = eventually(
        lambda: (s := pod_status(sandbox)).get("restartCount", 0) > before["restartCount"] and s, "a restart"
    )
    assert after["restartCount"] == before["restartCount"] + 1
    assert sandbox.log_file("writer").is_file()
    with pytest.raises(SandboxError, match="no running container 'other' of pod default/writer") as caught:
        sandbox.kill_container("writer", "other")
    assert caught.value.code == Exit.NO_OBJECT


def test_a_crash_ends_everything_at_once_and_keeps_the_disk(sandbox: Sandbox) -> None:
    before = eventually(lambda: (s := pod_status(sandbox)).get("ready") and s, "the pod of the test before runs")
    doomed = [processes.ProcessId.of(pid) for pid in processes.descendants(sandbox.host("n2").running().pid)]
    boot_id = (sandbox.host("n2").home / "boot_id").read_text()
    sandbox.crash("n2")
    assert len(doomed) >= 4, "init, node agent, runtime, the pod's process"
    assert not [process.pid for process in doomed if process.alive()]
    assert [node.state for node in sandbox.status().nodes] == ["running", "crashed"]
    sandbox.crash("n2")
    with pytest.raises(SandboxError, match="n2 does not run"):
        sandbox.freeze("n2")

    sandbox.start("n2")
    sandbox.start("n2")
    assert (sandbox.host("n2").home / "boot_id").read_text() != boot_id, "a machine that booted has a new boot id"
    eventually(
        lambda: observe.read(sandbox.kubeconfig, "/api/v1/nodes/n2")["status"]["nodeInfo"]["bootID"] != boot_id.strip(),
        "the node reports its new boot id",
    )
    after = eventually(
        lambda: (s := pod_status(sandbox)).get("restartCount", 0) > before["restartCount"] and s.get("ready") and s,
        "the pod runs again on its disk",
    )
    assert after["restartCount"] == before["restartCount"] + 1


def test_a_hanging_detach_is_an_error_of_the_storage_and_can_be_ended(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="neither a disk nor a bound claim"):
        sandbox.storage.hang("detach", "nothing-of-that-name")
    sandbox.storage.hang("detach", "data")
    sandbox.storage.slow("attach", 2.0)
    sandbox.storage.clear()
    assert (sandbox.layout.disks / "attacher-faults.json").read_text() == "{}"
    sandbox.storage.stall("data")
    sandbox.storage.unstall("data")


def test_a_killed_api_server_is_started_again_with_its_objects(sandbox: Sandbox) -> None:
    sandbox.kill_program("apiserver")
    status = sandbox.status()
    assert not status.api_answers
    assert status.control["apiserver"] == "down"
    sandbox.start("apiserver")
    eventually(lambda: sandbox.status().api_answers, "the API server answers again")
    assert observe.read(sandbox.kubeconfig, "/api/v1/namespaces/default/pods/writer")["spec"]["nodeName"] == "n2"


def test_an_unclean_end_is_cleared_away(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces and loop devices need root")
    first = Sandbox(tmp_path, Options(nodes=1, hamgrd=False))
    first.up()
    processes.kill_tree(first.control.running())  # as after the end of a terminal's session, or a mistake
    first.layout.record.write_text("{ half a rec")
    with pytest.raises(SandboxError, match="damaged") as caught:
        first.status()
    assert caught.value.code == Exit.CONFIG
    processes.kill_tree(Machine("n1", first.layout.node("n1")).running())
    second = Sandbox(tmp_path, Options(nodes=1, hamgrd=False))
    second.up()
    assert second.status().nodes[0].ready
    second.down()
    second.down()
    assert traces(tmp_path) == []
    with pytest.raises(SandboxError, match="no sandbox is up"):
        second.status()


def test_the_nodes_daemons_join_and_are_started_again(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces and loop devices need root")
    sandbox = Sandbox(tmp_path, Options(nodes=2))
    sandbox.up()
    try:
        nodes = sandbox.status().nodes
        assert all(node.member for node in nodes)
        assert sum(node.leader for node in nodes) <= 1
        before = sandbox.host("n1").service("hamgrd")
        sandbox.kill_hamgrd("n1")
        eventually(lambda: sandbox.host("n1").services().get("hamgrd") not in (None, before), "a new hamgrd")
    finally:
        sandbox.down()
    assert traces(tmp_path) == []


def test_etcd_of_three_members_survives_one(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("network namespaces and loop devices need root")
    sandbox = Sandbox(tmp_path, Options(nodes=1, etcd_members=3, hamgrd=False))
    sandbox.up()
    try:
        assert len(sandbox.etcd_endpoints) == 3
        sandbox.kill_program("etcd1")
        eventually(lambda: sandbox.status().etcd_answers, "the other two answer")
        assert sandbox.status().control["etcd1"] == "down"
    finally:
        sandbox.down()
    assert traces(tmp_path) == []


def test_what_cannot_be_started_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SandboxError, match="1 to 15 nodes, not 0"):
        Sandbox(tmp_path, Options(nodes=0)).up()
    with pytest.raises(SandboxError, match="there is no kubeconfig"):
        Sandbox(tmp_path, Options(kubeconfig="/nowhere")).up()
    monkeypatch.setenv("HAMGR_ETCD", "/bin/false")
    with pytest.raises(SandboxError, match="HAMGR_ETCD names /bin/false, which does not run") as caught:
        Sandbox(tmp_path, Options(nodes=1, hamgrd=False)).up()
    assert caught.value.code == Exit.CONFIG
    assert traces(tmp_path) == []
