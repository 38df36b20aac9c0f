"""One call of a fence agent's program, which can end late or not at all, but never act late without bound.

A device knows no fencing token: what reaches it from a leader that was frozen meanwhile is obeyed. So an agent is told
what to do at the last moment at which its caller may still act, it is killed as soon as the caller may not, and a
time-out that does not depend on the caller's being awake ends it in any case (timeout(1), whose clock is the kernel's).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable

import structlog

OVERTIME_S = 1.0
"""How much longer than its time-out an agent can live when its caller is frozen."""

_LOOK_EVERY_S = 0.1
_DYING_S = 2.0

log = structlog.get_logger(__name__)


def always() -> None:
    """For a call that is allowed whatever happens: it changes nothing."""


def call_agent(program: str, text: str, timeout_s: float, allowed: Callable[[], None] = always) -> tuple[int, str, str]:
    """Run `program` with `text` on its standard input; its exit code, output and complaints.

    allowed: asked right before the text is given, and again and again until the end; what it raises ends the program
    with all its children (ssh, ipmitool), and is raised here. Raises OSError; subprocess.TimeoutExpired when the
    program was not over after `timeout_s` seconds and was killed with its children.
    """
    pipe = subprocess.PIPE
    bounded = ["timeout", "--signal=KILL", f"{timeout_s + OVERTIME_S:.3f}", program]
    process = subprocess.Popen(
        bounded, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace", start_new_session=True
    )
    until = time.monotonic() + timeout_s
    told: str | None = text
    try:
        while True:
            allowed()
            try:
                out, err = process.communicate(told, timeout=min(_LOOK_EVERY_S, max(0.0, until - time.monotonic())))
                return process.returncode, out, err
            except subprocess.TimeoutExpired:
                told = None  # communicate() goes on with what it was given first
                if time.monotonic() >= until:
                    raise
    except BaseException:
        _end(process)
        raise


def _end(process: subprocess.Popen[str]) -> None:
    """Kill it with its children. A program that the kernel does not let die (state D) is left behind."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):  # what was not written yet is of no use any more
                stream.close()
    try:
        process.wait(_DYING_S)
    except subprocess.TimeoutExpired:
        log.warning("fence_agent_does_not_die", pid=process.pid)
