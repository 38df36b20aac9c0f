"""Exit codes of the commands (Pacemaker's CRM_EX_ names) and the error that carries one to the end of the program."""

from __future__ import annotations


class Exit:
    """Numbers that a command ends with; docs/reference-cli.md has the table for people."""

    OK = 0
    ERROR = 1
    USAGE = 64
    NO_INPUT = 66
    NO_HOST = 68
    UNAVAILABLE = 69
    NO_PERMISSION = 77
    CONFIG = 78
    NO_OBJECT = 105
    TIMEOUT = 124
    INTERRUPTED = 130


class CommandError(Exception):
    """A command cannot do what was asked: one sentence (or a line a problem) for stderr, and the exit code."""

    def __init__(self, message: str, code: int = Exit.ERROR) -> None:
        super().__init__(message)
        self.code = code
