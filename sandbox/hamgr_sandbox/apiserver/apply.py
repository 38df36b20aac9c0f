"""Server-side apply: who owns which field, what an applied configuration changes, and where two appliers disagree.

https://kubernetes.io/docs/reference/using-api/server-side-apply/

Owners are kept from the first apply of an object on. Before that nobody can conflict, and the record would double the
size of every object; whatever exists by then belongs to "before-first-apply", as on a real server for objects without
a record.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hamgr_sandbox.apiserver import schema
from hamgr_sandbox.apiserver.clock import timestamp
from hamgr_sandbox.apiserver.errors import ApiFailure
from hamgr_sandbox.apiserver.kinds import Kind
from hamgr_sandbox.apiserver.patching import MERGE_KEYS
from hamgr_sandbox.apiserver.schema import ANY, Type, clone

Obj = dict[str, Any]
Step = str  # as in fieldsV1: "f:NAME", 'k:{"name":"c"}', 'v:"x"'
Path = tuple[Step, ...]

# Lists whose keys are more than the one of a strategic merge patch.
_KEYS: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("V1Container", "ports"): ("containerPort", "protocol"),
    ("V1EphemeralContainer", "ports"): ("containerPort", "protocol"),
    ("V1ServiceSpec", "ports"): ("port", "protocol"),
    ("V1PodSpec", "topologySpreadConstraints"): ("topologyKey", "whenUnsatisfiable"),
}
_KEY_DEFAULTS = {"protocol": "TCP"}
_ATOMIC = frozenset(
    {
        "V1LabelSelector",
        "V1ObjectReference",
        "V1LocalObjectReference",
        "V1TypedLocalObjectReference",
        "V1ConfigMapKeySelector",
        "V1SecretKeySelector",
        "V1ObjectFieldSelector",
        "V1ResourceFieldSelector",
        "V1NodeSelector",
        "V1NodeSelectorTerm",
    }
)
_ATOMIC_FIELDS = frozenset({("V1PodSpec", "nodeSelector"), ("V1ServiceSpec", "selector")})
_SERVER_META = frozenset(
    {
        "name",
        "namespace",
        "generateName",
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "managedFields",
        "selfLink",
    }
)
BEFORE_FIRST = "before-first-apply"


# --- sets of fields ---------------------------------------------------------------------------------------------------


def _list_keys(model: str, field: str) -> tuple[str, ...] | None:
    """The keys by which a list is merged; () for a set of values, None for a list that is replaced whole."""
    if (model, field) in _KEYS:
        return _KEYS[model, field]
    key = MERGE_KEYS.get(model, {}).get(field)
    return None if key is None else ((key,) if key else ())


def _item_step(item: Any, keys: tuple[str, ...]) -> Step:
    if not keys:
        return "v:" + json.dumps(item)
    found = {key: item.get(key, _KEY_DEFAULTS.get(key)) for key in keys}
    return "k:" + json.dumps({k: v for k, v in found.items() if v is not None}, separators=(",", ":"))


def field_set(kind: Kind, obj: Obj) -> set[Path]:
    """The fields that an object sets, without those by which it is identified and those of the server."""
    found: set[Path] = set()
    body = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion", "metadata")}
    _collect(kind.model, body, (), found)
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key not in _SERVER_META}
    _collect("V1ObjectMeta", metadata, ("f:metadata",), found)
    return found


def _collect(model: str, value: Obj, path: Path, found: set[Path]) -> None:
    known = schema.fields(model) if model else {}
    for name, one in value.items():
        if one is not None:
            _collect_field(model, name, known.get(name, ANY), one, (*path, f"f:{name}"), found)


def _collect_field(model: str, name: str, type_: Type, value: Any, path: Path, found: set[Path]) -> None:
    if (model, name) in _ATOMIC_FIELDS or type_.name in _ATOMIC:
        found.add(path)
    elif isinstance(value, dict) and value and type_.shape in ("struct", "map", "any"):
        item = type_.name if type_.shape == "struct" else ""
        if type_.shape == "map" and type_.item and type_.item.shape == "struct":
            item = ""
        _collect(item, value, path, found)
    elif isinstance(value, list) and (keys := _list_keys(model, name)) is not None:
        item = type_.item.name if type_.item else ""
        for one in value:
            here = (*path, _item_step(one, keys))
            found.add(here)
            if keys:
                _collect(item, one, here, found)
    else:
        found.add(path)


def to_fields_v1(paths: Iterable[Path]) -> Obj:
    """A set of fields as the fieldsV1 of a managedFields entry."""
    root: Obj = {}
    for path in sorted(paths):
        here = root
        for step in path:
            here = here.setdefault(step, {})
        if path[-1].startswith(("k:", "v:")):
            here.setdefault(".", {})
    return root


def from_fields_v1(fields: Obj) -> set[Path]:
    """The set of fields of a managedFields entry."""
    found: set[Path] = set()

    def walk(node: Obj, path: Path) -> None:
        inner = {key: value for key, value in node.items() if key != "."}
        if "." in node or (not inner and path):
            found.add(path)
        for key, value in inner.items():
            walk(value, (*path, key))

    walk(fields, ())
    return found


_MISSING = object()


def _lookup(obj: Any, path: Path) -> Any:
    """The value at a path, _MISSING when there is none."""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            obj = obj.get(rest, _MISSING) if isinstance(obj, dict) else _MISSING
        elif kind == "k":
            obj = (
                next((one for one in obj if _has_keys(one, json.loads(rest))), _MISSING)
                if isinstance(obj, list)
                else _MISSING
            )
        else:
            value = json.loads(rest)
            obj = value if isinstance(obj, list) and value in obj else _MISSING
        if obj is _MISSING:
            return _MISSING
    return obj


def _has_keys(item: Any, keys: Obj) -> bool:
    return isinstance(item, dict) and all(item.get(key, _KEY_DEFAULTS.get(key)) == value for key, value in keys.items())


def _readable(path: Path) -> str:
    """A path as a conflict names it: .spec.containers[name="c"].image"""
    text = ""
    for step in path:
        kind, _, rest = step.partition(":")
        if kind == "f":
            text += f".{rest}"
        elif kind == "k":
            text += "[" + ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(rest).items()) + "]"
        else:
            text += f"[={rest}]"
    return text


# --- managers ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Manager:
    """One entry of managedFields."""

    name: str
    operation: str  # Apply or Update
    api_version: str
    fields: set[Path]
    time: str
    subresource: str = ""

    @property
    def identity(self) -> tuple[str, str, str]:
        return self.name, self.operation, self.subresource


def managers_of(obj: Obj) -> list[Manager]:
    """The owners that an object records."""
    return [
        Manager(
            entry.get("manager", ""),
            entry.get("operation", "Update"),
            entry.get("apiVersion", ""),
            from_fields_v1(entry.get("fieldsV1") or {}),
            entry.get("time", ""),
            entry.get("subresource", ""),
        )
        for entry in obj["metadata"].get("managedFields") or []
    ]


def _record(managers: list[Manager]) -> list[Obj]:
    entries = []
    for one in managers:
        if one.fields:
            entry: Obj = {"manager": one.name, "operation": one.operation, "apiVersion": one.api_version}
            entry |= {"time": one.time, "fieldsType": "FieldsV1", "fieldsV1": to_fields_v1(one.fields)}
            if one.subresource:
                entry["subresource"] = one.subresource
            entries.append(entry)
    return entries


def track_update(kind: Kind, new: Obj, old: Obj, manager: str, subresource: str) -> None:
    """Give what an update has changed to its manager, in an object that records owners."""
    if "managedFields" not in old["metadata"]:
        new["metadata"].pop("managedFields", None)
        return
    before, after = field_set(kind, old), field_set(kind, new)
    changed = {path for path in after if _lookup(new, path) != _lookup(old, path)}
    gone = before - after
    managers = managers_of(old)
    for one in managers:
        one.fields -= changed | gone
    if changed:
        identity = (manager, "Update", subresource)
        own = next((one for one in managers if one.identity == identity), None)
        if own is None:
            own = Manager(manager, "Update", kind.api_version, set(), timestamp(), subresource)
            managers.append(own)
        own.fields |= changed
        own.time = timestamp()
    new["metadata"]["managedFields"] = _record(managers)


# --- applying ---------------------------------------------------------------------------------------------------------


def applied_record(kind: Kind, applied: Obj, manager: str) -> list[Obj]:
    """The managedFields of an object that an apply has created."""
    return _record([Manager(manager, "Apply", kind.api_version, field_set(kind, applied), timestamp())])


def apply(kind: Kind, live: Obj, applied: Obj, manager: str, subresource: str, *, force: bool) -> Obj:
    """The object that results from applying a configuration, its managedFields included.

    Raises ApiFailure 409 where another manager owns a field with another value, unless `force`.
    """
    managers = managers_of(live)
    if not managers:
        managers = [Manager(BEFORE_FIRST, "Update", kind.api_version, field_set(kind, live), timestamp())]
    identity = (manager, "Apply", subresource)
    own = next((one for one in managers if one.identity == identity), None)
    others = [one for one in managers if one is not own]
    wanted = field_set(kind, applied)
    conflicts = {id(one): {path for path in one.fields & wanted if _conflicting(path, live, applied)} for one in others}
    if any(conflicts.values()) and not force:
        raise _conflict(others, conflicts)
    for one in others:
        one.fields -= conflicts[id(one)]
    result = _merge(kind.model, live, {key: value for key, value in applied.items() if key != "metadata"})
    result["metadata"] = _merge("V1ObjectMeta", live["metadata"], applied.get("metadata") or {})
    dropped = (own.fields if own else set()) - wanted - {path for one in others for path in one.fields}
    for path in sorted(dropped, key=len, reverse=True):
        _remove(result, path, [one.fields for one in others])
    if own is None:
        own = Manager(manager, "Apply", kind.api_version, set(), timestamp(), subresource)
        managers.append(own)
    if own.fields != wanted:
        own.fields, own.time = wanted, timestamp()
    result["metadata"]["managedFields"] = _record(managers)
    return result


def _conflicting(path: Path, live: Obj, applied: Obj) -> bool:
    if path[-1].startswith(("k:", "v:")):
        return False  # that an item exists is something all may say
    found, wanted = _lookup(live, path), _lookup(applied, path)
    if wanted == {} and isinstance(found, dict):
        return False  # an empty struct asks for nothing inside
    return bool(found != wanted)


def _conflict(others: list[Manager], conflicts: dict[int, set[Path]]) -> ApiFailure:
    causes = []
    texts = []
    for one in others:
        paths = sorted(_readable(path) for path in conflicts[id(one)])
        if not paths:
            continue
        using = "" if one.operation == "Apply" else f" using {one.api_version}"
        subresource = f' with subresource "{one.subresource}"' if one.subresource else ""
        text = f'"{one.name}"{subresource}{using}'
        causes += [
            {"reason": "FieldManagerConflict", "message": f"conflict with {text}", "field": path} for path in paths
        ]
        if len(paths) == 1:
            texts.append(f"conflict with {text}: {paths[0]}")
        else:
            texts.append(f"conflicts with {text}:\n" + "\n".join(f"- {path}" for path in paths))
    count = f"{len(causes)} conflict" + ("" if len(causes) == 1 else "s")
    message = f"Apply failed with {count}: " + "\n".join(texts)
    return ApiFailure(409, "Conflict", message, {"causes": causes})


def _merge(model: str, live: Any, applied: Obj) -> Obj:
    result: Obj = dict(live) if isinstance(live, dict) else {}
    known = schema.fields(model) if model else {}
    for name, value in applied.items():
        type_ = known.get(name, ANY)
        if value is None:
            continue
        atomic = (model, name) in _ATOMIC_FIELDS or type_.name in _ATOMIC
        if isinstance(value, dict) and not atomic:
            result[name] = _merge(type_.name if type_.shape == "struct" else "", result.get(name), value)
        elif isinstance(value, list) and (keys := _list_keys(model, name)) is not None:
            item = type_.item.name if type_.item else ""
            result[name] = _merge_list(result.get(name) or [], value, keys, item)
        else:
            result[name] = clone(value)
    return result


def _merge_list(live: list[Any], applied: list[Any], keys: tuple[str, ...], model: str) -> list[Any]:
    result = list(live)
    for one in applied:
        step = _item_step(one, keys)
        at = next((i for i, old in enumerate(result) if _item_step(old, keys) == step), None)
        if at is None:
            result.append(clone(one))
        elif keys:
            result[at] = _merge(model, result[at], one)
    return result


def _remove(obj: Any, path: Path, owned: list[set[Path]]) -> None:
    """Take the field at a path away; a list item stays while somebody else owns a field of it."""
    parent = _lookup(obj, path[:-1])
    kind, _, rest = path[-1].partition(":")
    if kind == "f" and isinstance(parent, dict):
        parent.pop(rest, None)
    elif kind == "k" and isinstance(parent, list):
        if not any(other[: len(path)] == path for fields in owned for other in fields):
            keys = json.loads(rest)
            parent[:] = [one for one in parent if not _has_keys(one, keys)]
    elif kind == "v" and isinstance(parent, list) and json.loads(rest) in parent:
        parent.remove(json.loads(rest))
