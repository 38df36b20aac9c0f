"""The application's client: it writes all the time and remembers every write that it was told to be safe."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable

from hamgr_sandbox.kvapp import Acknowledged

_TIMEOUT_S = 1.0
_PACE_S = 0.05


class KvClient:
    """Writes numbered keys from a thread of its own, until stopped. `stop` ends it for good."""

    def __init__(self, address: Callable[[], tuple[str, int]], prefix: str) -> None:
        """address: where to connect, asked before each connection; it may raise OSError. prefix: of all keys."""
        self._address = address
        self._prefix = prefix
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._acknowledged: list[tuple[float, Acknowledged]] = []
        self._thread = threading.Thread(target=self._run, name=f"client {prefix}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(3 * _TIMEOUT_S)

    def acknowledged(self) -> list[Acknowledged]:
        """Every write that was acknowledged so far."""
        with self._lock:
            return [write for _, write in self._acknowledged]

    def last_at(self) -> float:
        """Monotonic time of the last acknowledgement; 0 when there was none."""
        with self._lock:
            return self._acknowledged[-1][0] if self._acknowledged else 0.0

    def longest_gap_s(self) -> float:
        """The longest time between two acknowledged writes."""
        with self._lock:
            times = [at for at, _ in self._acknowledged]
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            try:
                with socket.create_connection(self._address(), _TIMEOUT_S) as connection:
                    connection.settimeout(_TIMEOUT_S)
                    with connection.makefile("rwb") as stream:
                        while not self._stop.wait(_PACE_S):
                            number += 1
                            key, value = f"{self._prefix}{number}", str(time.time_ns())
                            stream.write(f"SET {key} {value}\n".encode())
                            stream.flush()
                            self._take(stream.readline(), key, value)
            except OSError:
                self._stop.wait(_PACE_S)

    def _take(self, answer: bytes, key: str, value: str) -> None:
        """Note an acknowledgement; any other answer, or none, means that nobody knows. Raises ConnectionError then."""
        word, _, rest = answer.decode(errors="replace").strip().partition(" ")
        if word != "OK":
            raise ConnectionError(f"the answer to a write is {answer!r}")
        with self._lock:
            self._acknowledged.append((time.monotonic(), Acknowledged(int(rest), key, value)))
