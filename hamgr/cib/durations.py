"""Durations as Pacemaker's configuration writes them: ``20``, ``20s``, ``5min``, ``500ms`` or ISO 8601 ``PT5M``."""

from __future__ import annotations

from hamgr.cib.scores import leading_int

# Milliseconds (numerator, denominator) for a unit; a bare number is seconds.
_UNITS = {
    "": (1000, 1),
    "s": (1000, 1),
    "sec": (1000, 1),
    "ms": (1, 1),
    "msec": (1, 1),
    "us": (1, 1000),
    "usec": (1, 1000),
    "m": (60_000, 1),
    "min": (60_000, 1),
    "h": (3_600_000, 1),
    "hr": (3_600_000, 1),
}
# Pacemaker does not insist on the "T" before hours and seconds.
_ISO_DATE = {"Y": 31_536_000_000, "M": 2_592_000_000, "W": 604_800_000, "D": 86_400_000, "H": 3_600_000, "S": 1000}
_ISO_TIME = {"H": 3_600_000, "M": 60_000, "S": 1000}


def parse_ms(text: str | None, default: int = 0) -> int:
    """Milliseconds of a duration; ``default`` when the text is missing or is no duration."""
    if not text:
        return default
    body = text.strip()
    if body[:1] in ("P", "p"):
        return _iso_ms(body.upper(), default)
    end = 0
    while end < len(body) and (body[end].isdigit() or (end == 0 and body[end] in "+-")):
        end += 1
    unit = body[end:].strip()
    factor = _UNITS.get(unit)
    if end == 0 or factor is None:
        return default
    number = leading_int(body[:end])
    return default if number < 0 else number * factor[0] // factor[1]


def _iso_ms(text: str, default: int) -> int:
    total, number, units = 0, "", _ISO_DATE
    for char in text[1:]:
        if char.isdigit():
            number += char
        elif char == "T" and not number:
            units = _ISO_TIME
        elif char in units and number:
            total += leading_int(number) * units[char]
            number = ""
        else:
            return default
    return default if number else total
