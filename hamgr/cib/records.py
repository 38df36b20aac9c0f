"""Dataclasses that are cheap to define, because ``hamgr simulate`` is a process for every answer.

The standard library writes the methods of a dataclass as source text and compiles them when the class is defined; for
the fifty classes of a CIB and a transition that takes longer than deciding what to do about the CIB. Here one set of
methods serves all of them. To the type checker these are `dataclasses.dataclass`, `field` and `replace`, and so they
are to `dataclasses.replace`, `asdict`, `fields` and `is_dataclass`: what those look at is made when they first look.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it: importing that module is a cost that this one is there to avoid
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from dataclasses import dataclass, field, replace
    from typing import Any

__all__ = ["dataclass", "field", "replace"]


class _Factory:
    """Marks a default that is made anew for every record."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], object]) -> None:
        self.make = make


class _LateFields:
    """``__dataclass_fields__`` of a record: those of a real dataclass like it, once they are asked for."""

    def __get__(self, record: object, kind: type[_Record]) -> object:
        import dataclasses

        defaults = {name: dataclasses.field(default_factory=make) for name, make in kind._factories.items()}
        body = {"__annotations__": kind.__annotations__, "__module__": kind.__module__, **kind._defaults, **defaults}
        twin: Any = dataclasses.dataclass(frozen=True)(type(kind.__name__, (), body))
        kind.__dataclass_fields__ = twin.__dataclass_fields__
        return kind.__dataclass_fields__


class _Record:
    """What all records do: made from values by position or name, compared by value, and never changed."""

    __slots__ = ()
    __match_args__: tuple[str, ...] = ()
    __dataclass_fields__: object = _LateFields()
    _setters: Mapping[str, Callable[[object, object], None]]  # by field, in order
    _defaults: dict[str, object]
    _factories: Mapping[str, Callable[[], object]]

    def __init__(self, *positional: object, **named: object) -> None:
        setters = self._setters
        if positional:
            given = dict(zip(setters, positional, strict=False))
            if len(given) < len(positional) or not named.keys().isdisjoint(given):
                raise TypeError(f"{type(self).__name__}() was given a value too many: {positional}, {named}")
            named |= given
        values = self._defaults | named
        for name, make in self._factories.items():
            if name not in values:
                values[name] = make()
        try:
            for name, value in values.items():
                setters[name](self, value)
        except KeyError:
            raise self._misfit(values) from None
        if len(values) < len(setters):
            raise self._misfit(values)

    def _misfit(self, values: dict[str, object]) -> TypeError:
        odd = ", ".join(sorted(values.keys() ^ self._setters.keys()))
        return TypeError(f"{type(self).__name__}() lacks a value, or has no such field: {odd}")

    def _values(self) -> tuple[Any, ...]:
        return tuple([getattr(self, name) for name in self._setters])

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._setters)
        return f"{type(self).__qualname__}({fields})"

    def __reduce__(self) -> tuple[type[_Record], tuple[Any, ...]]:
        return type(self), self._values()

    def __setattr__(self, name: str, value: object) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> None:
        from dataclasses import FrozenInstanceError

        raise FrozenInstanceError(f"cannot delete field {name!r}")


def _record(plain: type) -> type[_Record]:
    """A record class with the annotations, defaults and methods of a plain one."""
    body = {name: value for name, value in vars(plain).items() if name not in ("__dict__", "__weakref__")}
    names = tuple(body["__annotations__"])
    defaults = {name: body.pop(name) for name in names if name in body}
    made: type[_Record] = type(plain.__name__, (_Record,), {**body, "__slots__": names, "__match_args__": names})
    made._setters = {name: getattr(made, name).__set__ for name in names}
    made._defaults = {name: value for name, value in defaults.items() if not isinstance(value, _Factory)}
    made._factories = {name: value.make for name, value in defaults.items() if isinstance(value, _Factory)}
    return made


if not TYPE_CHECKING:

    def dataclass(*, frozen: bool, slots: bool) -> Callable[[type], type[_Record]]:
        """As `dataclasses.dataclass`, of which only the frozen and slotted kind is to be had here."""
        if not (frozen and slots):
            raise TypeError("hamgr.cib.records makes frozen and slotted dataclasses only")
        return _record

    def field(*, default_factory: Callable[[], object]) -> _Factory:
        """As `dataclasses.field`, for a default that is made anew for every record."""
        return _Factory(default_factory)

    def replace(record: _Record, /, **changes: object) -> _Record:
        """As `dataclasses.replace`."""
        return type(record)(**dict(zip(record._setters, record._values(), strict=True)) | changes)
