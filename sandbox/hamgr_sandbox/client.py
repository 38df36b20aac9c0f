"""Speak the Kubernetes API from asyncio: requests, watches and informers for everything in the sandbox.

The sandbox's controllers, attacher, balancer and node agents know the cluster through this module alone, so they join
a real API server as well as the stand-in. Objects are plain dictionaries as they came from JSON: the sandbox looks at
few fields of many kinds.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import random
import socket
import ssl
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import AddrInfoType

Object = dict[str, Any]
Key = tuple[str, str]
OnEvent = Callable[[str, Object, Object | None], None]

MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

log = logging.getLogger(__name__)
_PAGE = 500
_TOKEN_FILE_AGE_S = 60.0
# A peer that vanished without a word (crash, partition) is noticed within about twenty seconds, on idle watches too.
_DEAD_PEER_MS = 20_000
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_PROBES = 10, 4, 3


class ApiError(Exception):
    """The API server's refusal: HTTP ``code`` and the fields of the Status object that came with it."""

    def __init__(self, code: int, reason: str, message: str, body: Object) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.body = body


class Unreachable(ApiError):
    """No answer came (refused, timed out, cut off): whether the request took effect is unknown. ``code`` is 0."""

    def __init__(self, message: str) -> None:
        super().__init__(0, "Unreachable", message, {})


class KubeconfigError(Exception):
    """The kubeconfig cannot be used; the message says which file, which entry, and why."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API server is and how to be let in, as one context of a kubeconfig says it.

    ``server_name`` is what its certificate must name when that differs from the address (tls-server-name).
    """

    server: str
    ssl_context: ssl.SSLContext | None = None
    token: str = ""
    token_file: Path | None = None
    server_name: str = ""


def load_kubeconfig(path: Path | None) -> Access:
    """The current context of a kubeconfig: ``path``, else the first of ``$KUBECONFIG``, else ``~/.kube/config``.

    Raises KubeconfigError. Exec and auth-provider plugins are not supported and are refused by name.
    """
    chosen = path or Path(os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or Path.home() / ".kube" / "config")
    try:
        config = yaml.safe_load(chosen.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise KubeconfigError(f"kubeconfig {chosen}: {error}") from error
    if not isinstance(config, dict):
        raise KubeconfigError(f"kubeconfig {chosen}: not a mapping")
    name = config.get("current-context", "")
    context = _entry(config, "contexts", name, "context", chosen)
    cluster = _entry(config, "clusters", context.get("cluster", ""), "cluster", chosen)
    user = _entry(config, "users", context["user"], "user", chosen) if context.get("user") else {}
    for plugin in ("exec", "auth-provider"):
        if plugin in user:
            raise KubeconfigError(
                f"kubeconfig {chosen}: user {context['user']!r} needs {plugin}, use a token or a client certificate"
            )
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith(("http://", "https://")):
        raise KubeconfigError(f"kubeconfig {chosen}: cluster {context.get('cluster')!r} has no usable server address")
    token_file = user.get("tokenFile")
    return Access(
        server,
        _ssl_context(cluster, user, chosen) if server.startswith("https://") else None,
        str(user.get("token", "")),
        _beside(chosen, token_file) if token_file else None,
        str(cluster.get("tls-server-name", "")),
    )


def _entry(config: Object, section: str, name: str, field: str, path: Path) -> Object:
    for entry in config.get(section) or []:
        if entry.get("name") == name:
            return dict(entry.get(field) or {})
    raise KubeconfigError(f"kubeconfig {path}: no {field} named {name!r} in {section}")


def _beside(kubeconfig: Path, file: str) -> Path:
    return kubeconfig.parent / file


def _ssl_context(cluster: Object, user: Object, path: Path) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
        if authority := _pem(cluster, "certificate-authority", path):
            context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cadata=authority)
        if cluster.get("insecure-skip-tls-verify"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        certificate, key = _pem(user, "client-certificate", path), _pem(user, "client-key", path)
        if certificate and key:
            # OpenSSL reads a chain from a file only; it is gone again before this function returns.
            with tempfile.NamedTemporaryFile("w", prefix="hamgr-client-", suffix=".pem") as chain:
                chain.write(certificate + "\n" + key)
                chain.flush()
                context.load_cert_chain(chain.name)
    except (OSError, ValueError) as error:
        raise KubeconfigError(f"kubeconfig {path}: certificates cannot be loaded: {error}") from error
    return context


def _pem(section: Object, field: str, path: Path) -> str:
    """The PEM text of ``field-data`` (base64) or of the file that ``field`` names; empty when neither is there."""
    if data := section.get(f"{field}-data"):
        return base64.b64decode(data).decode()
    return _beside(path, section[field]).read_text() if section.get(field) else ""


def _socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    for option, value in (
        (socket.TCP_NODELAY, 1),
        (socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S),
        (socket.TCP_KEEPINTVL, _KEEPALIVE_INTERVAL_S),
        (socket.TCP_KEEPCNT, _KEEPALIVE_PROBES),
        (socket.TCP_USER_TIMEOUT, _DEAD_PEER_MS),
    ):
        sock.setsockopt(socket.IPPROTO_TCP, option, value)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    return sock


class Client:
    """One API server. An async context manager; all calls raise ApiError (Unreachable when no answer came).

    ``timeout_s`` bounds each request from connecting to the last byte of the answer; watches are not bounded by it.
    """

    def __init__(self, access: Access, *, timeout_s: float = 15.0) -> None:
        self._access = access
        self._timeout = aiohttp.ClientTimeout(total=timeout_s, connect=min(5.0, timeout_s))
        self._session: aiohttp.ClientSession | None = None
        self._file_token: tuple[float, str] | None = None

    @classmethod
    def from_kubeconfig(cls, path: Path | None, *, timeout_s: float = 15.0) -> Self:
        """A client for the kubeconfig's current context (see ``load_kubeconfig``). Raises KubeconfigError."""
        return cls(load_kubeconfig(path), timeout_s=timeout_s)

    @property
    def server(self) -> str:
        return self._access.server

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0, socket_factory=_socket)
        self._session = aiohttp.ClientSession(connector=connector)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def get(self, path: str, **params: str) -> Object:
        return await self._call("GET", path, params=params)

    async def post(self, path: str, body: Object, **params: str) -> Object:
        return await self._call("POST", path, body=body, params=params)

    async def put(self, path: str, body: Object, **params: str) -> Object:
        return await self._call("PUT", path, body=body, params=params)

    async def delete(self, path: str, body: Object | None = None, **params: str) -> Object:
        """Delete; ``body`` is a DeleteOptions. Put gracePeriodSeconds into it: a body wins over the query."""
        return await self._call("DELETE", path, body=body, params=params)

    async def patch(
        self, path: str, body: Object | list[Object], content_type: str = MERGE_PATCH, **params: str
    ) -> Object:
        return await self._call("PATCH", path, body=body, params=params, content_type=content_type)

    async def list(self, path: str, **params: str) -> Object:
        """The whole collection, page by page, as one list object whose items carry kind and apiVersion."""
        items: list[Object] = []
        query = {"limit": str(_PAGE), **params}
        while True:
            page = await self.get(path, **query)
            kind = str(page.get("kind", "")).removesuffix("List")
            items.extend(
                {"kind": kind, "apiVersion": page.get("apiVersion", "v1"), **item} for item in page.get("items") or []
            )
            token = page["metadata"].get("continue")
            if not token:
                return {**page, "items": items}
            query["continue"] = token

    async def raw(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, Any]:
        """Status code and body, whatever the code: parsed when it is JSON, text otherwise. Raises Unreachable alone."""
        data = None if body is None else json.dumps(body)
        sent = {"Accept": "application/json", **self._authorization(), **(headers or {})}
        if data is not None:
            sent["Content-Type"] = content_type
        try:
            async with self._open.request(
                method,
                self._access.server + path,
                data=data,
                params=dict(params or {}),
                headers=sent,
                ssl=self._access.ssl_context or True,
                server_hostname=self._access.server_name or None,
                timeout=self._timeout,
            ) as response:
                text = await response.text()
                return response.status, _parsed(text, response.content_type)
        except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError) as error:
            raise Unreachable(f"{method} {self._access.server}{path}: {str(error) or type(error).__name__}") from error

    async def watch(self, path: str, **params: str) -> AsyncIterator[Object]:
        """Watch events ``{"type", "object"}`` until the server ends the watch. ERROR events are raised as ApiError."""
        async with self._stream(path, {"watch": "true", **params}) as response:
            async for event in _events(response):
                if event.get("type") == "ERROR":
                    raise _error(int(event["object"].get("code", 500)), event["object"])
                yield event

    @asynccontextmanager
    async def _stream(self, path: str, params: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._open.get(
                self._access.server + path,
                params=params,
                headers={"Accept": "application/json", **self._authorization()},
                ssl=self._access.ssl_context or True,
                server_hostname=self._access.server_name or None,
                timeout=aiohttp.ClientTimeout(total=None, connect=5.0),
            ) as response:
                if response.status != 200:
                    raise _error(response.status, _parsed(await response.text(), response.content_type))
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError) as error:
            raise Unreachable(f"watch {self._access.server}{path}: {str(error) or type(error).__name__}") from error

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        params: Mapping[str, str],
        content_type: str = "application/json",
    ) -> Object:
        code, answer = await self.raw(method, path, body=body, params=params, content_type=content_type)
        if code >= 400:
            raise _error(code, answer)
        return answer if isinstance(answer, dict) else {"text": answer}

    @property
    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("the client is used outside of its 'async with' block")
        return self._session

    def _authorization(self) -> dict[str, str]:
        token = self._access.token
        if self._access.token_file:
            # Projected service account tokens are renewed on disk; a minute of age is what client-go allows too.
            if self._file_token is None or time.monotonic() - self._file_token[0] > _TOKEN_FILE_AGE_S:
                self._file_token = (time.monotonic(), self._access.token_file.read_text().strip())
            token = self._file_token[1]
        return {"Authorization": f"Bearer {token}"} if token else {}


def _parsed(text: str, content_type: str) -> Any:
    return json.loads(text) if text and content_type == "application/json" else text


def _error(code: int, answer: object) -> ApiError:
    if isinstance(answer, dict):
        return ApiError(code, str(answer.get("reason", "")), str(answer.get("message", "")), answer)
    return ApiError(code, "", str(answer)[:500], {})


async def _events(response: aiohttp.ClientResponse) -> AsyncIterator[Object]:
    """The JSON lines of a watch, put together here because a line may be longer than any read buffer."""
    pending = bytearray()
    async for chunk in response.content.iter_any():
        pending += chunk
        *lines, rest = pending.split(b"\n")
        pending = rest
        for line in lines:
            if line.strip():
                yield json.loads(line)


class Informer:
    """A cache of one resource path, kept current by list and watch for ever.

    ``on_event(type, object, old)`` tells each change; ``type`` is ADDED, MODIFIED or DELETED. After a gap (410, a lost
    connection) the list is read again and the differences are told as events, so a listener sees every object's last
    state though perhaps not each step. Objects are shared: never change them.
    """

    def __init__(
        self,
        client: Client,
        path: str,
        *,
        label_selector: str = "",
        field_selector: str = "",
        on_event: OnEvent | None = None,
    ) -> None:
        self._client = client
        self._path = path
        self._params = {
            name: value
            for name, value in (("labelSelector", label_selector), ("fieldSelector", field_selector))
            if value
        }
        self.listeners: list[OnEvent] = [on_event] if on_event else []
        self.items: dict[Key, Object] = {}
        self.synced = asyncio.Event()
        self._gone: deque[str] = deque(maxlen=512)

    async def run(self) -> None:
        """List and watch until cancelled; errors are logged and retried after 0.1 to 2 s."""
        delay = 0.1
        while True:
            try:
                revision = await self._relist()
                delay = 0.1
                while True:
                    revision = await self._follow(revision)
            except ApiError as error:
                if error.code != 410:
                    log.warning("%s: %s; listing again", self._path, error)
                    await asyncio.sleep(delay * random.uniform(0.8, 1.2))
                    delay = min(delay * 2, 2.0)

    async def _relist(self) -> str:
        page = await self._client.list(self._path, **self._params)
        revision = str(page["metadata"].get("resourceVersion") or "0")
        fresh = {key_of(item): item for item in page["items"]}
        for key, known in list(self.items.items()):
            # A state newer than the list itself is from before the server lost its memory: forget it.
            if key not in fresh or _revision(known) > int(revision):
                self._apply("DELETED", known)
        for item in fresh.values():
            self._apply("MODIFIED", item)
        self.synced.set()
        return revision

    async def _follow(self, revision: str) -> str:
        """Watch from ``revision`` until the server ends the watch; the revision to go on from."""
        seconds = str(random.randint(240, 480))
        async for event in self._client.watch(
            self._path, **self._params, resourceVersion=revision, allowWatchBookmarks="true", timeoutSeconds=seconds
        ):
            item = event["object"]
            revision = item["metadata"]["resourceVersion"]
            if event["type"] != "BOOKMARK":
                self._apply(event["type"], item)
        return revision

    def observe(self, item: Object) -> Object:
        """Take the answer to a write of ours into the cache ahead of its watch event, and tell the listeners.

        A controller that reads the cache next sees its own write, so it neither repeats nor misjudges it. What the
        watch has told already, newer states and deletions included, is left as it is. Returns ``item``.
        """
        if item["metadata"]["uid"] not in self._gone:
            self._apply("MODIFIED", item)
        return item

    def _apply(self, kind: str, item: Object) -> None:
        key, uid = key_of(item), item["metadata"]["uid"]
        old = self.items.get(key)
        if old is not None and old["metadata"]["uid"] != uid:
            if uid in self._gone:
                return
            self._apply("DELETED", old)
            old = None
        if kind == "DELETED":
            self._gone.append(uid)
            if self.items.pop(key, None) is not None:
                self._tell("DELETED", item, old)
        elif old is None or _revision(item) > _revision(old):
            self.items[key] = item
            self._tell("ADDED" if old is None else "MODIFIED", item, old)

    def _tell(self, kind: str, item: Object, old: Object | None) -> None:
        for listener in self.listeners:
            try:
                listener(kind, item, old)
            except Exception:
                log.exception("%s: a listener failed on %s of %s", self._path, kind, "/".join(key_of(item)))


def _revision(item: Object) -> int:
    """Resource versions of one kind compare as numbers (Kubernetes promises so since 1.35, etcd's always did)."""
    return int(item["metadata"]["resourceVersion"])


def key_of(item: Object) -> Key:
    """(namespace, name); the namespace of a cluster-scoped object is empty."""
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


async def all_synced(informers: Iterable[Informer]) -> None:
    """Wait until each of them has listed once."""
    for informer in informers:
        await informer.synced.wait()
