"""One operation to carry out and what came of it: what the controller hands over and gets back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from hamgr.executor.ocf import ExecStatus, Ocf


@dataclass(frozen=True, slots=True)
class Op:
    """One action on one instance of a resource, bound to a node. Times in milliseconds.

    ``key`` is the caller's own (a transition key); it travels with the result. ``interval_ms`` above 0 makes a
    recurring operation, which is identified by instance, task, interval and node.
    """

    resource: str
    agent: str
    task: str
    node: str
    instance: str = ""
    interval_ms: int = 0
    timeout_ms: int = 20_000
    params: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    start_delay_ms: int = 0  # of a recurring operation: how long it waits before its first run

    @property
    def name(self) -> str:
        """The instance's id where there is one, else the resource's."""
        return self.instance or self.resource

    @property
    def lane(self) -> tuple[str, str]:
        """Operations of one lane never run at the same time, monitors apart."""
        return (self.name, self.node)

    @property
    def identity(self) -> tuple[str, str, int, str]:
        """What makes two operations the same one."""
        return (self.name, self.task, self.interval_ms, self.node)


@dataclass(frozen=True, slots=True)
class OpResult:
    """What came of an operation. ``started_at`` and ``finished_at`` are seconds since the epoch, for people and for
    history; ``exec_ms`` and ``queue_ms`` were measured on the monotonic clock."""

    op: Op
    rc: Ocf
    exec_status: ExecStatus
    reason: str = ""
    started_at: float = 0.0
    finished_at: float = 0.0
    exec_ms: int = 0
    queue_ms: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)
    waiting: bool = False  # a start that has begun nothing, since something outside is missing
