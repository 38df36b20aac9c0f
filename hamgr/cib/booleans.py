"""Booleans as Pacemaker's configuration writes them, in any case."""

from __future__ import annotations

TRUE = frozenset(("true", "on", "yes", "y", "1"))
FALSE = frozenset(("false", "off", "no", "n", "0"))


def is_true(text: str | None) -> bool:
    """Whether a text says yes; no text and any other text do not."""
    return text is not None and text.lower() in TRUE


def text(value: bool) -> str:
    """A boolean as people write it."""
    return "true" if value else "false"
