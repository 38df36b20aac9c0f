"""Fence records in etcd, under the leader's token, as many as the history keeps."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import structlog

from hamgr.fencer.records import FenceRecord, NotOurs, Outcome
from hamgr.store import Deposed, Leadership, Snapshot, Store

FENCES = "fences/"

log = structlog.get_logger(__name__)


class EtcdRecords:
    """The RecordStore of a leader. Thread-safe. `keep`: how many ended fences stay (see `surplus`)."""

    def __init__(self, store: Store, leadership: Leadership, keep: int = 100) -> None:
        self._store = store
        self._leadership = leadership
        self._keep = keep
        self._lock = threading.Lock()
        self._ended: dict[str, FenceRecord] = {}  # oldest first
        self.unusable: dict[str, str] = {}  # keys that hold no fence record, and why

    @property
    def token(self) -> int:
        """The fencing token's revision; 0 without leadership."""
        token = self._leadership.token
        return 0 if token is None else token.revision

    def still_ours(self) -> bool:
        """Whether we lead by our own clock."""
        return self._leadership.valid()

    def confirmed(self) -> bool:
        """Whether we lead by etcd's word, asked now."""
        return self._leadership.confirmed()

    def save(self, record: FenceRecord) -> None:
        """Write it, and drop the oldest ended ones. Raises NotOurs; StoreUnavailable means: try again."""
        surplus = self._surplus(record)
        try:
            self._leadership.fenced_txn(
                puts={FENCES + record.id: record.to_json()}, deletes=[FENCES + old for old in surplus]
            )
        except Deposed as error:
            raise NotOurs(str(error)) from None
        with self._lock:
            for old in surplus:
                self._ended.pop(old, None)
            if record.outcome is not Outcome.PENDING:
                self._ended[record.id] = record

    def load(self) -> list[FenceRecord]:
        """All records, oldest first; to be called on winning leadership. Raises StoreUnavailable and others."""
        self.unusable = {}
        found = records_of(self._store.read(FENCES), self.unusable)
        with self._lock:
            self._ended = {record.id: record for record in found if record.outcome is not Outcome.PENDING}
        return found

    def _surplus(self, record: FenceRecord) -> list[str]:
        with self._lock:
            ended = {known: entry for known, entry in self._ended.items() if known != record.id}
        if record.outcome is not Outcome.PENDING:
            ended[record.id] = record
        return surplus(list(ended.values()), self._keep)


def surplus(ended: Sequence[FenceRecord], keep: int) -> list[str]:
    """The ids of the oldest ended fences beyond `keep`; `ended` is oldest first.

    The last successful fence of each node stays whatever its age: by it one tells whether the node is back.
    """
    last = {record.target.node: record.id for record in ended if record.fenced_whole_node}
    return [record.id for record in ended[: max(0, len(ended) - keep)] if record.id not in last.values()]


def records_of(snapshot: Snapshot, unusable: dict[str, str] | None = None) -> list[FenceRecord]:
    """The fence records in a snapshot, oldest first; what is none is logged, noted in `unusable`, and left out.

    Their order is etcd's: a clock that was set back between two of them does not change it.
    """
    found = []
    for key, entry in sorted(snapshot.entries.items(), key=lambda item: (item[1].create_revision, item[0])):
        if key.startswith(FENCES):
            try:
                record = FenceRecord.from_json(entry.value)
                if key != FENCES + record.id:
                    raise ValueError(f"it is the record of fence {record.id}")
                found.append(record)
            except ValueError as error:
                log.warning("fence_record_malformed", key=key, error=str(error))
                if unusable is not None:
                    unusable[key] = str(error)
    return found
