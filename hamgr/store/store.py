"""hamgr's view of etcd: JSON below one prefix, read as snapshots, written with compares, watched without gaps.

All keys are relative to `/hamgr/CLUSTER/`. Everything here may be called from any thread. Reads are linearizable. A
call ends within `request_timeout_s` with a result or one of the errors of `hamgr.store.errors`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import structlog

from hamgr.clock import boottime
from hamgr.store.config import StoreConfig
from hamgr.store.connection import Connection
from hamgr.store.errors import CompareFailed, LeaseLost, StoreAuthError
from hamgr.store.values import Entry, Json, Snapshot, encode, entry_of
from hamgr.store.watch import OnChange, Watch

log = structlog.get_logger(__name__)

MAX_OPERATIONS = 120  # etcd's default limit is 128 a transaction


@dataclass(frozen=True, slots=True)
class Leased:
    """A value that vanishes with a lease."""

    value: Json
    lease: int


@dataclass(frozen=True, slots=True)
class TxnResult:
    """What a transaction did: `entries` are the keys it was told to read, after it.

    `repeated`: an earlier attempt got no answer and may have been carried out.
    """

    succeeded: bool
    entries: Mapping[str, Entry]
    repeated: bool


class Store:
    """One connection to etcd for one cluster."""

    def __init__(self, config: StoreConfig, clock: Callable[[], float] = boottime) -> None:
        """Raises StoreConfigError. Nothing is sent yet: use `check()` to learn at once whether the settings work."""
        self.config = config
        self.clock = clock
        self.connection = Connection(config, clock)
        self.resets = 0
        """How often etcd was found to be another one, or at an earlier revision: a backup was restored."""
        self._lock = threading.Lock()
        self._cluster_id = self._revision = 0

    def check(self) -> None:
        """One read, so that a person hears of wrong settings at start. Raises StoreError's subclasses."""
        self.get("status")

    def close(self) -> None:
        """End all connections. Watches and memberships are to be stopped before."""
        self.connection.close()

    def staleness_s(self) -> float:
        """Seconds since we last had a linearizable answer; while a watch runs it stays below `silence_s` or so."""
        return self.connection.staleness_s()

    def alarms(self) -> tuple[str, ...]:
        """The alarms that etcd has raised, NOSPACE or CORRUPT; empty where we may not ask. Raises StoreUnavailable."""
        try:
            found, _ = self.connection.call(lambda client: list(client.list_alarms()), linearizable=False)
        except StoreAuthError:
            return ()
        return tuple(sorted({{1: "NOSPACE", 2: "CORRUPT"}.get(alarm.alarm_type, "unknown") for alarm in found}))

    def _note(self, before: int, header: Any) -> None:
        """Compare an answer with what was known before it was asked for: etcd never goes back by itself."""
        with self._lock:
            other = self._cluster_id not in (0, header.cluster_id)
            if other or header.revision < before:
                self.resets += 1
                log.error("etcd_was_reset", before=before, now=header.revision, other_cluster=other)
                self._revision = header.revision
            self._cluster_id = header.cluster_id
            self._revision = max(self._revision, header.revision)

    def read(self, prefix: str = "") -> Snapshot:
        """All keys that start with `prefix`, at one revision. Raises StoreUnavailable, StoreAuthError."""
        full, before = self.config.prefix + prefix, self._revision
        response, _ = self.connection.call(lambda client: client.get_prefix_response(full))
        self._note(before, response.header)
        entries: dict[str, Entry] = {}
        malformed = []
        for kv in response.kvs:
            key = self._relative(kv.key)
            entries[key] = entry_of(kv)
            if entries[key].malformed:
                malformed.append(key)
        return Snapshot(prefix, response.header.revision, MappingProxyType(entries), tuple(malformed))

    def get(self, key: str, *, budget_s: float | None = None) -> Entry | None:
        """One key; None when it is absent. Raises StoreUnavailable, StoreAuthError."""
        full, before = self.full_key(key), self._revision
        response, _ = self.connection.call(lambda client: client.get_response(full), budget_s=budget_s)
        self._note(before, response.header)
        return entry_of(response.kvs[0]) if response.kvs else None

    def compare_and_put(self, key: str, value: Json | Leased, mod_revision: int) -> int:
        """Write `key` if its mod revision is `mod_revision` (0: if it is absent). Returns the new mod revision.

        Raises CompareFailed when somebody else wrote it in between. When an answer was lost, a repeat that finds the
        key changed to this very value counts as success.
        """
        result = self.transact(compares={key: mod_revision}, puts={key: value}, reads=(key,))
        entry = result.entries.get(key)
        plain = value.value if isinstance(value, Leased) else value
        if entry is not None and (result.succeeded or (result.repeated and entry.value == plain)):
            return entry.mod_revision
        raise CompareFailed(f"{key} was changed by somebody else in the meantime: read it again and repeat")

    def watch(self, since: Snapshot, on_change: OnChange) -> Watch:
        """Follow `since.prefix` from that snapshot on: see `Watch` for what the callback may expect."""
        return Watch(self, self.connection, since, on_change)

    def transact(
        self,
        *,
        compares: Mapping[str, int] | None = None,
        creates: Mapping[str, int] | None = None,
        puts: Mapping[str, Json | Leased] | None = None,
        deletes: Sequence[str] = (),
        reads: Sequence[str] = (),
        budget_s: float | None = None,
    ) -> TxnResult:
        """One etcd transaction, repeated until there is an answer or the budget is spent.

        compares: key to the mod revision it must have; creates: key to the create revision it must have (0: absent).
        reads: keys to read in either case, after the writes. Raises ValueError beyond MAX_OPERATIONS, LeaseLost, and
        what `read` raises. The caller makes repeats safe: an attempt whose answer was lost may have been carried out.
        """
        puts = puts or {}
        if len(puts) + len(deletes) + len(reads) > MAX_OPERATIONS:
            raise ValueError(f"one transaction takes {MAX_OPERATIONS} operations: split {len(puts)} puts")

        attempts = 0

        def operation(client: Any) -> TxnResult:
            nonlocal attempts
            attempts += 1
            txn = client.transactions
            conditions = [txn.mod(self.full_key(key)) == revision for key, revision in (compares or {}).items()]
            conditions += [txn.create(self.full_key(key)) == revision for key, revision in (creates or {}).items()]
            gets = [txn.get(self.full_key(key)) for key in reads]
            writes = [self._put(txn, key, value) for key, value in puts.items()]
            writes += [txn.delete(self.full_key(key)) for key in deletes]
            succeeded, responses = client.transaction(compare=conditions, success=writes + gets, failure=gets)
            return TxnResult(succeeded, self._found(responses[-len(reads) :] if reads else []), attempts > 1)

        return self.connection.call(operation, budget_s=budget_s)[0]

    def grant(self, ttl_s: int) -> tuple[int, float]:
        """A new lease: its id, and the monotonic time at which the request was sent."""
        lease, sent = self.connection.call(lambda client: client.lease(ttl_s), linearizable=False)
        return int(lease.id), sent

    def keep_alive(self, lease: int, budget_s: float | None = None) -> float:
        """Renew a lease; returns the monotonic time at which the successful request was sent.

        Raises LeaseLost when etcd does not know it any more (the library reports that as a TTL of 0).
        """
        answers, sent = self.connection.call(
            lambda client: list(client.refresh_lease(lease)), budget_s=budget_s, linearizable=False
        )
        if not answers or answers[-1].TTL <= 0:
            raise LeaseLost(f"lease {lease:x} has expired or was revoked")
        return sent

    def revoke(self, lease: int) -> None:
        """Revoke a lease, and with it its keys. A lease that is gone already is fine."""
        try:
            self.connection.call(lambda client: client.revoke_lease(lease), linearizable=False)
        except LeaseLost:
            pass

    def full_key(self, key: str) -> str:
        """The key as etcd knows it."""
        return self.config.prefix + key

    def _relative(self, key: bytes) -> str:
        return key.decode(errors="replace")[len(self.config.prefix) :]

    def _put(self, txn: Any, key: str, value: Json | Leased) -> Any:
        if isinstance(value, Leased):
            return txn.put(self.full_key(key), encode(value.value), lease=value.lease)
        return txn.put(self.full_key(key), encode(value))

    def _found(self, read: list[Any]) -> Mapping[str, Entry]:
        entries: dict[str, Entry] = {}
        for found in read:
            for raw, meta in found:
                entries[self._relative(meta.key)] = entry_of(_Found(raw, meta))
        return MappingProxyType(entries)


class _Found:
    """The library splits a key-value message of a transaction into value and metadata; this joins them again."""

    def __init__(self, raw: bytes, meta: Any) -> None:
        self.value = raw
        self.mod_revision = meta.mod_revision
        self.create_revision = meta.create_revision
        self.lease = meta.lease_id
