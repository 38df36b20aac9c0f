"""hamgrd's side of self-fencing: feeds the guard, keeps its list of pods, and makes the promise to the other nodes.

Two threads, both apart from the control loop: one speaks only to the guard and must never wait for a network; the
other one speaks to etcd and Kubernetes.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from hamgr.clock import boottime
from hamgr.daemon.selffence.bound import Bound
from hamgr.daemon.selffence.find import processes_of
from hamgr.daemon.selffence.killer import GuardOptions
from hamgr.daemon.settings import SettingsError
from hamgr.store.errors import LeaseLost, StoreError
from hamgr.store.membership import PROMISES
from hamgr.store.store import Store

FEED_S = 0.2
ANSWER_S = 1.0
START_S = 10.0
PROMISE_S = 0.5
FORGET_S = 60.0  # a pod that is gone stays on the list for so long, and for as long as it has processes

log = structlog.get_logger(__name__)


class Renewals(Protocol):
    """What is needed of `hamgr.daemon.member.Member`."""

    def renewed_until(self) -> float: ...

    @property
    def self_fence_s(self) -> float | None: ...

    def tell_self_fence(self, bound_s: float | None) -> None: ...


class GuardLost(Exception):
    """The guard does not answer; the message says how."""


class GuardLine:
    """The connection to this node's guard. Not thread-safe."""

    def __init__(self, options: GuardOptions) -> None:
        self._options = options
        self._socket: socket.socket | None = None

    def open(self) -> Mapping[str, Any]:
        """Connect to the guard that runs, else start one; what it knows. Raises GuardLost, SettingsError."""
        with contextlib.suppress(GuardLost):
            self._connect()
            known = self.say({})
            if known["options"] == self._options.to_text():
                return known
            log.info("guard_replaced", why="it runs with other settings")
            self._release()
        self.close(kill=True)
        self._start()
        self._connect()
        return self.say({})

    def say(self, message: Mapping[str, Any]) -> Mapping[str, Any]:
        """Tell it something; its answer. Raises GuardLost."""
        if self._socket is None:
            raise GuardLost("there is no connection")
        try:
            self._socket.sendall(json.dumps(message).encode() + b"\n")
            received = b""
            while not received.endswith(b"\n"):
                data = self._socket.recv(1 << 16)
                if not data:
                    raise GuardLost("it has closed the connection")
                received += data
            answer: Mapping[str, Any] = json.loads(received)
        except (OSError, ValueError) as error:
            raise GuardLost(f"it does not answer: {error}") from None
        return answer

    def dismiss(self) -> None:
        """Let the guard go, if there is one, and wait until it has gone. Raises GuardLost."""
        if self._socket is None:
            self._connect()
        self._release()
        self.close()

    def _release(self) -> None:
        self.say({"release": True})
        assert self._socket is not None
        with contextlib.suppress(OSError):
            self._socket.recv(1)  # it hangs up when it has disarmed the watchdog

    def close(self, *, kill: bool = False) -> None:
        """Hang up; with `kill`, end a guard that hangs, so that a new one can take its place."""
        if self._socket is None:
            return
        if kill:
            pid = struct.unpack("3i", self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        self._socket.close()
        self._socket = None

    def _connect(self) -> None:
        self.close()
        line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        line.settimeout(ANSWER_S)
        try:
            line.connect(str(self._options.socket))
        except OSError as error:
            line.close()
            raise GuardLost(f"there is no guard: {error.strerror}") from None
        self._socket = line

    def _start(self) -> None:
        command = [sys.executable, "-m", "hamgr.daemon.selffence.killer", self._options.to_text()]
        guard = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
        assert guard.stdout is not None
        threading.Thread(target=guard.wait, name="guard's end", daemon=True).start()
        told = guard.stdout.readline().strip()
        if told != "READY":
            raise SettingsError(f"self-fencing cannot begin: {told or 'its guard ended at once'}")
        log.info("guard_started", guard=guard.pid)


@dataclass(frozen=True)
class Sights:
    """What self-fencing sees of the cluster.

    pods: UIDs of the pods of hamgr's on this node, from the cache; what nobody has judged yet is among them. fresh:
    whether that cache is up to date. judge: find out anew which pods only carry our label; others: their UIDs. It
    raises StoreError, and what was found before stands.
    may_live: those of some pods that may run here again after this node has fenced itself. Raises StoreError and
    KubeError.
    """

    pods: Callable[[], set[str]]
    fresh: Callable[[], bool]
    may_live: Callable[[set[str]], set[str]]
    judge: Callable[[], None] = lambda: None
    others: Callable[[], set[str]] = set


class PodList:
    """The pods that would have to be killed: those that are there, and those whose processes may still be."""

    def __init__(self, find: tuple[str, ...], clock: Callable[[], float] = time.monotonic) -> None:
        self._find = find
        self._clock = clock
        self._gone: dict[str, float] = {}
        self._there: set[str] = set()

    def remember(self, uids: set[str]) -> None:
        """Pods that an earlier hamgrd of this boot knew."""
        self._gone.update(dict.fromkeys(uids - self._there, self._clock()))

    def update(self, there: set[str], others: Collection[str] = ()) -> list[str]:
        """All that must be on the guard's list, now that these are in the API. others: pods that are none of ours."""
        now = self._clock()
        self._there -= set(others)
        for uid in others:
            self._gone.pop(uid, None)
        for uid in self._there - there:
            self._gone[uid] = now
        for uid in there:
            self._gone.pop(uid, None)
        self._there = set(there)
        for uid, since in list(self._gone.items()):
            if now - since < FORGET_S:
                continue
            if processes_of({uid}, self._find):
                self._gone[uid] = now
            else:
                del self._gone[uid]
        return sorted(self._there | self._gone.keys())


class SelfFence:
    """Self-fencing of this node, from `start` to `stop`."""

    def __init__(
        self, bound: Bound, options: GuardOptions, ttl_s: float, member: Renewals, store: Store, sights: Sights
    ) -> None:
        self._bound = bound
        self._options = options
        self._ttl_s = ttl_s
        self._member = member
        self._store = store
        self._sights = sights
        self._line = GuardLine(options)
        self._pods = PodList(options.find)
        self._fed = float("-inf")
        self._condemned: set[str] = set()
        self._pardons: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Arm the guard, then promise. Raises SettingsError, StoreError."""
        self._sights.judge()
        self._feed(self._line.open())
        self._promise()
        for name, work in (("self-fencing", self._keep_feeding), ("self-fencing promise", self._keep_promise)):
            self._threads.append(threading.Thread(target=work, name=name, daemon=True))
            self._threads[-1].start()

    def stop(self) -> None:
        """Take the promise back and let the guard go. Where etcd cannot be told, the guard stays and keeps it."""
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=5)
        try:
            self._withdraw()
        except StoreError as error:
            log.error("guard_left_behind", why=f"the promise cannot be taken back: {error}")
            self._line.close()
            return
        with contextlib.suppress(GuardLost):
            self._line.dismiss()

    # --- the guard ---------------------------------------------------------------------------------------------------

    def _feed(self, known: Mapping[str, Any] | None = None) -> None:
        """Say until when instances may live. Raises GuardLost."""
        if known is not None:
            self._pods.remember(set(known["pods"]))
        pods = self._pods.update(self._sights.pods(), self._sights.others())
        pardon = [uid for uid in self._condemned if uid not in pods]  # gone long ago, without a process
        while not self._pardons.empty():
            pardon.append(self._pardons.get())
        answer = self._line.say({"until": self._until(), "pods": pods, "pardon": pardon})
        self._fed = time.monotonic()
        condemned = set(answer["condemned"])
        if condemned - self._condemned:
            log.error("node_fenced_itself", pods=sorted(condemned))
        self._condemned = condemned

    def _until(self) -> float:
        """The time of the last renewal, which the member has by the guard's own clock, and the bound."""
        renewed = self._member.renewed_until() - self._ttl_s
        return max(renewed, -1e9) + self._bound.act_s

    def _keep_feeding(self) -> None:
        while not self._stop.wait(FEED_S):
            try:
                self._feed()
            except GuardLost as error:
                log.error("guard_lost", why=str(error))
                self._reopen()
            except Exception:  # nothing odd may end the feeding: instances would be killed for it
                log.exception("guard_not_fed")

    def _reopen(self) -> None:
        try:
            self._line.close(kill=True)
            self._feed(self._line.open())
        except (GuardLost, SettingsError, OSError) as error:
            log.error("guard_not_started", why=str(error))

    # --- the promise -------------------------------------------------------------------------------------------------

    def _keep_promise(self) -> None:
        while not self._stop.wait(PROMISE_S):
            self._judge()
            try:
                guarded = time.monotonic() - self._fed < ANSWER_S + 2 * FEED_S
                if not (guarded and self._sights.fresh()):
                    self._withdraw()
                elif self._member.self_fence_s is None:
                    self._promise()
                if self._condemned and self._is_member():
                    for uid in self._sights.may_live(set(self._condemned)):
                        self._pardons.put(uid)
            except StoreError as error:
                log.info("self_fencing_promise_delayed", error=str(error))
            except Exception:
                log.exception("self_fencing_promise_delayed")

    def _judge(self) -> None:
        try:
            self._sights.judge()
        except StoreError as error:
            log.info("pods_not_judged", error=str(error))
        except Exception:
            log.exception("pods_not_judged")

    def _is_member(self) -> bool:
        return boottime() < self._member.renewed_until() - self._ttl_s + self._bound.act_s

    def _promise(self) -> None:
        if self._bound.proves:
            value = {"self_fence": self._bound.over_s, "ttl_s": self._ttl_s, "boot_id": self._options.boot_id}
            self._store.transact(puts={PROMISES + self._options.node: value})
        else:
            take_back(self._store, self._options.node)
        self._member.tell_self_fence(self._bound.over_s)

    def _withdraw(self) -> None:
        if self._member.self_fence_s is not None:
            take_back(self._store, self._options.node)
            with contextlib.suppress(LeaseLost):  # no member just now: nobody reads the bound that we showed
                self._member.tell_self_fence(None)


def take_back(store: Store, node: str) -> None:
    """There is no promise of this node any more. Raises StoreError."""
    store.transact(deletes=(PROMISES + node,))


def stand_down(store: Store, options: GuardOptions) -> None:
    """Self-fencing was switched off: take back what an earlier hamgrd promised, then let its guard go.

    Raises StoreError.
    """
    take_back(store, options.node)
    with contextlib.suppress(GuardLost):
        GuardLine(options).dismiss()
