"""What a request is about: its path taken apart, its query and body understood, the form of answer it wants."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

import yaml
from aiohttp import web

from hamgr_sandbox.apiserver import protobuf
from hamgr_sandbox.apiserver.errors import ApiFailure, bad_request, path_not_found
from hamgr_sandbox.apiserver.kinds import Catalog, Kind
from hamgr_sandbox.apiserver.registry import ListOptions, WriteOptions
from hamgr_sandbox.apiserver.selectors import parse_fields, parse_labels

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Target:
    """The resource that a path names. `name` is "" for a collection."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


_NAMESPACE_PARTS = ("status", "finalize")


def parse_target(path: str, catalog: Catalog) -> Target:
    """Take a path below /api/ or /apis/ apart; raises ApiFailure 404 for what is not served."""
    steps = [step for step in path.split("/") if step]
    if steps[0] == "api":
        group, version, steps = "", steps[1] if len(steps) > 1 else "", steps[2:]
    else:
        group, version, steps = steps[1], steps[2] if len(steps) > 2 else "", steps[3:]
    namespace = ""
    if len(steps) >= 3 and steps[0] == "namespaces" and steps[2] not in _NAMESPACE_PARTS:
        namespace, steps = steps[1], steps[2:]
    if not steps:
        raise path_not_found()
    kind = catalog.find(group, version, steps[0])
    if kind is None or (namespace and not kind.namespaced):
        raise path_not_found()
    name = steps[1] if len(steps) > 1 else ""
    if name and kind.namespaced and not namespace:
        raise path_not_found()
    return Target(kind, namespace, name, steps[2] if len(steps) > 2 else "", "/".join(steps[3:]))


_REVIEW = re.compile(r"^/apis/auth(?:orization|entication)\.k8s\.io/v1/(?:namespaces/[^/]+/)?(\w+reviews)$")


def review_of(path: str) -> str:
    """The kind of review that a path names, "" for none."""
    found = _REVIEW.match(path)
    return found.group(1) if found else ""


def verb_of(request: web.Request, target: Target) -> str:
    """The request as an authorizer names it."""
    if request.method in ("GET", "HEAD"):
        if truth(request.query.get("watch")):
            return "watch"
        return "get" if target.name else "list"
    if request.method == "DELETE":
        return "delete" if target.name else "deletecollection"
    return {"POST": "create", "PUT": "update", "PATCH": "patch"}.get(request.method, request.method.lower())


def truth(text: str | None) -> bool:
    """A query parameter as a boolean; Go's client sends "true", "1" or nothing."""
    return (text or "").lower() in ("true", "1")


def list_options(request: web.Request, target: Target) -> ListOptions:
    """The options of a list, watch or delete-collection; raises ApiFailure 400."""
    query = request.query
    field_text = query.get("fieldSelector", "")
    if target.name:  # the deprecated watch of one object
        field_text = f"metadata.name={target.name}"
    limit = query.get("limit", "0") or "0"
    if not limit.lstrip("-").isdigit():
        raise bad_request(f'strconv.ParseInt: parsing "{limit}": invalid syntax')
    return ListOptions(
        namespace=target.namespace,
        labels=parse_labels(query.get("labelSelector", "")),
        fields=parse_fields(field_text, target.kind.fields),
        limit=max(0, int(limit)),
        continue_token=query.get("continue", ""),
        resource_version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
    )


def write_options(request: web.Request) -> WriteOptions:
    """dryRun, fieldValidation and fieldManager of a write."""
    query = request.query
    dry_run = query.get("dryRun", "")
    if dry_run not in ("", "All"):
        supported = f'dryRun: Unsupported value: "{dry_run}": supported values: "All"'
        raise ApiFailure(422, "Invalid", f' "" is invalid: {supported}')
    manager = query.get("fieldManager", "") or request.headers.get("User-Agent", "").partition("/")[0]
    return WriteOptions(bool(dry_run), query.get("fieldValidation", "") or "Warn", manager or "unknown")


async def read_body(request: web.Request) -> Any:
    """The body as JSON data, None when there is none; YAML where the content type says so. Raises ApiFailure."""
    raw = await request.read()
    if not raw.strip():
        return None
    content_type = request.content_type
    if content_type == protobuf.MEDIA_TYPE:
        return protobuf.decode(raw)
    try:
        if "yaml" in content_type:
            return yaml.safe_load(raw)
        return json.loads(raw)
    except (ValueError, yaml.YAMLError) as error:
        raise bad_request(f"couldn't get version/kind; json parse error: {error}") from error


def apply_body(raw: bytes) -> Any:
    """The configuration of a server-side apply, JSON or YAML; raises ApiFailure 400."""
    try:
        return json.loads(raw)
    except ValueError:
        pass
    try:
        return yaml.safe_load(raw)
    except yaml.YAMLError as error:
        raise bad_request(f"error decoding YAML: {error}") from error


def object_of(body: Any) -> Obj:
    """The body as an object; raises ApiFailure 400."""
    if not isinstance(body, dict):
        raise bad_request("couldn't get version/kind; json parse error: json: the body is not an object")
    return body


@dataclass(frozen=True, slots=True)
class Accepted:
    """The form of the answer: "json" or "table", for the version of Table asked for, or "aggregated" discovery."""

    form: str
    version: str = "v1"


def accepted(request: web.Request) -> Accepted:
    """The first form in the Accept header that this server can give; JSON when nothing else is said."""
    for part in request.headers.get("Accept", "").split(","):
        media = part.strip()
        if not media.startswith(("application/json", "*/*", "application/*")):
            continue
        parameters = dict(re.findall(r";\s*(\w+)=([^;]+)", media))
        if parameters.get("as") == "Table" and parameters.get("v") in ("v1", "v1beta1"):
            return Accepted("table", parameters["v"])
        if parameters.get("as") == "APIGroupDiscoveryList" and parameters.get("v") == "v2":
            return Accepted("aggregated", "v2")
        if "as" not in parameters:
            return Accepted("json")
    return Accepted("json")
