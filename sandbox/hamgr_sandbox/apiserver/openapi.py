"""The OpenAPI documents that kubectl asks for before it validates, applies or explains.

Version 3 is generated from the fields of the official client's models, one document a group version. Version 2 exists
in the answer's form only: old clients then skip their own validation and leave it to the server.
"""

from __future__ import annotations

import functools
import hashlib
import json
from typing import Any

from hamgr_sandbox.apiserver import schema
from hamgr_sandbox.apiserver.discovery import groups
from hamgr_sandbox.apiserver.kinds import Catalog, Kind
from hamgr_sandbox.apiserver.patching import MERGE_KEYS
from hamgr_sandbox.apiserver.schema import Type

Obj = dict[str, Any]

V2: Obj = {
    "swagger": "2.0",
    "info": {"title": "Kubernetes (hamgr sandbox)", "version": "v1.36.2"},
    "paths": {},
    "definitions": {},
}
_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_REFERENCE = "#/components/schemas/"


def _type(type_: Type) -> Obj:
    if type_.shape == "struct":
        return {"$ref": _REFERENCE + type_.name}
    if type_.shape == "list":
        return {"type": "array", "items": _type(type_.item or schema.ANY)}
    if type_.shape == "map":
        return {"type": "object", "additionalProperties": _type(type_.item or schema.ANY)}
    if type_.shape == "any":
        return {"x-kubernetes-preserve-unknown-fields": True}
    if type_.name == "time":
        return {"type": "string", "format": "date-time"}
    return {"type": type_.name}


def _property(model: str, name: str, type_: Type, about: str) -> Obj:
    found = _type(type_)
    if "$ref" in found:
        found = {"allOf": [found]}
    if about:
        found["description"] = about
    key = MERGE_KEYS.get(model, {}).get(name)
    if key is not None:
        found["x-kubernetes-patch-strategy"] = "merge"
        if key:
            found["x-kubernetes-patch-merge-key"] = key
    return found


@functools.cache
def _model(model: str) -> Obj:
    about = schema.descriptions(model)
    properties = {name: _property(model, name, one, about.get(name, "")) for name, one in schema.fields(model).items()}
    return {"type": "object", "properties": properties}


def _reachable(model: str, found: dict[str, Obj]) -> None:
    if model in found:
        return
    found[model] = _model(model)
    for type_ in schema.fields(model).values():
        inner = type_
        while inner.item:
            inner = inner.item
        if inner.shape == "struct":
            _reachable(inner.name, found)


def _gvk(kind: Kind) -> Obj:
    return {"group": kind.group, "version": kind.version, "kind": kind.kind}


def _operations(kind: Kind, verbs: tuple[str, ...]) -> Obj:
    parameters = [{"name": name, "in": "query", "schema": {"type": "string"}} for name in _WRITE_PARAMETERS]
    operations: Obj = {}
    for verb in verbs:
        operation: Obj = {"x-kubernetes-group-version-kind": _gvk(kind), "responses": {"200": {"description": "OK"}}}
        if verb != "get":
            operation["parameters"] = parameters
        if verb == "patch":
            allowed = _PATCHES if kind.model else _PATCHES[:3]
            operation["requestBody"] = {"content": {one: {"schema": {"type": "object"}} for one in allowed}}
        operations[verb] = operation
    return operations


def _paths(kind: Kind, root: str) -> Obj:
    scope = f"{root}/namespaces/{{namespace}}" if kind.namespaced else root
    return {
        f"{scope}/{kind.plural}": _operations(kind, ("get", "post")),
        f"{scope}/{kind.plural}/{{name}}": _operations(kind, ("get", "put", "patch", "delete")),
    }


def document(catalog: Catalog, group: str, version: str) -> Obj | None:
    """The document of one group version; None when there is none."""
    kinds = catalog.in_version(group, version)
    if not kinds:
        return None
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    schemas: dict[str, Obj] = {}
    paths: Obj = {}
    for kind in kinds:
        paths |= _paths(kind, root)
        if kind.model:
            _reachable(kind.model, schemas)
            schemas[kind.model] = {**schemas[kind.model], "x-kubernetes-group-version-kind": [_gvk(kind)]}
        elif kind.custom:
            name = f"{kind.group}.{kind.version}.{kind.kind}"
            structure = (kind.custom.get("schema") or {}).get("openAPIV3Schema") or {"type": "object"}
            schemas[name] = {**structure, "x-kubernetes-group-version-kind": [_gvk(kind)]}
    info = {"title": "Kubernetes (hamgr sandbox)", "version": "v1.36.2"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}


def index(catalog: Catalog) -> Obj:
    """The list of documents, each with a URL that changes with the catalog."""
    paths: Obj = {}
    for group, versions in {"": ["v1"], **groups(catalog)}.items():
        for version in versions:
            kinds = catalog.in_version(group, version)
            if kinds:
                name = f"apis/{group}/{version}" if group else f"api/{version}"
                digest = hashlib.sha256(json.dumps([kind.kind for kind in kinds]).encode()).hexdigest()[:16]
                paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}?hash={digest.upper()}"}
    return {"paths": paths}
