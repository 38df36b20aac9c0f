"""What fences have stepped over after their proof: gone on with beside the control loop, told from memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from hamgr.fencer.leftovers import go_on, may_be_left
from hamgr.fencer.records import FenceRecord, NotOurs
from hamgr.kube.errors import KubeError
from hamgr.kube.gateway import Kube

_LOOK_EVERY_S = 2.0

log = structlog.get_logger(__name__)


class FenceCleanup:
    """Goes on with what the last fences of nodes that are away have left. Without Kubernetes there is nothing."""

    def __init__(
        self,
        kube: Kube | None,
        cluster: str,
        may_act: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """may_act: whether this process leads."""
        self._kube = kube
        self._cluster = cluster
        self._may_act = may_act
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at: dict[str, float] = {}
        self._left: dict[str, str] = {}  # fence: what it has left; empty: nothing any more
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="leftovers")

    def look(self, record: FenceRecord) -> None:
        """Go on with what the fence of a node that is away has left, unless that was done a moment ago."""
        if self._kube is None or not may_be_left(record):
            return
        with self._lock:
            recent = self._clock() - self._looked_at.get(record.id, float("-inf")) < _LOOK_EVERY_S
            if recent or self._left.get(record.id) == "":
                return
            self._looked_at[record.id] = float("inf")  # until the answer is there
        try:
            self._pool.submit(self._go_on, self._kube, record)
        except RuntimeError:
            log.info("leftovers_left_to_next_leader", fence=record.id, reason="stopping")

    def of(self, record: FenceRecord) -> str:
        """What the fence has left, as far as is known; empty: nothing."""
        with self._lock:
            return self._left.get(record.id, "")

    def close(self) -> None:
        """End it; the next leader goes on."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _go_on(self, kube: Kube, record: FenceRecord) -> None:
        left: str | None = None
        try:
            waiting = go_on(kube, record, self._cluster, self._may_act)
            left = "" if waiting is None else str(waiting)
        except KubeError as error:
            left = error.message
        except NotOurs:
            log.info("leftovers_left_to_next_leader", fence=record.id, reason="not leading")
        except Exception:  # tried again in a moment
            log.exception("leftovers_not_looked_at", fence=record.id)
        with self._lock:
            self._looked_at[record.id] = self._clock()
            if left is None:
                return
            news, self._left[record.id] = left != self._left.get(record.id), left
        if news:
            log.warning("fence_leftover", fence=record.id, node=record.target.node, left=left or "nothing")
