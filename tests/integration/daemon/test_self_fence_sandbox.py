"""Self-fencing end to end in a sandbox: a node cut off from etcd kills its instances before the fence says so."""

import os
import threading
import time

import pytest
from fixtures.running_sandbox import running_sandbox
from fixtures.waiting import wait_until
from hamgr_sandbox import observe
from hamgr_sandbox.layout import Options
from hamgr_sandbox.network import Peer

from hamgr.api.status import StatusDoc
from hamgr.cli.main import main
from hamgr.daemon.selffence.find import processes_of
from hamgr.fencer.history import FENCES, records_of
from hamgr.fencer.records import Outcome
from hamgr.store import Store, StoreConfig, members_of

pytestmark = [
    pytest.mark.root,
    pytest.mark.etcd,
    pytest.mark.slow,
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root"),
]

CLUSTER = """
cluster: sandbox
nodes: [n1, n2]
fencing: {levels: [{level: watchdog, timeout: 60s}]}
resources:
  - id: app
    agent: pod
    params: {image: hamgr/kvapp, port: 6380, park: false}
constraints:
  - location: {resource: app, node: n1, score: 50}
"""
WAYS = ("environment",)
SETTINGS = {
    "self-fencing": "kill",
    "self-fence": {"find": ["environment"], "state-dir": "guard", "kill-suffices": True},
}


@pytest.fixture(scope="module")
def sandbox():
    with running_sandbox(Options(nodes=2, hamgrd_settings=SETTINGS)) as made:
        yield made


@pytest.fixture(scope="module")
def store(sandbox):
    opened = Store(StoreConfig(tuple(sandbox.etcd_endpoints), cluster="sandbox"))
    yield opened
    opened.close()


def pods(sandbox):
    listed = observe.read(sandbox.kubeconfig, "/api/v1/namespaces/default/pods?labelSelector=hamgr.io%2Fresource")
    return {
        pod["metadata"]["uid"]: pod["spec"]["nodeName"]
        for pod in listed.get("items") or []
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or [])
    }


class Sightings:
    """When an instance's processes were seen, looked for by a thread all the time (wall time)."""

    def __init__(self, uid):
        self.last = 0.0
        self._uid = uid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def _look(self):
        while not self._stop.wait(0.02):
            if processes_of({self._uid}, WAYS):
                self.last = time.time()

    def end(self):
        self._stop.set()
        self._thread.join()


@pytest.mark.timeout(240)
def test_instances_are_dead_before_the_fence_says_so(sandbox, store, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HAMGR_CONFIG", str(sandbox.layout.user_settings))
    (tmp_path / "cluster.yaml").write_text(CLUSTER)
    assert main(["apply", "-f", str(tmp_path / "cluster.yaml")]) == 0
    wait_until(lambda: "n1" in pods(sandbox).values(), 90)
    (uid,) = [uid for uid, node in pods(sandbox).items() if node == "n1"]
    wait_until(lambda: members_of(store.read("members/"))["n1"].self_fence == 4.0)
    assert processes_of({uid}, WAYS)

    sightings = Sightings(uid)
    try:
        cut = time.time()
        sandbox.partition("n1", Peer.ETCD)
        wait_until(lambda: any(r.outcome is not Outcome.PENDING for r in records_of(store.read(FENCES))), 90)
        (record,) = records_of(store.read(FENCES))
        assert record.outcome is Outcome.SUCCEEDED, record
        (proof,) = [p for p in record.proofs if p.kind == "self-fenced"]
        wait_until(lambda: "n2" in pods(sandbox).values(), 60)
    finally:
        sightings.end()
    print(f"cut off at 0, last seen alive at {sightings.last - cut:.2f} s, fenced at {proof.at - cut:.2f} s")
    assert sightings.last < proof.at

    sandbox.heal("n1")
    wait_until(lambda: "n1" in members_of(store.read("members/")))
    wait_until(lambda: not processes_of({uid}, WAYS))
    main(["status"])
    print(capsys.readouterr().out)


@pytest.mark.timeout(240)
def test_a_node_that_was_frozen_past_its_lease_kills_first(sandbox, store, monkeypatch):
    """Guard, hamgrd, kubelet and instance stop at once and go on at once; the others have fenced the node meanwhile."""
    monkeypatch.setenv("HAMGR_CONFIG", str(sandbox.layout.user_settings))
    ((uid, node),) = pods(sandbox).items()
    (other,) = {"n1", "n2"} - {node}
    assert main(["unfence", other]) == 0
    wait_until(lambda: other in online(store))
    fenced = len(records_of(store.read(FENCES)))
    sandbox.freeze(node)
    try:
        wait_until(lambda: len(records_of(store.read(FENCES))) > fenced, 60)
        wait_until(lambda: all(r.outcome is Outcome.SUCCEEDED for r in records_of(store.read(FENCES))), 60)
        wait_until(lambda: other in pods(sandbox).values(), 60)
        assert processes_of({uid}, WAYS), "frozen, not dead"
    finally:
        began = time.monotonic()
        sandbox.thaw(node)
    thawed = time.monotonic()
    wait_until(lambda: not processes_of({uid}, WAYS))
    print(f"dead {time.monotonic() - thawed:.2f} s after the thaw, which took {thawed - began:.2f} s")
    wait_until(lambda: node in members_of(store.read("members/")))
    assert not processes_of({uid}, WAYS), "a member again, but what was fenced stays dead"


def online(store):
    status = StatusDoc.from_value(store.get("status").value)
    return {node.name for node in status.nodes if node.online}
