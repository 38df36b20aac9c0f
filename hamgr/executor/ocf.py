"""OCF's exit codes and the executor's own verdicts, with the numbers that Pacemaker records.

Sources: OCF Resource Agent API 1.1 (exit codes), Pacemaker's ``enum ocf_exitcode`` and ``enum pcmk_exec_status``.
"""

from __future__ import annotations

from enum import IntEnum


class Ocf(IntEnum):
    """What an agent's action says."""

    OK = 0
    ERR_GENERIC = 1
    ERR_ARGS = 2
    ERR_UNIMPLEMENTED = 3
    ERR_PERM = 4  # not permitted on this node
    ERR_INSTALLED = 5  # something that the agent needs is missing on this node
    ERR_CONFIGURED = 6  # the resource's parameters are wrong, on every node
    NOT_RUNNING = 7
    RUNNING_PROMOTED = 8
    FAILED_PROMOTED = 9
    DEGRADED = 190
    DEGRADED_PROMOTED = 191


class ExecStatus(IntEnum):
    """What became of the execution itself: the ``op-status`` of a recorded operation.

    An agent's own answer, good or bad, is DONE: it is the scheduler that makes an ERR_INSTALLED keep the resource off
    a node and an ERR_CONFIGURED off all of them.
    """

    PENDING = -1
    DONE = 0
    CANCELLED = 1
    TIMEOUT = 2
    NOT_SUPPORTED = 3
    ERROR = 4
    ERROR_HARD = 5
    ERROR_FATAL = 6
    NOT_INSTALLED = 7
    NOT_CONNECTED = 8
    INVALID = 9
