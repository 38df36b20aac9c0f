"""A cluster file's text from its sections: the short forms wherever they say the same."""

from __future__ import annotations

import json
from typing import Any

import yaml

from hamgr.clusterfile.schema import ClusterSection
from hamgr.clusterfile.source import Scalar

_SETS = frozenset({"params", "meta", "options", "attributes", "utilization"})


def dump_section(section: ClusterSection) -> str:
    """YAML for a section; everything at its default is left out."""
    raw = section.model_dump(by_alias=True, exclude_defaults=True)
    for key in ("resources", "operations"):
        if key in raw.get("defaults", {}):
            raw["defaults"][key] = _short_sets(raw["defaults"][key])
    return yaml.dump(_short(raw, ""), Dumper=yaml.SafeDumper, sort_keys=False, width=110, allow_unicode=True)


def _short(value: Any, key: str) -> Any:
    if key in _SETS and isinstance(value, list | tuple):  # a bundle's "options" are text, defaults are short already
        return _short_sets(value)
    if key == "values":
        return value
    if isinstance(value, dict):
        return _short_mapping({name: _short(entry, name) for name, entry in value.items()}, key)
    if isinstance(value, list | tuple):
        return [_short_entry(_short(entry, ""), key) for entry in value]
    return _scalar(value) if isinstance(value, str) else value


def _short_mapping(mapping: dict[str, Any], key: str) -> dict[str, Any]:
    if key == "operations":
        return {name: _single(entries) for name, entries in mapping.items()}
    return mapping


def _single(entries: Any) -> Any:
    return entries[0] if isinstance(entries, list) and len(entries) == 1 else entries


def _short_entry(entry: Any, key: str) -> Any:
    """A node that is only a name, a fencing level that is only a level."""
    single = {"nodes": "name", "levels": "level"}.get(key)
    return entry[single] if single and isinstance(entry, dict) and list(entry) == [single] else entry


def _short_sets(sets: Any) -> Any:
    shortened = [{**entry, "values": _short_values(entry.get("values", {}))} for entry in sets]
    return shortened[0]["values"] if len(shortened) == 1 and list(shortened[0]) == ["values"] else shortened


def _short_values(values: dict[str, str]) -> dict[str, Any]:
    return {name: _nested(text) for name, text in values.items()}


def _nested(text: str) -> Any:
    """A parameter's JSON as the mapping or list that it was written as, when nothing gets lost by that."""
    if text.startswith(("{", "[")):
        try:
            value = json.loads(text)
        except ValueError:
            return text
        if json.dumps(value, separators=(",", ":"), sort_keys=True) == text:
            return value
    return _scalar(text)


def _scalar(text: str) -> Any:
    """Text as the number or truth value that prints the same, so that it needs no quotes."""
    value = Scalar(text).typed
    if isinstance(value, bool):
        return value if text in ("true", "false") else text
    return value if isinstance(value, int) and str(value) == text else text
