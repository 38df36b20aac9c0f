"""Objects as a Table, the form in which `kubectl get` asks for what it shows."""

from __future__ import annotations

from typing import Any

from hamgr_sandbox.apiserver.columns import UNKNOWN
from hamgr_sandbox.apiserver.kinds import Column, Kind

Obj = dict[str, Any]


def table(kind: Kind, objects: list[Obj], metadata: Obj, version: str, include: str, *, headed: bool = True) -> Obj:
    """A Table of these objects. `include` is what a row carries of its object: Metadata (the default), Object, None.

    Later events of a watch come without the column definitions (`headed` False).
    """
    columns = [
        {
            "name": one.name,
            "type": one.type,
            "format": one.format,
            "description": one.description,
            "priority": one.priority,
        }
        for one in kind.columns
    ]
    rows = [{"cells": [_cell(one, obj) for one in kind.columns], "object": _carried(obj, include)} for obj in objects]
    return {
        "kind": "Table",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": metadata,
        "columnDefinitions": columns if headed else None,
        "rows": rows,
    }


def _cell(column: Column, obj: Obj) -> Any:
    try:
        return column.cell(obj)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError):
        return UNKNOWN  # one odd object must not hide all others


def _carried(obj: Obj, include: str) -> Any:
    if include == "Object":
        return obj
    if include == "None":
        return None
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj.get("metadata", {})}
