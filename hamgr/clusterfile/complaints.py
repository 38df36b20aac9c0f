"""What pydantic found wrong with a file, at the lines where a person wrote it and in words that a person can act on."""

from __future__ import annotations

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from hamgr.clusterfile.options import instead
from hamgr.clusterfile.source import ConfigError, Path, Source

Model = TypeVar("Model", bound=BaseModel)

_KINDS = {dict: "a mapping", list: "a list", type(None): "nothing"}


def validated(source: Source, model: type[Model], context: object = None) -> Model:
    """The document as the model. Raises ConfigError with everything that is wrong, earlier findings included."""
    try:
        result = model.model_validate(source.value, context=context)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            _complain(source, detail)
    if source.problems:
        raise ConfigError(source.problems)
    return result


def _complain(source: Source, detail: Any) -> None:
    """Note one of pydantic's errors where it belongs in the file, in words that a person can act on."""
    loc: Path = detail["loc"]
    path, written = _written(source.value, loc)
    kind = detail["type"]
    if kind == "too_short" and written:
        return  # its entries are wrong, not missing, and each has been named
    if kind == "missing":
        source.complain(path, f"the key '{loc[-1]}' is missing")
        return
    source.complain(path, _words(kind, detail), at_key=kind == "unknown_key" or loc[-2:-1] == ("values",))


def _written(value: Any, loc: Path) -> tuple[Path, Any]:
    """The part of pydantic's location that a person wrote (normalizing has added the rest), and what stands there."""
    path: Path = ()
    part: Any
    for part in loc:
        if (isinstance(value, dict) and part in value) or (isinstance(value, list) and part in range(len(value))):
            value = value[part]
            path = (*path, part)
    return path, value


def _words(kind: str, detail: Any) -> str:
    given = detail["input"]
    shown = f"'{given}'" if isinstance(given, str) else _KINDS.get(type(given), "this")
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", detail["ctx"]["expected"])
        return f"{shown} is not allowed here{instead(str(given), allowed)}"
    wanted = {
        "string_type": "text belongs here",
        "tuple_type": "a list belongs here, each entry with a dash before it",
        "list_type": "a list belongs here, each entry with a dash before it",
        "dict_type": "a mapping (key: value) belongs here",
        "model_type": "a mapping (key: value) belongs here",
        "model_attributes_type": "a mapping (key: value) belongs here",
        "too_short": "at least one entry is needed",
        "int_parsing": "a whole number belongs here",
        "int_type": "a whole number belongs here",
        "bool_parsing": "true or false belongs here",
        "bool_type": "true or false belongs here",
    }.get(kind)
    if kind == "too_short" and wanted:
        return wanted
    message = detail.get("ctx", {}).get("message", detail["msg"])
    return f"{wanted}, not {shown}" if wanted else str(message)
