"""JSON of plain values: None, bool, int, str, and lists, tuples and str-keyed dicts of them.

``hamgr simulate`` is a process for each answer, and the standard library's json imports re, whose import takes longer
than deciding about a usual CIB. What is written here is what `json.dumps` writes.
"""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from typing import Any

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\b": "\\b", "\f": "\\f"}


def dumps(value: Any) -> str:
    """The JSON text of a value, in ASCII and on one line."""
    if isinstance(value, str):
        return _string(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{" + ", ".join([f"{_string(key)}: {dumps(item)}" for key, item in value.items()]) + "}"
    return "[" + ", ".join([dumps(item) for item in value]) + "]"


def _string(text: str) -> str:
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return '"' + "".join([_SHORT.get(char) or (char if " " <= char <= "~" else _escape(char)) for char in text]) + '"'


def _escape(char: str) -> str:
    """A character as one or two UTF-16 units."""
    units = char.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))
