"""Where log lines go before they reach standard error: a bounded queue and a thread of its own.

A disk that is full, a journald that hangs, a pipe that nobody drains: whoever logs notices none of it. What cannot be
written is dropped and counted, and the count is logged as soon as lines get through again.
"""

from __future__ import annotations

import io
import os
import threading
import time
from collections import deque
from collections.abc import Callable

MAX_BYTES = 1 << 20  # what waits at most: some thousands of lines
MAX_LINE = 1 << 14
AGAIN_S = 1.0  # after an error, so that a full disk is not tried thousands of times a second


class LogSink(io.TextIOBase):
    """A text stream that never blocks and never raises. Thread-safe.

    fd: where lines end up; None: nowhere, they count as dropped (standard error is closed). told(n): the line that says
    that n lines were dropped.
    """

    def __init__(self, fd: int | None, told: Callable[[int], str], pause: Callable[[float], None] = time.sleep) -> None:
        super().__init__()
        self._fd = fd
        self._told = told
        self._pause = pause
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._partial = ""
        self._dropped = self._untold = 0
        self._writing = self._ended = False
        if fd is not None:
            threading.Thread(target=self._run, name="log", daemon=True).start()

    @property
    def dropped(self) -> int:
        """How many lines were dropped so far."""
        with self._changed:
            return self._dropped

    def write(self, text: str) -> int:
        """Queue whole lines; the rest of a line waits for its end."""
        with self._changed:
            *lines, self._partial = (self._partial + text).split("\n")
            self._partial = self._partial[-MAX_LINE:]
            for line in lines:
                self._take(line[:MAX_LINE].encode(errors="backslashreplace") + b"\n")
            self._changed.notify_all()
        return len(text)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        try:
            return self._fd is not None and os.isatty(self._fd)
        except OSError:
            return False

    def fileno(self) -> int:
        if self._fd is None:
            raise OSError("standard error is closed")
        return self._fd

    def drain(self, timeout_s: float = 1.0) -> None:
        """Wait for what is queued to be written, no longer than that: at the end of the process."""
        with self._changed:
            self._changed.wait_for(lambda: not (self._waiting or self._writing), timeout_s if self._fd else 0.0)

    def _take(self, line: bytes) -> None:
        if self._fd is None or self._bytes + len(line) > MAX_BYTES:
            self._dropped += 1
            self._untold += 1
            return
        self._waiting.append(line)
        self._bytes += len(line)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                line = self._waiting.popleft()
                self._writing = True
            written = self._put(line)
            with self._changed:
                self._bytes -= len(line)
                self._writing = False
                if not written:
                    self._dropped += 1
                    self._untold += 1
                elif self._untold:
                    note = self._told(self._untold).encode(errors="backslashreplace") + b"\n"
                    self._untold = 0
                    self._waiting.append(note)  # behind what was queued before anything was dropped
                    self._bytes += len(note)
                self._changed.notify_all()
            if not written:
                self._pause(AGAIN_S)

    def _put(self, line: bytes) -> bool:
        """Write one line, for as long as that takes."""
        assert self._fd is not None
        try:
            while line:
                line = line[os.write(self._fd, line) :]
        except BlockingIOError:  # somebody has made the pipe non-blocking: nothing is read there just now
            return False
        except OSError:
            return False
        return True
