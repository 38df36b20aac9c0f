"""Speak to the API server in raw JSON: timeouts on every call, preconditions on every deletion, errors as sentences.

Built on the official client's connection, without its typed objects (a list of 500 pods costs 11 ms instead of 146).
"""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from hamgr.kube.connection import Connection, KubeConfig
from hamgr.kube.errors import KubeError, Unauthorized, Unavailable, from_failure, from_status, from_watch_event
from hamgr.kube.gate import Gate
from hamgr.kube.objects import Obj

JSON = "application/json"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"

_PAGE = 500
_LONGEST_PAUSE_S = 2.0
_LARGEST_LINE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Listing:
    """One consistent list: its objects and the resourceVersion from which a watch continues it."""

    items: list[Obj]
    resource_version: str


class WatchStream:
    """The events of one open watch: iterate over (type, object); `close` ends it from any thread."""

    def __init__(self, response: Any, asked: str, server: str, silence_s: float) -> None:
        self._response = response
        self._asked = asked
        self._server = server
        self._silence_s = silence_s

    def __iter__(self) -> Iterator[tuple[str, Obj]]:
        """Until the server ends the window. Raises Gone, Unavailable (also after too long a silence), ..."""
        for line in self._lines():
            event = json.loads(line)
            if event["type"] == "ERROR":
                raise from_watch_event(event["object"])
            yield event["type"], event["object"]

    def _lines(self) -> Iterator[bytes]:
        pending = b""
        try:
            for chunk in self._response.stream(65536):
                *lines, pending = (pending + chunk).split(b"\n")
                yield from (line for line in lines if line.strip())
                if len(pending) > _LARGEST_LINE:
                    raise ValueError("an event of more than 64 MiB")
        except KubeError:
            raise
        except Exception as error:
            raise from_failure(error, self._asked, self._server, self._silence_s) from error

    def close(self) -> None:
        """Wake whoever waits for the next event; the stream ends."""
        try:
            self._response.shutdown()
        except (ValueError, RuntimeError, OSError):
            pass  # over already


class Kube:
    """The gateway. One instance a process, shared by all threads.

    Every method raises KubeError's subclasses. Calls that are safe to repeat (GET, DELETE with its UID, PUT, merge and
    strategic patches) are repeated on 429 and 5xx, all others on 429 alone, which promises that nothing was done; never
    after a timeout, which has used up the caller's patience already. One that was made by `behind` asks its gates
    before each request that changes something, repeats included.
    """

    def __init__(self, config: KubeConfig | None = None) -> None:
        self.config = config or KubeConfig()
        self._connection = Connection(self.config)
        self._closing = threading.Event()
        self._gates: tuple[Gate, ...] = ()

    def behind(self, gate: Gate) -> Kube:
        """The same connections, for requests that pass this gate as well before they change anything."""
        gated = copy.copy(self)
        gated._gates = (gate, *self._gates)
        return gated

    def admit(self, what: str, wanted_s: float) -> float:
        """Pass the gates for a change by other means than a request to Kubernetes; the seconds that it gets.

        Raises Barred.
        """
        for gate in self._gates:
            wanted_s = gate(what, wanted_s)
        return wanted_s

    @property
    def server(self) -> str:
        """The API server's URL, for messages."""
        return self._connection.server

    def close(self) -> None:
        """End pauses between attempts and drop the pooled connections."""
        self._closing.set()
        self._connection.close()

    def get(self, path: str, *, timeout_s: float | None = None, **params: str) -> Obj:
        """GET one object or a subresource."""
        return self._json("GET", path, params=params, timeout_s=timeout_s, repeatable=True)

    def list(self, path: str, *, label_selector: str = "", field_selector: str = "") -> Listing:
        """GET a whole collection, page by page. Raises Gone when it changed too fast to be paged through."""
        params = {"limit": str(_PAGE), "labelSelector": label_selector, "fieldSelector": field_selector}
        items: list[Obj] = []
        while True:
            page = self._json("GET", path, params={k: v for k, v in params.items() if v}, repeatable=True)
            items += page.get("items") or []
            params["continue"] = page["metadata"].get("continue") or ""
            if not params["continue"]:
                return Listing(items, str(page["metadata"].get("resourceVersion") or ""))

    def post(self, path: str, body: Mapping[str, Any], *, timeout_s: float | None = None, **params: str) -> Obj:
        """Create; also the subresources that are created (binding, eviction)."""
        return self._json("POST", path, body, params=params, timeout_s=timeout_s)

    def put(self, path: str, body: Mapping[str, Any], *, timeout_s: float | None = None, **params: str) -> Obj:
        """Replace. Raises Conflict when the body's resourceVersion is not the current one."""
        return self._json("PUT", path, body, params=params, timeout_s=timeout_s, repeatable=True)

    def patch_json(
        self, path: str, operations: Sequence[Mapping[str, Any]], *, timeout_s: float | None = None, **params: str
    ) -> Obj:
        """JSON patch (RFC 6902). Raises Invalid when a ``test`` operation fails."""
        return self._json("PATCH", path, list(operations), params=params, timeout_s=timeout_s, media=JSON_PATCH)

    def patch_merge(self, path: str, body: Mapping[str, Any], *, timeout_s: float | None = None, **params: str) -> Obj:
        """Merge patch (RFC 7386). metadata.uid and metadata.resourceVersion in the body act as preconditions.

        Raises Conflict when one of them does not hold.
        """
        return self._json("PATCH", path, body, params=params, timeout_s=timeout_s, media=MERGE_PATCH, repeatable=True)

    def patch_strategic(
        self, path: str, body: Mapping[str, Any], *, timeout_s: float | None = None, **params: str
    ) -> Obj:
        """Kubernetes' strategic merge patch: lists such as conditions are merged by their key."""
        return self._json(
            "PATCH", path, body, params=params, timeout_s=timeout_s, media=STRATEGIC_PATCH, repeatable=True
        )

    def delete(
        self,
        path: str,
        *,
        uid: str,
        grace: int,
        resource_version: str = "",
        propagation: str = "",
        timeout_s: float | None = None,
    ) -> Obj:
        """Delete the object that has this UID; returns the object as it is then, or a Status.

        ``grace`` in seconds matters for pods alone, where 0 is a forced deletion; it always goes into the body beside
        the preconditions, because with a body the server ignores the query's. Raises NotFound (nothing of that name),
        Conflict (another object has taken the name, or it changed since ``resource_version``).
        """
        preconditions = {"uid": uid} | ({"resourceVersion": resource_version} if resource_version else {})
        body: Obj = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": preconditions}
        body["gracePeriodSeconds"] = grace
        if propagation:
            body["propagationPolicy"] = propagation
        return self._json("DELETE", path, body, timeout_s=timeout_s, repeatable=True)

    def ready(self, timeout_s: float) -> None:
        """Ask the API server for a sign of life; raises Unavailable, Unauthorized, Forbidden."""
        self._send("GET", "/readyz", None, {}, JSON, timeout_s)

    @contextmanager
    def watch(
        self,
        path: str,
        resource_version: str,
        *,
        window_s: int,
        silence_s: float,
        label_selector: str = "",
        field_selector: str = "",
    ) -> Iterator[WatchStream]:
        """An open watch with bookmarks; the server ends it after ``window_s``, a silence of ``silence_s`` fails it."""
        params = {
            "watch": "true",
            "resourceVersion": resource_version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(window_s),
            "labelSelector": label_selector,
            "fieldSelector": field_selector,
        }
        response = self._open("GET", path, None, {k: v for k, v in params.items() if v}, JSON, silence_s)
        try:
            if response.status != 200:
                raise self._refusal("GET", path, response.status, response.data, response.headers)
            yield WatchStream(response, f"watch {path}", self.server, silence_s)
        finally:
            response.close()

    def _json(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        media: str = JSON,
        repeatable: bool = False,
    ) -> Obj:
        query = dict(params or {})
        if method in ("POST", "PUT", "PATCH"):
            query.setdefault("fieldManager", self.config.field_manager)
        timeout = timeout_s or self.config.read_timeout_s
        for attempt in self._attempts(repeatable):
            with attempt:
                data = self._send(method, path, body, query, media, timeout)
        parsed = json.loads(data) if data else {}
        return parsed if isinstance(parsed, dict) else {}

    def _attempts(self, repeatable: bool) -> Any:
        from tenacity import Retrying, retry_if_exception, stop_after_attempt  # 50 ms of import

        def worth_repeating(error: BaseException) -> bool:
            if not isinstance(error, Unavailable) or self._closing.is_set():
                return False
            return error.code == 429 or (repeatable and (error.code >= 500 or error.reason == "Unreachable"))

        def pause(state: Any) -> float:
            asked_for: float | None = state.outcome.exception().retry_after
            return min(asked_for or 0.1 * 2.0**state.attempt_number, _LONGEST_PAUSE_S)

        def sleep(seconds: float) -> None:
            self._closing.wait(seconds)

        return Retrying(
            retry=retry_if_exception(worth_repeating),
            stop=stop_after_attempt(self.config.attempts),
            wait=pause,
            sleep=sleep,
            reraise=True,
        )

    def _send(
        self, method: str, path: str, body: Any, params: Mapping[str, str], media: str, timeout_s: float
    ) -> bytes:
        """One request, its whole answer; once more when the credentials had to be read anew."""
        try:
            return self._exchange(method, path, body, params, media, timeout_s)
        except Unauthorized:
            if not self._connection.renew():
                raise
        return self._exchange(method, path, body, params, media, timeout_s)

    def _exchange(
        self, method: str, path: str, body: Any, params: Mapping[str, str], media: str, timeout_s: float
    ) -> bytes:
        response = self._open(method, path, body, params, media, timeout_s)
        try:
            data: bytes = response.data
        except Exception as error:
            raise from_failure(error, f"{method} {path}", self.server, timeout_s) from error
        if not 200 <= response.status < 300:
            raise self._refusal(method, path, response.status, data, response.headers)
        return data

    def _open(self, method: str, path: str, body: Any, params: Mapping[str, str], media: str, timeout_s: float) -> Any:
        """The answer's head; its body is yet to be read. The gates come last, after all that may take time."""
        headers = {"Accept": JSON, "User-Agent": "hamgr"} | self._connection.headers()
        if body is not None:
            headers["Content-Type"] = media
        timeout: float | tuple[float, float] = (min(self.config.connect_timeout_s, timeout_s), timeout_s)
        if self._gates and method != "GET":
            timeout_s = self.admit(f"{method} {path}", timeout_s)
            timeout = timeout_s  # connecting and the answer together; and no longer does the server take for it
            params = {**params, "timeout": f"{int(timeout_s * 1000)}ms"}
        url = self._connection.url(path) + (f"?{urlencode(params)}" if params else "")
        started = time.monotonic()
        try:
            return self._connection.rest.request(
                method, url, headers=headers, body=body, _request_timeout=timeout
            ).response
        except Exception as error:
            raise from_failure(error, f"{method} {path}", self.server, time.monotonic() - started) from error

    def _refusal(self, method: str, path: str, status: int, data: bytes, headers: Mapping[str, str]) -> KubeError:
        return from_status(status, data, headers, f"{method} {path}", self.server)
