"""A device knows no fencing token: what must keep a leader that was frozen from switching a node late."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fixtures.fence_world import MemoryRecords, World
from fixtures.pdu import agent, calls, device, switched_off
from fixtures.waiting import wait_until

from hamgr.fencer import FencerDeps, FencingConfig, Level, LevelConfig, Target, reason
from hamgr.fencer.fence_agent_process import OVERTIME_S
from hamgr.fencer.records import NotOurs, new_record
from hamgr.fencer.runner import Run

NODE_LEVEL = LevelConfig(Level.NODE, devices=("pdu",), timeout_s=20.0, action="reboot")
FROZEN = """
import sys
from hamgr.fencer.fence_agent_process import call_agent
call_agent(sys.argv[1], "action=off\\nport=n1\\npasswd=open sesame\\n", 0.5)
"""


class Deposed:
    """A fence of n1 by the switch, on a thread of its own; it ends with NotOurs once `records` is lost."""

    def __init__(self, world: World, pdu: Path) -> None:
        self.records = MemoryRecords()
        switch = agent(device(pdu, timeout_s=300.0))
        around = FencerDeps(world.kube, self.records, FencingConfig(), "t", "n2", {"pdu": switch})
        record = new_record(Target("n1"), reason("node-lost", node="n1"), "hamgrd n2", (NODE_LEVEL,))
        self._run = Run(around, record)
        self.ended: list[str] = []
        self._thread = threading.Thread(target=self._drive, daemon=True)
        self._thread.start()

    def _drive(self) -> None:
        try:
            self._run.to_the_end()
        except NotOurs as error:
            self.ended.append(str(error))

    def join(self) -> None:
        """Wait for its end."""
        self._thread.join(30.0)
        assert not self._thread.is_alive()


def hold(pdu: Path, action: str) -> Callable[[], None]:
    """Keep an action of the agent waiting; what is returned lets it go on."""
    (pdu / f"slow-{action}").touch()
    return (pdu / f"slow-{action}").unlink


def is_gone(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    try:
        return "\nState:\tZ" in status.read_text()
    except FileNotFoundError:
        return True


def test_leadership_is_asked_for_once_more_right_before_the_device_is_told(world: World, pdu: Path) -> None:
    """The leader was frozen while the agent described itself, and another leader has ended the fence since."""
    go_on = hold(pdu, "metadata")
    fence = Deposed(world, pdu)
    wait_until((pdu / "at-metadata").exists)
    fence.records.ours = False
    go_on()
    fence.join()
    assert fence.ended
    assert [call["given"] for call in calls(pdu)] == [{"action": "metadata"}]
    assert not switched_off(pdu)


@pytest.mark.parametrize("action", ["off", "on"])
def test_an_agent_at_work_ends_with_the_leadership(world: World, pdu: Path, action: str) -> None:
    go_on = hold(pdu, action)
    fence = Deposed(world, pdu)
    wait_until((pdu / f"at-{action}").exists)
    before = switched_off(pdu)
    fence.records.ours = False
    fence.join()
    assert fence.ended
    assert is_gone(int((pdu / f"at-{action}").read_text()))
    go_on()
    assert switched_off(pdu) is before


def test_an_agent_does_not_outlive_its_time_out_when_its_caller_is_frozen(pdu: Path) -> None:
    hold(pdu, "off")
    caller = subprocess.Popen([sys.executable, "-c", FROZEN, str(pdu / "fence_testpdu")], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: (pdu / "at-off").exists() and (pdu / "at-off").read_text())
        os.kill(caller.pid, signal.SIGSTOP)
        wait_until(lambda: is_gone(int((pdu / "at-off").read_text())), 20 * (0.5 + OVERTIME_S))
        assert not switched_off(pdu)
    finally:
        caller.kill()
        caller.wait()
