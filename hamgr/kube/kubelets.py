"""Whether a node's kubelet answers on its own port: a second path to a node whose Lease has gone quiet.

A Lease that is not renewed says that a kubelet does not get through to the API server, not that its node is gone. The
port tells the two apart, sooner and without the API server. An answer is something that a process must do: a listening
socket accepts connections for a process that is frozen, too, so a TLS handshake is begun. What is answered does not
matter, and nothing that is answered is trusted.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any

from hamgr.kube.nodes import internal_address
from hamgr.kube.objects import name_of

PORT = 10250
_DIAL_S = 1.0
_AGAIN_S = 0.5
_ACQUAINT_S = 60.0
_FORGET_S = 5.0  # what was heard longer ago says nothing any more


class Heard(Enum):
    """What a dial has brought."""

    ANSWER = "answer"
    """The kubelet, or whoever listens there, has said something."""
    REFUSAL = "refusal"
    """The host is there, and nobody listens."""
    SILENCE = "silence"
    """Nothing came back, or there is no way to the host."""


@dataclass(frozen=True, slots=True)
class Contact:
    """What is known of one kubelet.

    silent_for_s: for how long each dial has met silence; None: the last one has not, or no dial ever got through, so
    that something else may be in the way (a firewall between it and us).
    """

    answers: bool
    silent_for_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Known:
    asked_at: float
    heard: Heard | None = None
    heard_at: float = float("-inf")
    silent_since: float | None = None
    reached: bool = False  # a dial has got through to that host once


class Kubelets:
    """Dials kubelets beside the control loop, answers from memory. Times are monotonic seconds."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, dial: Callable[[str, int], Heard] | None = None
    ) -> None:
        """dial: how to ask (for tests); takes address and port."""
        self._clock = clock
        self._dial = dial or dial_port
        self._lock = threading.Lock()
        self._known: dict[str, _Known] = {}
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="kubelet dial")

    def look(self, node: Mapping[str, Any]) -> Contact | None:
        """What is known of this Node object's kubelet, None when that is nothing; and have it asked again."""
        known, now = self._asked(node, _AGAIN_S), self._clock()
        if known.heard is None:
            return None
        since = known.silent_since if known.reached else None
        return Contact(known.heard is Heard.ANSWER, None if since is None else now - since)

    def get_to_know(self, node: Mapping[str, Any]) -> None:
        """Have a kubelet asked that is well, once in a while, so that its silence means something later on."""
        self._asked(node, _ACQUAINT_S)

    def _asked(self, node: Mapping[str, Any], again_s: float) -> _Known:
        """What is known; a dial is begun unless the last one began less than `again_s` ago."""
        name, address, now = name_of(node), internal_address(node), self._clock()
        with self._lock:
            known = self._known.get(name, _Known(float("-inf")))
            if now - known.heard_at > _FORGET_S:
                known = _Known(known.asked_at, reached=known.reached)
            if address and now - known.asked_at >= again_s:
                known = replace(known, asked_at=now)
                with suppress(RuntimeError):  # closed meanwhile
                    self._pool.submit(self._ask, name, address, port_of(node), now)
            self._known[name] = known
            return known

    def close(self) -> None:
        """End the asking."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, name: str, address: str, port: int, began: float) -> None:
        heard = self._dial(address, port)
        with self._lock:
            known = self._known[name]
            since = None
            if heard is Heard.SILENCE:
                since = began if known.silent_since is None else known.silent_since
            reached = known.reached or heard is not Heard.SILENCE
            self._known[name] = _Known(known.asked_at, heard, self._clock(), since, reached)


def port_of(node: Mapping[str, Any]) -> int:
    """The port on which the kubelet says that it listens."""
    endpoints = (node.get("status") or {}).get("daemonEndpoints") or {}
    return int((endpoints.get("kubeletEndpoint") or {}).get("Port") or PORT)


def dial_port(address: str, port: int) -> Heard:
    """Begin a TLS handshake there, and see whether anything comes back. Never raises."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection((address, port), timeout=_DIAL_S) as raw, context.wrap_socket(raw):
            return Heard.ANSWER
    except ConnectionRefusedError:
        return Heard.REFUSAL
    except (ssl.SSLError, ConnectionResetError, BrokenPipeError) as error:
        # A handshake that a living process breaks off is an answer; one that times out is none.
        return Heard.SILENCE if isinstance(error, TimeoutError) else Heard.ANSWER
    except OSError:
        return Heard.SILENCE
