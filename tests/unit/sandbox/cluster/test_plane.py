"""What is started in a sandbox, as values; and that what `up` writes down is read back as it was."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hamgr_sandbox import plane, proxy
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.layout import Layout, Options, Record
from hamgr_sandbox.network import Direction, Peer

from hamgr.api.exits import Exit
from hamgr.daemon.settings import load_settings

LAYOUT = Layout(Path("/sandbox"))
RECORD = Record(
    id="abcdef",
    slot=0,
    loopback=False,
    options=Options(nodes=2, controllers_args=("--node-monitor-grace-period=10",)),
    etcd=("http://198.18.0.1:2379",),
    api="http://198.18.0.1:6443",
    kubeconfig="/sandbox/kubeconfig",
)


def test_a_record_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    RECORD.save(tmp_path / "sandbox.json")
    assert Record.load(tmp_path / "sandbox.json") == RECORD


@pytest.mark.parametrize(("text", "code"), [(None, Exit.UNAVAILABLE), ("{}", Exit.CONFIG), ("not json", Exit.CONFIG)])
def test_a_record_that_is_missing_or_spoilt_is_one_sentence(tmp_path: Path, text: str | None, code: int) -> None:
    if text is not None:
        (tmp_path / "sandbox.json").write_text(text)
    with pytest.raises(SandboxError) as caught:
        Record.load(tmp_path / "sandbox.json")
    assert caught.value.code == code
    assert "hamgr sandbox" in str(caught.value)


def test_an_unknown_node_is_named_with_those_that_are_there() -> None:
    assert RECORD.node_number("n2") == 2
    with pytest.raises(SandboxError, match="no node 'n3'; the sandbox has n1, n2"):
        RECORD.node_number("n3")


def test_hamgrd_runs_on_each_node_unless_unwanted() -> None:
    assert [service.name for service in plane.node_services(LAYOUT, RECORD, "n1")] == ["kubelet", "hamgrd"]
    without = replace(RECORD, options=replace(RECORD.options, hamgrd=False))
    assert [service.name for service in plane.node_services(LAYOUT, without, "n1")] == ["kubelet"]


def test_etcd_and_the_api_server_stay_dead_when_killed() -> None:
    logs = Path("/logs")
    assert plane.api_service(LAYOUT, "198.18.0.1", 6443, logs).restart_s is None
    assert all(service.restart_s for service in plane.storage_services(LAYOUT, RECORD, logs))
    controllers = plane.controllers_service(RECORD, logs)
    assert controllers.restart_s
    assert "--node-monitor-grace-period=10" in controllers.argv


@pytest.mark.parametrize("loopback", [False, True])
def test_the_daemon_accepts_its_settings(tmp_path: Path, loopback: bool) -> None:
    record = replace(
        RECORD,
        loopback=loopback,
        relays={RECORD.etcd[0]: 2379} if loopback else {},
        options=replace(RECORD.options, hamgrd_settings={"workers": 4}),
    )
    path = tmp_path / "hamgrd.yaml"
    path.write_text(yaml.safe_dump(plane.hamgrd_settings(LAYOUT, record, "n2")))
    settings = load_settings(path)
    assert (settings.cluster, settings.node, settings.workers) == ("sandbox", "n2", 4)
    address = record.plan.node(2) if loopback else "198.18.0.1"
    assert settings.etcd.endpoints == (f"http://{address}:2379",)
    assert (str(settings.mountinfo_file) == "/sandbox/disks/mounts-n2") is loopback


def test_without_root_each_node_has_cables_of_its_own() -> None:
    etcd, api = "http://127.64.0.1:2379", "https://127.64.0.1:6443"
    record = replace(RECORD, loopback=True, etcd=(etcd,), api=api, relays={etcd: 2379, api: 6443})
    cables = plane.cables(LAYOUT, record)
    assert len({cable.listen for cable in cables}) == len(cables) == 4
    assert {cable.peer for cable in cables} == {Peer.ETCD, Peer.API}
    assert {cable.target for cable in cables} == {("127.64.0.1", 2379), ("127.64.0.1", 6443)}
    assert {cable.cuts for cable in cables} == {"/sandbox/nodes/n1/cuts.json", "/sandbox/nodes/n2/cuts.json"}
    assert record.seen_from("n2", api) == f"https://{record.plan.node(2)}:6443"


def test_a_cluster_outside_is_reached_through_the_machine() -> None:
    api = "https://k8s.example.org"
    record = replace(RECORD, api=api, relays={api: 6443})
    assert [(cable.listen, cable.target) for cable in plane.cables(LAYOUT, record)] == [
        (("198.18.0.1", 6443), ("k8s.example.org", 443))
    ]
    assert record.seen_from("n1", api) == "https://198.18.0.1:6443"
    assert record.seen_from("n1", RECORD.etcd[0]) == RECORD.etcd[0]


def test_a_cable_knows_its_cuts(tmp_path: Path) -> None:
    cuts = tmp_path / "cuts.json"
    assert proxy.directions_cut(cuts, Peer.ETCD) == frozenset()
    cuts.write_text('[["etcd", "in"], ["api", "both"]]')
    assert proxy.directions_cut(cuts, Peer.ETCD) == {Direction.IN}
    assert proxy.directions_cut(cuts, Peer.API) == {Direction.BOTH}
    cuts.write_text('[["all", "out"]]')
    assert proxy.directions_cut(cuts, Peer.API) == {Direction.OUT}
