"""The container runtime of a node: a small process that starts containers, sees them exit, and outlives the agent.

``python -m hamgr_sandbox.node.runtime ROOT isolated`` listens on ``ROOT/runtime.sock`` and keeps
``ROOT/containers.json``. It is apart from the agent for the reasons that a kubelet and containerd are apart: restarting
the agent leaves containers alone, and a process that has one thread and few imports can fork a container in
milliseconds. If the runtime itself dies, the kernel kills its containers, and what might have escaped that is killed
when it starts again.

The protocol is one JSON object a line. Requests carry ``op`` and ``request``; the answer repeats ``request`` and has
``error`` when it failed. ``{"event": "exit", "container": {...}}`` is told to every connection.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import selectors
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hamgr_sandbox.node import isolation

SOCKET, STATE = "runtime.sock", "containers.json"
ISOLATED, SHARED = "isolated", "shared"
_OUTPUT_LIMIT = 10_240
TIMED_OUT = 124
_LISTENS_AFTER_S, _GLANCE_S = 5.0, 0.05


@dataclass
class Container:
    """One run of one container. ``pid`` is its first process as the node sees it; times are seconds of the wall clock.

    ``started_ticks`` is field 22 of /proc/PID/stat: it tells this process from a later one with the same number.
    """

    id: str
    pod_uid: str
    namespace: str
    pod: str
    name: str
    attempt: int
    log: str
    pid: int
    started_ticks: int
    started_at: float
    finished_at: float | None = None
    exit_code: int | None = None
    signal: int | None = None
    lost: bool = False
    """It ended with its node or its runtime, and nobody saw how; the exit code is then 255."""

    @property
    def running(self) -> bool:
        return self.exit_code is None


@dataclass
class _Command:
    """A command run inside a container for a probe or a hook, and who waits for it."""

    request: int
    connection: _Connection
    output: int
    collected: bytearray = field(default_factory=bytearray)
    ended: bool = False


@dataclass
class _Log:
    """The pipe that a container writes to, and the file it ends up in."""

    output: int
    file: int
    closed: bool = False


class _Connection:
    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._pending = b""

    def requests(self) -> Iterator[dict[str, Any]]:
        """What has arrived. Raises ConnectionError when the other side is gone."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionResetError
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # a peer that left is found by the next read
            self.sock.sendall(json.dumps(message).encode() + b"\n")


class Runtime:
    """State and main loop. Containers share the machine's root when ``isolated`` is False (no right to make mounts)."""

    def __init__(self, root: Path, *, isolated: bool) -> None:
        self._root = root
        self._isolated = isolated
        self._containers: dict[str, Container] = {}
        self._processes: dict[str, isolation.Process] = {}
        self._commands: dict[int, _Command] = {}
        self._logs: dict[str, _Log] = {}
        self._connections: set[_Connection] = set()
        self._selector = selectors.DefaultSelector()
        self._scratch = root / "rootfs"
        self._scratch.mkdir(parents=True, exist_ok=True)
        self._own_pid_namespace = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
        self._unheard: dict[str, float] = {}  # containers that are to get a SIGTERM, until when (monotonic)
        self._stopping = False

    def serve(self) -> None:
        """Answer requests until told to quit. Containers of an earlier runtime are killed first."""
        self._kill_leftovers()
        wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: self._quit())
        with open_socket(self._root) as server:
            self._selector.register(server, selectors.EVENT_READ, lambda: self._accept(server))
            self._selector.register(wakeup_read, selectors.EVENT_READ, lambda: self._reap(wakeup_read))
            while not self._stopping:
                for key, _ in self._selector.select(_GLANCE_S if self._unheard else None):
                    key.data()
                self._repeat_unheard()

    def _kill_leftovers(self) -> None:
        """End what an earlier runtime left behind, so that no container runs that nobody watches."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            for record in json.loads((self._root / STATE).read_text()):
                container = Container(**record)
                if container.running:
                    if _started_ticks(container.pid) == container.started_ticks:
                        os.kill(container.pid, signal.SIGKILL)
                    container.exit_code, container.finished_at, container.lost = 255, time.time(), True
                self._containers[container.id] = container
        self._save()

    def _quit(self) -> None:
        self._stopping = True
        for container in self._containers.values():
            if container.running:
                self._signal(container, signal.SIGKILL)

    def _accept(self, server: socket.socket) -> None:
        sock, _ = server.accept()
        sock.setblocking(True)
        connection = _Connection(sock)
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._read(connection))

    def _read(self, connection: _Connection) -> None:
        try:
            for request in connection.requests():
                self._answer(connection, request)
        except (ConnectionError, ValueError):
            self._selector.unregister(connection.sock)
            self._connections.discard(connection)
            connection.sock.close()

    def _answer(self, connection: _Connection, request: dict[str, Any]) -> None:
        operations: dict[str, Callable[[dict[str, Any], _Connection], dict[str, Any] | None]] = {
            "start": self._start,
            "exec": self._exec,
            "signal": self._on_signal,
            "list": self._list,
            "forget": self._forget,
            "quit": self._on_quit,
        }
        try:
            answer = operations[request["op"]](request, connection)
        except (OSError, KeyError, TypeError, ValueError) as error:
            answer = {"error": f"{error}"}
        if answer is not None:
            connection.send({"request": request.get("request", 0), **answer})

    def _list(self, _: dict[str, Any], __: _Connection) -> dict[str, Any]:
        return {"isolated": self._isolated, "containers": [asdict(each) for each in self._containers.values()]}

    # Starting

    def _start(self, request: dict[str, Any], _: _Connection) -> dict[str, Any]:
        process = isolation.Process.from_json(request["process"])
        # A pipe, as container runtimes give: a file could be truncated by whoever opens /dev/stdout.
        output, write_end = os.pipe2(os.O_CLOEXEC)
        try:
            pid = self._fork(process, write_end)
        except OSError:
            os.close(output)
            raise
        finally:
            os.close(write_end)
        container = Container(
            **request["container"], pid=pid, started_ticks=_started_ticks(pid) or 0, started_at=time.time()
        )
        self._containers[container.id] = container
        self._processes[container.id] = process
        self._keep_log(container, output)
        self._save()
        return {"container": asdict(container)}

    def _keep_log(self, container: Container, output: int) -> None:
        os.set_blocking(output, False)
        log = _Log(output, os.open(container.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644))
        self._logs[container.id] = log
        self._selector.register(output, selectors.EVENT_READ, lambda: self._copy(log))

    def _copy(self, log: _Log) -> None:
        """Move what a container has written into its log; its end closes both."""
        if log.closed:
            return
        with contextlib.suppress(BlockingIOError):
            while data := os.read(log.output, 65536):
                with contextlib.suppress(OSError):  # a full disk costs log lines, not the runtime
                    os.write(log.file, data)
            log.closed = True
            self._selector.unregister(log.output)
            os.close(log.output)
            os.close(log.file)

    def _fork(self, process: isolation.Process, output: int) -> int:
        """Start the container's first process; its number. Raises OSError with the step that failed, in words."""
        failure, report = os.pipe2(os.O_CLOEXEC)
        if self._isolated:
            isolation.unshare(isolation.CLONE_NEWPID)
        pid = os.fork()
        if pid == 0:
            self._run_container(process, output, report)
        os.close(report)
        if self._isolated:
            isolation.join_namespace(f"/proc/self/fd/{self._own_pid_namespace}")
        with os.fdopen(failure, "rb") as pipe:
            told = pipe.read()  # ends when the child executes its program, which closes the pipe
        if told:
            os.waitpid(pid, 0)
            raise OSError(told.decode())
        return pid

    def _run_container(self, process: isolation.Process, output: int, report: int) -> None:
        try:
            os.setsid()
            _restore_signals()
            nothing = os.open("/dev/null", os.O_RDONLY)
            for target, source in ((0, nothing), (1, output), (2, output)):
                os.dup2(source, target)
            if self._isolated:
                isolation.enter_container(process, self._scratch)
            isolation.become(process, confined=self._isolated)
        except BaseException as error:  # noqa: BLE001 the child must not return into the runtime's loop
            os.write(report, _explained(error, process).encode())
        os._exit(128)

    # Commands inside a container

    def _exec(self, request: dict[str, Any], connection: _Connection) -> dict[str, Any] | None:
        container = self._containers[request["id"]]
        process = self._processes.get(container.id)
        if not container.running or process is None:
            return {"error": "the container is not running"}
        places = {} if self._isolated else {mount.target: mount.source for mount in process.mounts}
        argv = tuple(isolation.relocated(word, places) for word in request["argv"])
        inside = isolation.Process(argv, process.env, process.cwd, process.uid, process.gid, process.groups)
        output, write_end = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            self._run_command(container.pid, inside, write_end, float(request["timeout_s"]))
        os.close(write_end)
        os.set_blocking(output, False)
        command = _Command(request["request"], connection, output)
        self._commands[pid] = command
        self._selector.register(output, selectors.EVENT_READ, lambda: self._collect(command))
        return None

    def _run_command(self, container: int, inside: isolation.Process, output: int, timeout_s: float) -> None:
        """In a child: enter the container, run the command in a child of its own, and exit with its code."""
        code = 126
        try:
            os.setsid()
            _restore_signals()
            nothing = os.open("/dev/null", os.O_RDONLY)
            for target, source in ((0, nothing), (1, output), (2, output)):
                os.dup2(source, target)
            if self._isolated:
                isolation.join_container(container)
            child = os.fork()
            if child == 0:
                isolation.become(inside, confined=self._isolated)
            code = _wait_for(child, timeout_s)
        except BaseException as error:  # noqa: BLE001 as above
            os.write(2, _explained(error, inside).encode())
        os._exit(code)

    def _collect(self, command: _Command) -> None:
        """Take what the command has written so far; at its end the pipe is watched no longer."""
        if command.ended:
            return
        with contextlib.suppress(BlockingIOError):
            while data := os.read(command.output, 65536):
                command.collected += data[: _OUTPUT_LIMIT - len(command.collected)]
            self._close(command)

    def _close(self, command: _Command) -> None:
        if not command.ended:
            command.ended = True
            self._selector.unregister(command.output)
            os.close(command.output)

    # Ending

    def _on_quit(self, _: dict[str, Any], __: _Connection) -> dict[str, Any]:
        self._quit()
        return {}

    def _on_signal(self, request: dict[str, Any], _: _Connection) -> dict[str, Any]:
        container, number = self._containers[request["id"]], int(request["signal"])
        if number == signal.SIGTERM and self._isolated and not _listens(container.pid):
            self._unheard.setdefault(container.id, time.monotonic() + _LISTENS_AFTER_S)
        else:
            self._signal(container, number)
        return {}

    def _repeat_unheard(self) -> None:
        """Ask those again that could not hear it: the kernel drops a SIGTERM for the first process of a namespace that
        has no handler for it. One that never has is killed in the end, as everywhere; one that is still starting would
        be for nothing."""
        for name, until in list(self._unheard.items()):
            container = self._containers.get(name)
            if container is None or not container.running or time.monotonic() > until:
                del self._unheard[name]
            elif _listens(container.pid):
                del self._unheard[name]
                self._signal(container, signal.SIGTERM)

    def _signal(self, container: Container, number: int) -> None:
        """Signal the first process; a kill takes all of the container, as the end of a process namespace does."""
        if not container.running:
            return
        with contextlib.suppress(ProcessLookupError):
            if number == signal.SIGKILL and not self._isolated:
                os.killpg(container.pid, number)
            else:
                os.kill(container.pid, number)

    def _reap(self, wakeup: int) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(wakeup, 4096)
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                self._ended(*found)

    def _ended(self, pid: int, status: int) -> None:
        if command := self._commands.pop(pid, None):
            self._finish(command, _exit_code(status))
            return
        for container in self._containers.values():
            if container.pid == pid and container.running:
                if not self._isolated:  # children that outlived their parent hold its files open
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)
                if log := self._logs.pop(container.id, None):
                    self._copy(log)
                container.exit_code, container.finished_at = _exit_code(status), time.time()
                container.signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
                self._save()
                for connection in self._connections:
                    connection.send({"event": "exit", "container": asdict(container)})

    def _finish(self, command: _Command, code: int) -> None:
        self._collect(command)
        self._close(command)
        text = bytes(command.collected).decode(errors="replace")
        command.connection.send({"request": command.request, "exit_code": code, "output": text})

    def _forget(self, request: dict[str, Any], _: _Connection) -> dict[str, Any]:
        for name in request["ids"]:
            if name in self._containers and not self._containers[name].running:
                del self._containers[name]
                self._processes.pop(name, None)
        self._save()
        return {}

    def _save(self) -> None:
        with tempfile.NamedTemporaryFile("w", dir=self._root, delete=False, prefix=".containers-") as file:
            json.dump([asdict(each) for each in self._containers.values()], file, indent=1)
        os.replace(file.name, self._root / STATE)


def _wait_for(child: int, timeout_s: float) -> int:
    descriptor = os.pidfd_open(child)
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        ended = selector.select(timeout_s)
    if not ended:
        os.kill(child, signal.SIGKILL)
    code = _exit_code(os.waitpid(child, 0)[1])
    return code if ended else TIMED_OUT


def _restore_signals() -> None:
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


def _exit_code(status: int) -> int:
    """What Kubernetes reports: the code, or 128 plus the signal's number."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def _listens(pid: int) -> bool:
    """Whether a process has said what becomes of a SIGTERM: it catches it, waits for it or ignores it (proc(5))."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return True
    masks = (int(line.split()[1], 16) for line in lines if line.startswith(("SigBlk:", "SigIgn:", "SigCgt:")))
    return any(mask >> (signal.SIGTERM - 1) & 1 for mask in masks)


def _started_ticks(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None


def _explained(error: BaseException, process: isolation.Process) -> str:
    if isinstance(error, isolation.SetupFailed):
        return error.strerror or str(error)
    if isinstance(error, OSError) and (error.filename == process.argv[0] or isinstance(error.filename, bytes)):
        found = error.errno != errno.ENOENT or "/" in process.argv[0]
        what = os.strerror(error.errno or 0).lower() if found else "executable file not found in $PATH"
        return f'exec: "{process.argv[0]}": {what}'
    return str(error)


@contextlib.contextmanager
def short_path(root: Path) -> Iterator[str]:
    """A name of the socket that fits into a socket address however deep ``root`` lies."""
    directory = os.open(root, os.O_PATH | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{directory}/{SOCKET}"
    finally:
        os.close(directory)


@contextlib.contextmanager
def open_socket(root: Path) -> Iterator[socket.socket]:
    """The listening socket, in place of whatever an earlier runtime left there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server, short_path(root) as path:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        server.bind(path)
        os.chmod(path, 0o600)
        server.listen()
        yield server


def main() -> None:
    """``runtime ROOT isolated|shared``: whether containers have mounts and processes of their own."""
    root, mode = Path(sys.argv[1]), sys.argv[2]
    root.mkdir(parents=True, exist_ok=True)
    Runtime(root, isolated=mode == ISOLATED).serve()


if __name__ == "__main__":
    main()
