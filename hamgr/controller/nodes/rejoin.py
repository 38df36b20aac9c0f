"""Whether fenced nodes are back: asked of Kubernetes beside the control loop, answered from memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import structlog

from hamgr.fencer.records import FenceRecord
from hamgr.fencer.unfence import unfence
from hamgr.kube.errors import KubeError
from hamgr.kube.gateway import Kube

_LOOK_EVERY_S = 1.0

log = structlog.get_logger(__name__)


class Rejoin:
    """Looks for fenced nodes that are back and takes the fence's taint off them. Without Kubernetes all are back."""

    def __init__(self, kube: Kube | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._lock = threading.Lock()
        self._looked_at: dict[str, float] = {}
        self._why: dict[str, str] = {}  # fence: why its node is not back yet; empty: it is
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="returns")

    def cleared(self, record: FenceRecord) -> bool:
        """Whether the fenced node was found to be back."""
        with self._lock:
            return self._kube is None or self._why.get(record.id) == ""

    def why(self, record: FenceRecord) -> str:
        """Why the fenced node does not count as back, and what to do; empty: it does, or nobody has looked yet."""
        with self._lock:
            return self._why.get(record.id, "")

    def look(self, record: FenceRecord) -> None:
        """Ask, unless that was done a moment ago or the answer is known."""
        with self._lock:
            recent = self._clock() - self._looked_at.get(record.id, float("-inf")) < _LOOK_EVERY_S
            if self._kube is None or recent or self._why.get(record.id) == "":
                return
            self._looked_at[record.id] = self._clock()
        self._pool.submit(self._ask, self._kube, record)

    def forgive(self, record: FenceRecord) -> None:
        """Count the node as back because an operator says so."""
        with self._lock:
            self._why[record.id] = ""

    def close(self) -> None:
        """End the asking."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, kube: Kube, record: FenceRecord) -> None:
        try:
            why_not = unfence(kube, record)
        except KubeError as error:
            log.info("return_not_checked", node=record.target.node, error=error.message)
            return
        except Exception:  # asked again in a moment
            log.exception("return_not_checked", node=record.target.node)
            return
        said = "" if why_not is None else str(why_not)
        with self._lock:
            news = self._why.get(record.id) != said
            self._why[record.id] = said
        if news:
            log.info("fenced_node", node=record.target.node, back=not said, why=said)
