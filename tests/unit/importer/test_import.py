"""A Pacemaker configuration becomes a cluster file that means the same; what stays behind is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hamgr.api.exits import Exit
from hamgr.cib import model
from hamgr.cib.xml.document import load_xml
from hamgr.cli.exits import CommandError
from hamgr.cli.group import run
from hamgr.cli.import_ import translate
from hamgr.clusterfile.load import dump_yaml, load_yaml

CIB = """<cib><configuration>
  <crm_config><cluster_property_set id="o">
    <nvpair id="o1" name="no-quorum-policy" value="freeze"/><nvpair id="o2" name="dc-version" value="2.1.5"/>
    <nvpair id="o3" name="cluster-ipc-limit" value="500"/></cluster_property_set></crm_config>
  <nodes><node id="1" uname="Web_1"><instance_attributes id="a"><nvpair id="a1" name="standby" value="on"/>
      <nvpair id="a2" name="site" value="east"/></instance_attributes></node>
    <node id="2" uname="web2"/><node id="3" uname="far" type="remote"/></nodes>
  <resources>
    <primitive id="strip" class="stonith" type="fence_apc_snmp">
      <instance_attributes id="i"><nvpair id="i1" name="pcmk_host_list" value="Web_1 web2"/>
        <nvpair id="i2" name="ip" value="10.0.0.1"/></instance_attributes></primitive>
    <group id="db"><meta_attributes id="gm"><nvpair id="gm1" name="resource-stickiness" value="50"/></meta_attributes>
      <primitive id="fs" class="ocf" provider="heartbeat" type="Filesystem">
        <instance_attributes id="fp"><nvpair id="fp1" name="options" value="noatime"/>
          <nvpair id="fp2" name="device" value="/dev/sdb"/></instance_attributes>
        <operations><op id="fm" name="monitor" interval="20s" timeout="40s"/>
          <op id="fm2" name="monitor" interval="1h" on-fail="ignore"/></operations></primitive>
      <primitive id="ip" class="ocf" provider="heartbeat" type="IPaddr2"/></group>
    <clone id="ping-clone"><meta_attributes id="cm"><nvpair id="cm1" name="interleave" value="true"/>
      <nvpair id="cm2" name="colour" value="blue"/></meta_attributes>
      <primitive id="ping" class="ocf" provider="hamgr" type="dummy"/></clone>
  </resources>
  <constraints>
    <rsc_location id="l1" rsc="db" node="Web_1" score="INFINITY"/>
    <rsc_location id="l2" rsc="db"><rule id="r" score="-INFINITY" boolean-op="or">
      <expression id="e1" attribute="site" operation="eq" value="west"/>
      <expression id="e2" attribute="pingd" operation="not_defined"/></rule></rsc_location>
    <rsc_location id="l3" rsc="db" node="gone" score="1"/>
    <rsc_colocation id="c1" rsc="db" with-rsc="ping-clone" score="100"/>
    <rsc_order id="o4" first="ping-clone" then="db" kind="Optional" symmetrical="false"/>
    <rsc_order id="o5" first="nothing" then="db"/>
  </constraints>
  <fencing-topology><fencing-level id="f1" target="web2" index="1" devices="strip"/></fencing-topology>
  <acls/><alerts><alert id="mail" path="/bin/true"/></alerts>
</configuration><status/></cib>"""


@pytest.fixture
def cib_file(tmp_path: Path) -> Path:
    path = tmp_path / "cib.xml"
    path.write_text(CIB)
    return path


def test_what_is_imported_means_the_same(cib_file: Path) -> None:
    cluster_file, _ = translate(cib_file, "shop")
    was = load_xml(CIB)
    read = load_yaml(dump_yaml(cluster_file), "again").to_cib()
    assert [node.name for node in read.nodes] == ["web-1", "web2"]
    group = next(r for r in read.resources if isinstance(r, model.Group))
    original = next(r for r in was.resources if isinstance(r, model.Group))
    for member, before in zip(group.members, original.members, strict=True):
        assert (member.id, member.agent) == (before.id, before.agent)
        assert dict(pair for one in member.params for pair in one.pairs) == dict(
            pair for one in before.params for pair in one.pairs
        )
        assert [(op.name, op.interval_ms, dict(op.attributes)) for op in member.ops] == [
            (op.name, op.interval_ms, dict(op.attributes)) for op in before.ops
        ]
    kept = {entry.id: entry for entry in read.constraints}
    expected = {entry.id: entry for entry in was.constraints}
    assert kept.keys() == {"l1", "l2", "c1", "o4"}
    assert kept["c1"] == expected["c1"]
    assert kept["o4"] == expected["o4"]
    assert kept["l1"] == replace(expected["l1"], node="web-1")
    assert kept["l2"].rules[0].expressions == expected["l2"].rules[0].expressions
    assert kept["l2"].rules[0].score == expected["l2"].rules[0].score


def test_fence_devices_and_topology(cib_file: Path) -> None:
    fencing = translate(cib_file, "shop")[0].fencing
    assert [(device.id, device.agent, device.nodes) for device in fencing.devices] == [
        ("strip", "fence_apc_snmp", ("web-1", "web2"))
    ]
    assert [(entry.node, entry.levels[0].devices) for entry in fencing.topology] == [("web2", ("strip",))]


@pytest.mark.parametrize(
    "words",
    [
        ("node Web_1", "web-1"),
        ("node far", "remote"),
        ("cluster option cluster-ipc-limit",),
        ("resource fs", "ocf:heartbeat:Filesystem", "agent volume"),
        ("resource ip", "agent service"),
        ("clone ping-clone", "colour"),
        ("constraint l3", "gone"),
        ("constraint o5", "nothing"),
        ("section acls",),
        ("alert mail",),
        ("fencing", "levels"),
    ],
)
def test_what_stays_behind_is_named_with_the_reason(cib_file: Path, words: tuple[str, ...]) -> None:
    notes = translate(cib_file, "shop")[1]
    assert any(all(word in note for word in words) for note in notes), notes


def test_facts_that_nobody_configured_are_not_worth_a_word(cib_file: Path) -> None:
    assert not any("dc-version" in note for note in translate(cib_file, "shop")[1])


def test_the_command_prints_a_file_that_verify_accepts(
    cib_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["import", str(cib_file), "--cluster", "shop"]) == 0
    printed = capsys.readouterr()
    assert load_yaml(printed.out, "printed").cluster == "shop"
    assert "note: " in printed.err
    target = tmp_path / "cluster.yaml"
    assert run(["import", str(cib_file), "-o", str(target)]) == 0
    assert run(["verify", str(target)]) == 0


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as missing:
        translate(tmp_path / "none.xml", "x")
    assert missing.value.code == Exit.NO_INPUT
    (tmp_path / "bad.xml").write_text("<cib><configuration>")
    with pytest.raises(CommandError, match="not well-formed") as bad:
        translate(tmp_path / "bad.xml", "x")
    assert bad.value.code == Exit.CONFIG


def test_bundles_are_kept_for_simulations_and_named(tmp_path: Path) -> None:
    bundles = (
        '<bundle id="web"><docker image="x"/><storage><storage-mapping id="m" source-dir="/a"/></storage></bundle>'
        '<bundle id="empty"><network ip-range-start="10.0.0.1"/></bundle>'
    )
    cib = tmp_path / "cib.xml"
    cib.write_text(CIB.replace("<resources>", f"<resources>{bundles}"))
    file, notes = translate(cib, "shop")
    told = "\n".join(notes)
    assert "bundle web: hamgr starts no containers by docker" in told
    assert "storage mapping m needs a target-dir and a source-dir" in told
    assert "bundle empty: it has no docker, podman or rkt element" in told
    assert file.bundles == ("web",)
    assert "web" in {resource.id for resource in file.to_cib().resources}
    assert "web" not in {resource.id for resource in file.to_live_cib().resources}


UNFIT = """<cib><configuration>
  <crm_config/>
  <nodes><node id="1" uname="n1"><instance_attributes id="a"><nvpair id="a1" name="site" value="east"/>
    <rule id="r" score="0"><date_expression id="d" operation="gt" start="no day"/></rule></instance_attributes></node>
    <node id="2" uname="n2"/></nodes>
  <resources>
    <primitive id="db" class="ocf" provider="hamgr" type="dummy"><operations>
      <op id="am" name="monitor" interval="10s" timeout="bad"/></operations></primitive>
    <primitive id="web" class="ocf" provider="hamgr" type="dummy"/></resources>
  <constraints><rsc_order id="o" first="db" then="web" kind="foo"/></constraints>
</configuration><status/></cib>"""


def test_one_bad_value_does_not_cost_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "cib.xml"
    path.write_text(UNFIT)
    cluster_file, notes = translate(path, "shop")
    cib = cluster_file.to_cib()
    (db,) = [r for r in cib.resources if r.id == "db"]
    assert isinstance(db, model.Primitive)
    assert [(op.name, op.interval_ms) for op in db.ops if op.interval_ms] == [("monitor", 10_000)]
    assert [c.kind for c in cib.constraints if isinstance(c, model.Order)] == [""]
    # An attribute whose rule cannot be read goes with the rule: it must not hold always.
    assert "east" not in str(cib.nodes)
    for said in (
        "resource db: operation monitor: property timeout: not imported; 'bad' is not a duration",
        "o: kind: not imported; 'foo' is not allowed here",
        "n1: attributes: not imported; this rule cannot be read: 'no day' is not a date",
    ):
        assert any(note.startswith(said) for note in notes), (said, notes)
    assert load_yaml(dump_yaml(cluster_file), "again").to_cib() == cib


def test_a_name_that_cannot_be_is_for_a_person_to_change(tmp_path: Path) -> None:
    path = tmp_path / "cib.xml"
    path.write_text(UNFIT.replace('id="web"', 'id="Web"').replace('then="web"', 'then="Web"'))
    with pytest.raises(CommandError, match="'Web' becomes part of a pod's name") as caught:
        translate(path, "shop")
    assert caught.value.code == Exit.CONFIG


OLD = """<cib crm_feature_set="3.0.5" validate-with="pacemaker-1.2"><configuration>
  <crm_config/>
  <nodes><node id="a" uname="a" type="normal"/><node id="b" uname="b" type="normal"/></nodes>
  <resources>
    <group id="both"><primitive id="st1" class="stonith" type="external/ssh"/>
      <primitive id="st2" class="stonith" type="external/ipmi"/></group>
    <group id="mixed"><primitive id="st3" class="stonith" type="external/sbd"/>
      <primitive id="db" class="ocf" provider="hamgr" type="dummy"/></group>
    <clone id="each"><primitive id="st4" class="stonith" type="ibmrsa"/></clone>
    <primitive id="st5" class="stonith" type="fence_ipmilan"/></resources>
  <constraints><rsc_location id="l" rsc="both" node="a" score="-INFINITY"/></constraints>
  <fencing-topology><fencing-level id="f" target="a" index="1" devices="st1"/></fencing-topology>
</configuration><status/></cib>"""


def test_nodes_of_old_clusters_are_normal_ones(tmp_path: Path) -> None:
    path = tmp_path / "cib.xml"
    path.write_text(OLD)
    cluster_file, notes = translate(path, "shop")
    assert [node.name for node in cluster_file.to_cib().nodes] == ["a", "b"]
    assert not any(note.startswith("node ") for note in notes)


def test_plugins_of_cluster_glue_are_named_with_what_to_use_instead(tmp_path: Path) -> None:
    path = tmp_path / "cib.xml"
    path.write_text(OLD)
    cluster_file, notes = translate(path, "shop")
    assert [device.id for device in cluster_file.fencing.devices] == ["st5"]
    for words in (
        ("fence device st1: not imported", "external/ssh", "a node that hangs does not answer"),
        ("fence device st2: not imported", "external/ipmi", "fence_ipmilan"),
        ("fence device st3: not imported", "external/sbd", "level watchdog"),
        ("fence device st4: not imported", "ibmrsa", "fence-agents"),
        ("group both: not imported", "st1, st2 are fence devices"),
        ("group mixed: imported without st3", "is a fence device"),
        ("clone each: not imported", "st4 is a fence device"),
        ("fencing level f: not imported", "st1"),
        ("constraint l: not imported", "both"),
    ):
        assert any(all(word in note for word in words) for note in notes), (words, notes)
