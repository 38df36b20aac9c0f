"""Pods that no resource's stop would find, deleted gracefully beside the control loop."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import structlog

from hamgr.kube.errors import Conflict, KubeError, NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import POD, is_terminating, revision_of, uid_of
from hamgr.kube.pods import find, grace_of

log = structlog.get_logger(__name__)


class Endings:
    """Deletes pods. What fails is asked for again by who asked for it, as long as the pod is there."""

    def __init__(self, kube: Kube | None, may_act: Callable[[], bool]) -> None:
        """may_act: whether this process leads."""
        self._kube = kube
        self._may_act = may_act
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="endings")

    def end(self, name: str, namespace: str, uid: str) -> None:
        """Have this very pod stopped by its kubelet, in its own grace period."""
        if self._kube is not None:
            with suppress(RuntimeError):  # closed: the next leader finds it as well
                self._pool.submit(self._end, self._kube, name, namespace, uid)

    def close(self) -> None:
        """End it; the next leader goes on."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _end(self, kube: Kube, name: str, namespace: str, uid: str) -> None:
        try:
            pod = find(kube, name, namespace)
            if pod is None or uid_of(pod) != uid or is_terminating(pod) or not self._may_act():
                return
            with suppress(NotFound, Conflict):
                kube.delete(
                    POD.path(name, namespace),
                    uid=uid,
                    resource_version=revision_of(pod),
                    grace=max(grace_of(pod), 1),
                )
        except KubeError as error:
            log.warning("pod_not_ended", pod=f"{namespace}/{name}", error=error.message)
        except Exception:  # tried again later
            log.exception("pod_not_ended", pod=f"{namespace}/{name}")
