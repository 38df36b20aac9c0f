"""Generated clusters: configurations that Pacemaker's schema accepts, with plausible histories.

What a cluster is made of is drawn first (`plan`), then written as XML (`configuration`); then it is drawn what has
happened on each node (`histories`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import strategies as st
from scheduler.differential import configuration, histories
from scheduler.differential.drawing import Dice, hypothesis_dice, seeded_dice
from scheduler.differential.plan import add_remotes, draw_plan

NOW = 1_750_000_000  # 2025-06-15 15:06:40 UTC: the moment that every generated cluster is judged at


@st.composite
def cibs(draw: Callable[[st.SearchStrategy[Any]], Any]) -> str:
    """A strategy for CIB documents."""
    return _document(hypothesis_dice(draw))


def cib_number(number: int) -> str:
    """The CIB of this number, always the same one: what campaigns count through."""
    return _document(seeded_dice(number))


def remote_cib_number(number: int) -> str:
    """The CIB of this number with remote or guest nodes, a template or unfencing."""
    return _document(seeded_dice(number), with_remotes=True)


def _document(dice: Dice, *, with_remotes: bool = False) -> str:
    plan = draw_plan(dice)
    if with_remotes:
        add_remotes(plan, dice)
    root = configuration.written(plan, dice)
    root.append(histories.written(plan, dice, NOW))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"
