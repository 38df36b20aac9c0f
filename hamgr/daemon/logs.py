"""structlog for the whole process: one line an event, for a terminal, for journald, or as JSON for programs."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any, Literal, TextIO, TypeAlias

import structlog

from hamgr.daemon.journal import is_journal, mark

Form: TypeAlias = Literal["console", "journal", "json"]


def form_for(stream: TextIO, environment: Mapping[str, str]) -> Form:
    """What a stream's reader understands best: a person at a terminal, journald, or a program."""
    if stream.isatty():
        return "console"
    return "journal" if is_journal(stream, environment) else "json"


def complain(sentence: str) -> None:
    """Say on standard error what kept us from starting; as an error where journald listens."""
    print(f"{mark('error') if is_journal(sys.stderr) else ''}hamgrd: {sentence}", file=sys.stderr)


def set_up(level: str, form: str, node: str, stream: TextIO | None = None) -> None:
    """Configure logging; may be called again after a reload. form: auto, console, journal or json."""
    out = stream or sys.stderr
    form = form_for(out, os.environ) if form == "auto" else form
    number = getattr(logging, level.upper())
    processors: list[Any] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level]
    if form == "console":
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=False)
        processors += [stamp, structlog.dev.ConsoleRenderer(colors=out.isatty())]
    elif form == "journal":  # which knows the time and the host
        processors += [structlog.processors.format_exc_info, _for_journald]
    else:
        stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
        processors += [stamp, _say_where(node), structlog.processors.format_exc_info]
        processors.append(structlog.processors.JSONRenderer())
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,  # a reload changes the level of loggers that exist already
    )
    # Libraries log by the standard module; what they say below a warning is theirs alone.
    logging.basicConfig(level=max(number, logging.WARNING), stream=out, format="%(message)s", force=True)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # each retry is told by our own gateway


def _for_journald(_logger: Any, _method: str, event: dict[str, Any]) -> str:
    """`CODE: TEXT key=value ...`, each line with its priority in front, as sd-daemon(3) has it."""
    priority = mark(str(event.pop("level", "info")))
    trace = str(event.pop("exception", ""))
    code, text = event.pop("event", ""), event.pop("text", "")
    words = [f"{code}: {text}" if text else str(code), *(f"{name}={_word(value)}" for name, value in event.items())]
    return "\n".join(f"{priority}{line}" for line in (" ".join(words), *trace.splitlines()))


def _word(value: Any) -> str:
    """A value that ends at the next space."""
    if not isinstance(value, str):
        return json.dumps(value, default=str, ensure_ascii=False)
    plain = value and not any(char.isspace() or char in '"=' for char in value)
    return value if plain else json.dumps(value, ensure_ascii=False)


def _say_where(node: str) -> Any:
    def add(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        return {"on": node, **event}

    return add
