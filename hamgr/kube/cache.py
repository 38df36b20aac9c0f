"""Know the cluster's objects without asking: list and watch, with a bound on how old the knowledge may be.

No watch is trusted to be alive. Three things together bound the silence: TCP keep-alive (a vanished peer), a probe of
the API server each second (a hung one), and windows that the server has to end (a stream that was forgotten). What the
cache says is a reason to act, never a proof: proofs are read from the API server itself.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from hamgr.kube.errors import Forbidden, Gone, KubeError, Unauthorized
from hamgr.kube.gateway import Kube, WatchStream
from hamgr.kube.nodes import boot_id
from hamgr.kube.objects import (
    ENDPOINT_SLICE,
    LEASE,
    NODE,
    POD,
    PV,
    PVC,
    SERVICE,
    VOLUME_ATTACHMENT,
    Kind,
    Obj,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    revision_of,
)
from hamgr.kube.pods import node_of

T = TypeVar("T")
OnChange = Callable[[Kind, str, Obj, "Obj | None"], None]
"""Called as (kind, type, object, old) with type ADDED, MODIFIED or DELETED, from the thread that watches the kind."""

NODE_LEASES = "kube-node-lease"
WATCHED: tuple[Kind, ...] = (POD, NODE, PV, PVC, VOLUME_ATTACHMENT, SERVICE, ENDPOINT_SLICE, LEASE)

_PROBE_S = 1.0
_WINDOW_S = 30
_RELIST_S = 300.0
_LONGEST_BACKOFF_S = 2.0
_WAIT_SLICE_S = 0.25
_BREAK_S = 5.0
_LAST_SEEN = 1000  # deleted objects remembered a kind
_VANISHED = "VANISHED"  # deleted while we did not look: what is known of it is older than its end
_ENDS = ("DELETED", _VANISHED)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Departure:
    """The end of an object as we saw it: so long ago, and after so long a time of being deleted, in seconds.

    Both are at least what they say where a watch was interrupted: the end may have been noticed late.
    """

    gone_for_s: float
    leaving_s: float


class Cache:
    """All objects of the watched kinds, kept current by one thread a kind and one that probes the server.

    ``clock`` is monotonic seconds. Callbacks must be quick; what one raises is logged and dropped.
    """

    def __init__(
        self,
        kube: Kube,
        *,
        kinds: Iterable[Kind] = WATCHED,
        on_change: OnChange | None = None,
        clock: Callable[[], float] = time.monotonic,
        probe_s: float = _PROBE_S,
        window_s: int = _WINDOW_S,
        relist_s: float = _RELIST_S,
    ) -> None:
        self._kube = kube
        self._clock = clock
        self._probe_s = probe_s
        self._changed = threading.Condition()
        self._stopping = threading.Event()
        self._listeners: list[OnChange] = [on_change] if on_change else []
        self._reflectors = {
            kind: _Reflector(self, kind, kube, clock=clock, window_s=window_s, relist_s=relist_s) for kind in kinds
        }
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to list and watch; returns at once."""
        for kind, reflector in self._reflectors.items():
            self._threads.append(threading.Thread(target=reflector.run, name=f"watch-{kind.plural}", daemon=True))
        self._threads.append(threading.Thread(target=self._probe, name="probe-api-server", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all threads; what was cached stays readable."""
        self._stopping.set()
        for reflector in self._reflectors.values():
            reflector.interrupt()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=5)

    def subscribe(self, on_change: OnChange) -> Callable[[], None]:
        """Have ``on_change`` called from now on; the returned function ends that."""
        self._listeners.append(on_change)
        return lambda: self._listeners.remove(on_change)

    def wait_synced(self, timeout_s: float) -> bool:
        """Wait until each kind was listed once. False: it was not; at once when the server refuses what is missing."""

        def look() -> bool | None:
            missing = [reflector for reflector in self._reflectors.values() if not reflector.synced]
            refused = all(isinstance(reflector.trouble, Forbidden | Unauthorized) for reflector in missing)
            return not missing if refused else None

        return self.wait_for(look, timeout_s) is True

    @property
    def synced(self) -> bool:
        """Each kind was listed at least once."""
        return all(reflector.synced for reflector in self._reflectors.values())

    def staleness_s(self, kind: Kind | None = None) -> float:
        """How long ago the kind (None: the worst of all) was last known to be current; inf before the first list."""
        chosen = self._reflectors.values() if kind is None else (self._reflectors[kind],)
        now = self._clock()
        return max(now - reflector.current_at for reflector in chosen)

    def seen_for_s(self, kind: Kind) -> float:
        """For how long the kind has been seen without a break of more than some seconds; 0 during one."""
        reflector = self._reflectors[kind]
        return 0.0 if self.staleness_s(kind) > _BREAK_S else self._clock() - reflector.seen_since

    def trouble(self, kind: Kind) -> KubeError | None:
        """Why the kind cannot be listed or watched now; None: it can."""
        return self._reflectors[kind].trouble

    def get(self, kind: Kind, name: str, namespace: str = "") -> Obj | None:
        """One object; do not change it."""
        return self._reflectors[kind].objects.get((namespace, name))

    def last_seen(self, kind: Kind, name: str, namespace: str = "") -> Obj | None:
        """The last state that we saw of the object most recently deleted under that name, as far as we remember it."""
        parting = self._reflectors[kind].partings.get((namespace, name))
        return None if parting is None else parting.obj

    def final_state(self, kind: Kind, name: str, namespace: str = "") -> Obj | None:
        """As `last_seen`, if it is the object's very last state: its end did not fall into a gap of our watch."""
        parting = self._reflectors[kind].partings.get((namespace, name))
        return parting.obj if parting is not None and parting.witnessed else None

    def last_boot(self, name: str, namespace: str) -> str:
        """The boot id that the node of the pod most recently deleted under that name reported then; empty: unknown."""
        parting = self._reflectors[POD].partings.get((namespace, name))
        return "" if parting is None else parting.boot_id

    def departure(self, kind: Kind, name: str, namespace: str = "") -> Departure | None:
        """When the object most recently deleted under that name went, as far as we saw and remember it."""
        parting = self._reflectors[kind].partings.get((namespace, name))
        return None if parting is None else Departure(self._clock() - parting.at, parting.at - parting.leaving_since)

    def list(self, kind: Kind, namespace: str | None = None, labels: Mapping[str, str] | None = None) -> list[Obj]:
        """The objects of a kind, sorted by namespace and name; do not change them."""
        wanted = (labels or {}).items()
        with self._changed:
            found = sorted(self._reflectors[kind].objects.items())
        return [
            obj
            for (where, _), obj in found
            if (namespace is None or where == namespace) and wanted <= labels_of(obj).items()
        ]

    def changes(self, *kinds: Kind) -> int:
        """A number that grows with each change of these kinds: to be given to `wait_change`."""
        return sum(self._reflectors[kind].changes for kind in kinds)

    def wait_for(
        self, look: Callable[[], T | None], timeout_s: float, cancelled: Callable[[], bool] = lambda: False
    ) -> T | None:
        """Call ``look`` now and after each change until it returns something other than None; None: time is up.

        ``look`` runs with the cache locked: it must be quick and must not call Kubernetes.
        """
        deadline = self._clock() + timeout_s
        with self._changed:
            while True:
                if (seen := look()) is not None:
                    return seen
                left = deadline - self._clock()
                if left <= 0 or cancelled() or self._stopping.is_set():
                    return None
                self._changed.wait(min(left, _WAIT_SLICE_S))

    def apply(self, reflector: _Reflector, changes: Iterable[tuple[str, Obj]]) -> None:
        """Take over what a watch or list has seen; for the reflectors alone."""
        for change, obj in changes:
            with self._changed:
                if not reflector.brings_news(change, obj):
                    continue
                old = reflector.take(change, obj)
                if change in _ENDS and reflector.kind is POD:
                    self._note_boot(reflector, obj)
                self._changed.notify_all()
            happened = "DELETED" if change in _ENDS else ("MODIFIED" if old else "ADDED")
            for listener in tuple(self._listeners):
                try:
                    listener(reflector.kind, happened, obj, old)
                except Exception:
                    log.exception("cache_listener_failed", kind=reflector.kind.name, name=name_of(obj))

    def _note_boot(self, pods: _Reflector, pod: Obj) -> None:
        nodes = self._reflectors.get(NODE)
        node = nodes.objects.get(("", node_of(pod))) if nodes is not None else None
        if node is not None:
            key = (namespace_of(pod), name_of(pod))
            pods.partings[key] = replace(pods.partings[key], boot_id=boot_id(node))

    @property
    def stopping(self) -> threading.Event:
        """Set when `stop` was called; for the reflectors."""
        return self._stopping

    def wake(self) -> None:
        """Let those who wait look again."""
        with self._changed:
            self._changed.notify_all()

    def _probe(self) -> None:
        """Ask the server for a sign of life; its answer vouches for every stream that was open when we asked."""
        while not self._stopping.wait(self._probe_s):
            asked_at = self._clock()
            streaming = [reflector for reflector in self._reflectors.values() if reflector.streaming]
            try:
                self._kube.ready(timeout_s=max(self._probe_s, 1.0) * 2)
            except KubeError as error:
                log.debug("api_server_probe_failed", reason=error.reason, message=error.message)
                continue
            for reflector in streaming:
                reflector.vouch(asked_at)


@dataclass(frozen=True, slots=True)
class _Parting:
    """A deleted object's last state; when it went and since when it was on its way, by our clock.

    witnessed: the watch has told its end, and with it its very last state. boot_id: of a pod's node, as that was known.
    """

    obj: Obj
    at: float
    leaving_since: float
    witnessed: bool
    boot_id: str = ""


class _Reflector:
    """One kind's list and watch."""

    def __init__(
        self, cache: Cache, kind: Kind, kube: Kube, *, clock: Callable[[], float], window_s: int, relist_s: float
    ) -> None:
        self.kind = kind
        self.objects: dict[tuple[str, str], Obj] = {}
        self.partings: dict[tuple[str, str], _Parting] = {}
        self.changes = 0
        self.synced = False
        self.streaming = False
        self.current_at = float("-inf")
        self.seen_since = float("inf")
        self.trouble: KubeError | None = None
        self._cache = cache
        self._kube = kube
        self._clock = clock
        self._window_s = window_s
        self._relist_s = relist_s
        self._path = kind.collection(NODE_LEASES if kind is LEASE else "")
        self._revision = ""
        self._listed_at = float("-inf")
        self._stream: WatchStream | None = None
        self._leaving_since: dict[tuple[str, str], float] = {}

    def run(self) -> None:
        """Until the cache is stopped."""
        failures = 0
        while not self._cache.stopping.is_set():
            try:
                if not self._revision or self._clock() - self._listed_at > self._relist_s:
                    self._list()
                self._watch()
                failures = 0
            except Gone:
                self._revision = ""
            except Exception as error:  # noqa: BLE001  one odd answer must not end the watching
                failures += 1
                self._revision = ""  # after an outage nobody knows whether the same history goes on: list anew
                self._note(error, failures)
                pause = min(0.1 * 2.0**failures, _LONGEST_BACKOFF_S) * random.uniform(0.5, 1.0)
                self._cache.stopping.wait(pause)

    def interrupt(self) -> None:
        """End the wait for the next event."""
        if self._stream:
            self._stream.close()

    def vouch(self, at: float) -> None:
        """The stream was open at that time, and the server alive."""
        if self.streaming:
            self._is_current(at)

    def _is_current(self, at: float) -> None:
        if at - self.current_at > _BREAK_S:
            self.seen_since = at
        self.current_at = max(self.current_at, at)

    def brings_news(self, change: str, obj: Obj) -> bool:
        """False: an echo of what is known, as after a re-list."""
        old = self.objects.get((namespace_of(obj), name_of(obj)))
        if change in _ENDS:
            return old is not None
        return old is None or revision_of(old) != revision_of(obj)

    def take(self, change: str, obj: Obj) -> Obj | None:
        """Store one change; returns what was there before."""
        key = (namespace_of(obj), name_of(obj))
        self.changes += 1
        if change not in _ENDS:
            if is_terminating(obj):
                self._leaving_since.setdefault(key, self._clock())
            else:
                self._leaving_since.pop(key, None)  # another object has taken the name
            old = self.objects.get(key)
            self.objects[key] = obj
            return old
        now = self._clock()
        self.partings.pop(key, None)
        witnessed = change != _VANISHED
        self.partings[key] = _Parting(obj, now, self._leaving_since.pop(key, now), witnessed)
        if len(self.partings) > _LAST_SEEN:
            self.partings.pop(next(iter(self.partings)))
        return self.objects.pop(key)

    def _list(self) -> None:
        asked_at = self._clock()
        listing = self._kube.list(self._path)
        present = {(namespace_of(obj), name_of(obj)) for obj in listing.items}
        vanished = [obj for key, obj in list(self.objects.items()) if key not in present]
        self._cache.apply(self, [(_VANISHED, obj) for obj in vanished])
        self._cache.apply(self, [("MODIFIED", obj) for obj in listing.items])
        self._revision = listing.resource_version
        self._listed_at = asked_at
        self._is_current(asked_at)
        self.synced = True
        self.trouble = None
        self._cache.wake()

    def _watch(self) -> None:
        """One window of the watch. A server that says nothing past its end is taken for hung."""
        with self._kube.watch(
            self._path, self._revision, window_s=self._window_s, silence_s=self._window_s + 5.0
        ) as stream:
            self._stream = stream
            self.streaming = not self._cache.stopping.is_set()
            try:
                if not self.streaming:
                    return
                for change, obj in stream:
                    self._is_current(self._clock())
                    self._revision = revision_of(obj) or self._revision
                    if change in ("ADDED", "MODIFIED", "DELETED"):
                        self._cache.apply(self, [(change, obj)])
                self.trouble = None
            finally:
                self.streaming = False
                self._stream = None

    def _note(self, error: Exception, failures: int) -> None:
        self.trouble = error if isinstance(error, KubeError) else KubeError(0, type(error).__name__, str(error))
        if failures == 1 and not self._cache.stopping.is_set():
            log.warning("watch_failed", kind=self.kind.name, reason=self.trouble.reason, message=self.trouble.message)
