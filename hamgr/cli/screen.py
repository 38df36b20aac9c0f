"""Text made to fit a terminal. What goes into a pipe is never touched: programs and logs want whole lines."""

from __future__ import annotations

import shutil
import sys
import textwrap

_HANGING = 4  # how much deeper the rest of a line stands


def fitted(text: str) -> str:
    """The text with its long lines broken between words, where stdout is a terminal."""
    return folded(text, shutil.get_terminal_size().columns) if sys.stdout.isatty() else text


def folded(text: str, width: int) -> str:
    """Each longer line broken between words, its rest indented; lines with tabs are columns, and stay."""
    return "\n".join(_folded_line(line, width) for line in text.split("\n"))


def _folded_line(line: str, width: int) -> str:
    if len(line) <= width or "\t" in line:
        return line
    words = line.lstrip()
    lead = line[: len(line) - len(words)]
    rest = lead + " " * _HANGING
    return textwrap.fill(
        words, width, initial_indent=lead, subsequent_indent=rest, break_long_words=False, break_on_hyphens=False
    )


def clipped(text: str, height: int) -> str:
    """The first lines, and how many are missing: what `--watch` can show of it."""
    lines = text.split("\n")
    if len(lines) <= height:
        return text
    kept = max(height - 1, 1)
    return "\n".join([*lines[:kept], f"... {len(lines) - kept} more lines: `hamgr status`, or a taller window"])
