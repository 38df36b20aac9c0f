"""The type of options that take seconds: click's own range lets `nan` pass, which no clock can wait for."""

from __future__ import annotations

import math
from typing import Any

import click


class Seconds(click.FloatRange):
    """A number of seconds from `least` to `most` (a year unless said otherwise)."""

    name = "seconds"

    def __init__(self, least: float, most: float = 31536000) -> None:
        super().__init__(least, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """As click's range does, and not `nan`. Raises click.BadParameter."""
        seconds = float(super().convert(value, param, ctx))
        if math.isnan(seconds):
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds

    def _describe_range(self) -> str:
        """Nothing: the range that matters stands in an option's help."""
        return ""
