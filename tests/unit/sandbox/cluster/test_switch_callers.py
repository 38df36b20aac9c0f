"""Callers of the power switch that do not wait for its answer."""

from __future__ import annotations

import socket
from pathlib import Path

from hamgr_sandbox.powerswitch import converse


def test_a_caller_that_is_gone_before_the_answer_is_no_trouble(tmp_path: Path) -> None:
    """As one is that has its own node switched off."""
    caller, switch = socket.socketpair()
    caller.sendall(b"off n1\n")
    caller.close()
    converse(switch, tmp_path)
    assert switch.fileno() == -1
