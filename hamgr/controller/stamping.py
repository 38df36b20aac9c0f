"""What a new leader does first: make void whatever a past one may still send.

Requests of a past leader that was frozen, or whose connection stalled, name the resourceVersion of what it had seen. So
the new one touches every object that they could be about, and goes by nothing that it has seen before the answers. Pods
that were made and never bound are of no use to anybody, and go.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog

from hamgr.kube.cache import Cache
from hamgr.kube.errors import Conflict, KubeError, NotFound, Unavailable
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import (
    ANNOTATION_LEADER,
    LABEL_CLUSTER,
    POD,
    PV,
    VOLUME_ATTACHMENT,
    Kind,
    Obj,
    annotations_of,
    name_of,
    namespace_of,
    uid_of,
)
from hamgr.kube.pods import delete_gracefully, is_unbound
from hamgr.kube.volumes import claims_of

_WORKERS = 16
_RETRY_S = 0.25
_SEEN_S = 2.0  # for the watches to tell of the stamps

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stamped:
    """What was stamped: how many objects, in how many seconds, and what could not be."""

    objects: int
    took_s: float
    refused: tuple[str, ...]


class Stamping:
    """The stamping of one takeover, in threads of its own. Without Kubernetes there is nothing to do."""

    def __init__(
        self,
        kube: Kube | None,
        cache: Cache | None,
        cluster: str,
        on_done: Callable[[Stamped], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """kube: passes the leadership's gate alone. on_done: called once, from a thread of this."""
        self._kube = kube
        self._cache = cache
        self._cluster = cluster
        self._on_done = on_done
        self._clock = clock
        self._stopping = threading.Event()
        self._done = threading.Event()
        if kube is None or cache is None:
            self._done.set()

    @property
    def done(self) -> bool:
        """Whether late requests are void, so that one may decide and act."""
        return self._done.is_set()

    def why_closed(self) -> str:
        """Why nothing may be changed yet; empty: it may."""
        return "" if self.done else "what past leaders may still send is made void first"

    def begin(self, claims: Iterable[tuple[str, str]], token: int) -> None:
        """claims: (namespace, name) of those that the cluster file names. token: of this leadership."""
        if self._kube is None or self._cache is None or self.done:
            return
        work = _Work(self._kube, self._cache, self._cluster, frozenset(claims), str(token))
        threading.Thread(target=self._run, args=(work,), name="stamping", daemon=True).start()

    def close(self) -> None:
        """End it; the next leader begins anew."""
        self._stopping.set()

    def _run(self, work: _Work) -> None:
        began = self._clock()
        while not self._stopping.is_set():
            try:
                objects, refused = work.stamp(self._stopping)
            except KubeError as error:
                log.warning("stamping_not_done_yet", error=error.message)
            except Exception:
                log.exception("stamping_not_done_yet")
            else:
                if not self._stopping.is_set():
                    self._finish(Stamped(objects, self._clock() - began, refused))
                return
            self._stopping.wait(_RETRY_S)

    def _finish(self, stamped: Stamped) -> None:
        log.info("stamped", objects=stamped.objects, took_s=round(stamped.took_s, 3), refused=stamped.refused)
        self._done.set()
        self._on_done(stamped)


@dataclass(frozen=True, slots=True)
class _Work:
    kube: Kube
    cache: Cache
    cluster: str
    claims: frozenset[tuple[str, str]]
    token: str

    def stamp(self, stopping: threading.Event) -> tuple[int, tuple[str, ...]]:
        """Once around: how many objects were stamped, and those which Kubernetes does not let us stamp.

        Raises Unavailable when it is to be done again: a stamp is safe to repeat.
        """
        pods = self.kube.list(POD.collection(), label_selector=f"{LABEL_CLUSTER}={self.cluster}").items
        ours = [(POD, pod) for pod in pods]
        ours += [(VOLUME_ATTACHMENT, va) for va in self._attachments(pods)]
        with ThreadPoolExecutor(_WORKERS, thread_name_prefix="stamp") as pool:
            said = list(pool.map(lambda entry: "" if stopping.is_set() else self._stamp(*entry), ours))
        if not stopping.is_set():
            self.cache.wait_for(lambda: True if self._seen(ours) else None, _SEEN_S, stopping.is_set)
        return len(ours), tuple(why for why in said if why)

    def _attachments(self, pods: Iterable[Obj]) -> list[Obj]:
        """Those of claims that are configured or that pods of ours use, and those that a leader has stamped before."""
        used = self.claims | {(namespace_of(pod), claim) for pod in pods for claim in claims_of(pod)}
        listed = self.kube.list(VOLUME_ATTACHMENT.collection()).items
        return [va for va in listed if ANNOTATION_LEADER in annotations_of(va) or self._claim_of(va) in used]

    def _claim_of(self, attachment: Mapping[str, Any]) -> tuple[str, str]:
        """The claim behind an attachment. A claim's volume never changes, so the cache is as good as the API server."""
        name = str(((attachment.get("spec") or {}).get("source") or {}).get("persistentVolumeName") or "")
        claim = ((self.cache.get(PV, name) or {}).get("spec") or {}).get("claimRef") or {}
        return str(claim.get("namespace") or ""), str(claim.get("name") or "")

    def _stamp(self, kind: Kind, obj: Obj) -> str:
        """Why an object could not be stamped, for good; empty: it was, or is gone."""
        path = kind.path(name_of(obj), namespace_of(obj))
        body = {"metadata": {"uid": uid_of(obj), "annotations": {ANNOTATION_LEADER: self.token}}}
        try:
            stamped = self.kube.patch_merge(path, body)
            if kind is POD and is_unbound(stamped):
                delete_gracefully(self.kube, stamped)
        except (NotFound, Conflict):  # gone, or replaced since it was listed: by nobody who acts for us
            return ""
        except Unavailable:
            raise
        except KubeError as error:
            return f"{kind.name} {name_of(obj)}: {error.message}"
        return ""

    def _seen(self, stamped: Iterable[tuple[Kind, Obj]]) -> bool:
        """Whether the cache knows of all the stamps."""
        for kind, obj in stamped:
            known = self.cache.get(kind, name_of(obj), namespace_of(obj))
            if known is None or uid_of(known) != uid_of(obj):
                continue
            if annotations_of(known).get(ANNOTATION_LEADER) != self.token:
                return False
        return True
