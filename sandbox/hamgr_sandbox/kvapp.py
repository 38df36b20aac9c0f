"""A small durable key-value application over TCP that catches a second writer in the act.

It stands where a database would, for those without MariaDB and for tests that want to know who wrote what. All data are
in one append-only log on the volume. A write is acknowledged after it has been synced, and its record carries the UID
of the pod and the node that wrote it, a sequence number, and a checksum; opening the log is a record too. So the log
itself tells afterwards whether two pods ever wrote at the same time, and whether anything acknowledged is missing:
``audit`` reads it.

``python -m hamgr_sandbox.kvapp --data DIR --port 6380`` serves, ``python -m hamgr_sandbox.kvapp audit PATH`` judges.

Commands are lines: ``PING``, ``SET key value``, ``GET key``, ``KEYS``, ``DUMP``. Answers: ``PONG uid node``,
``OK seq``, ``VALUE seq value`` or ``NONE``, lines and ``END``; ``ERR reason`` for what cannot be done.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import json
import os
import signal
import sys
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

LOG_NAME = "kv.log"
_LINE_LIMIT = 1 << 20
_LAST_WORDS_S = 0.05
EX_OK, EX_FOUND, EX_USAGE, EX_NOINPUT, EX_STORAGE = 0, 1, 64, 66, 74


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the log. ``op`` is ``open`` (a pod took the log over; no key) or ``set``.

    The value of an ``open`` is BESIDE where another process on the same node had the log open at that moment.
    """

    seq: int
    uid: str
    node: str
    op: str
    key: str = ""
    value: str = ""


BESIDE = "beside"


class BadRecord(ValueError):
    """A line of the log that was not written as it stands there."""


def encoded(record: Record) -> bytes:
    body = json.dumps(asdict(record), separators=(",", ":")).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decoded(line: bytes) -> Record:
    """The record of one line, without its line end. Raises BadRecord."""
    checksum, _, body = line.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        raise BadRecord(f"the checksum does not match: {line[:80]!r}")
    try:
        return Record(**json.loads(body))
    except (ValueError, TypeError) as error:
        raise BadRecord(str(error)) from error


# The log, written


class SecondWriter(Exception):
    """Somebody else has written to our log since our last write."""


@dataclass(frozen=True, slots=True)
class Entry:
    """The current value of a key and the number of the write that set it."""

    seq: int
    value: str


class Log:
    """The open log of one process. Every error of the storage ends its use: what is on the disk is then unknown."""

    def __init__(self, directory: Path, uid: str, node: str) -> None:
        self._uid = uid
        self._node = node
        self.entries: dict[str, Entry] = {}
        path = directory / LOG_NAME
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o660)
        self._seq = self._recover(path.read_bytes())
        self._size = os.fstat(self._file).st_size
        self.append([("open", "", "" if self._is_alone() else BESIDE)])
        directory_file = os.open(directory, os.O_RDONLY)
        os.fsync(directory_file)
        os.close(directory_file)

    def close(self) -> None:
        """Let go of the log, as the end of the process does."""
        os.close(self._file)

    def _is_alone(self) -> bool:
        """Whether no other process of this node has the log open; the lock ends with the process that has it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _recover(self, data: bytes) -> int:
        """Read what is there; a torn last line, whose write was never acknowledged, is cut off. The last number."""
        last, good = 0, 0
        for line in data.splitlines(keepends=True):
            try:
                if not line.endswith(b"\n"):
                    raise BadRecord("no line end")
                record = decoded(line[:-1])
            except BadRecord:
                if good + len(line) < len(data):
                    raise  # damage in the middle is no torn write, and nothing to repair silently
                os.ftruncate(self._file, good)
                break
            good += len(line)
            last = record.seq
            if record.op == "set":
                self.entries[record.key] = Entry(record.seq, record.value)
        return last

    def append(self, operations: Sequence[tuple[str, str, str]]) -> list[int]:
        """Write (op, key, value) records and sync them once; their numbers. Raises SecondWriter, OSError."""
        if os.fstat(self._file).st_size != self._size:
            raise SecondWriter("the log has grown by a hand that is not ours")
        records = [
            Record(self._seq + number, self._uid, self._node, *operation)
            for number, operation in enumerate(operations, start=1)
        ]
        data = b"".join(encoded(record) for record in records)
        if os.write(self._file, data) != len(data):
            raise OSError("the log could be written in part only")
        os.fdatasync(self._file)
        self._seq += len(records)
        self._size += len(data)
        for record in records:
            if record.op == "set":
                self.entries[record.key] = Entry(record.seq, record.value)
        return [record.seq for record in records]


# The server


@dataclass
class _Write:
    key: str
    value: str
    done: asyncio.Future[int]


class Server:
    """Serves one log. Writes that arrive together are synced together."""

    def __init__(self, log: Log, uid: str, node: str) -> None:
        self._log = log
        self._greeting = f"PONG {uid} {node}"
        self._writes: asyncio.Queue[_Write] = asyncio.Queue()

    async def write_until_failure(self) -> Exception:
        """Carry out writes until the storage fails; then nobody gets an answer that could be wrong."""
        while True:
            batch = [await self._writes.get()]
            while not self._writes.empty():
                batch.append(self._writes.get_nowait())
            try:
                numbers = await asyncio.to_thread(self._log.append, [("set", w.key, w.value) for w in batch])
            except (OSError, SecondWriter) as error:
                for write in batch:
                    write.done.set_exception(error)
                return error
            for write, number in zip(batch, numbers, strict=True):
                write.done.set_result(number)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client, until it leaves."""
        try:
            while line := await reader.readline():
                for answer in await self._answer(line.decode(errors="replace").rstrip("\r\n")):
                    writer.write(f"{answer}\n".encode())
                await writer.drain()
        except (OSError, ValueError):
            pass  # the client left, or sent a line beyond all bounds
        finally:
            writer.close()

    async def _answer(self, line: str) -> list[str]:
        command, _, rest = line.partition(" ")
        key, _, value = rest.partition(" ")
        match command.upper():
            case "PING":
                return [self._greeting]
            case "SET" if key and value:
                return [await self._set(key, value)]
            case "GET" if key:
                entry = self._log.entries.get(key)
                return [f"VALUE {entry.seq} {entry.value}" if entry else "NONE"]
            case "KEYS":
                return [*sorted(self._log.entries), "END"]
            case "DUMP":
                return [*(f"{name} {each.seq} {each.value}" for name, each in sorted(self._log.entries.items())), "END"]
        return ["ERR commands are PING, SET key value, GET key, KEYS, DUMP"]

    async def _set(self, key: str, value: str) -> str:
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._writes.put_nowait(_Write(key, value, done))
        try:
            return f"OK {await done}"
        except (OSError, SecondWriter) as error:
            return f"ERR {error}"


async def _run(directory: Path, address: str, port: int, uid: str, node: str) -> int:
    server = Server(Log(directory, uid, node), uid, node)
    asked_to_end = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked_to_end.set)
    listening = await asyncio.start_server(server.serve, address, port, limit=_LINE_LIMIT)
    actual = listening.sockets[0].getsockname()[1]
    print(f"kvapp: pod {uid} on {node} serves {directory} on {address}:{actual}", flush=True)
    writing = asyncio.create_task(server.write_until_failure())
    ending = asyncio.create_task(asked_to_end.wait())
    await asyncio.wait([writing, ending], return_when=asyncio.FIRST_COMPLETED)
    listening.close()
    if writing.done():
        await asyncio.sleep(_LAST_WORDS_S)
        print(f"kvapp: {directory}: {writing.result()}; ending", file=sys.stderr, flush=True)
        return EX_STORAGE
    writing.cancel()
    return EX_OK


# The judgement


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A write that a client was told to be safe: what ``OK seq`` answered."""

    seq: int
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Lost:
    """A write that a client was told to be safe, and what the log has at its number; None: it ends before."""

    promise: Acknowledged
    instead: Record | None


@dataclass(frozen=True, slots=True)
class Intrusion:
    """A record by a pod that had already lost the log to another one."""

    record: Record
    owner: str
    """UID of the pod that had opened the log last."""


@dataclass
class Audit:
    """What a log tells. ``lost``: acknowledged writes (or their bare numbers) that are not there as acknowledged."""

    records: int = 0
    writers: list[str] = field(default_factory=list)
    lost: list[Lost | int] = field(default_factory=list)
    duplicates: list[int] = field(default_factory=list)
    intrusions: list[Intrusion] = field(default_factory=list)
    beside: list[Record] = field(default_factory=list)
    """Pods that opened the log while another one on their node had it open, be it without writing any more."""
    damaged: list[int] = field(default_factory=list)
    """Line numbers (from 1) that cannot be read; a torn last line is none of them."""

    @property
    def second_writer(self) -> bool:
        """Whether two pods ever wrote to the log at the same time. Two writers on a disk also show as damage."""
        return bool(self.intrusions or self.duplicates or self.beside)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.second_writer or self.damaged)


def audit(path: Path, acknowledged: Iterable[Acknowledged] = ()) -> Audit:
    """Judge a log, given as the file or its directory, against what clients were promised.

    Without ``acknowledged``, numbers missing in between count as lost: a number is given out after the one before was
    synced. Raises OSError.
    """
    data = (path / LOG_NAME if path.is_dir() else path).read_bytes()
    found = Audit()
    by_number: dict[int, Record] = {}
    owner = ""
    lines = data.split(b"\n")
    for number, line in enumerate(lines[:-1], start=1):  # what follows the last line end was never acknowledged
        try:
            record = decoded(line)
        except BadRecord:
            found.damaged.append(number)
            continue
        found.records += 1
        if record.op == "open":
            owner = record.uid
            found.writers.append(owner)
            if record.value == BESIDE:
                found.beside.append(record)
        elif record.uid != owner:
            found.intrusions.append(Intrusion(record, owner))
        if record.seq in by_number:
            found.duplicates.append(record.seq)
        by_number[record.seq] = record
    found.lost += [number for number in range(1, max(by_number, default=0)) if number not in by_number]
    for promise in acknowledged:
        kept = by_number.get(promise.seq)
        if kept is None or (kept.key, kept.value) != (promise.key, promise.value):
            found.lost.append(Lost(promise, kept))
    return found


def _report(path: Path) -> int:
    try:
        found = audit(path)
    except OSError as error:
        print(f"kvapp audit: {error}", file=sys.stderr)
        return EX_NOINPUT
    print(f"{found.records} records, opened by {len(found.writers)} pods")
    for intrusion in found.intrusions:
        print(f"second writer: {intrusion.record} after {intrusion.owner} had opened the log")
    for record in found.beside:
        print(f"second writer: {record} while another pod on its node had the log open")
    for title, numbers in (("written twice", found.duplicates), ("lost", found.lost), ("damaged line", found.damaged)):
        for number in numbers:
            print(f"{title}: {number}")
    return EX_OK if found.clean else EX_FOUND


def main(argv: Sequence[str] | None = None) -> int:
    """Exit codes: 0 ended or clean, 1 the audit found something, 66 no log, 74 the storage failed."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["audit"] and len(arguments) == 2:
        return _report(Path(arguments[1]))
    made = argparse.ArgumentParser(prog="kvapp", description="A durable key-value application; or: kvapp audit PATH")
    made.add_argument("--data", type=Path, default=Path("/data"), help="directory of the log (default: %(default)s)")
    made.add_argument("--port", type=int, default=6380)
    made.add_argument("--address", default=os.environ.get("HAMGR_BIND_ADDRESS", "0.0.0.0"))
    made.add_argument("--uid", default=os.environ.get("HAMGR_POD_UID", "nobody"), help="UID of the pod")
    made.add_argument("--node", default=os.environ.get("HAMGR_NODE", "nowhere"))
    given = made.parse_args(arguments)
    try:
        return asyncio.run(_run(given.data, given.address, given.port, given.uid, given.node))
    except (OSError, BadRecord, SecondWriter) as error:
        print(f"kvapp: {given.data}: {error}", file=sys.stderr)
        return EX_STORAGE


if __name__ == "__main__":
    sys.exit(main())
