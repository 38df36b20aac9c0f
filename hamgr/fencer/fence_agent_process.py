"""One call of a fence agent's program, which can end late or not at all, but never act late without bound.

A device knows no fencing token: what reaches it from a leader that was frozen meanwhile is obeyed. So an agent is told
what to do at the last moment at which its caller may still act, it is killed as soon as the caller may not, and a
time-out that does not depend on the caller's being awake ends it in any case (timeout(1), whose clock is the kernel's).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable
from typing import Any

import structlog

OVERTIME_S = 1.0
"""How much longer than its time-out an agent can live when its caller is frozen."""

MOST_BYTES = 64 * 1024
"""What is kept of each of an agent's two streams: the beginning of its output, the end of its complaints. The longest
metadata of Debian's agents are half of that."""

_CHUNK_BYTES = 16 * 1024
_LOOK_EVERY_S = 0.1
_DYING_S = 2.0

log = structlog.get_logger(__name__)


def always() -> None:
    """For a call that is allowed whatever happens: it changes nothing."""


def call_agent(program: str, text: str, timeout_s: float, allowed: Callable[[], None] = always) -> tuple[int, str, str]:
    """Run `program` with `text` on its standard input; its exit code, output and complaints.

    allowed: asked right before the text is given, and again and again until the end; what it raises ends the program
    with all its children (ssh, ipmitool), and is raised here. Raises OSError; subprocess.TimeoutExpired when the
    program was not over after `timeout_s` seconds and was killed with its children.
    """
    pipe = subprocess.PIPE
    bounded = ["timeout", "--signal=KILL", f"{timeout_s + OVERTIME_S:.3f}", program]
    process = subprocess.Popen(bounded, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)
    until = time.monotonic() + timeout_s
    try:
        with _Talk(process, text.encode()) as talk:
            while not talk.is_over():
                allowed()
                if time.monotonic() >= until:
                    raise subprocess.TimeoutExpired(program, timeout_s)
                talk.go_on(min(_LOOK_EVERY_S, max(0.0, until - time.monotonic())))
            return process.returncode, talk.out.decode(errors="replace"), talk.err.decode(errors="replace")
    except BaseException:
        _end(process)
        raise


class _Talk:
    """What goes to a process and comes from it, a piece at a time; what is too much of it is read and dropped."""

    def __init__(self, process: subprocess.Popen[bytes], text: bytes) -> None:
        self.out = self.err = b""
        self._process = process
        self._left = text
        self._selector = selectors.DefaultSelector()
        for stream, event in (
            (process.stdin, selectors.EVENT_WRITE),
            (process.stdout, selectors.EVENT_READ),
            (process.stderr, selectors.EVENT_READ),
        ):
            assert stream is not None
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, event)

    def __enter__(self) -> _Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()

    def is_over(self) -> bool:
        """Whether it has said everything and ended."""
        return not self._selector.get_map() and self._process.poll() is not None

    def go_on(self, patience_s: float) -> None:
        """Wait so long for the next piece, or for the end."""
        if not self._selector.get_map():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)
            return
        for key, _ in self._selector.select(patience_s):
            if key.fileobj is self._process.stdin:
                self._tell()
            elif not (piece := os.read(key.fd, _CHUNK_BYTES)):
                self._close(key.fileobj)
            elif key.fileobj is self._process.stdout:
                self.out = (self.out + piece)[:MOST_BYTES]
            else:
                self.err = (self.err + piece)[-MOST_BYTES:]

    def _tell(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            self._left = self._left[os.write(stdin.fileno(), self._left) :] if self._left else b""
        except BrokenPipeError:  # it does not listen: its exit code will say
            self._left = b""
        if not self._left:
            self._close(stdin)

    def _close(self, stream: Any) -> None:
        self._selector.unregister(stream)
        stream.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill it with its children. A program that the kernel does not let die (state D) is left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):  # what was not written yet is of no use any more
                stream.close()
    try:
        process.wait(_DYING_S)
    except subprocess.TimeoutExpired:
        log.warning("fence_agent_does_not_die", pid=process.pid)
