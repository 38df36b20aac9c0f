"""The error that ends a command."""

from __future__ import annotations

from hamgr.api.exits import Exit


class CommandError(Exception):
    """A command cannot do what was asked: one sentence (or a line a problem) for stderr, and the exit code."""

    def __init__(self, message: str, code: int = Exit.ERROR) -> None:
        super().__init__(message)
        self.code = code
