"""The type of options that take seconds: click's own range lets `nan` pass, which no clock can wait for."""

from __future__ import annotations

from typing import Any

import click

_YEAR_S = 31536000


class Seconds(click.FloatRange):
    """A number of seconds, at least `least` and at most a year."""

    name = "seconds"

    def __init__(self, least: float) -> None:
        super().__init__(least, _YEAR_S)
        self._least = least

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number. Raises click.BadParameter."""
        try:
            seconds = float(value)
        except ValueError:
            seconds = float("nan")
        if not self._least <= seconds <= _YEAR_S:  # nor is nan
            self.fail(f"{value!r} is not a number of seconds from {self._least:g} to {_YEAR_S}", param, ctx)
        return seconds

    def _describe_range(self) -> str:
        """Nothing: an option's help needs no range that only nonsense is beyond."""
        return ""
