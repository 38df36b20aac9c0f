"""Logging neither blocks nor ends anything, whatever becomes of standard error."""

from __future__ import annotations

import fcntl
import os
import re
import sys
from collections.abc import Callable

import pytest
from fixtures.waiting import wait_until

from hamgr.daemon import logsink
from hamgr.daemon.logsink import LogSink
from hamgr.daemon.selffence import killer

F_SETPIPE_SZ = 1031


def sink_on(fd: int | None) -> LogSink:
    return LogSink(fd, lambda count: f"dropped {count}", pause=lambda _seconds: None)


@pytest.fixture
def pipe() -> tuple[int, Callable[[], str]]:
    """A small pipe: the end to write to, and what reads everything that is in it."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, F_SETPIPE_SZ, 4096)
    os.set_blocking(reading, False)

    def read() -> str:
        try:
            return os.read(reading, 1 << 22).decode()
        except BlockingIOError:
            return ""

    return writing, read


def test_lines_arrive_in_order_and_whole(pipe: tuple[int, Callable[[], str]]) -> None:
    writing, read = pipe
    sink = sink_on(writing)
    sink.write("one\ntw")
    sink.write("o\n\udc80odd\n")
    sink.drain()
    assert read() == "one\ntwo\n\\udc80odd\n"
    assert sink.dropped == 0


def test_a_pipe_that_nobody_drains_is_waited_for_by_nobody(pipe: tuple[int, Callable[[], str]]) -> None:
    writing, read = pipe
    sink = sink_on(writing)
    line = "x" * 1000 + "\n"
    for _ in range(5000):
        sink.write(line)
    assert 5000 - logsink.MAX_BYTES // 1000 - 10 < sink.dropped < 5000
    dropped = sink.dropped
    found: list[str] = []

    def told() -> int:
        found.append(read())
        return sum(int(count) for count in re.findall("^dropped ([0-9]+)$", "".join(found), re.MULTILINE))

    wait_until(lambda: told() == dropped)  # by one line, or by two when the first lines were written meanwhile
    assert "".join(found).count(line) == 5000 - dropped


def test_a_full_disk_ends_nothing_and_is_told_of_later() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    sink = sink_on(full)
    sink.write("lost\n" * 3)
    wait_until(lambda: sink.dropped == 3)
    reading, writing = os.pipe()
    os.dup2(writing, full)  # there is room again
    sink.write("back\n")
    sink.drain()
    wait_until(lambda: sink.dropped == 3)
    assert os.read(reading, 100).decode().startswith("back\ndropped 3\n")


def test_a_closed_standard_error_is_written_to_in_vain() -> None:
    sink = sink_on(None)
    sink.write("a\nb\n")
    sink.drain()
    assert (sink.dropped, sink.isatty()) == (2, False)


def test_one_huge_line_does_not_fill_the_memory(pipe: tuple[int, Callable[[], str]]) -> None:
    writing, _ = pipe
    sink = sink_on(writing)
    for _ in range(100):
        sink.write("y" * (1 << 20))
    assert len(sink._partial) <= logsink.MAX_LINE


def test_a_guard_kills_on_while_its_line_hangs(
    pipe: tuple[int, Callable[[], str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It shares hamgrd's standard error: a full pipe there must not keep instances alive."""
    writing, read = pipe
    os.write(writing, b"x" * 4096)
    monkeypatch.setattr(sys, "stderr", os.fdopen(writing, "w"))
    for _ in range(3):
        killer._tell("killed", ["uid"])
    assert set(read()) == {"x"}
    wait_until(lambda: '"event": "killed"' in read())
    monkeypatch.setattr(sys, "stderr", None)
    killer._tell("killed", ["uid"])
