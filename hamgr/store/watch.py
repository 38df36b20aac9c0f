"""Follows a prefix for ever: no single watch is trusted to be alive.

A stream of etcd's can end, can be told that its revision is compacted, and can stay open and say nothing (hung member,
forbidden prefix). So a thread keeps what it has delivered, resumes at the next revision, and compares with a
linearizable read whenever the stream has been silent for `silence_s`; what the stream missed comes from that read.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import structlog

from hamgr.store.connection import Connection, Endpoint
from hamgr.store.errors import StoreError
from hamgr.store.values import Change, Entry, Snapshot, difference, entry_of

OnChange = Callable[[Sequence[Change], int], None]
RETRY_S = 0.2

log = structlog.get_logger(__name__)


class Reader(Protocol):
    """The one thing a watch needs of the store besides its connection."""

    def read(self, prefix: str) -> Snapshot:
        """All keys below `prefix`, linearizable."""


class Watch:
    """A running watch. `on_change(changes, revision)` is called from the watch's own thread, in order of revision.

    Every key's last state is delivered; states in between may be left out after an interruption. The callback must be
    quick (put the changes into a queue); what it raises is logged and the watch goes on.
    """

    def __init__(self, reader: Reader, connection: Connection, since: Snapshot, on_change: OnChange) -> None:
        self._reader = reader
        self._connection = connection
        self._prefix = since.prefix
        self._known: dict[str, Entry] = dict(since.entries)
        self._revision = since.revision
        self._on_change = on_change
        self._stopped = threading.Event()
        self._inbox: queue.Queue[Any] = queue.Queue()
        self._member = 0
        self._verified = time.monotonic()
        self._thread = threading.Thread(target=self._run, name=f"watch {self._prefix or '/'}", daemon=True)
        self._thread.start()

    @property
    def revision(self) -> int:
        """Everything up to this revision has been delivered."""
        return self._revision

    def age_s(self) -> float:
        """Seconds since the watch's picture was last compared with etcd by a linearizable read."""
        return time.monotonic() - self._verified

    def stop(self) -> None:
        """End the watch; no callback runs after this returns (unless called from the callback itself)."""
        self._stopped.set()
        self._inbox.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow_one_stream()
            except StoreError as error:
                log.warning("watch_interrupted", prefix=self._prefix, error=str(error))
            except Exception:  # whatever the client library raises must not end the watch
                log.warning("watch_interrupted", prefix=self._prefix, exc_info=True)
            self._member += 1
            self._catch_up_after_interruption()

    def _catch_up_after_interruption(self) -> None:
        while not self._stopped.is_set():
            try:
                self._compare_with_read()
                return
            except StoreError:
                self._stopped.wait(RETRY_S)

    def _follow_one_stream(self) -> None:
        """Deliver events of one stream until it ends, fails or is caught missing something."""
        inbox: queue.Queue[Any] = queue.Queue()
        self._inbox = inbox
        client, endpoint = self._connection.watch_client(self._member)
        heard = True
        try:
            self._open_stream(client, inbox)
            while not self._stopped.is_set():
                remaining = self._connection.config.silence_s - self.age_s()
                if remaining <= 0:
                    missed = self._compare_with_read()
                    if missed and not heard:
                        return
                    heard = False
                    continue
                try:
                    message = inbox.get(timeout=remaining)
                except queue.Empty:
                    continue
                if message is None or isinstance(message, Exception):
                    self._note_end(message)
                    return
                heard = True
                self._deliver_events(message)
        finally:
            self._close(client, endpoint)

    def _open_stream(self, client: Any, inbox: queue.Queue[Any]) -> None:
        key = (self._connection.config.prefix + self._prefix).encode()
        client.add_watch_prefix_callback(key, inbox.put, start_revision=self._revision + 1)

    def _close(self, client: Any, endpoint: Endpoint) -> None:
        client.watcher.close()
        endpoint.close()

    def _note_end(self, message: Exception | None) -> None:
        if message is not None and "invalid auth token" in str(message):
            self._connection.refresh_token()

    def _deliver_events(self, message: Any) -> None:
        skip = len(self._connection.config.prefix)
        changes = []
        for event in message.events:
            if event.mod_revision <= self._revision:
                continue
            key = event.key.decode(errors="replace")[skip:]
            entry = None if type(event).__name__ == "DeleteEvent" else entry_of(event)
            changes.append(Change(key, entry))
        if changes:
            # The header's revision may be ahead of events still to come: resume after the last one seen.
            self._deliver(changes, max(event.mod_revision for event in message.events))

    def _compare_with_read(self) -> bool:
        """Deliver what the stream has not. True when there was something: the stream is deaf, or about to speak."""
        started = time.monotonic()
        snapshot = self._reader.read(self._prefix)
        self._verified = started
        if snapshot.revision < self._revision:  # read after what we know: etcd has gone back, by a restored backup
            self._deliver(difference(self._known, snapshot.entries), snapshot.revision)
            self._revision = snapshot.revision
            raise StoreError(f"etcd's revision went back to {snapshot.revision}")
        changes = difference(self._known, snapshot.entries)
        self._deliver(changes, snapshot.revision)
        return bool(changes)

    def _deliver(self, changes: list[Change], revision: int) -> None:
        for change in changes:
            if change.entry is None:
                self._known.pop(change.key, None)
            else:
                self._known[change.key] = change.entry
        self._revision = max(self._revision, revision)
        if not changes or self._stopped.is_set():
            return
        try:
            self._on_change(changes, revision)
        except Exception:  # one odd change must not end the watch
            log.error("watch_callback_failed", prefix=self._prefix, exc_info=True)
