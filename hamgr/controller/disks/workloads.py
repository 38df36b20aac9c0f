"""The workloads that lend their pod templates: read beside the control loop, since nothing watches them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import structlog

from hamgr.kube.errors import KubeError, NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import DEPLOYMENT, STATEFUL_SET, Obj

Source = tuple[str, str]
"""(namespace, `deployment/NAME` or `statefulset/NAME`)"""

KINDS = {"deployment": DEPLOYMENT, "statefulset": STATEFUL_SET}
_LOOK_EVERY_S = 10.0

log = structlog.get_logger(__name__)


class Workloads:
    """What was last read of each. Without Kubernetes there is nothing."""

    def __init__(self, kube: Kube | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[Source, Obj] = {}
        self._read_once: set[Source] = set()
        self._next_at = float("-inf")
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="workloads")

    def look(self, sources: Iterable[Source]) -> None:
        """Have them read again, unless that was done a moment ago or is under way."""
        wanted = tuple(sources)
        if self._kube is None or not wanted or self._clock() < self._next_at:
            return
        self._next_at = float("inf")
        try:
            self._pool.submit(self._read, self._kube, wanted)
        except RuntimeError:
            log.info("workloads_not_read", reason="stopping")

    def known(self) -> dict[Source, Obj]:
        """All that was read and existed."""
        with self._lock:
            return dict(self._known)

    def have_read(self, sources: Iterable[Source]) -> bool:
        """Whether the API server has said of each of them whether it exists, and what it is."""
        with self._lock:
            return set(sources) <= self._read_once

    def close(self) -> None:
        """End it."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, kube: Kube, sources: tuple[Source, ...]) -> None:
        try:
            for source in sources:
                self._read_one(kube, source)
        finally:
            self._next_at = self._clock() + _LOOK_EVERY_S

    def _read_one(self, kube: Kube, source: Source) -> None:
        namespace, told = source
        kind, _, name = told.partition("/")
        found: Obj | None = None
        try:
            if kind in KINDS and name:
                found = kube.get(KINDS[kind].path(name, namespace))
        except NotFound:
            pass
        except KubeError as error:
            log.info("workload_not_read", workload=told, error=error.message)
            return  # what was known of it stays
        with self._lock:
            self._read_once.add(source)
            if found is None:
                self._known.pop(source, None)
            else:
                self._known[source] = found
