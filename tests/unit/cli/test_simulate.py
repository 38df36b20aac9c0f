"""`hamgr simulate` shows what would happen in crm_simulate's layout, explains it, and names what it cannot read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fixtures.simulated import answer

from hamgr.cib import history
from hamgr.cib.model import NodeState
from hamgr.cli import simulate_input
from hamgr.cli.simulate import main
from hamgr.clusterfile.load import load_yaml
from hamgr.store.values import Entry, Snapshot

# Pacemaker's digests of no parameters at all, and of the timeout (20 s) that a recurring operation's digest covers.
NO_PARAMETERS, TIMEOUT_ALONE = "f2317cad3d54cec5d7d7aa7d0bf35cf8", "4811cef7f7f94e3a35a70be7916cb2fd"
KEY = "5:5:0:6a5ce7d4-0000-4000-8000-000000000001"


def op(rsc: str, task: str, interval: int, rc: int, call: int) -> str:
    return (
        f'<lrm_rsc_op id="{rsc}_{task}_{interval}" operation="{task}" operation_key="{rsc}_{task}_{interval}" '
        f'interval="{interval}" rc-code="{rc}" op-status="0" call-id="{call}" transition-key="{KEY}" '
        f'transition-magic="0:{rc};{KEY}" op-digest="{NO_PARAMETERS if interval == 0 else TIMEOUT_ALONE}"/>'
    )


def state(node: str, *histories: str) -> str:
    return (
        f'<node_state id="{node}" uname="{node}" in_ccm="true" crmd="online" join="member" expected="member">'
        f'<lrm id="{node}"><lrm_resources>{"".join(histories)}</lrm_resources></lrm></node_state>'
    )


def recorded(rsc: str, *ops: str) -> str:
    return f'<lrm_resource id="{rsc}" class="ocf" provider="pacemaker" type="Dummy">{"".join(ops)}</lrm_resource>'


FAILED_MONITOR = f"""<cib admin_epoch="1" epoch="1" num_updates="1" validate-with="pacemaker-3.9" have-quorum="1"
  dc-uuid="n1"><configuration>
  <crm_config><cluster_property_set id="o"><nvpair id="o1" name="stonith-enabled" value="false"/></cluster_property_set>
  </crm_config><nodes><node id="n1" uname="n1"/><node id="n2" uname="n2"/></nodes>
  <resources>
    <primitive id="A" class="ocf" provider="pacemaker" type="Dummy"><operations>
      <op id="am" name="monitor" interval="10s"/></operations></primitive>
    <clone id="C"><primitive id="P" class="ocf" provider="pacemaker" type="Dummy"/></clone>
  </resources>
  <constraints><rsc_location id="here" rsc="A" node="n1" score="50"/></constraints></configuration>
  <status>{
    state(
        "n1",
        recorded("A", op("A", "start", 0, 0, 1), op("A", "monitor", 10000, 7, 2)),
        recorded("P", op("P", "start", 0, 0, 3)),
    )
}{state("n2", recorded("A", op("A", "monitor", 0, 7, 1)), recorded("P", op("P", "start", 0, 0, 2)))}</status></cib>
"""

SHOWN = """Current cluster status:
  * Node List:
    * Online: [ n1 n2 ]

  * Full List of Resources:
    * A\t(ocf:pacemaker:Dummy):\t FAILED n1
    * Clone Set: C [P]:
      * Started: [ n1 n2 ]

Transition Summary:
  * Recover    A     ( n1 )

Executing Cluster Transition:
  * Resource action: A               stop on n1
  * Resource action: A               start on n1
  * Resource action: A               monitor=10000 on n1

Revised Cluster Status:
  * Node List:
    * Online: [ n1 n2 ]

  * Full List of Resources:
    * A\t(ocf:pacemaker:Dummy):\t Started n1
    * Clone Set: C [P]:
      * Started: [ n1 n2 ]
"""


def words(text: str) -> list[str]:
    """Lines with their spaces collapsed: column widths are not what this is about."""
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


@pytest.fixture
def cib_file(tmp_path: Path) -> str:
    path = tmp_path / "cib.xml"
    path.write_text(FAILED_MONITOR)
    return str(path)


def test_the_four_sections(cib_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([cib_file]) == 0
    assert words(capsys.readouterr().out) == words(SHOWN)


@pytest.mark.oracle
@pytest.mark.skipif(shutil.which("crm_simulate") is None, reason="crm_simulate is not installed")
def test_the_layout_is_crm_simulates(cib_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    done = subprocess.run(["crm_simulate", "-S", "-x", cib_file], capture_output=True, text=True, check=True)
    assert main([cib_file]) == 0
    ours = [line.rstrip() for line in capsys.readouterr().out.splitlines() if line.strip()]
    assert ours == [line.rstrip() for line in done.stdout.splitlines() if line.strip()]


def test_what_if_a_node_failed(cib_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([cib_file, "--node-fail", "n1"]) == 0
    shown = words(capsys.readouterr().out)
    assert "* Start A ( n2 )" in shown
    assert "* OFFLINE: [ n1 ]" in shown


def test_what_if_an_operation_failed(cib_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([cib_file, "--op-fail", "A_start_0@n1=1"]) == 0
    shown = capsys.readouterr().out
    assert "The transition got stuck here" in shown
    assert "A\t(ocf:pacemaker:Dummy):\t FAILED n1" in shown.split("Revised Cluster Status")[1]


def test_an_operation_that_does_not_happen_cannot_fail(cib_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([cib_file, "--op-fail", "P_stop_0@n1=1"]) == 0
    said = capsys.readouterr().err
    assert said == "warning: --op-fail: there is no P_stop_0@n1 in this transition, so it cannot fail\n"


def test_why_names_placement_constraint_and_failure(cib_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([cib_file, "--why", "A"]) == 0
    assert capsys.readouterr().out == (
        "A is Started on n1. It will be recovered there.\n"
        "  * Its monitor (every 10 s) failed on n1 (exit code 7); it is recovered.\n"
        "  Nodes:\n"
        "  * n1: score 50, chosen\n"
        "            +50  constraint here\n"
        "  * n2: score 0\n"
    )


def test_scores(cib_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([cib_file, "--show-scores"]) == 0
    shown = capsys.readouterr().out
    assert "A allocation score on n1: 50" in shown
    assert "A allocation score on n2: 0" in shown


def test_json_is_one_object(cib_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([cib_file, "--output", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["actions"] == [{"action": "recover", "resource": "A", "node": "n1"}]
    assert {"name": "n1", "online": True}.items() <= found["revised"]["nodes"][0].items()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 64, "--live"),
        (["FILE", "--live"], 64, "one thing"),
        (["FILE", "--at", "yesterday"], 64, "yesterday"),
        (["FILE", "--at", "2022-01-01 noon"], 64, "noon"),
        (["FILE", "--at", ""], 64, "--at TIME"),
        (["FILE", "--op-fail", "A_start"], 64, "A_start"),
        (["FILE", "--op-fail", "A_start_0@n1=often"], 64, "such as db_monitor_10000@n1=7"),
        (["FILE", "--op-fail", "A_start_0@n1=256"], 64, "256"),
        (["FILE", "--op-fail", "A_start_0@n9=1"], 68, "no node n9; nodes are n1, n2"),
        (["FILE", "--op-fail", "Z_start_0@n1=1"], 105, "no resource Z"),
        (["FILE", "--node-fail", "n9"], 68, "n9"),
        (["FILE", "--node-fail", "elsewhere"], 68, "no node elsewhere; nodes are n1, n2"),
        (["/"], 66, "directory"),
        (["/dev/null"], 78, "empty"),
        (["FILE", "--why", "Z"], 105, "Z"),
        (["FILE", "--no-such-option"], 64, "--no-such-option"),
        (["/nonexistent.xml"], 66, "/nonexistent.xml"),
    ],
)
def test_refusals(
    cib_file: str, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    assert main([cib_file if argument == "FILE" else argument for argument in arguments]) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert "Traceback" not in printed.err


CLUSTER = """
cluster: shop
options: {stonith-enabled: false}
nodes: [n1, n2]
resources:
  - {id: a, agent: dummy}
"""


def test_nothing_slow_is_imported_for_a_usual_cib(tmp_path: Path) -> None:
    """A run is a process, and most of its time was once the import of what it had no use for."""
    cib = tmp_path / "cib.xml"
    cib.write_text(FAILED_MONITOR.replace('<clone id="C">', "").replace("</clone>", ""))
    code = """
import sys
before = set(sys.modules)
from hamgr.cli.simulate import main
main(["--output", "json", sys.argv[1]])
print(*(set(sys.modules) - before), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code, str(cib)], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[1:])
    assert "hamgr.scheduler.engine" in loaded
    assert loaded.isdisjoint(
        ("argparse", "collections", "dataclasses", "datetime", "enum", "functools", "json", "logging", "pathlib", "re")
    )


def test_a_cluster_file_is_simulated_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    assert main([str(path)]) == 0
    shown = capsys.readouterr().out
    # Nothing is recorded in a cluster file: all nodes are up, and nothing runs yet.
    assert "    * Online: [ n1 n2 ]" in shown.partition("Transition Summary")[0]
    assert "  * Start      a       (    n1 )" in shown
    assert "a\t(ocf:hamgr:dummy):\t Started n1" in shown.partition("Revised Cluster Status")[2]


def test_a_cluster_file_with_a_failed_node(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text(CLUSTER)
    assert main([str(path), "--node-fail", "n1", "--why", "a"]) == 0
    assert capsys.readouterr().out.startswith("a is stopped. It will be started on n2.\n")


def test_a_live_cluster_is_configuration_and_record_together() -> None:
    states = [NodeState(name, in_ccm=True, crmd=True, join="member", expected="member") for name in ("n1", "n2")]
    entries = {
        f"state/nodes/{one.name}": Entry({**history.to_json(one), "standing": "member"}, 1, 1, 1) for one in states
    }
    snapshot = Snapshot("state/", 7, entries)
    cib = simulate_input.assembled(load_yaml(CLUSTER, "applied").to_cib(), snapshot, "n1")
    transition, _, revised = answer(cib, datetime(2026, 1, 1, tzinfo=UTC))
    assert [(line.action, line.resource, line.dest or line.node) for line in transition.summary] == [
        ("start", "a", "n1")
    ]
    assert [(view.id, view.node) for view in revised.resources] == [("a", "n1")]


def test_live_without_etcd_is_unavailable(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HAMGR_ETCD_ENDPOINTS", "http://127.0.0.1:1")
    assert main(["--live"]) == 69
    assert "etcd" in capsys.readouterr().err
