"""Between dataclasses and the JSON that goes through etcd: by the declared types, checked on the way in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from hamgr.cib.typed import checked

T = TypeVar("T")


def to_value(document: Any) -> dict[str, Any]:
    """A dataclass as JSON's values, with all that its parts are made of."""
    return {item.name: _plain(getattr(document, item.name)) for item in fields(document)}


def from_value(cls: type[T], value: object, *, strict: bool) -> T:
    """Read `to_value`'s answer. Raises ValueError that says what is wrong.

    strict: a key that the dataclass does not have is an error. It has to be where something is ordered, since what the
    key says would be left out; an answer may have more to say than its reader understands.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{value!r} where {cls.__name__} belongs")  # noqa: TRY004
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    if strict and (odd := value.keys() - known):
        raise ValueError(f"there is no {', '.join(sorted(map(repr, odd)))} in {cls.__name__}")
    needed = [n for n, item in known.items() if item.default is MISSING and item.default_factory is MISSING]
    if missing := [name for name in needed if name not in value]:
        raise ValueError(f"{cls.__name__} lacks {', '.join(map(repr, missing))}")
    hints = hints_of(cls)
    return checked(cls(**{name: _typed(value[name], hints[name], strict) for name in known if name in value}))


def hints_of(cls: type) -> dict[str, Any]:
    """The types of a dataclass's fields."""
    hints = get_type_hints(cls)
    return {item.name: hints[item.name] for item in fields(cls)}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return to_value(value)
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    return dict(value) if isinstance(value, Mapping) else value


def _typed(value: Any, hint: Any, strict: bool) -> Any:
    """JSON's value as the declared type has it; what does not fit is left for the check."""
    if get_origin(hint) is tuple and isinstance(value, list):
        item = get_args(hint)[0]
        return tuple(_typed(entry, item, strict) for entry in value)
    if isinstance(hint, type) and is_dataclass(hint):
        return from_value(hint, value, strict=strict)
    return value
