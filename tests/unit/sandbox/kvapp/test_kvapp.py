"""The key-value app's log and the judgement over it; the server on a real socket."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hamgr_sandbox.kvapp import (
    LOG_NAME,
    Acknowledged,
    BadRecord,
    Entry,
    Log,
    Lost,
    Record,
    SecondWriter,
    audit,
    decoded,
    encoded,
)


def log_of(directory: Path, *records: Record) -> Path:
    (directory / LOG_NAME).write_bytes(b"".join(map(encoded, records)))
    return directory


def test_a_record_survives_encoding_and_any_flipped_bit_is_noticed() -> None:
    record = Record(7, "uid", "n1", "set", "k", "v w")
    line = encoded(record).rstrip(b"\n")
    assert decoded(line) == record
    for position in range(len(line)):
        with pytest.raises(BadRecord):
            decoded(line[:position] + bytes([line[position] ^ 1]) + line[position + 1 :])


def test_a_log_is_found_again_by_the_next_pod(tmp_path: Path) -> None:
    first = Log(tmp_path, "a", "n1")
    assert first.append([("set", "x", "1"), ("set", "y", "2")]) == [2, 3]
    first.close()
    second = Log(tmp_path, "b", "n2")
    assert second.entries == {"x": Entry(2, "1"), "y": Entry(3, "2")}
    assert second.append([("set", "x", "3")]) == [5]
    found = audit(tmp_path)
    assert (found.clean, found.writers, found.records) == (True, ["a", "b"], 5)


def test_a_pod_that_lost_its_log_is_stopped_by_its_next_write(tmp_path: Path) -> None:
    old, new = Log(tmp_path, "old", "n1"), Log(tmp_path, "new", "n2")
    with pytest.raises(SecondWriter):
        old.append([("set", "x", "1")])
    new.append([("set", "x", "2")])
    assert not audit(tmp_path).intrusions


def test_a_pod_beside_another_one_on_its_node_is_on_record_though_neither_writes(tmp_path: Path) -> None:
    first = Log(tmp_path, "a", "n1")
    Log(tmp_path, "b", "n1").close()
    found = audit(tmp_path)
    assert (found.second_writer, [record.uid for record in found.beside]) == (True, ["b"])
    first.close()
    Log(tmp_path, "c", "n1").close()
    assert [record.uid for record in audit(tmp_path).beside] == ["b"]


def test_a_torn_last_line_is_cut_off_and_damage_elsewhere_is_refused(tmp_path: Path) -> None:
    log = Log(tmp_path, "a", "n1")
    log.append([("set", "x", "1")])
    log.close()
    whole = (tmp_path / LOG_NAME).read_bytes()
    (tmp_path / LOG_NAME).write_bytes(whole + encoded(Record(3, "a", "n1", "set", "x", "2"))[:-5])
    assert Log(tmp_path, "b", "n1").entries["x"] == Entry(2, "1")
    assert audit(tmp_path).clean
    (tmp_path / LOG_NAME).write_bytes(b"0" + whole)
    assert audit(tmp_path).damaged == [1]
    with pytest.raises(BadRecord):
        Log(tmp_path, "c", "n1")


def test_the_audit_finds_writes_of_a_pod_that_had_lost_the_log(tmp_path: Path) -> None:
    late = Record(4, "a", "n1", "set", "x", "late")
    log_of(
        tmp_path,
        Record(1, "a", "n1", "open"),
        Record(2, "a", "n1", "set", "x", "1"),
        Record(3, "b", "n2", "open"),
        late,
        Record(5, "b", "n2", "set", "x", "2"),
    )
    found = audit(tmp_path)
    assert found.second_writer
    assert [(each.record, each.owner) for each in found.intrusions] == [(late, "b")]


def test_the_audit_finds_numbers_given_out_twice(tmp_path: Path) -> None:
    log_of(tmp_path, Record(1, "a", "n1", "open"), Record(2, "b", "n2", "open"), Record(2, "b", "n2", "set", "x", "1"))
    assert audit(tmp_path).duplicates == [2]


def test_the_audit_finds_lost_writes_with_and_without_the_clients_list(tmp_path: Path) -> None:
    log_of(
        tmp_path,
        Record(1, "a", "n1", "open"),
        Record(2, "a", "n1", "set", "x", "1"),
        Record(4, "a", "n1", "set", "x", "3"),
    )
    assert audit(tmp_path).lost == [3]
    written = Record(4, "a", "n1", "set", "x", "3")
    kept, lost, changed = Acknowledged(2, "x", "1"), Acknowledged(5, "x", "4"), Acknowledged(4, "x", "other")
    assert audit(tmp_path, [kept, lost, changed]).lost == [3, Lost(lost, None), Lost(changed, written)]


class Client:
    def __init__(self, port: int) -> None:
        self._file = socket.create_connection(("127.0.0.1", port), timeout=10).makefile("rw")

    def __call__(self, command: str) -> str:
        self._file.write(command + "\n")
        self._file.flush()
        return self.line()

    def line(self) -> str:
        return self._file.readline().rstrip("\n")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Client]]:
    command = [sys.executable, "-m", "hamgr_sandbox.kvapp", "--data", str(tmp_path), "--port", "0"]
    environment = {**os.environ, "HAMGR_POD_UID": "u1", "HAMGR_NODE": "n1", "HAMGR_BIND_ADDRESS": "127.0.0.1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process, Client(int(process.stdout.readline().rpartition(":")[2]))
    finally:
        process.kill()
        process.communicate()


def test_commands(server: tuple[subprocess.Popen[str], Client], tmp_path: Path) -> None:
    process, client = server
    assert client("PING") == "PONG u1 n1"
    assert client("GET x") == "NONE"
    assert client("SET x one two") == "OK 2"
    assert client("GET x") == "VALUE 2 one two"
    assert client("SET x") == "ERR commands are PING, SET key value, GET key, KEYS, DUMP"
    assert [client("DUMP"), client.line(), client("KEYS")] == ["x 2 one two", "END", "x"]
    process.send_signal(signal.SIGTERM)
    assert process.wait(10) == 0
    assert audit(tmp_path, [Acknowledged(2, "x", "one two")]).clean


def test_a_second_writer_ends_the_first(server: tuple[subprocess.Popen[str], Client], tmp_path: Path) -> None:
    process, client = server
    Log(tmp_path, "u2", "n2")
    assert client("SET x 1") == "ERR the log has grown by a hand that is not ours"
    assert process.wait(10) == 74
