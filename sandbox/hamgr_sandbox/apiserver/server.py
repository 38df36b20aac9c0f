"""The server as a whole: the objects that exist at start, the HTTP application, its listeners."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from hamgr_sandbox.apiserver import discovery, openapi
from hamgr_sandbox.apiserver.audit import AuditLog
from hamgr_sandbox.apiserver.auth import Authenticator, Authorizer, allow_all
from hamgr_sandbox.apiserver.catalog import BUILT_IN
from hamgr_sandbox.apiserver.customresources import Definitions
from hamgr_sandbox.apiserver.errors import ApiFailure, internal_error, path_not_found
from hamgr_sandbox.apiserver.garbage import GarbageCollector
from hamgr_sandbox.apiserver.handlers import Handlers, answer, failure_answer
from hamgr_sandbox.apiserver.housekeeping import Housekeeping
from hamgr_sandbox.apiserver.journal import Journal
from hamgr_sandbox.apiserver.kinds import Catalog
from hamgr_sandbox.apiserver.lifecycle import Lifecycle
from hamgr_sandbox.apiserver.registry import Registry, WriteOptions
from hamgr_sandbox.apiserver.requests import accepted
from hamgr_sandbox.apiserver.services import adopt
from hamgr_sandbox.apiserver.storage import Storage, dumps

Obj = dict[str, Any]

_log = logging.getLogger(__name__)

NAMESPACES = ("default", "kube-node-lease", "kube-public", "kube-system")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server is run.

    `window` is how many events of each kind are kept for watches and paged lists. `journal` is the file that keeps
    the objects over a restart; without one they are in memory alone. `authorization` makes the authorizer, which may
    look at the storage. `root_certificate` (PEM) is what pods are told to trust. `audit` is the file that every
    request for a resource is noted in.
    """

    window: int = 5000
    journal: Path | None = None
    authenticator: Authenticator = field(default_factory=Authenticator)
    authorization: Callable[[Storage], Authorizer] = allow_all
    root_certificate: str = ""
    audit: Path | None = None


DEFAULTS = Settings()


class ApiServer:
    """One stand-in API server: storage, registry and HTTP application."""

    def __init__(self, settings: Settings = DEFAULTS) -> None:
        self.storage = Storage(settings.window)
        self.registry = Registry(self.storage, Catalog(BUILT_IN))
        self._stopping = False
        self._authenticator = settings.authenticator
        self._audit = AuditLog(settings.audit) if settings.audit else None
        self._handlers = Handlers(
            self.registry,
            settings.authorization(self.storage),
            lambda: self._stopping,
            self._authenticator.accounts_key,
            self._audit,
        )
        self._lifecycle = Lifecycle(self.registry, settings.root_certificate)
        self._journal = Journal(settings.journal) if settings.journal else None
        self._restored = self._journal is not None and self._journal.restore(self.storage)
        if self._restored:
            for service in self.storage.items("/services"):
                adopt(service, self.registry.allocations)
        else:
            self._seed()
        self.storage.begin_history()
        if self._journal:
            self._journal.follow(self.storage)
        self._housekeeping = Housekeeping(
            self.storage, Definitions(self.registry), (GarbageCollector(self.registry), self._lifecycle)
        )

    def start(self) -> None:
        """Take up again what an earlier life has left; called in the event loop, before the first request."""
        if self._restored:
            self._housekeeping.review()

    def _seed(self) -> None:
        kind = self.registry.catalog.find("", "v1", "namespaces")
        assert kind is not None
        for name in NAMESPACES:
            self.registry.create(kind, "", {"metadata": {"name": name}}, WriteOptions())
            self._lifecycle.furnish(name)

    def stop(self) -> None:
        """End all watches, so that their connections can close."""
        self._stopping = True
        self.storage.wake_all()
        for kept in (self._journal, self._audit):
            if kept:
                kept.close()

    def application(self) -> web.Application:
        """The HTTP application; every instance serves the same objects."""
        app = web.Application(middlewares=[self._guard], client_max_size=16 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._dispatch)
        return app

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:
        """Every failure is a Status object; a bug here costs one request, not the server."""
        try:
            response: web.StreamResponse = await handler(request)
        except ApiFailure as failure:
            return failure_answer(failure)
        except (web.HTTPException, asyncio.CancelledError, ConnectionError):
            raise
        except Exception:  # noqa: BLE001 (the server outlives any one request)
            _log.exception("request failed: %s %s", request.method, request.path_qs)
            return failure_answer(internal_error(f"the stand-in failed on {request.method} {request.path}"))
        return response

    async def _dispatch(self, request: web.Request) -> web.StreamResponse:
        user = self._authenticator.identify(request)
        steps = [step for step in request.path.split("/") if step]
        if steps and steps[0] in ("healthz", "readyz", "livez"):
            return web.Response(text="ok")
        if steps == ["version"]:
            return answer(discovery.VERSION)
        if steps and ((steps[0] == "api" and len(steps) > 2) or (steps[0] == "apis" and len(steps) > 3)):
            return await self._handlers.resource(request, user)
        if steps and steps[0] in ("api", "apis"):
            return self._discover(request, steps)
        if steps and steps[0] == "openapi":
            return self._openapi(request, steps[1:])
        raise path_not_found()

    def _openapi(self, request: web.Request, steps: list[str]) -> web.Response:
        if steps == ["v2"]:
            if "protobuf" in request.headers.get("Accept", ""):
                return web.Response(body=b"", content_type="application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
            return answer(openapi.V2)
        found: Obj | None = None
        if steps == ["v3"]:
            found = openapi.index(self.registry.catalog)
        elif len(steps) == 3 and steps[:2] == ["v3", "api"]:
            found = openapi.document(self.registry.catalog, "", steps[2])
        elif len(steps) == 4 and steps[:2] == ["v3", "apis"]:
            found = openapi.document(self.registry.catalog, steps[2], steps[3])
        if found is None:
            raise path_not_found()
        return answer(found)

    def _discover(self, request: web.Request, steps: list[str]) -> web.Response:
        catalog = self.registry.catalog
        found: Obj | None
        if len(steps) == 1 and accepted(request).form == "aggregated":
            body = discovery.aggregated(catalog, core=steps[0] == "api")
            return web.Response(body=dumps(body), headers={"Content-Type": discovery.AGGREGATED_TYPE})
        if steps == ["api"]:
            found = discovery.versions(request.host)
        elif steps == ["apis"]:
            found = discovery.group_list(catalog)
        elif steps[0] == "api":
            found = discovery.resource_list(catalog, "", steps[1])
        elif len(steps) == 2:
            found = discovery.group(catalog, steps[1])
        else:
            found = discovery.resource_list(catalog, steps[1], steps[2])
        if found is None:
            raise path_not_found()
        return answer(found)


@dataclass(frozen=True, slots=True)
class Listener:
    """An address to listen on; port 0 takes a free one. With `tls` it speaks HTTPS."""

    host: str
    port: int = 0
    tls: ssl.SSLContext | None = None


LOOPBACK = Listener("127.0.0.1")


@contextlib.asynccontextmanager
async def running(server: ApiServer, listeners: Sequence[Listener] = (LOOPBACK,)) -> AsyncIterator[list[str]]:
    """Serve while the context lasts; yields the URLs, one a listener."""
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=1.0, handler_cancellation=True)
    await runner.setup()
    server.start()
    urls = []
    try:
        for listener in listeners:
            site = web.TCPSite(runner, listener.host, listener.port, ssl_context=listener.tls)
            await site.start()
            bound = site._server.sockets[0].getsockname()  # type: ignore[union-attr]
            urls.append(f"{'https' if listener.tls else 'http'}://{bound[0]}:{bound[1]}")
        yield urls
    finally:
        server.stop()
        await runner.cleanup()
