"""The wall clock as the API writes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


def timestamp(offset_s: float = 0) -> str:
    """Now, moved by some seconds, in RFC 3339 with whole seconds."""
    return (datetime.now(UTC) + timedelta(seconds=offset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp() -> str:
    """Now in RFC 3339 with microseconds, as leases and events carry it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse(text: str) -> datetime:
    """A moment from an object; raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def moved(text: str, offset_s: float) -> str:
    """A timestamp moved by some seconds."""
    return (parse(text) + timedelta(seconds=offset_s)).strftime("%Y-%m-%dT%H:%M:%SZ")
