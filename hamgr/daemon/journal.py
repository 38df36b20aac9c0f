"""journald: whether a stream goes there, and how it is told a line's priority. Kept free of imports for the guard."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TextIO

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}


def is_journal(stream: TextIO, environment: Mapping[str, str] | None = None) -> bool:
    """Whether systemd has connected this stream to the journal: JOURNAL_STREAM in systemd.exec(5)."""
    named = (os.environ if environment is None else environment).get("JOURNAL_STREAM", "")
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):  # a stream in memory, or a closed one
        return False
    return named == f"{status.st_dev}:{status.st_ino}"


def mark(level: str) -> str:
    """What sd-daemon(3) wants in front of a line of this level."""
    return f"<{_PRIORITIES.get(level, 6)}>"
