"""The HTTP side of the operations: one handler for all resources, and one for everything beside them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from hamgr_sandbox.apiserver import discovery, logs, patching, reviews, subresources, tables
from hamgr_sandbox.apiserver.accounts import request_token
from hamgr_sandbox.apiserver.audit import AuditLog
from hamgr_sandbox.apiserver.auth import Attributes, Authorizer, User
from hamgr_sandbox.apiserver.deletion import DeleteOptions
from hamgr_sandbox.apiserver.errors import (
    ApiFailure,
    forbidden,
    method_not_allowed,
    path_not_found,
    unsupported_media_type,
)
from hamgr_sandbox.apiserver.kinds import Kind
from hamgr_sandbox.apiserver.registry import Page, Registry, WriteOptions
from hamgr_sandbox.apiserver.requests import (
    Accepted,
    Target,
    accepted,
    apply_body,
    list_options,
    object_of,
    parse_target,
    read_body,
    review_of,
    truth,
    verb_of,
    write_options,
)
from hamgr_sandbox.apiserver.storage import dumps
from hamgr_sandbox.apiserver.watching import Watch, WatchOptions

Obj = dict[str, Any]


def answer(body: Any, code: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer."""
    return web.Response(body=dumps(body) + b"\n", status=code, content_type="application/json", headers=headers)


def failure_answer(failure: ApiFailure) -> web.Response:
    return answer(failure.body(), failure.code, failure.headers)


def _warning_headers(options: WriteOptions) -> dict[str, str]:
    if not options.warnings:
        return {}
    quoted = [warning.replace("\\", "\\\\").replace('"', '\\"') for warning in options.warnings]
    return {"Warning": ", ".join(f'299 - "{one}"' for one in quoted)}


_APPLY_TYPES = ("application/apply-patch+yaml", "application/apply-patch+json")


class Handlers:
    """Answers requests from a registry."""

    def __init__(
        self,
        registry: Registry,
        authorizer: Authorizer,
        stopping: Callable[[], bool],
        accounts_key: bytes = b"",
        audit: AuditLog | None = None,
    ) -> None:
        self.registry = registry
        self._authorizer = authorizer
        self._stopping = stopping
        self._accounts_key = accounts_key
        self._audit = audit

    # --- resources ----------------------------------------------------------------------------------------------------

    async def resource(self, request: web.Request, user: User) -> web.StreamResponse:
        """Any request below /api/VERSION or /apis/GROUP/VERSION, from this user."""
        if request.method == "POST" and (review := review_of(request.path)):
            return await self._review(request, review, user)
        target = parse_target(request.path, self.registry.catalog)
        self._authorize(request, target, user)
        if target.subresource:
            return await self._subresource(request, target)
        watching = truth(request.query.get("watch"))
        if request.method in ("GET", "HEAD") and (watching or not target.name):
            return await self._collection(request, target, watching=watching)
        if request.method in ("GET", "HEAD"):
            return self._shown(request, target, self.registry.get(target.kind, target.namespace, target.name))
        if request.method == "POST" and not target.name:
            return await self._create(request, target)
        if request.method == "PUT" and target.name:
            return await self._replace(request, target)
        if request.method == "PATCH" and target.name:
            return await self._patch(request, target)
        if request.method == "DELETE":
            return await self._delete(request, target)
        raise method_not_allowed()

    def _authorize(self, request: web.Request, target: Target, user: User) -> None:
        kind = target.kind
        verb = verb_of(request, target)
        wanted = Attributes(verb, kind.group, kind.plural, target.subresource, target.namespace, target.name)
        allowed = self._authorizer.allows(user, wanted)
        if self._audit:
            self._audit.note(user, wanted, allowed)
        if not allowed:
            resource = f"{kind.plural}/{target.subresource}" if target.subresource else kind.plural
            place = f' in the namespace "{target.namespace}"' if target.namespace else " at the cluster scope"
            why = f'User "{user.name}" cannot {verb} resource "{resource}" in API group "{kind.group}"{place}'
            raise forbidden(kind, target.name, why)

    async def _review(self, request: web.Request, plural: str, user: User) -> web.StreamResponse:
        body = object_of(await read_body(request))
        found = reviews.answer_review(plural, body, user, self._authorizer)
        if found is None:
            raise path_not_found()
        return answer(found, 201)

    def _shown(self, request: web.Request, target: Target, obj: Obj) -> web.Response:
        form = accepted(request)
        if form.form != "table":
            return answer(obj)
        metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        include = request.query.get("includeObject", "")
        return answer(tables.table(target.kind, [obj], metadata, form.version, include))

    async def _collection(self, request: web.Request, target: Target, *, watching: bool) -> web.StreamResponse:
        form = accepted(request)
        if watching:
            return await self._watch(request, target, form)
        page = self.registry.list(target.kind, list_options(request, target))
        if form.form == "table":
            include = request.query.get("includeObject", "")
            return answer(tables.table(target.kind, page.items, _list_metadata(page), form.version, include))
        return answer(self._list(target.kind, page))

    @staticmethod
    def _list(kind: Kind, page: Page) -> Obj:
        metadata = _list_metadata(page)
        items = [{key: value for key, value in obj.items() if key not in ("kind", "apiVersion")} for obj in page.items]
        return {"kind": kind.list_kind, "apiVersion": kind.api_version, "metadata": metadata, "items": items}

    async def _watch(self, request: web.Request, target: Target, form: Accepted) -> web.StreamResponse:
        query = request.query
        timeout = query.get("timeoutSeconds", "")
        initial = query.get("sendInitialEvents")
        options = WatchOptions(
            select=list_options(request, target),
            timeout_s=float(timeout) if timeout.isdigit() and int(timeout) else random.uniform(1800, 3600),
            bookmarks=truth(query.get("allowWatchBookmarks")),
            initial_events=None if initial is None else truth(initial),
            **_rendering(target.kind, form, query.get("includeObject", "")),
        )
        watch = Watch(self.registry, target.kind, options)
        watch.stopped = self._stopping
        self.registry.parse_revision(options.select.resource_version)
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):  # the client has gone
            async with contextlib.aclosing(watch.lines()) as lines:
                async for line in lines:
                    await response.write(line)
            await response.write_eof()
        return response

    async def _create(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = write_options(request)
        body = object_of(await read_body(request))
        obj = self.registry.create(target.kind, target.namespace, body, options)
        return answer(obj, 201, _warning_headers(options))

    async def _replace(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = write_options(request)
        body = object_of(await read_body(request))
        sub = target.subresource
        obj, created = self.registry.replace(target.kind, target.namespace, target.name, body, options, subresource=sub)
        return answer(obj, 201 if created else 200, _warning_headers(options))

    async def _patch(self, request: web.Request, target: Target) -> web.StreamResponse:
        options = write_options(request)
        if request.content_type in _APPLY_TYPES:
            return await self._apply(request, target, options)
        transform = _patcher(request.content_type, await read_body(request), target.kind)
        obj = self.registry.change(
            target.kind, target.namespace, target.name, transform, options, subresource=target.subresource
        )
        return answer(obj, headers=_warning_headers(options))

    async def _apply(self, request: web.Request, target: Target, options: WriteOptions) -> web.StreamResponse:
        if not request.query.get("fieldManager"):
            why = "fieldManager: Required value: is required for apply patch"
            raise ApiFailure(422, "Invalid", f'PatchOptions.meta.k8s.io "" is invalid: {why}')
        body = object_of(apply_body(await request.read()))
        obj, created = self.registry.apply(
            target.kind,
            target.namespace,
            target.name,
            body,
            options,
            force=truth(request.query.get("force")),
            subresource=target.subresource,
        )
        return answer(obj, 201 if created else 200, _warning_headers(options))

    async def _delete(self, request: web.Request, target: Target) -> web.StreamResponse:
        body = await read_body(request)
        how = DeleteOptions.parse(None if body is None else object_of(body), dict(request.query))
        if target.name:
            return answer(self.registry.delete(target.kind, target.namespace, target.name, how))
        page = self.registry.delete_collection(target.kind, list_options(request, target), how)
        return answer(self._list(target.kind, page))

    # --- subresources -------------------------------------------------------------------------------------------------

    async def _subresource(self, request: web.Request, target: Target) -> web.StreamResponse:
        kind, sub = target.kind, target.subresource
        if sub not in {one.name for one in discovery.subresources(kind)}:
            raise path_not_found()
        if sub == "status":
            if request.method == "GET":
                return answer(self.registry.get(kind, target.namespace, target.name))
            return await self._write_part(request, target)
        if sub == "scale":
            return await self._scale(request, target)
        if sub == "log" and request.method == "GET":
            return await logs.stream_log(request, self.registry, kind, target.namespace, target.name)
        if request.method not in ("POST", "PUT"):
            raise method_not_allowed()
        options = write_options(request)
        body = object_of(await read_body(request))
        if sub == "finalize":
            return answer(subresources.finalize(self.registry, kind, target.name, body, options))
        if sub == "token":
            account = self.registry.get(kind, target.namespace, target.name)
            return answer(request_token(self._accounts_key, account, body, datetime.now(UTC)), 201)
        act = {"binding": subresources.bind, "eviction": subresources.evict}.get(sub)
        if act is None:
            raise method_not_allowed()
        return answer(act(self.registry, kind, target.namespace, target.name, body, options), 201)

    async def _write_part(self, request: web.Request, target: Target) -> web.StreamResponse:
        if request.method == "PUT":
            return await self._replace(request, target)
        if request.method == "PATCH":
            return await self._patch(request, target)
        raise method_not_allowed()

    async def _scale(self, request: web.Request, target: Target) -> web.StreamResponse:
        kind, registry = target.kind, self.registry
        if request.method == "GET":
            return answer(subresources.scale_of(kind, registry.get(kind, target.namespace, target.name)))
        options = write_options(request)
        body = await read_body(request)
        if request.method == "PUT":
            patch: Callable[[Obj], Obj] = lambda _: object_of(body)  # noqa: E731 (one of two transforms)
        elif request.method == "PATCH":
            patch = _patcher(request.content_type, body, None)
        else:
            raise method_not_allowed()

        def transform(obj: Obj) -> Obj:
            return subresources.rescaled(kind, obj, patch(subresources.scale_of(kind, obj)))

        obj = registry.change(kind, target.namespace, target.name, transform, options)
        return answer(subresources.scale_of(kind, obj))


def _rendering(kind: Kind, form: Accepted, include: str) -> dict[str, Any]:
    """How a watch renders objects: as they are, or each as a Table of one row, the first with its head."""
    if form.form != "table":
        return {}
    headed = True

    def render(obj: Obj) -> Obj:
        nonlocal headed
        head, headed = headed, False
        metadata = {"resourceVersion": obj["metadata"]["resourceVersion"]}
        return tables.table(kind, [obj], metadata, form.version, include, headed=head)

    return {"render": render, "form": ""}


def _list_metadata(page: Page) -> Obj:
    metadata: Obj = {"resourceVersion": str(page.revision)}
    if page.continue_token:
        metadata["continue"] = page.continue_token
    if page.remaining is not None:
        metadata["remainingItemCount"] = page.remaining
    return metadata


def _patcher(content_type: str, body: Any, kind: Kind | None) -> Callable[[Obj], Obj]:
    """The transform that a patch stands for; raises ApiFailure 415 for an unknown format."""
    if content_type == "application/json-patch+json":
        return lambda obj: patching.json_patch(obj, body)
    if content_type == "application/merge-patch+json":
        return lambda obj: object_of(patching.merge_patch(obj, object_of(body)))
    if content_type == "application/strategic-merge-patch+json" and (kind is None or kind.model):
        model = kind.model if kind else "V1Scale"
        return lambda obj: patching.strategic_merge_patch(obj, object_of(body), model)
    raise unsupported_media_type()
