"""The power switch as hamgrd meets it: the agent's program, called from inside a node, and a node really off."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from fixtures.running_sandbox import running_sandbox
from hamgr_sandbox.cluster import Sandbox
from hamgr_sandbox.layout import Options

from hamgr.fencer.devices import AgentDevice, check_parameters
from hamgr.fencer.levels.node import DeviceError
from hamgr.fencer.programs import Programs
from hamgr.fencer.topology import DeviceConfig

pytestmark = [pytest.mark.etcd]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with running_sandbox(Options(nodes=2, hamgrd=False)) as made:
        yield made


@pytest.fixture
def device(sandbox: Sandbox) -> AgentDevice:
    config = DeviceConfig("switch", str(sandbox.layout.fence_agent))
    return AgentDevice(config, lambda _source: {}, Programs((sandbox.layout.root,)))


def test_its_agent_describes_itself_and_works(device: AgentDevice) -> None:
    assert check_parameters(device.config, {}, device.metadata()) == []
    device.monitor()


def test_it_pulls_the_plug_and_puts_it_back(sandbox: Sandbox, device: AgentDevice) -> None:
    host = sandbox.host("n2")
    before = host.running()
    assert device.state("n2") == "on"
    device.off("n2")
    assert device.state("n2") == "off"
    assert not before.alive()
    device.off("n2")  # again, as another leader would
    assert device.state("n1") == "on"
    device.on("n2")
    device.on("n2")
    assert device.state("n2") == "on"
    assert host.running() != before
    log = (sandbox.switch.logs / "powerswitch.log").read_text()
    assert [line.rpartition("node ")[2] for line in log.splitlines()] == [
        *["n2 switched off"] * 2,
        *["n2 switched on"] * 2,
    ]


def test_it_says_what_it_cannot_do(sandbox: Sandbox, device: AgentDevice) -> None:
    with pytest.raises(DeviceError, match="there is no node 'n9'; the sandbox has n1, n2"):
        device.state("n9")


@pytest.mark.root
def test_nodes_reach_it_from_their_own_networks(sandbox: Sandbox) -> None:
    if os.geteuid() != 0:
        pytest.skip("without root nodes have no networks of their own")
    program = sandbox.layout.root / "from-inside"
    inside = sandbox.host("n1").inside([str(sandbox.layout.fence_agent)])
    program.write_text(f"#!/bin/sh\nexec {' '.join(inside)}\n")
    program.chmod(0o755)
    assert (
        AgentDevice(DeviceConfig("switch", str(program)), lambda _source: {}, Programs(named=(program,))).state("n2")
        == "on"
    )


def test_a_switch_that_is_gone_is_no_proof(sandbox: Sandbox, device: AgentDevice) -> None:
    sandbox.switch.kill_service("powerswitch", stay_down=True)
    try:
        with pytest.raises(DeviceError, match="fence_sandbox: "):
            device.state("n2")
    finally:
        sandbox.switch.start_service("powerswitch")
