"""The agent's side of the container runtime: start, signal, run commands, hear of exits.

``kill_container`` is for fault injection from outside of the node (``hamgr sandbox kill``): it needs the node's kubelet
directory alone, since the runtime's socket is a file and process numbers differ between process namespaces.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hamgr_sandbox.node.isolation import Process
from hamgr_sandbox.node.runtime import ISOLATED, SHARED, STATE, TIMED_OUT, Container, short_path

log = logging.getLogger(__name__)
_LINE_LIMIT = 16 * 1024 * 1024
_KILL_S = 1.0


class RuntimeFailed(Exception):
    """The runtime could not do what it was asked for; the message says which step failed."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Exit code and output (stdout and stderr, at most 10 KiB) of a command run in a container; 124 is a timeout."""

    exit_code: int
    output: str


class Containers:
    """A connection to the node's runtime, which is started when it does not run. ``on_exit`` hears each exit.

    ``isolate`` is for a runtime that has to be started; ``isolated`` says what the running one does.
    """

    def __init__(self, root: Path, on_exit: Callable[[Container], None], *, isolate: bool) -> None:
        self._root = root
        self._isolate = isolate
        self._on_exit = on_exit
        self._writer: asyncio.StreamWriter | None = None
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._count = 0
        self._reader_task: asyncio.Task[None] | None = None
        self._reconnect_task: asyncio.Task[None] | None = None
        self._connecting = asyncio.Lock()
        self.isolated = False

    async def connect(self) -> list[Container]:
        """Connect, starting the runtime if needed; the containers that it knows. Raises RuntimeFailed."""
        await self._connected()
        answer = await self._call("list")
        self.isolated = bool(answer["isolated"])
        return [Container(**each) for each in answer["containers"]]

    async def _connected(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is not None:
                return self._writer
            reader, writer = await self._dial_or_start()
            self._writer = writer
            self._reader_task = asyncio.create_task(self._read(reader))
            return writer

    async def _dial_or_start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._root.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            return await self._dial()
        with (self._root / "runtime.log").open("ab") as output:
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "hamgr_sandbox.node.runtime",
                str(self._root),
                ISOLATED if self._isolate else SHARED,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        for _ in range(1000):
            with contextlib.suppress(OSError):
                return await self._dial()
            await asyncio.sleep(0.01)
        raise RuntimeFailed(f"the container runtime does not start; see {self._root / 'runtime.log'}")

    async def _dial(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        with short_path(self._root) as path:
            return await asyncio.open_unix_connection(path, limit=_LINE_LIMIT)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while line := await reader.readline():
                message = json.loads(line)
                if message.get("event") == "exit":
                    self._on_exit(Container(**message["container"]))
                elif (waiting := self._waiting.pop(message["request"], None)) and not waiting.done():
                    waiting.set_result(message)
        self._writer = None
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(RuntimeFailed("the connection to the container runtime was lost"))
        self._waiting.clear()
        self._reconnect_task = asyncio.create_task(self._reconnect())

    async def _reconnect(self) -> None:
        """The runtime died: start it again, and tell the exits that come of it."""
        log.error("the container runtime has ended: starting it again; its containers are dead")
        while True:
            try:
                containers = await self.connect()
                break
            except (RuntimeFailed, OSError) as error:
                log.error("%s", error)
                await asyncio.sleep(1.0)
        for container in containers:
            if not container.running:
                self._on_exit(container)

    async def _call(self, op: str, **fields: Any) -> dict[str, Any]:
        writer = await self._connected()
        self._count += 1
        number = self._count
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        writer.write(json.dumps({"op": op, "request": number, **fields}).encode() + b"\n")
        answer = await future
        if "error" in answer:
            raise RuntimeFailed(answer["error"])
        return answer

    async def start(
        self, process: Process, *, id: str, pod_uid: str, namespace: str, pod: str, name: str, attempt: int, log: Path
    ) -> Container:
        """Start a container. Raises RuntimeFailed with the step that failed."""
        labels = {
            "id": id,
            "pod_uid": pod_uid,
            "namespace": namespace,
            "pod": pod,
            "name": name,
            "attempt": attempt,
            "log": str(log),
        }
        answer = await self._call("start", process=asdict(process), container=labels)
        return Container(**answer["container"])

    async def signal(self, container_id: str, number: int) -> None:
        await self._call("signal", id=container_id, signal=number)

    async def run(self, container_id: str, argv: list[str], timeout_s: float) -> CommandResult:
        """Run a command in a running container. Raises RuntimeFailed when the container is not running."""
        try:
            # The runtime kills the command in time; one that waits for a hung disk does not die, and is not waited for.
            async with asyncio.timeout(timeout_s + _KILL_S):
                answer = await self._call("exec", id=container_id, argv=argv, timeout_s=timeout_s)
        except TimeoutError:
            return CommandResult(TIMED_OUT, "")
        return CommandResult(answer["exit_code"], answer["output"])

    async def forget(self, container_ids: list[str]) -> None:
        """Drop the records of ended containers."""
        await self._call("forget", ids=container_ids)

    async def close(self) -> None:
        """Disconnect; runtime and containers run on."""
        for task in (self._reader_task, self._reconnect_task):
            if task is not None:
                task.cancel()
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def known_containers(root: Path) -> list[Container]:
    """What the runtime of the node with the kubelet directory ``root`` last wrote down; empty when it never ran."""
    try:
        return [Container(**record) for record in json.loads((root / STATE).read_text())]
    except FileNotFoundError:
        return []


def kill_container(
    root: Path, namespace: str, pod: str, container: str | None = None, number: int = signal.SIGKILL
) -> list[Container]:
    """Signal the first process of a pod's running containers (or of one of them); those that were signaled.

    Raises OSError when the node's runtime does not answer.
    """
    chosen = [
        each
        for each in known_containers(root)
        if each.running and (each.namespace, each.pod) == (namespace, pod) and container in (None, each.name)
    ]
    for each in chosen:
        _request(root, {"op": "signal", "id": each.id, "signal": int(number)})
    return chosen


def stop_runtime(root: Path) -> None:
    """End a node's runtime and with it all of its containers; nothing happens when none runs."""
    with contextlib.suppress(OSError):
        _request(root, {"op": "quit"})


def _request(root: Path, request: dict[str, Any]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock, short_path(root) as path:
        sock.settimeout(5.0)
        sock.connect(path)
        sock.sendall(json.dumps({"request": 0, **request}).encode() + b"\n")
        sock.recv(65536)
