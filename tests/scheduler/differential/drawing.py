"""Where a generator's decisions come from: hypothesis, or a number that reproduces them all."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Dice:
    """Chances, picks and small numbers: the few words that generated clusters need.

    The simplest outcome (no, the first option, the lowest number) is what hypothesis prefers when it simplifies.
    """

    def __init__(self, number: Callable[[int, int], int]) -> None:
        self.number = number  # an integer from low to high, both included

    def chance(self, percent: int) -> bool:
        return self.number(0, 99) >= 100 - percent

    def pick(self, options: Sequence[T]) -> T:
        return options[self.number(0, len(options) - 1)]

    def weighted(self, options: Sequence[tuple[int, T]]) -> T:
        """One of (weight, option)."""
        at = self.number(0, sum(weight for weight, _ in options) - 1)
        for weight, option in options:
            if at < weight:
                return option
            at -= weight
        raise AssertionError("the weights were summed up wrongly")

    def some(self, options: Sequence[T], low: int, high: int) -> list[T]:
        """Between low and high different options (fewer when there are not so many), in drawn order."""
        left = list(options)
        return [left.pop(self.number(0, len(left) - 1)) for _ in range(min(self.number(low, high), len(left)))]


def hypothesis_dice(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Dice:
    return Dice(lambda low, high: int(draw(st.integers(low, high))))


def seeded_dice(seed: int) -> Dice:
    return Dice(random.Random(seed).randint)
