"""Which pods on this node are hamgr's own: those that must not outlive the bound of self-fencing, and no others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from hamgr.controller.state.homes import HOMES, Homes, from_json, others_among
from hamgr.kube.objects import is_instance, uid_of
from hamgr.store.store import Store

Pods = Callable[[], Iterable[Mapping[str, Any]]]

log = structlog.get_logger(__name__)


class Instances:
    """The pods of this node by what the leader has on record (`HOMES`), as the fencer goes by it. Thread-safe.

    What carries our label and was not judged yet counts as ours: it may be an instance in a namespace that the cluster
    file names since a moment ago, and the other nodes take it for dead after the bound. It is judged within half a
    second, unless etcd is silent. Without a record (an older version leads, or it cannot be read) the label decides.
    """

    def __init__(self, pods: Pods, cluster: str, store: Store) -> None:
        """pods: all pods of this node, from the cache."""
        self._pods = pods
        self._cluster = cluster
        self._store = store
        self._known: Homes = frozenset()
        self._others: frozenset[str] = frozenset()
        self._lock = threading.Lock()

    def uids(self) -> set[str]:
        """Of all pods that are ours, or may be."""
        with self._lock:
            others = self._others
        return {uid_of(pod) for pod in self._pods() if is_instance(pod, self._cluster)} - others

    def others(self) -> set[str]:
        """Of the pods that carry our label and are none of ours."""
        with self._lock:
            return set(self._others)

    def judge(self) -> None:
        """Find out which those are. etcd is asked only while there is such a pod. Raises StoreError."""
        listed = list(self._pods())  # before the record: one of ours is on record before it is created
        found = others_among(listed, self._cluster, self._known)
        if found:
            known = self._read()
            found = set() if known is None else others_among(listed, self._cluster, known)
            self._known = known or frozenset()
        with self._lock:
            self._others = frozenset(found)

    def _read(self) -> Homes | None:
        entry = self._store.get(HOMES)
        if entry is None:
            return None
        try:
            return from_json(entry.value)
        except ValueError as error:
            log.error("recorded_state_unreadable", key=HOMES, error=str(error))
            return None
