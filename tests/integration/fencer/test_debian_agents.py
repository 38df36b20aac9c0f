"""The agents of Debian's package fence-agents: their metadata, and fence_dummy as the device of a fence.

Without the package (`apt-get install --no-install-recommends fence-agents`) these tests are skipped.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from fixtures.fence_world import MemoryRecords, World
from fixtures.waiting import wait_until

from hamgr.fencer import Fencer, FencerDeps, FencingConfig, Level, LevelConfig, Outcome, Target, reason
from hamgr.fencer.devices import AgentDevice, make_devices
from hamgr.fencer.levels.node import DeviceError
from hamgr.fencer.metadata import Metadata, check_parameters, is_told_the_node, plug_parameter
from hamgr.fencer.programs import Programs
from hamgr.fencer.topology import DeviceConfig

FOLDER = Path("/usr/sbin")
pytestmark = pytest.mark.skipif(
    shutil.which("fence_dummy", path=str(FOLDER)) is None, reason="the Debian package fence-agents is not installed"
)


def ask(agent: Path) -> Metadata | str:
    """An agent's metadata, or why there is none."""
    try:
        return AgentDevice(DeviceConfig(agent.name, agent.name), lambda _source: {}, Programs()).metadata()
    except DeviceError as error:
        return str(error)


@pytest.fixture(scope="module")
def described() -> dict[str, Metadata | str]:
    agents = sorted(FOLDER.glob("fence_*"))
    with ThreadPoolExecutor(2) as pool:
        return dict(zip((agent.name for agent in agents), pool.map(ask, agents), strict=True))


def test_the_metadata_of_every_agent_is_understood_or_refused_with_a_sentence(
    described: dict[str, Metadata | str],
) -> None:
    refused = {name: told for name, told in described.items() if isinstance(told, str)}
    print(f"{len(described)} agents, metadata of {len(described) - len(refused)} understood; refused: {refused}")
    assert refused.keys() <= {"fence_ack_manual"}  # a tool for people, which has none
    assert all("has no metadata: " in told and len(told.splitlines()) == 1 for told in refused.values())
    assert all(told.parameters and told.actions for told in described.values() if isinstance(told, Metadata))


def test_every_agent_that_can_switch_off_and_prove_it_can_be_configured(
    described: dict[str, Metadata | str],
) -> None:
    """With what it requires under the present names, and nothing else."""
    complaints: dict[str, list[str]] = {}
    told_nodes = 0
    for name, metadata in described.items():
        if isinstance(metadata, str) or not {"off", "status"} <= metadata.actions:
            continue
        config = DeviceConfig("d", name, nodes=("n1",))
        outdated = {parameter.obsoletes for parameter in metadata.parameters.values()}
        plugs = metadata.same(plug_parameter(config, metadata))
        given = {
            parameter.name: "x"
            for parameter in metadata.parameters.values()
            if parameter.required and parameter.name not in outdated | plugs
        }
        told_nodes += is_told_the_node(config, given, metadata)
        if found := check_parameters(config, given, metadata):
            complaints[name] = found
    assert complaints == {}
    assert told_nodes > 20


@pytest.fixture
def dummy(tmp_path: Path) -> DeviceConfig:
    """fence_dummy keeps the state of one machine in a file, so it is a device of one node."""
    return DeviceConfig("dummy", "fence_dummy", {"status_file": str(tmp_path / "power")}, nodes=("n1",))


def agent(config: DeviceConfig, world: World | None = None) -> AgentDevice:
    kube = None if world is None else world.kube
    made = make_devices(FencingConfig(devices={config.name: config}), kube, "default", Programs())[config.name]  # type: ignore[arg-type]
    assert isinstance(made, AgentDevice)
    return made


def test_fence_dummy_is_switched_and_says_so(dummy: DeviceConfig) -> None:
    switch, power = agent(dummy), Path(dummy.params["status_file"])
    switch.monitor()
    assert switch.state("n1") == "off"  # as it says of a file that is not there
    switch.on("n1")
    assert (switch.state("n1"), power.read_text()) == ("on", "on")
    switch.off("n1")
    assert (switch.state("n1"), power.read_text()) == ("off", "off")


def test_a_complaint_is_told_in_the_agents_own_words() -> None:
    """Its last line is always the same advice on usage; the lines carry a time of their own."""
    with pytest.raises(DeviceError) as error:
        agent(DeviceConfig("strip", "fence_apc", {"ip": "127.0.0.1"})).off("n1")
    assert str(error.value) == "Failed: You have to set login name"


@pytest.mark.parametrize("action", ["off", "reboot"])
def test_a_node_is_fenced_by_fence_dummy(world: World, dummy: DeviceConfig, action: str) -> None:
    power = Path(dummy.params["status_file"])
    power.write_text("on")
    world.set_node("n1", ready="Unknown")
    records = MemoryRecords()
    fencer = Fencer(FencerDeps(world.kube, records, FencingConfig(devices={"dummy": dummy}), "t", "n2", {}))
    record = fencer.fence(
        Target("n1"), reason("node-lost", node="n1"), "hamgrd n2", [LevelConfig(Level.NODE, ("dummy",), action=action)]
    )
    wait_until(lambda: record.id in records.saved and not fencer.active())
    fencer.close()
    done = records.saved[record.id]
    assert (done.outcome, [proof.kind for proof in done.proofs]) == (Outcome.SUCCEEDED, ["powered-off"])
    assert (world.pods(), world.attachments()) == ([], [])
    assert power.read_text() == ("on" if action == "reboot" else "off")


class Watching(threading.Thread):
    """Keeps every command line and environment that it sees while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: set[bytes] = set()
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.005):
            for process in Path("/proc").glob("[0-9]*"):
                for name in ("cmdline", "environ"):
                    try:
                        self.seen.add((process / name).read_bytes())
                    except OSError:
                        continue


@pytest.fixture
def watching() -> Iterator[Watching]:
    thread = Watching()
    thread.start()
    yield thread
    thread.done.set()
    thread.join()


def test_a_secret_is_on_no_command_line_and_in_no_word(
    world: World, dummy: DeviceConfig, watching: Watching, capfd: pytest.CaptureFixture[str]
) -> None:
    """fence_dummy takes no password; it complains of it, the value included, where nobody must repeat it."""
    word = "open-sesame-" + os.urandom(8).hex()
    data = {"password": base64.b64encode(word.encode()).decode(), "delay": base64.b64encode(b"1").decode()}
    world.kube.post("/api/v1/namespaces/default/secrets", {"metadata": {"name": "pdu"}, "data": data})
    failing = replace(dummy, params={"type": "fail", "verbose": "1", "power_timeout": "1"}, params_from="secret/pdu")
    config = FencingConfig(devices={"dummy": failing})
    records = MemoryRecords()
    fencer = Fencer(FencerDeps(world.kube, records, config, "t", "n2", {}))
    record = fencer.fence(
        Target("n1"), reason("node-lost", node="n1"), "hamgrd n2", [LevelConfig(Level.NODE, ("dummy",))]
    )
    wait_until(lambda: record.id in records.saved and not fencer.active())
    monitored = fencer.monitor_devices()
    fencer.close()
    assert records.saved[record.id].outcome is Outcome.FAILED
    assert any(b"fence_dummy" in each for each in watching.seen)
    assert not any(word.encode() in each for each in watching.seen)
    output = capfd.readouterr()
    assert word not in json.dumps(records.saved[record.id].to_json()) + repr(monitored) + output.out + output.err
