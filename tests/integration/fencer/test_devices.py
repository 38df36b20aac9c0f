"""Fence devices through the standard interface of fence agents, with an agent that the test brings along."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.fence_world import MemoryRecords, World
from fixtures.pdu import METADATA, agent, calls, device, programs
from fixtures.waiting import wait_until

from hamgr.fencer import (
    Fencer,
    FencerDeps,
    FencingConfig,
    FencingConfigError,
    Level,
    LevelConfig,
    Outcome,
    Target,
    reason,
)
from hamgr.fencer.devices import AgentDevice, CloudDevice, make_devices, verify_devices
from hamgr.fencer.fence_agent_process import MOST_BYTES, call_agent
from hamgr.fencer.levels.node import Device, DeviceError
from hamgr.fencer.metadata import parse_metadata
from hamgr.fencer.programs import Programs
from hamgr.fencer.topology import DeviceConfig
from hamgr.kube.objects import NODE


def test_off_status_on_monitor(pdu: Path) -> None:
    switch = agent(device(pdu, port_map={"n1": "7"}))
    switch.monitor()
    assert switch.state("n1") == "on"
    switch.off("n1")
    assert switch.state("n1") == "off"
    assert switch.state("n2") == "on"
    switch.on("n1")
    assert switch.state("n1") == "on"
    assert {call["given"].get("port") for call in calls(pdu)} == {None, "7", "n2"}  # type: ignore[attr-defined]


def test_nothing_is_ever_passed_on_the_command_line(pdu: Path) -> None:
    switch = agent(device(pdu))
    switch.off("n1")
    switch.state("n1")
    made = [(call["given"]["action"], call["given"].get("passwd"), call["argv"]) for call in calls(pdu)]  # type: ignore[index,attr-defined]
    assert made == [("metadata", None, []), ("off", "open sesame", []), ("status", "open sesame", [])]


def test_an_agents_complaint_is_told_without_the_secret(pdu: Path) -> None:
    (pdu / "secret").write_text("passwd=wrong sesame")
    with pytest.raises(DeviceError) as error:
        agent(device(pdu)).off("n1")
    assert str(error.value) == "Unable to connect/login with password ***"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"agent": "fence_missing"}, "there is no program fence_missing in /"),
        ({"params_from": "file:/nonexistent"}, "parameter file /nonexistent: No such file"),
        ({"params": {"ip": "a\nb"}}, "parameter ip holds a line break"),
    ],
)
def test_what_cannot_be_run_is_told(pdu: Path, fields: dict[str, object], sentence: str) -> None:
    with pytest.raises(DeviceError, match=sentence):
        agent(device(pdu, **fields)).off("n1")


def test_an_agent_that_hangs_is_cut_short(pdu: Path) -> None:
    (pdu / "fence_testpdu").write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(DeviceError, match=r"off was not over after 0\.2 s"):
        agent(device(pdu, timeout_s=0.2, nodes=("n1",))).off("n1")


def test_the_children_of_an_agent_that_hangs_end_with_it(pdu: Path) -> None:
    """What they would do later (ssh to the device, say) would come late."""
    (pdu / "fence_testpdu").write_text(f"#!/bin/sh\nsleep 60 & echo $! > {pdu}/child; wait\n")
    with pytest.raises(DeviceError, match=r"off was not over"):
        agent(device(pdu, timeout_s=0.5, plug_param="port")).off("n1")
    child = Path(f"/proc/{(pdu / 'child').read_text().strip()}")
    wait_until(lambda: not child.exists() or "\nState:\tZ" in (child / "status").read_text())


def test_a_device_is_not_asked_to_switch_off_a_node_that_is_not_its_own(pdu: Path) -> None:
    """Its answer about the machine that it does switch off would be taken for a proof about the other one."""
    with pytest.raises(DeviceError, match="it is configured for n1, not for n2"):
        agent(device(pdu, nodes=("n1",))).off("n2")
    fixed = device(pdu, params={"ip": "10.0.0.9", "port": "7"})
    for nodes in ((), ("n1", "n2")):
        with pytest.raises(DeviceError, match="must name its one node"):
            agent(replace(fixed, nodes=nodes)).off("n1")
    switch = agent(replace(fixed, nodes=("n1",)))
    switch.off("n1")
    assert switch.state("n1") == "off"
    assert json.loads((pdu / "plugs.json").read_text()) == {"7": "off"}


def test_an_agent_that_does_not_describe_itself_is_not_trusted_with_one_of_several_nodes(pdu: Path) -> None:
    """Whether it takes a plug is not known, or it is the board of one machine: off would be another one."""
    (pdu / "metadata.xml").unlink()
    for nodes in ((), ("n1", "n2")):
        with pytest.raises(DeviceError, match="which machine it switches off for n1 is not known: its metadata"):
            agent(device(pdu, nodes=nodes)).off("n1")
    assert {call["given"]["action"] for call in calls(pdu)} == {"metadata"}  # type: ignore[index]
    for told in ({"nodes": ("n1",)}, {"plug_param": "port"}):
        agent(device(pdu, **told)).off("n1")
        assert calls(pdu)[-1]["given"]["port"] == "n1"  # type: ignore[index]


def test_parameters_are_checked_against_the_agents_metadata(pdu: Path) -> None:
    verify_devices([agent(device(pdu))])
    with pytest.raises(FencingConfigError) as error:
        verify_devices([agent(device(pdu, params={"adress": "10.0.0.9"}))])
    assert "has no parameter 'adress'" in str(error.value)
    assert "needs parameter 'ip'" in str(error.value)


def test_parameters_from_a_secret(world: World, pdu: Path) -> None:
    data = {"passwd": base64.b64encode(b"open sesame").decode()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pdu"}, "data": data}
    made = world.kube.post("/api/v1/namespaces/default/secrets", secret)
    switch = agent(device(pdu, params_from="secret/pdu"), world.kube)
    switch.off("n1")
    assert switch.state("n1") == "off"
    world.kube.delete("/api/v1/namespaces/default/secrets/pdu", uid=made["metadata"]["uid"], grace=0)
    with pytest.raises(DeviceError, match="Secret default/pdu"):
        switch.state("n1")


def test_devices_are_monitored(world: World, pdu: Path) -> None:
    broken = device(pdu, name="broken", agent="fence_missing")
    config = FencingConfig(devices={"pdu": device(pdu), "broken": broken, "ccm": DeviceConfig("ccm", "cloud")})
    fencer = Fencer(FencerDeps(world.kube, MemoryRecords(), config, "t", "n2", {}, programs=programs()))
    found = fencer.monitor_devices()
    fencer.close()
    assert (found["pdu"], found["ccm"]) == ("", "")
    assert "there is no program fence_missing" in found["broken"]


def test_metadata_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no XML"):
        parse_metadata("usage: fence_x")
    with pytest.raises(ValueError, match="begins with <html>"):
        parse_metadata("<html/>")
    assert parse_metadata(METADATA).actions == {"on", "off", "status", "monitor"}


def fence(world: World, config: FencingConfig, level: LevelConfig, **around: object) -> tuple[MemoryRecords, str]:
    records = MemoryRecords()
    fencer = Fencer(FencerDeps(world.kube, records, config, "t", "n2", {}, programs=programs(), **around))  # type: ignore[arg-type]
    record = fencer.fence(Target("n1"), reason("node-lost", node="n1"), "hamgrd n2", [level])
    wait_until(lambda: record.id in records.saved and not fencer.active())
    fencer.close()
    return records, record.id


def test_a_node_is_fenced_by_an_agent_end_to_end(world: World, pdu: Path) -> None:
    world.set_node("n1", ready="Unknown")
    config = FencingConfig(devices={"pdu": device(pdu)})
    records, fence_id = fence(world, config, LevelConfig(Level.NODE, ("pdu",)))
    record = records.saved[fence_id]
    assert record.outcome is Outcome.SUCCEEDED
    assert [(proof.kind, proof.observed) for proof in record.proofs] == [
        ("powered-off", "device pdu: switched off, and it reads back off")
    ]
    assert json.loads((pdu / "plugs.json").read_text()) == {"n1": "off"}
    assert world.pods() == []
    assert world.attachments() == []
    assert "open sesame" not in json.dumps(record.to_json())


def test_an_answer_of_success_without_effect_is_no_proof(world: World, pdu: Path) -> None:
    (pdu / "jammed").touch()
    config = FencingConfig(devices={"pdu": device(pdu)})
    records, fence_id = fence(world, config, LevelConfig(Level.NODE, ("pdu",), attempts=2))
    record = records.saved[fence_id]
    assert record.outcome is Outcome.FAILED
    assert [tried.code for tried in record.tried] == ["device-unproved", "device-unproved"]
    assert world.pods() == ["db-n1"]
    assert len(world.attachments()) == 1


def test_every_device_of_a_level_must_confirm(world: World, pdu: Path) -> None:
    config = FencingConfig(devices={"pdu": device(pdu), "ccm": DeviceConfig("ccm", "cloud")})
    level = LevelConfig(Level.NODE, ("pdu", "ccm"), timeout_s=0.7)
    records, fence_id = fence(world, config, level)
    assert [tried.code for tried in records.saved[fence_id].tried] == ["timeout"]
    shutdown = {"key": "node.cloudprovider.kubernetes.io/shutdown", "effect": "NoSchedule"}
    world.kube.patch_merge(NODE.path("n1"), {"spec": {"taints": [shutdown]}})
    world.set_node("n1", ready="Unknown")
    records, fence_id = fence(world, config, level)
    record = records.saved[fence_id]
    assert record.outcome is Outcome.SUCCEEDED
    assert record.proofs[0].observed == "device pdu: switched off, and it reads back off; device ccm: it says off"


def test_a_device_that_is_not_configured_is_named_before_any_effect(world: World) -> None:
    records, fence_id = fence(world, FencingConfig(), LevelConfig(Level.NODE, ("ghost",)))
    assert [tried.code for tried in records.saved[fence_id].tried] == ["unknown-device"]
    assert world.pods() == ["db-n1"]


def test_a_plan_tells_that_a_device_is_for_another_node(world: World) -> None:
    config = FencingConfig(devices={"pdu": DeviceConfig("pdu", "fence_testpdu", nodes=("n2",))})
    fencer = Fencer(FencerDeps(world.kube, MemoryRecords(), config, "t", "n2", {}))
    (level,) = fencer.plan(Target("n1"), [LevelConfig(Level.NODE, ("pdu",))]).levels
    fencer.close()
    assert str(level.unfit) == "fence device pdu is configured for n2, not for n1"


def cloud_device(world: World) -> Device:
    config = FencingConfig(devices={"ccm": DeviceConfig("ccm", "cloud")})
    return make_devices(config, world.kube, "default", programs())["ccm"]


def test_the_clouds_word(world: World) -> None:
    cloud = make_devices(
        FencingConfig(devices={"ccm": DeviceConfig("ccm", "cloud")}), world.kube, "default", programs()
    )["ccm"]
    assert isinstance(cloud, CloudDevice)
    cloud.monitor()
    assert cloud.state("n1") == "unknown"
    assert cloud.state("gone") == "off"


def test_the_clouds_taint_counts_only_while_the_node_is_not_ready(world: World) -> None:
    """The cloud controller takes it away some seconds after the instance was started again."""
    cloud = make_devices(
        FencingConfig(devices={"ccm": DeviceConfig("ccm", "cloud")}), world.kube, "default", programs()
    )["ccm"]
    taint = {"key": "node.cloudprovider.kubernetes.io/shutdown", "effect": "NoSchedule"}
    world.kube.patch_merge(NODE.path("n1"), {"spec": {"taints": [taint]}})
    assert cloud.state("n1") == "unknown"
    world.set_node("n1", ready="Unknown")
    assert cloud.state("n1") == "off"


def test_only_what_the_node_lists_is_run(pdu: Path, tmp_path: Path) -> None:
    """Whoever writes the cluster file would be root here otherwise."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    evil = elsewhere / "fence_evil"
    evil.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    evil.chmod(0o755)
    lists = Programs((pdu,), named=(elsewhere / "other",), parameter_files=pdu)
    for name in (str(evil), f"{pdu}/../elsewhere/fence_evil", "../elsewhere/fence_evil", "fence_evil", "sh"):
        config = device(pdu, agent=name)
        with pytest.raises(DeviceError, match=r"is not run on this node|there is no program"):
            AgentDevice(config, lambda _source: {}, lists).monitor()
    assert not (tmp_path / "ran").exists()
    for allowed in (Programs((elsewhere,)), Programs((), named=(evil,))):
        AgentDevice(device(pdu, agent=str(evil)), lambda _source: {}, allowed).monitor()
        assert (tmp_path / "ran").exists()
        (tmp_path / "ran").unlink()


def test_parameters_are_read_from_files_below_one_directory_alone(pdu: Path, tmp_path: Path) -> None:
    (tmp_path / "shadow").write_text("passwd=open sesame\n")
    (pdu / "link").symlink_to(tmp_path / "shadow")
    lists = Programs((pdu,), parameter_files=pdu)
    for path in (tmp_path / "shadow", pdu / "../shadow", pdu / "link"):
        config = device(pdu, params_from=f"file:{path}")
        made = make_devices(FencingConfig(devices={"pdu": config}), None, "default", lists)["pdu"]  # type: ignore[arg-type]
        with pytest.raises(DeviceError, match=f"only files below {pdu} are read"):
            made.monitor()
    assert not (pdu / "calls.jsonl").exists()


def test_no_parameter_smuggles_in_an_order_or_a_program(world: World, pdu: Path) -> None:
    with pytest.raises(DeviceError, match="is no name of a parameter"):
        agent(device(pdu, params={"ip=x\naction=off\nport": "n1"})).monitor()
    data = {"passwd_script": base64.b64encode(b"/tmp/run-me").decode()}
    world.kube.post("/api/v1/namespaces/default/secrets", {"metadata": {"name": "evil"}, "data": data})
    with pytest.raises(DeviceError, match="passwd_script names what the agent runs or writes as root"):
        agent(device(pdu, params_from="secret/evil"), world.kube).monitor()
    assert not (pdu / "calls.jsonl").exists()


@pytest.mark.parametrize("stream", ["1", "2"])
def test_an_agent_that_talks_without_end_is_read_and_not_kept(pdu: Path, stream: str) -> None:
    """128 MB of it, then its last line: neither hamgrd's memory nor the agent's end suffers."""
    (pdu / "fence_testpdu").write_text(
        f"#!/bin/sh\nhead -c 128000000 /dev/zero >&{stream}\necho ' at last' >&2\nexit 1\n"
    )
    code, out, err = call_agent(str(pdu / "fence_testpdu"), "action=monitor\n", 60.0)
    assert (code, len(out) + len(err) <= 2 * MOST_BYTES) == (1, True)
    assert err.endswith(" at last\n")
