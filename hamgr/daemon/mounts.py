"""Is volume V still mounted on node N, or anything left of pod P? The leader asks, the hamgrd on N looks for itself.

The kubelet reports what it unmounted every ten seconds; whoever looks at /proc/self/mountinfo knows at once. Of a pod
whose object was removed by force it reports nothing at all. The answer
allows a disk to be detached, so it must not be older than the question: each question has a key of its own
(``asks/NODE/ID``), the answer (``answers/ID``) refers to it and is renewed whenever it changes, and both vanish with
the asker's lease. A daemon that hangs gives no answer, which proves nothing and costs only time.
"""

from __future__ import annotations

import os
import select
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import structlog

from hamgr.daemon.selffence.find import processes_of
from hamgr.kube.mounts import mounts_of, mounts_of_pod
from hamgr.kube.volumes import Volume
from hamgr.store.errors import LeaseLost, StoreError
from hamgr.store.store import Leased, Store
from hamgr.store.values import Change, Entry, Json
from hamgr.store.watch import Watch

ASKS = "asks/"
ANSWERS = "answers/"
ASK_TTL_S = 60
FIRST_ANSWER_S = 0.25
_POLL_S = 0.01
_LOOK_FOR_PROCESSES_S = 0.5  # it takes a look at each process of the machine
_ALWAYS_BY = ("cgroup", "environment")
_CHECK_S = 0.05  # while somebody waits; the kernel's notice comes sooner, a plain file (sandbox) gives none

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PodRemains:
    """Mounts and processes of a pod, whether or not it still has an object."""

    uid: str


Subject: TypeAlias = Volume | PodRemains


# --- the leader's side -------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Question:
    id: str
    lease: int
    expires: float


class MountQuestions:
    """Asks other nodes' daemons about mounts and pods. Thread-safe."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[tuple[str, Subject], _Question] = {}

    def unmounted(self, node: str, volume: Volume) -> bool | None:
        """True: the node's daemon has looked since this was first asked, and the volume is not mounted there.

        False: it is. None: nobody has answered (yet). After True the next call asks anew. Never raises.
        """
        return self._let_go(node, volume)

    def departed(self, node: str, pod_uid: str) -> bool | None:
        """True: the node's daemon has looked since this was first asked, and no mount or process of the pod is left.

        False: there is one. None: nobody has answered (yet). After True the next call asks anew. Never raises.
        """
        return self._let_go(node, PodRemains(pod_uid))

    def _let_go(self, node: str, subject: Subject) -> bool | None:
        try:
            question, fresh = self._question(node, subject)
            deadline = self._clock() + (FIRST_ANSWER_S if fresh else 0.0)
            while True:
                held = self._answer(question)
                if held is not None or self._clock() >= deadline:
                    break
                time.sleep(_POLL_S)
        except StoreError as error:
            log.info("mount_question_unanswered", node=node, subject=str(subject), error=str(error))
            return None
        if held is False:
            self._close(node, subject, question)
        return None if held is None else not held

    def _question(self, node: str, subject: Subject) -> tuple[_Question, bool]:
        with self._lock:
            known = self._open.get((node, subject))
            if known is not None and self._clock() < known.expires:
                return known, False
            expires = self._clock() + ASK_TTL_S / 2
            lease, _ = self._store.grant(ASK_TTL_S)
            question = _Question(uuid.uuid4().hex, lease, expires)
            self._store.transact(puts={f"{ASKS}{node}/{question.id}": Leased(_body(subject), lease)})
            self._open[(node, subject)] = question
            return question, True

    def _answer(self, question: _Question) -> bool | None:
        entry = self._store.get(ANSWERS + question.id)
        held = entry.value.get("mounted") if entry is not None and isinstance(entry.value, dict) else None
        return held if isinstance(held, bool) else None

    def _close(self, node: str, subject: Subject, question: _Question) -> None:
        with self._lock:
            if self._open.get((node, subject)) is question:
                del self._open[(node, subject)]
        try:
            self._store.revoke(question.lease)
        except StoreError:
            pass  # it runs out by itself


# --- the node's side ---------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Asked:
    subject: Subject
    lease: int
    said: bool | None = None
    due: float = 0.0  # when it is worth another look


class MountReporter:
    """Answers questions about this node's mounts and pods, anew whenever an answer changes. One thread.

    ``find``: ways to find a pod's processes (`selffence_find.WAYS`), besides those that cost no privilege.
    """

    def __init__(self, store: Store, node: str, boot_id: str, mountinfo: Path, find: Iterable[str] = ()) -> None:
        self._store = store
        self._node = node
        self._boot_id = boot_id
        self._mountinfo = mountinfo
        self._find = tuple({*_ALWAYS_BY, *find})
        self._prefix = f"{ASKS}{node}/"
        self._lock = threading.Lock()
        self._asked: dict[str, _Asked] = {}
        self._stop = threading.Event()
        self._wake_read, self._wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._watch: Watch | None = None
        self._thread = threading.Thread(target=self._serve, name="mounts", daemon=True)

    def start(self) -> None:
        """Begin to answer; etcd's troubles are waited out in the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and the watch."""
        self._stop.set()
        self._wake()
        self._thread.join(timeout=5)
        if self._watch is not None:
            self._watch.stop()
        os.close(self._wake_write)
        os.close(self._wake_read)

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                if self._watch is None:
                    self._listen()
                with open(self._mountinfo, encoding="utf-8", errors="surrogateescape") as table:
                    self._answer_for_long(table.fileno())
            except StoreError as error:
                log.info("mount_answers_delayed", error=str(error))
                self._stop.wait(0.2)
            except OSError as error:
                log.error("mount_table_unreadable", file=str(self._mountinfo), error=str(error))
                self._stop.wait(5.0)
            except Exception:
                log.exception("mount_answers_failed")
                self._stop.wait(1.0)

    def _listen(self) -> None:
        snapshot = self._store.read(self._prefix)
        for key, entry in snapshot.entries.items():
            self._note(key, entry)
        self._watch = self._store.watch(snapshot, self._on_change)

    def _on_change(self, changes: Sequence[Change], _revision: int) -> None:
        for change in changes:
            self._note(change.key, change.entry)
        self._wake()

    def _note(self, key: str, entry: Entry | None) -> None:
        identity = key.removeprefix(self._prefix)
        with self._lock:
            if entry is None:
                self._asked.pop(identity, None)
            elif entry.lease and identity not in self._asked and (subject := _subject(entry.value)) is not None:
                self._asked[identity] = _Asked(subject, entry.lease)

    def _answer_for_long(self, table: int) -> None:
        """Answer what is asked, then sleep until a question or the mount table changes (the kernel says POLLPRI)."""
        poller = select.poll()
        poller.register(table, select.POLLPRI | select.POLLERR)
        poller.register(self._wake_read, select.POLLIN)
        while not self._stop.is_set():
            self._answer_all()
            with self._lock:
                waiting = bool(self._asked)
            for descriptor, _ in poller.poll(_CHECK_S * 1000 if waiting else None):
                if descriptor == self._wake_read:
                    os.read(self._wake_read, 4096)

    def _answer_all(self) -> None:
        with self._lock:
            asked = list(self._asked.items())
        if not asked:
            return
        mountinfo = self._mountinfo.read_text(encoding="utf-8", errors="surrogateescape")
        for identity, question in asked:
            if time.monotonic() < question.due:
                continue
            held = self._is_held(question, mountinfo)
            if held != question.said:
                self._say(identity, question, held)

    def _is_held(self, question: _Asked, mountinfo: str) -> bool:
        subject = question.subject
        if isinstance(subject, Volume):
            return bool(mounts_of(subject, mountinfo))
        question.due = time.monotonic() + _LOOK_FOR_PROCESSES_S
        return bool(mounts_of_pod(subject.uid, mountinfo) or processes_of({subject.uid}, self._find))

    def _say(self, identity: str, question: _Asked, held: bool) -> None:
        answer = {"mounted": held, "node": self._node, "boot_id": self._boot_id, "at": time.time()}
        try:
            self._store.transact(puts={ANSWERS + identity: Leased(answer, question.lease)})
        except LeaseLost:  # nobody waits any more
            with self._lock:
                self._asked.pop(identity, None)
            return
        question.said = held

    def _wake(self) -> None:
        try:
            os.write(self._wake_write, b"x")
        except BlockingIOError:
            pass  # it is awake


def _body(subject: Subject) -> Json:
    if isinstance(subject, PodRemains):
        return {"pod": subject.uid}
    return {"pv": subject.pv, "driver": subject.driver, "handle": subject.handle}


def _subject(value: Json) -> Subject | None:
    if not isinstance(value, dict):
        return None
    if isinstance(uid := value.get("pod"), str) and uid:
        return PodRemains(uid)
    pv, driver, handle = (value.get(name) for name in ("pv", "driver", "handle"))
    if isinstance(pv, str) and isinstance(driver, str) and isinstance(handle, str):
        return Volume(pv, driver, handle)
    return None
