"""One line an event: JSON for programs, or readable, with priorities where journald listens."""

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


def logged(stream):
    log = structlog.get_logger("x")
    log.info("leader", text="n1 leads", node="n1")
    log.warning("fence_level_failed", reason='device "pdu" is dark', seconds=1.5, plugs=["1", "2"], why="")
    try:
        raise ValueError("odd")
    except ValueError:
        log.exception("round_failed")
    return stream.getvalue().splitlines()


def test_journald_is_told_the_priority_of_each_line():
    out = io.StringIO()
    logs.set_up("info", "journal", "n1", out)
    first, second, third, *trace = logged(out)
    assert first == "<6>leader: n1 leads node=n1"
    expected = r'<4>fence_level_failed reason="device \"pdu\" is dark" seconds=1.5 plugs=["1", "2"] why=""'
    assert second == expected
    assert third == "<3>round_failed"
    assert trace[-1] == "<3>ValueError: odd"
    assert all(line.startswith("<3>") for line in trace)


def test_journald_is_known_by_the_stream_that_systemd_names(tmp_path):
    with (tmp_path / "log").open("w") as stream:
        status = (tmp_path / "log").stat()
        named = {"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}
        assert logs.form_for(stream, named) == "journal"
        assert logs.form_for(stream, {"JOURNAL_STREAM": "1:2"}) == "json"
        assert logs.form_for(stream, {}) == "json"
    assert logs.form_for(io.StringIO(), {}) == "json"
