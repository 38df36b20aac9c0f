"""One line an event: JSON for journald, or readable."""

import io
import json
import logging

import pytest
import structlog

from hamgr.daemon import logs


@pytest.fixture(autouse=True)
def restore():
    yield
    structlog.reset_defaults()
    logging.basicConfig(force=True)


def test_json_lines_say_where_and_when():
    out = io.StringIO()
    logs.set_up("info", "auto", "n1", out)
    log = structlog.get_logger("x")
    log.debug("not this")
    log.info("leading", token=3)
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("round_failed")
    first, second = (json.loads(line) for line in out.getvalue().splitlines())
    assert (first["event"], first["token"], first["level"], first["on"]) == ("leading", 3, "info", "n1")
    assert first["timestamp"].endswith("Z")
    assert "ValueError: odd" in second["exception"]


def test_a_reload_reaches_loggers_that_exist():
    out = io.StringIO()
    logs.set_up("warning", "json", "n1", out)
    log = structlog.get_logger("x")
    log.info("before")
    logs.set_up("debug", "json", "n1", out)
    log.debug("after")
    assert [json.loads(line)["event"] for line in out.getvalue().splitlines()] == ["after"]


def test_console_lines_are_for_people():
    out = io.StringIO()
    logs.set_up("info", "console", "n1", out)
    structlog.get_logger("x").info("leading", token=3)
    assert "leading" in out.getvalue()
    assert "token=3" in out.getvalue()
    assert "{" not in out.getvalue()
