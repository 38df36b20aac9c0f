"""How a command reaches the leader: a queue in etcd, so that it works from any machine and whoever leads.

Both ends of a request hang on the requester's lease: an abandoned request, and an answer that nobody fetched, vanish
by themselves. A requester that gives up calls off what nobody has taken. The leader takes each request once, under its
token. A leader that dies between taking and answering leaves the requester with "taken, not answered", never with a
request that is carried out twice.
"""

from __future__ import annotations

import getpass
import queue
import socket
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hamgr.api.exits import Exit
from hamgr.api.requests import VERSION
from hamgr.store.errors import CompareFailed, LeaseLost, RequestTimeout, StoreError
from hamgr.store.leadership import Leadership
from hamgr.store.store import Leased, Store
from hamgr.store.values import Change, Json, Snapshot

REQUESTS = "requests/"
RESPONSES = "responses/"
_NO_VERSION = 1 << 30  # of a request that says something else than a number: no leader understands it


class RequestRefused(StoreError):
    """The leader answered that it will not do it, and why. `exit_code` is what the leader suggests for a command."""

    def __init__(self, message: str, exit_code: int = Exit.ERROR) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class RequestHandle:
    """A request that was submitted."""

    id: str
    kind: str
    lease: int


@dataclass(frozen=True, slots=True)
class Request:
    """A request as the leader takes it. `by` is USER@HOST, `at` wall time, `version` that of its interface."""

    id: str
    kind: str
    body: Json
    by: str
    at: float
    version: int = VERSION


class Requests:
    """The requester's end. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, kind: str, body: Json, *, ttl_s: int = 60) -> RequestHandle:
        """Queue a request. It and its answer vanish after `ttl_s` seconds. Raises StoreUnavailable and others."""
        lease, _ = self._store.grant(ttl_s)
        ticket = RequestHandle(uuid.uuid4().hex[:12], kind, lease)
        key = REQUESTS + ticket.id
        document = {
            "kind": kind,
            "version": VERSION,
            "body": body,
            "by": f"{_user()}@{socket.gethostname()}",
            "at": time.time(),
        }
        self._store.transact(creates={key: 0}, puts={key: Leased(document, lease)})
        return ticket

    def wait(
        self, ticket: RequestHandle, timeout_s: float, on_progress: Callable[[Json], None] = lambda _body: None
    ) -> Json:
        """The leader's answer. `on_progress` gets what it says on the way, from this thread.

        A request that nobody has taken by then is called off, and never carried out.
        Raises RequestRefused, RequestTimeout (its text says how far the request came), StoreUnavailable.
        """
        inbox: queue.Queue[Json] = queue.Queue()
        snapshot = self._store.read(RESPONSES + ticket.id)
        for value in snapshot.values.values():
            inbox.put(value)

        def on_change(changes: Sequence[Change], _revision: int) -> None:
            for change in changes:
                inbox.put(change.value)

        watch = self._store.watch(snapshot, on_change)
        try:
            return self._follow(ticket, inbox, time.monotonic() + timeout_s, timeout_s, on_progress)
        finally:
            watch.stop()

    def call_off(self, ticket: RequestHandle) -> bool:
        """Remove the request unless the leader has taken it; whether that came in time. Raises StoreUnavailable."""
        key = REQUESTS + ticket.id
        waiting = self._store.get(key)
        if waiting is None:
            return False
        return self._store.transact(compares={key: waiting.mod_revision}, deletes=(key,)).succeeded

    def _follow(
        self,
        ticket: RequestHandle,
        inbox: queue.Queue[Json],
        deadline: float,
        timeout_s: float,
        on_progress: Callable[[Json], None],
    ) -> Json:
        taken_by = ""
        while True:
            try:
                message = inbox.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                if not taken_by and self.call_off(ticket):
                    raise _nobody_took(ticket, timeout_s) from None
                raise _not_finished(ticket, taken_by, timeout_s) from None
            if not isinstance(message, dict):
                continue
            taken_by = str(message.get("by") or taken_by)
            if message.get("state") == "done":
                return message.get("body")
            if message.get("state") == "refused":
                code = message.get("exit_code")
                raise RequestRefused(str(message.get("message")), code if isinstance(code, int) else Exit.ERROR)
            if message.get("state") == "progress":
                on_progress(message.get("body"))


def _nobody_took(ticket: RequestHandle, timeout_s: float) -> RequestTimeout:
    return RequestTimeout(
        f"no leader took the request ({ticket.kind}) within {timeout_s:g} s, and it was called off: nothing was done. "
        "`hamgr status` says who leads, and why nobody does"
    )


def _not_finished(ticket: RequestHandle, taken_by: str, timeout_s: float) -> RequestTimeout:
    return RequestTimeout(
        f"the leader{f' on {taken_by}' if taken_by else ''} took the request ({ticket.kind}) and has not answered "
        f"within {timeout_s:g} s; it may still carry it out: see `hamgr events` and `hamgr status`"
    )


class RequestQueue:
    """The leader's end. All writes are guarded by its token. Thread-safe."""

    def __init__(self, store: Store, leadership: Leadership) -> None:
        self._store = store
        self._leadership = leadership
        self._leases: dict[str, int] = {}

    def take(self, snapshot: Snapshot | None = None) -> list[Request]:
        """All waiting requests, oldest first, each handed out once. Raises Deposed, StoreUnavailable.

        `snapshot` spares the read when the caller has just read `requests/` or more.
        """
        snapshot = self._store.read(REQUESTS) if snapshot is None else snapshot
        waiting = [item for item in snapshot.entries.items() if item[0].startswith(REQUESTS)]
        taken = []
        for key, entry in sorted(waiting, key=lambda item: item[1].create_revision):
            request = _parse(key.removeprefix(REQUESTS), entry.value)
            receipt = {"state": "taken", "by": self._leadership.node}
            try:
                self._leadership.fenced_txn(
                    puts={RESPONSES + request.id: Leased(receipt, entry.lease)} if entry.lease else {},
                    deletes=(key,),
                    compares={key: entry.mod_revision},
                )
            except (CompareFailed, LeaseLost):
                continue  # withdrawn or expired in the meantime
            self._leases[request.id] = entry.lease
            taken.append(request)
        return taken

    def progress(self, request_id: str, body: Json) -> None:
        """Tell the requester something on the way. Raises Deposed, StoreUnavailable."""
        self._respond(request_id, {"state": "progress", "by": self._leadership.node, "body": body})

    def answer(self, request_id: str, body: Json) -> None:
        """The final answer. Raises Deposed, StoreUnavailable."""
        self._respond(request_id, {"state": "done", "by": self._leadership.node, "body": body})
        self._leases.pop(request_id, None)

    def refuse(self, request_id: str, message: str, exit_code: int = Exit.ERROR) -> None:
        """The final answer when it is no: a sentence for a person, and the exit code of a command."""
        document = {"state": "refused", "by": self._leadership.node, "message": message, "exit_code": exit_code}
        self._respond(request_id, document)
        self._leases.pop(request_id, None)

    def _respond(self, request_id: str, document: Json) -> None:
        lease = self._leases.get(request_id, 0)
        if not lease:
            return  # nobody waits: a request without a lease, or already answered
        try:
            self._leadership.fenced_txn(puts={RESPONSES + request_id: Leased(document, lease)})
        except LeaseLost:
            pass  # the requester has gone


def _parse(request_id: str, value: Json) -> Request:
    document = value if isinstance(value, dict) else {}
    at, version = document.get("at", 0.0), document.get("version", 1)  # before there were versions, it was the first
    return Request(
        request_id,
        str(document.get("kind", "")),
        document.get("body"),
        str(document.get("by", "")),
        float(at) if isinstance(at, int | float) else 0.0,
        version if isinstance(version, int) else _NO_VERSION,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
