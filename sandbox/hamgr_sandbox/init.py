"""The first process of a sandbox node, or of the sandbox's control plane: starts what runs there and starts it again.

`python -m hamgr_sandbox.init SPEC RECORD` starts the process that stays, writes to RECORD which one it is (its number
and its start, as JSON) before that one does anything, and returns. As root that process is the init of a process
namespace of its own (with mounts, host name and, for a node, network): one SIGKILL of it ends everything on the node at
the same instant, as pulling the plug does. Without root it is a subreaper, so that at least nothing escapes from its
tree. It imports little, because every sandbox starts several.

SPEC is a JSON file, the fields of `Spec`. `Spec.held` is read again at SIGHUP: processes named there are left alone
when they have died; one that is no longer named there is started.
"""

import contextlib
import ctypes
import json
import os
import signal
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hamgr_sandbox.node import isolation
from hamgr_sandbox.processes import ProcessId

MARK = "HAMGR_SANDBOX_PROCESS"
"""The environment variable by which `hamgr sandbox` recognizes the processes that an init has started."""
MARK_PID = "HAMGR_SANDBOX_PROCESS_ID"
"""And their own number in it, as they see it: what they start themselves has the mark too, and may outlive them."""

_MS_PRIVATE, _MS_SHARED = 0x40000, 0x100000
_PR_SET_CHILD_SUBREAPER = 36
_STOP_TIMEOUT_S = 3.0


@dataclass(frozen=True, slots=True)
class Service:
    """One process that the init looks after. `restart_s` None: a death is final until somebody asks for a start."""

    name: str
    argv: list[str]
    log: str
    env: dict[str, str] = field(default_factory=dict)
    restart_s: float | None = 1.0


@dataclass(frozen=True, slots=True)
class Spec:
    """What to run and in what surroundings. `boot_id` is a file with the boot id that the node shall see."""

    services: list[Service]
    log: str
    held: str
    isolate: bool
    hostname: str = ""
    netns: str = ""
    boot_id: str = ""

    def save(self, path: Path) -> None:
        """Write the file that `main` reads."""
        path.write_text(json.dumps(asdict(self)))

    @classmethod
    def load(cls, path: Path) -> "Spec":
        """Read what `save` has written."""
        data = json.loads(path.read_text())
        return cls(**{**data, "services": [Service(**service) for service in data["services"]]})


class Init:
    """Runs in the process that stays. Single-threaded: every signal is waited for, none interrupts."""

    SIGNALS = (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM, signal.SIGINT)

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._running: dict[int, Service] = {}
        self._due: dict[str, float] = {service.name: 0.0 for service in spec.services}

    def run(self) -> None:
        """Until SIGTERM: then ask everything to end, and end."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        while True:
            self._start_due()
            received = signal.sigtimedwait(self.SIGNALS, self._seconds_to_next_start())
            self._reap()
            if received and received.si_signo in (signal.SIGTERM, signal.SIGINT):
                self._stop()
                return
            if received and received.si_signo == signal.SIGHUP:
                self._start_released()

    def _start_due(self) -> None:
        held = self._held()
        for service in self._spec.services:
            due = self._due.get(service.name)
            if due is not None and due <= time.monotonic():
                del self._due[service.name]
                if service.name not in held:
                    self._running[_spawn(service)] = service

    def _seconds_to_next_start(self) -> float:
        return max(0.0, min(self._due.values(), default=time.monotonic() + 3600) - time.monotonic())

    def _start_released(self) -> None:
        running = {service.name for service in self._running.values()}
        for service in self._spec.services:
            if service.name not in running:
                self._due.setdefault(service.name, 0.0)

    def _held(self) -> frozenset[str]:
        try:
            return frozenset(json.loads(Path(self._spec.held).read_text()))
        except (OSError, ValueError):
            return frozenset()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            service = self._running.pop(pid, None)
            if service is not None:
                print(f"{service.name} (process {pid}) ended: {os.waitstatus_to_exitcode(status)}", flush=True)
                if service.restart_s is not None:
                    self._due[service.name] = time.monotonic() + service.restart_s

    def _stop(self) -> None:
        deadline = time.monotonic() + _STOP_TIMEOUT_S
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        while self._running and (left := deadline - time.monotonic()) > 0:
            signal.sigtimedwait([signal.SIGCHLD], left)
            self._reap()


def _spawn(service: Service) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        log = os.open(service.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(log, 1)
        os.dup2(log, 2)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        marks = {MARK: service.name, MARK_PID: str(os.getpid())}
        os.execvpe(service.argv[0], service.argv, {**os.environ, **service.env, **marks})
    except BaseException as error:  # noqa: BLE001  nothing of the parent's may run on in the child
        print(f"{service.name} cannot be started: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(127)


def _surround(spec: Spec) -> None:
    """Become the init of what is a machine of its own, as far as this one's kernel can pretend."""
    isolation.mount("", "/", "", isolation.MS_REC | _MS_PRIVATE)
    _forget_disks()
    isolation.mount("proc", "/proc", "proc", 0)
    if spec.boot_id:
        isolation.mount(spec.boot_id, "/proc/sys/kernel/random/boot_id", "", isolation.MS_BIND)
    if spec.netns:  # names of the pods' networks belong to the node and vanish with it
        isolation.mount("tmpfs", "/run/netns", "tmpfs", 0, "mode=755")
    isolation.mount("", "/", "", isolation.MS_REC | _MS_SHARED)
    if spec.hostname:
        socket.sethostname(spec.hostname)


def _forget_disks() -> None:
    """Let go of disks that are mounted outside: a copy of the mount in here would keep their file systems alive."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        fields = line.split(" ")
        kind, source = fields[fields.index("-") + 1 : fields.index("-") + 3]
        if kind == "ext4" and source.startswith("/dev/loop"):
            with contextlib.suppress(isolation.SetupFailed):
                isolation.unmount(fields[4].encode().decode("unicode_escape"), isolation.MNT_DETACH)


def _detach_from_caller(log: str) -> None:
    os.setsid()
    null = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(null, 0)
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.chdir("/")


def main(path: str, record: str) -> None:
    """Start the init that `path` describes. It waits until `record` says who it is: nobody could end it otherwise."""
    spec = Spec.load(Path(path))
    if spec.isolate:
        if spec.netns:
            isolation.join_namespace(f"/run/netns/{spec.netns}")
        isolation.unshare(
            isolation.CLONE_NEWPID | isolation.CLONE_NEWNS | isolation.CLONE_NEWUTS | isolation.CLONE_NEWIPC
        )
    recorded, tell = os.pipe()
    pid = os.fork()
    if pid:
        process = ProcessId.of(pid)
        unfinished = Path(f"{record}.new")
        unfinished.write_text(json.dumps([process.pid, process.started_ticks]))
        unfinished.rename(record)
        os.write(tell, b".")
        return
    os.close(tell)
    if not os.read(recorded, 1):
        os._exit(1)  # whoever starts us has died before that
    os.close(recorded)
    _detach_from_caller(spec.log)
    if spec.isolate:
        _surround(spec)
    else:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    Init(spec).run()
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
