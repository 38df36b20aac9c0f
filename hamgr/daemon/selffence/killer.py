"""The guard: a small process that kills this node's instances when hamgrd no longer says that they may live.

It is a process of its own because hamgrd may be the one that has died, hangs, or was stopped. It knows nothing of etcd
and Kubernetes: hamgrd tells it until when the instances may live and which pods they are (by a Unix socket, one JSON
object a line), and when that time is over it kills them, again and again, since a kubelet restarts containers. Times
are of CLOCK_BOOTTIME: no one can set it, and it goes on while the machine sleeps.

A guard outlives its hamgrd; the next one takes it over. It ends when hamgrd stops in good order ("release").
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hamgr.api.exits import Exit
from hamgr.clock import boottime
from hamgr.daemon.journal import is_journal, mark
from hamgr.daemon.selffence.device import DeviceUnusable, WatchdogDevice
from hamgr.daemon.selffence.find import kill, processes_of

_LOOK_S = 0.25  # how often it looks at the clock
_AGAIN_S = 0.05  # how often it kills while the time is over
_CALM_AGAIN_S = 0.25  # ... when nothing had to be killed for long
_CALM_AFTER_S = 10.0
_MESSAGE = 1 << 20


@dataclass(frozen=True, slots=True)
class GuardOptions:
    """What a guard process is started with; one that runs with others is replaced.

    node: whose instances. directory: where its socket and its list are. find: the ways to find a pod's processes.
    device: the watchdog, or empty. device_timeout_s: after how long without feeding the watchdog resets the machine.
    boot_id: of this boot; a list of an earlier one is void.
    """

    node: str
    directory: str
    find: tuple[str, ...]
    device: str = ""
    device_timeout_s: int = 0
    boot_id: str = ""

    @property
    def socket(self) -> Path:
        """Where this node's guard listens."""
        return Path(self.directory) / f"guard-{self.node}.sock"

    @property
    def state(self) -> Path:
        """Where this node's guard keeps its list of pods."""
        return Path(self.directory) / f"guard-{self.node}.json"

    def to_text(self) -> str:
        """As one argument of a command line."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> GuardOptions:
        """Read `to_text`'s answer."""
        values: dict[str, Any] = json.loads(text)
        return cls(**{**values, "find": tuple(values["find"])})


@dataclass(slots=True)
class KillState:
    """What the guard knows, and what follows from it. No I/O.

    until: the time (CLOCK_BOOTTIME) at which instances must be killed; None: nobody has said anything yet.
    pods: UIDs of the pods on this node. condemned: those that were there when time ran out; they are killed until
    they are pardoned one by one, because being a member again does not prove that nothing was started elsewhere.
    """

    until: float | None = None
    pods: set[str] = field(default_factory=set)
    condemned: set[str] = field(default_factory=set)
    released: bool = False

    def take(self, message: dict[str, Any]) -> None:
        """Take over what hamgrd says; keys that are missing change nothing."""
        if "until" in message:
            self.until = float(message["until"])
        if "pods" in message:
            self.pods = {str(uid) for uid in message["pods"]}
        self.condemned -= {str(uid) for uid in message.get("pardon", ())}
        self.released = self.released or bool(message.get("release"))

    def overdue(self, now: float) -> bool:
        """Whether the time is over."""
        return self.until is not None and now >= self.until

    def judge(self, now: float) -> set[str]:
        """The pods that must not run now."""
        if self.overdue(now):
            self.condemned |= self.pods
        return self.condemned

    def pause_s(self, now: float, killed_at: float) -> float:
        """How long nothing needs to be done unless somebody speaks.

        Never nothing while the time is over, whether there are pods or not: this process runs before all others, and
        one that does not rest takes a whole processor from those that could end its wait.
        """
        if self.condemned:
            return _AGAIN_S if now - killed_at < _CALM_AFTER_S else _CALM_AGAIN_S
        if self.until is None or self.overdue(now):
            return _LOOK_S
        return min(_LOOK_S, self.until - now)


class Guard:
    """The process. One thread; it never waits for anybody."""

    def __init__(self, options: GuardOptions) -> None:
        """Raises OSError (another guard, no directory), DeviceUnusable."""
        self._options = options
        self._charge = KillState()
        self._clients: dict[int, tuple[socket.socket, bytes]] = {}
        self._killed_at = float("-inf")
        self._fenced_at = 0.0
        self._complaints: set[str] = set()
        self._saved = ""
        Path(options.directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._load()
        self._server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        options.socket.unlink(missing_ok=True)
        self._server.bind(str(options.socket))
        self._server.listen(4)
        self._device = WatchdogDevice(options.device, options.device_timeout_s) if options.device else None

    def run(self) -> None:
        """Until released."""
        while not self._charge.released:
            self._hear(self._charge.pause_s(boottime(), self._killed_at))
            # Everything that was said is known now, and each word carries its own time: a word from before this
            # process was frozen does not count for more than it did then.
            self._act(boottime())
        self._charge = KillState()
        self._save()
        if self._device is not None:
            self._device.close()
        self._options.socket.unlink(missing_ok=True)

    # --- what hamgrd says ------------------------------------------------------------------------------------------

    def _hear(self, timeout_s: float) -> None:
        readable, _, _ = select.select([self._server.fileno(), *self._clients], [], [], timeout_s)
        if self._server.fileno() in readable:
            with contextlib.suppress(OSError):
                client, _ = self._server.accept()
                client.setblocking(False)
                self._clients[client.fileno()] = (client, b"")
        for number in readable:
            if number in self._clients:
                self._read(number)

    def _read(self, number: int) -> None:
        client, pending = self._clients[number]
        try:
            data = client.recv(_MESSAGE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            del self._clients[number]
            client.close()
            return
        *lines, rest = (pending + data).split(b"\n")
        self._clients[number] = (client, rest)
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):
                self._charge.take(json.loads(line))
            self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        answer = {
            "options": self._options.to_text(),
            "pods": sorted(self._charge.pods),
            "condemned": sorted(self._charge.condemned),
            "fenced_at": self._fenced_at,
            "calm_s": min(boottime() - self._killed_at, 1e9),
        }
        with contextlib.suppress(OSError):  # it has gone, or does not listen: that is its own loss
            client.send(json.dumps(answer).encode() + b"\n")

    # --- what follows ----------------------------------------------------------------------------------------------

    def _act(self, now: float) -> None:
        already = set(self._charge.condemned)
        condemned = self._charge.judge(now)
        if condemned:
            self._kill(condemned)
        if condemned - already:
            self._fenced_at = now
            _tell(f"not a member any more: the instances of node {self._options.node} are killed", sorted(condemned))
        if self._device is not None and not self._charge.overdue(now):
            with contextlib.suppress(OSError):
                self._device.feed()
        self._save()

    def _kill(self, uids: Iterable[str]) -> None:
        """Kill until none is found: what a process has forked meanwhile is found in the next turn."""
        for _ in range(20):
            found = processes_of(set(uids), self._options.find)
            if not found:
                return
            self._killed_at = boottime()
            complaints = set(kill(found))
            for complaint in complaints - self._complaints:
                _tell(complaint, [])
            self._complaints = complaints
            if complaints:
                return
            time.sleep(0.005)

    # --- the list --------------------------------------------------------------------------------------------------

    def _load(self) -> None:
        """What an earlier guard of this boot had on its list, should it have died with hamgrd."""
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            saved = json.loads(self._options.state.read_text())
            if saved["boot_id"] == self._options.boot_id:
                self._charge.pods = set(saved["pods"])
                self._charge.condemned = set(saved["condemned"])

    def _save(self) -> None:
        state = {"boot_id": self._options.boot_id, "pods": sorted(self._charge.pods)}
        text = json.dumps({**state, "condemned": sorted(self._charge.condemned)})
        if text == self._saved:
            return
        with contextlib.suppress(OSError):  # a full disk must not keep it from killing
            new = self._options.state.with_suffix(".new")
            new.write_text(text)
            new.replace(self._options.state)
            self._saved = text


_telling: threading.Thread | None = None


def _tell(event: str, pods: list[str]) -> None:
    """One line, as hamgrd logs by itself; never waited for: while a line hangs in a full pipe, others are left out."""
    global _telling
    if _telling is None or not _telling.is_alive():
        _telling = threading.Thread(target=_say, args=(event, pods), daemon=True)
        _telling.start()


def _say(event: str, pods: list[str]) -> None:
    if sys.stderr is None:  # closed
        return
    with contextlib.suppress(OSError, ValueError):
        if is_journal(sys.stderr):
            line = f"{mark('error')}guard: {event} pods={json.dumps(pods)}"
        else:
            told = {"event": event, "level": "error", "logger": "hamgr.daemon.selffence.killer", "pods": pods}
            line = json.dumps(told)
        print(line, file=sys.stderr, flush=True)


def _become_hard_to_stop() -> None:
    """As far as the rights go: run before others, be killed last, stay in memory."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)  # a service manager that stops hamgrd does not mean the guard
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("-1000")


def main() -> int:
    """`python -m hamgr.daemon.selffence.killer OPTIONS`: says READY, or why not, on standard output first."""
    os.setsid()
    options = GuardOptions.from_text(sys.argv[1])
    try:
        guard = Guard(options)
    except (OSError, DeviceUnusable) as error:
        print(f"{error}", flush=True)
        return Exit.CONFIG
    _become_hard_to_stop()
    print("READY", flush=True)
    guard.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
