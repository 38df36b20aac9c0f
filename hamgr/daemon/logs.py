"""structlog for the whole process: one line an event, JSON for journald, or readable on a terminal."""

from __future__ import annotations

import logging
import sys
from typing import Any, TextIO

import structlog


def set_up(level: str, form: str, node: str, stream: TextIO | None = None) -> None:
    """Configure logging; may be called again after a reload. form: auto, json or console."""
    out = stream or sys.stderr
    console = form == "console" or (form == "auto" and out.isatty())
    number = getattr(logging, level.upper())
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=not console),
    ]
    if console:
        processors.append(structlog.dev.ConsoleRenderer(colors=out.isatty()))
    else:
        processors += [_say_where(node), structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,  # a reload changes the level of loggers that exist already
    )
    # Libraries log by the standard module; what they say below a warning is theirs alone.
    logging.basicConfig(level=max(number, logging.WARNING), stream=out, format="%(message)s", force=True)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # each retry is told by our own gateway


def _say_where(node: str) -> Any:
    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"on": node, **event}

    return add
