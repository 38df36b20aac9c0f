"""Rules for names, labels and other values that hold for every kind.

Wording and order of checks follow kube-apiserver 1.36.
"""

from __future__ import annotations

import json
import re
from typing import Any

from hamgr_sandbox.apiserver.errors import Cause, duplicate, invalid, required
from hamgr_sandbox.apiserver.kinds import Strategy

Obj = dict[str, Any]

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = rf"(({_QUALIFIED}))?"

_SUBDOMAIN_TEXT = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '"
    f"{_SUBDOMAIN}')"
)
_LABEL_TEXT = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    f"with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_QUALIFIED_TEXT = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric "
    f"character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is '{_QUALIFIED}')"
)
_VALUE_TEXT = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    f"'{_LABEL_VALUE}')"
)


def quoted(value: Any) -> str:
    """A value as it stands in a message."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def dns_label(path: str, value: str) -> list[Cause]:
    if len(value) > 63:
        return [invalid(path, quoted(value), "must be no more than 63 characters")]
    return [] if re.fullmatch(_LABEL, value) else [invalid(path, quoted(value), _LABEL_TEXT)]


def dns_subdomain(path: str, value: str) -> list[Cause]:
    if len(value) > 253:
        return [invalid(path, quoted(value), "must be no more than 253 characters")]
    return [] if re.fullmatch(_SUBDOMAIN, value) else [invalid(path, quoted(value), _SUBDOMAIN_TEXT)]


def path_segment(path: str, value: str) -> list[Cause]:
    if value in (".", ".."):
        return [invalid(path, quoted(value), f"may not be '{value}'")]
    bad = [char for char in "/%" if char in value]
    return [invalid(path, quoted(value), f"may not contain '{char}'") for char in bad]


def qualified_name(path: str, value: str) -> list[Cause]:
    """A label key: an optional DNS subdomain, a slash, and a name of up to 63 characters."""
    prefix, slash, name = value.rpartition("/")
    if slash and (not prefix or not re.fullmatch(_SUBDOMAIN, prefix)):
        return [invalid(path, quoted(value), f"prefix part {_SUBDOMAIN_TEXT}")]
    if not name:
        return [invalid(path, quoted(value), "name part must be non-empty")]
    if len(name) > 63:
        return [invalid(path, quoted(value), "name part must be no more than 63 characters")]
    return [] if re.fullmatch(_QUALIFIED, name) else [invalid(path, quoted(value), _QUALIFIED_TEXT)]


def labels(path: str, found: Obj) -> list[Cause]:
    causes = []
    for key, value in found.items():
        causes += qualified_name(path, key)
        if len(value) > 63:
            causes.append(invalid(path, quoted(value), "must be no more than 63 characters"))
        elif not re.fullmatch(_LABEL_VALUE, value):
            causes.append(invalid(path, quoted(value), _VALUE_TEXT))
    return causes


def name(strategy: Strategy, value: str) -> list[Cause]:
    """The rule for names of a kind."""
    if strategy.path_names:
        return path_segment("metadata.name", value)
    if strategy.label_names:
        return dns_label("metadata.name", value)
    return dns_subdomain("metadata.name", value)


def object_meta(strategy: Strategy, metadata: Obj) -> list[Cause]:
    """What is wrong with an object's metadata at its creation."""
    causes = []
    if not metadata.get("name"):
        causes.append(required("metadata.name", "name or generateName is required"))
    else:
        causes += name(strategy, metadata["name"])
    causes += labels("metadata.labels", metadata.get("labels") or {})
    for key in metadata.get("annotations") or {}:
        causes += qualified_name("metadata.annotations", key.lower())
    for finalizer in metadata.get("finalizers") or []:
        causes += qualified_name("metadata.finalizers", finalizer)
    for i, owner in enumerate(metadata.get("ownerReferences") or []):
        path = f"metadata.ownerReferences[{i}]"
        causes += [
            required(f"{path}.{part}", "must not be empty")
            for part in ("apiVersion", "kind", "name", "uid")
            if not owner.get(part)
        ]
    return causes


_IMMUTABLE_META = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")


def object_meta_update(new: Obj, old: Obj) -> list[Cause]:
    """What is wrong with an update of an object's metadata.

    Twice each, as a real server says it: its generic code and the kind's own validation both look.
    """
    causes = [
        invalid(f"metadata.{part}", quoted(new.get(part)), "field is immutable")
        for part in _IMMUTABLE_META
        if new.get(part) != old.get(part)
    ]
    if old.get("deletionTimestamp"):
        added = [one for one in new.get("finalizers") or [] if one not in (old.get("finalizers") or [])]
        if added:
            why = f"no new finalizers can be added if the object is being deleted, found new finalizers {quoted(added)}"
            causes.append(Cause("metadata.finalizers", "FieldValueForbidden", f"Forbidden: {why}"))
    causes += labels("metadata.labels", new.get("labels") or {})
    return causes + causes


def unique(path: str, items: list[Obj], key: str) -> list[Cause]:
    """Every item of a list once."""
    seen: set[Any] = set()
    causes = []
    for i, item in enumerate(items):
        if item.get(key) in seen:
            causes.append(duplicate(f"{path}[{i}].{key}", quoted(item.get(key))))
        seen.add(item.get(key))
    return causes


def immutable(path: str, new: Any, old: Any) -> list[Cause]:
    return [] if new == old else [invalid(path, quoted(new), "field is immutable")]


def in_range(path: str, value: Any, low: int, high: int) -> list[Cause]:
    """An integer within bounds, both included."""
    if isinstance(value, int) and not low <= value <= high:
        return [invalid(path, quoted(value), f"must be between {low} and {high}, inclusive")]
    return []


def not_negative(path: str, value: Any) -> list[Cause]:
    if isinstance(value, int) and value < 0:
        return [invalid(path, quoted(value), "must be greater than or equal to 0")]
    return []
