"""Whether a value that was read has the types its dataclass declares: what etcd holds was written by who knows whom."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def checked(value: T) -> T:
    """The same dataclass instance, when everything in it is of the declared type. Raises ValueError with the place."""
    _check(value, type(value), type(value).__name__)
    return value


@cache
def _hints(cls: type) -> dict[str, Any]:
    known = {"Any": Any, "Mapping": Mapping, "Callable": Callable, "Sequence": Sequence}  # behind TYPE_CHECKING in some
    return get_type_hints(cls, localns=known)


def _check(value: Any, wanted: Any, where: str) -> None:
    origin = get_origin(wanted)
    if wanted is Any:
        return
    if origin in (Union, types.UnionType):
        _check_union(value, get_args(wanted), where)
    elif origin is tuple:
        _check_tuple(value, get_args(wanted), where)
    elif origin is not None and issubclass(origin, Mapping):
        _expect(isinstance(value, Mapping), value, "a mapping", where)
        key_type, value_type = get_args(wanted)
        for key, entry in value.items():
            _check(key, key_type, f"{where}'s keys")
            _check(entry, value_type, f"{where}.{key}")
    elif is_dataclass(wanted):
        _expect(isinstance(value, wanted), value, getattr(wanted, "__name__", "?"), where)  # type: ignore[arg-type]
        for item in fields(wanted):
            _check(getattr(value, item.name), _hints(wanted)[item.name], f"{where}.{item.name}")  # type: ignore[arg-type]
    elif wanted in (int, float):
        allowed = int if wanted is int else (int, float)
        _expect(isinstance(value, allowed) and not isinstance(value, bool), value, "a number", where)
    else:
        _expect(isinstance(value, wanted), value, wanted.__name__, where)


def _check_union(value: Any, options: tuple[Any, ...], where: str) -> None:
    for option in options:
        try:
            _check(value, type(None) if option is None else option, where)
            return
        except ValueError:
            continue
    _expect(False, value, " or ".join(getattr(option, "__name__", "?") for option in options), where)


def _check_tuple(value: Any, items: tuple[Any, ...], where: str) -> None:
    _expect(isinstance(value, tuple), value, "a list", where)
    if len(items) == 2 and items[1] is Ellipsis:
        items = (items[0],) * len(value)
    _expect(len(value) == len(items), value, f"{len(items)} entries", where)
    for number, (entry, wanted) in enumerate(zip(value, items, strict=True)):
        _check(entry, wanted, f"{where}[{number}]")


def _expect(holds: bool, value: Any, wanted: str, where: str) -> None:
    if not holds:
        raise ValueError(f"{where} is {repr(value)[:60]}, where {wanted} belongs")
