"""Processes of the sandbox: found, stopped and killed with all their descendants, and nobody else."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hamgr_sandbox import processes
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.init import Service, Spec
from hamgr_sandbox.machine import Machine
from hamgr_sandbox.processes import ProcessId

from hamgr.api.exits import Exit

TREE = "sleep 1000 & (sleep 1000 & wait) & wait"


@pytest.fixture
def tree() -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["sh", "-c", TREE])
    while len(processes.descendants(process.pid)) < 4:
        time.sleep(0.01)
    return process


def test_a_tree_is_frozen_thawed_and_killed_as_a_whole(tree: subprocess.Popen[bytes]) -> None:
    members = [ProcessId.of(pid) for pid in processes.descendants(tree.pid)]
    processes.freeze(tree.pid)
    assert all(processes.is_frozen(member.pid) for member in members)
    processes.thaw(tree.pid)
    assert not any(processes.is_frozen(member.pid) for member in members)
    processes.kill_tree(members[0])
    assert not any(member.alive() for member in members)
    assert tree.wait(5) == -signal.SIGKILL


def test_a_number_that_was_used_again_is_another_process() -> None:
    me = ProcessId.of(os.getpid())
    assert me.alive()
    imposter = ProcessId(me.pid, me.started_ticks - 1)
    assert not imposter.alive()
    imposter.send(signal.SIGKILL)  # would end this test
    with pytest.raises(ProcessLookupError):
        ProcessId.of(2**22 + 1)


def eventually_services(machine: Machine, wanted: set[str]) -> dict[str, int]:
    deadline = time.monotonic() + 20
    while set(found := machine.services()) != wanted:
        assert time.monotonic() < deadline, f"running: {sorted(found)}, wanted: {sorted(wanted)}"
        time.sleep(0.02)
    return found


@pytest.mark.parametrize(
    "isolate",
    [
        pytest.param(True, marks=pytest.mark.skipif(os.geteuid() != 0, reason="process namespaces need root")),
        False,
    ],
)
def test_an_init_starts_again_what_died_unless_it_is_held(tmp_path: Path, isolate: bool) -> None:
    machine = Machine("m", tmp_path)
    sleeper = [sys.executable, "-S", "-c", "import time; time.sleep(1000)"]
    services = [
        Service("broken", ["/nowhere"], str(tmp_path / "broken.log"), restart_s=None),
        Service("again", sleeper, str(tmp_path / "again.log"), restart_s=0.1),
        Service("once", sleeper, str(tmp_path / "once.log"), restart_s=None),
    ]
    machine.boot(Spec(services, str(tmp_path / "init.log"), str(machine.held_file), isolate, hostname="m"))
    try:
        first = eventually_services(machine, {"again", "once"})
        assert "cannot be started" in (tmp_path / "broken.log").read_text()
        machine.kill_service("once")
        machine.kill_service("again")
        second = eventually_services(machine, {"again"})
        assert second["again"] != first["again"]
        machine.start_service("once")
        eventually_services(machine, {"again", "once"})
        machine.kill_service("again", stay_down=True)
        eventually_services(machine, {"once"})
        assert machine.held() == {"again"}
        machine.start_service("again")
        eventually_services(machine, {"again", "once"})
        with pytest.raises(SandboxError, match="other does not run on m"):
            machine.kill_service("other")
        everything = [ProcessId.of(pid) for pid in processes.descendants(machine.running().pid)]
    finally:
        machine.kill()
    assert not any(process.alive() for process in everything)
    assert json.loads((tmp_path / "init.json").read_text())[0] == everything[0].pid
    assert machine.process() is None


def test_an_init_that_is_not_on_record_does_nothing(tmp_path: Path) -> None:
    """Its starter having died first, nobody would ever find it again."""
    read_end, write_end = os.pipe()
    service = Service("writer", ["sh", "-c", f"echo here >&{write_end}; sleep 1000"], str(tmp_path / "log"))
    spec = tmp_path / "spec.json"
    Spec([service], str(tmp_path / "init.log"), str(tmp_path / "held"), isolate=False).save(spec)
    starter = [sys.executable, "-m", "hamgr_sandbox.init", str(spec), str(tmp_path / "nowhere/init.json")]
    failed = subprocess.run(starter, pass_fds=[write_end], capture_output=True, timeout=60, check=False)
    os.close(write_end)
    with open(read_end, "rb") as pipe:
        assert pipe.read() == b""  # whoever could write to it has ended
    assert failed.returncode != 0


def test_a_boot_that_takes_too_long_is_told_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamgr_sandbox.machine._START_TIMEOUT_S", 3.0)
    machine = Machine("m", tmp_path)
    slow = ["sh", "-c", '"$@"; exec sleep 1000', "sh", *machine.starter()]
    monkeypatch.setattr(Machine, "starter", lambda _machine: slow)
    service = Service("sleeper", ["sleep", "1000"], str(tmp_path / "sleeper.log"))
    with pytest.raises(SandboxError, match="m was not started within 3 s") as refused:
        machine.boot(Spec([service], str(tmp_path / "init.log"), str(machine.held_file), isolate=False))
    assert refused.value.code is Exit.TIMEOUT
    assert (tmp_path / "init.json").exists()
    assert machine.process() is None


def test_an_init_ends_in_an_orderly_way_when_asked(tmp_path: Path) -> None:
    machine = Machine("m", tmp_path)
    farewell = (
        "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye')));"
        "print('up', flush=True); signal.pause()"
    )
    service = Service("polite", [sys.executable, "-S", "-c", farewell], str(tmp_path / "polite.log"))
    machine.boot(Spec([service], str(tmp_path / "init.log"), str(machine.held_file), isolate=False))
    init = machine.running()
    deadline = time.monotonic() + 20
    while not (tmp_path / "polite.log").exists() or "up" not in (tmp_path / "polite.log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    init.send(signal.SIGTERM)
    init.wait_gone(10)
    assert (tmp_path / "polite.log").read_text() == "up\nbye\n"


def test_what_a_dead_service_has_left_behind_is_not_taken_for_it(tmp_path: Path) -> None:
    """As the guard that outlives its hamgrd and becomes the init's child in its place."""
    child = (
        "import pathlib, subprocess, time; subprocess.Popen(['sleep', '1000']); "
        f"pathlib.Path({str(tmp_path / 'up')!r}).touch(); time.sleep(1000)"
    )
    machine = Machine("m", tmp_path)
    service = Service("parent", [sys.executable, "-c", child], str(tmp_path / "log"), restart_s=None)
    machine.boot(Spec([service], str(tmp_path / "init.log"), str(tmp_path / "held"), isolate=False))
    try:
        _await(lambda: (tmp_path / "up").exists())
        init = machine.running().pid
        first = machine.service("parent")
        (left,) = [pid for pid in processes.descendants(init) if pid not in (init, first)]
        machine.kill_service("parent")
        assert ProcessId.of(left).alive()
        _await(lambda: machine.services() == {})
    finally:
        machine.kill()


def _await(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
