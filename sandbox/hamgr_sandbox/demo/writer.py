"""A database client that remembers what it was promised: the judge of every fault in the demo.

It inserts numbered rows at a steady rate and keeps the number of each row that the server acknowledged. A row whose
commit got no answer is *unknown*: it may be found later or not, but an acknowledged one must be found, once.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import pymysql

CONNECT_TIMEOUT_S = 1.0
ANSWER_TIMEOUT_S = 2.0


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """One acknowledged row: its number, when the commit was answered (monotonic seconds), by which server."""

    number: int
    at: float
    server: str


@dataclass(frozen=True, slots=True)
class Outage:
    """The longest stretch without an acknowledged row: its start and end on the monotonic clock."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def longest_outage(acknowledged: list[Acknowledged], since: float, until: float, interval_s: float) -> Outage:
    """Give the longest gap between acknowledged rows that ends after `since`, less the client's own pace.

    since, until: monotonic seconds; the gap that is open at `until` counts.
    interval_s: the pace at which the client writes: a gap of just that is no outage.
    """
    times = [row.at for row in acknowledged if row.at <= until]
    longest = Outage(since, since)
    edges = [*times, until]
    for before, after in itertools.pairwise(edges):
        if after < since:
            continue
        gap = Outage(before + interval_s, after)
        if gap.seconds > longest.seconds:
            longest = gap
    return longest


class Writer:
    """Inserts `rate` rows a second into TABLE through `address`, from a thread of its own, until stopped."""

    TABLE = "demo.journal"

    def __init__(
        self,
        connect: Callable[[], pymysql.Connection[pymysql.cursors.Cursor]],
        rate: float = 10.0,
        first: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare a writer.

        connect: opens a connection to the server; it is called again after each failure.
        first: the number of the first row, so that two writers can share one table.
        """
        self._connect = connect
        self.interval_s = 1.0 / rate
        self._next = first
        self._clock = clock
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._acknowledged: list[Acknowledged] = []
        self._unknown: list[int] = []
        self._errors: list[tuple[float, str]] = []
        self._thread = threading.Thread(target=self._run, name="demo-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(CONNECT_TIMEOUT_S + ANSWER_TIMEOUT_S + 1)

    def acknowledged(self) -> list[Acknowledged]:
        """All rows acknowledged so far, oldest first."""
        with self._lock:
            return list(self._acknowledged)

    def _run(self) -> None:
        connection: pymysql.Connection[pymysql.cursors.Cursor] | None = None
        server = ""
        due = self._clock()
        while not self._stop.is_set():
            try:
                if connection is None:
                    connection = self._connect()
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT @@hostname, @@pid_file")
                        server = "@".join(str(part) for part in cursor.fetchone() or ())
                self._insert(connection, server)
            except (pymysql.MySQLError, OSError, EOFError) as error:
                with self._lock:
                    self._errors.append((self._clock(), str(error)))
                if connection is not None:
                    _close(connection)
                connection = None
            due = max(due + self.interval_s, self._clock())
            self._stop.wait(max(0.0, min(due - self._clock(), self.interval_s)))
        if connection is not None:
            _close(connection)

    def _insert(self, connection: pymysql.Connection[pymysql.cursors.Cursor], server: str) -> None:
        number = self._next
        self._next += 1
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {self.TABLE} (number, server) VALUES (%s, %s)", (number, server))
            connection.commit()
        except Exception:
            with self._lock:
                self._unknown.append(number)
            raise
        with self._lock:
            self._acknowledged.append(Acknowledged(number, self._clock(), server))


def _close(connection: pymysql.Connection[pymysql.cursors.Cursor]) -> None:
    try:
        connection.close()
    except (pymysql.MySQLError, OSError):
        pass
