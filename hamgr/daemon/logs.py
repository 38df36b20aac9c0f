"""structlog for the whole process: one line an event, for a terminal, for journald, or as JSON for programs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Literal, TextIO, TypeAlias, cast

import structlog

from hamgr.daemon.journal import is_journal, mark
from hamgr.daemon.logsink import LogSink

Form: TypeAlias = Literal["console", "journal", "json"]


def form_for(stream: TextIO, environment: Mapping[str, str]) -> Form:
    """What a stream's reader understands best: a person at a terminal, journald, or a program."""
    if stream.isatty():
        return "console"
    return "journal" if is_journal(stream, environment) else "json"


def complain(sentence: str) -> None:
    """Say on standard error what kept us from starting; as an error where journald listens."""
    if sys.stderr is not None:  # as it is when we were started with it closed
        with contextlib.suppress(OSError):
            print(f"{mark('error') if is_journal(sys.stderr) else ''}hamgrd: {sentence}", file=sys.stderr, flush=True)


_sink: LogSink | None = None


def dropped_lines() -> int:
    """How many lines of the log were dropped, because they could not be written in time or at all."""
    return 0 if _sink is None else _sink.dropped


def drain() -> None:
    """At the end: wait a moment for the last lines to be written."""
    if _sink is not None:
        _sink.drain()


def _standard_error() -> LogSink:
    """Standard error behind a queue, for everything that this process writes there; made once."""
    global _sink
    if _sink is None:
        stream = sys.stderr
        fd: int | None
        try:
            fd = stream.fileno()
        except (AttributeError, OSError, ValueError):  # closed when we were started, or no file
            fd = None
        sys.stderr = _sink = LogSink(fd, _told_dropped)
    return _sink


_render_dropped: Callable[[int], str] = "{} lines were dropped".format


def _told_dropped(count: int) -> str:
    return _render_dropped(count)


def set_up(level: str, form: str, node: str, stream: TextIO | None = None) -> None:
    """Configure logging; may be called again after a reload. form: auto, console, journal or json.

    Without a stream everything that goes to standard error, be it a warning of Python's, goes through a `LogSink`.
    """
    global _render_dropped
    out: TextIO = stream or cast(TextIO, _standard_error())
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
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,  # a reload changes the level of loggers that exist already
    )
    _render_dropped = _dropped_in(form, node)
    # Libraries log by the standard module; what they say below a warning is theirs alone.
    logging.basicConfig(level=max(number, logging.WARNING), stream=out, format="%(message)s", force=True)
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # each retry is told by our own gateway


def _dropped_in(form: str, node: str) -> Callable[[int], str]:
    """How a line in that form says that others are missing."""

    def render(count: int) -> str:
        text = f"{count} lines of this log were dropped: they could not be written"
        if form == "json":
            at = datetime.now(UTC).isoformat().replace("+00:00", "Z")
            event = {"on": node, "event": "log_lines_dropped", "level": "warning", "count": count, "timestamp": at}
            return json.dumps({**event, "text": text})
        return f"{mark('warning') if form == 'journal' else ''}log_lines_dropped: {text} count={count}"

    return render


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
