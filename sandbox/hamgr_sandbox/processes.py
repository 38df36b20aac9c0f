"""Processes of the sandbox seen from outside: recorded so that a later command hits exactly those and no others.

A process number alone is not enough, since numbers are used again; number and start time together are.
"""

import os
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_POLL_S = 0.01
_STOPPED_OR_GONE = frozenset("TtZX")


class StillAlive(Exception):
    """A process did not end or stop in time; the text names it."""


@dataclass(frozen=True, slots=True)
class ProcessId:
    """One process for all time: its number and its start, in clock ticks since the machine's own."""

    pid: int
    started_ticks: int

    @classmethod
    def of(cls, pid: int) -> "ProcessId":
        """The process that has this number now. Raises ProcessLookupError."""
        stat = _stat(pid)
        if stat is None:
            raise ProcessLookupError(f"there is no process {pid}")
        return cls(pid, stat.started_ticks)

    def alive(self) -> bool:
        """True while it runs or is stopped; a zombie is not alive."""
        stat = _stat(self.pid)
        return stat is not None and stat.started_ticks == self.started_ticks and stat.state not in "ZX"

    def send(self, number: int) -> None:
        """Send a signal, if it still lives."""
        if self.alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def wait_gone(self, timeout_s: float) -> None:
        """Return when it is gone or a zombie. Raises StillAlive."""
        deadline = time.monotonic() + timeout_s
        while self.alive():
            if time.monotonic() > deadline:
                raise StillAlive(f"process {self.pid} did not end within {timeout_s:g} s")
            time.sleep(_POLL_S)


@dataclass(frozen=True, slots=True)
class _Stat:
    pid: int
    parent: int
    state: str
    started_ticks: int


def _stat(pid: int) -> _Stat | None:
    """Fields of /proc/PID/stat (proc(5)); the command's name may hold anything, so fields count from its end."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return _Stat(pid, int(fields[1]), fields[0], int(fields[19]))


def descendants(root: int) -> list[int]:
    """Numbers of all living processes below `root`, itself first, also those in process namespaces below it."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (stat := _stat(int(entry))) and stat.state not in "ZX":
            children.setdefault(stat.parent, []).append(stat.pid)
    return list(_walk(root, children)) if _stat(root) else []


def _walk(pid: int, children: dict[int, list[int]]) -> Iterator[int]:
    yield pid
    for child in children.get(pid, []):
        yield from _walk(child, children)


def children_by_name(init: int) -> dict[str, int]:
    """The processes that an init of ours has started, by the names it gave them (see `hamgr_sandbox.init`)."""
    found: dict[str, int] = {}
    for pid in descendants(init)[1:]:
        with suppress(OSError):
            stat = _stat(pid)
            if stat is None or stat.parent != init:
                continue
            entries = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
            marks = dict(entry.split("=", 1) for entry in entries if entry.startswith("HAMGR_SANDBOX_PROCESS"))
            if marks.get("HAMGR_SANDBOX_PROCESS_ID") == _number_inside(pid):
                found[marks["HAMGR_SANDBOX_PROCESS"]] = pid
    return found


def _number_inside(pid: int) -> str:
    """A process's number as it sees it itself. Raises OSError when it is gone."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next((line.split()[-1] for line in status.splitlines() if line.startswith("NSpid:")), "")


def freeze(root: int, timeout_s: float = 5.0) -> None:
    """Stop a process and all below it; returns when every one stands still. Raises StillAlive.

    A process may fork while its relatives are being stopped, so this looks again until nothing new is found.
    """
    deadline = time.monotonic() + timeout_s
    while moving := [pid for pid in descendants(root) if _is_moving(pid)]:
        if time.monotonic() > deadline:
            raise StillAlive(f"processes {moving} did not stop within {timeout_s:g} s")
        _signal_all(moving, signal.SIGSTOP)
        time.sleep(_POLL_S / 10)


def thaw(root: int) -> None:
    """Let a process and all below it run on, children before their parents."""
    _signal_all(reversed(descendants(root)), signal.SIGCONT)


def is_frozen(pid: int) -> bool:
    """True when the process is stopped."""
    stat = _stat(pid)
    return stat is not None and stat.state in "Tt"


def kill_tree(root: ProcessId, timeout_s: float = 10.0) -> None:
    """Kill a process and all below it without a chance to react; returns when all are gone. Raises StillAlive.

    They are stopped first, so that none can fork on or see another die. What is the init of a process namespace takes
    its namespace with it in one step.
    """
    if not root.alive():
        return
    with suppress(StillAlive):  # one that waits for a disk cannot stop; it is killed all the same
        freeze(root.pid, timeout_s=1.0)
    doomed = []
    for pid in descendants(root.pid):
        with suppress(ProcessLookupError):
            doomed.append(ProcessId.of(pid))
    for process in doomed:
        process.send(signal.SIGKILL)
    for process in doomed:
        process.wait_gone(timeout_s)


def _is_moving(pid: int) -> bool:
    stat = _stat(pid)
    return stat is not None and stat.state not in _STOPPED_OR_GONE


def _signal_all(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
