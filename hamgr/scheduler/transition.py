"""What the scheduler answers: the actions to carry out, their order, a summary for people and the reasons.

This is the seam to the controller (which carries a transition out), to the simulator (which pretends to) and to the
command line (which prints it). Everything here is immutable.
"""

from __future__ import annotations

from hamgr.cib.model import Agent
from hamgr.cib.records import dataclass, field

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class GraphAction:
    """One node of the transition graph.

    ``kind`` tells who carries it out: ``rsc`` the executor on ``node`` (start, stop, monitor, promote, demote, notify,
    migrate_to, migrate_from, reload-agent, cancel, delete), ``crm`` the controller itself (stonith, do_shutdown,
    clear_failcount), ``pseudo`` nobody (it only joins orderings).
    """

    id: int
    kind: str
    key: str  # Pacemaker's operation key: db_monitor_10000
    task: str
    node: str = ""
    resource: str = ""  # with ":N" for instances of globally unique clones
    history_id: str = ""  # under which the result is recorded
    instance_id: str = ""  # under which an older history may know it: with ":N" for instances of anonymous clones
    agent: Agent | None = None
    interval_ms: int = 0
    timeout_ms: int = 0
    params: Mapping[str, str] = field(default_factory=dict)  # instance attributes as evaluated for the node
    meta: Mapping[str, str] = field(default_factory=dict)  # what Pacemaker hands over as CRM_meta_*
    target_rc: int = 0  # the expected exit code
    fence: str = ""  # of a stonith action: reboot, off, on
    cancel_task: str = ""  # of a cancel: the recurring operation's task; its interval is interval_ms
    op_digest: str = ""  # to be recorded with the result
    migrate_source: str = ""
    migrate_target: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class SummaryLine:
    """One line of the Transition Summary: a resource's change, or (``task``) a node's fencing."""

    action: str = ""  # start, stop, move, recover, restart, migrate, promote, demote, reload, re-promote
    resource: str = ""
    task: str = ""  # "Fence (reboot)"
    node: str = ""
    role: str = ""
    next_role: str = ""
    source: str = ""
    dest: str = ""
    blocked: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was decided: a code with its data. ``hamgr simulate --why`` renders it."""

    code: str
    resource: str = ""
    node: str = ""
    data: Mapping[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transition:
    """The scheduler's answer to a CIB."""

    actions: tuple[GraphAction, ...] = ()
    # (first action's id, then action's id); what waits for an id that is no action's can never be carried out
    edges: tuple[tuple[int, int], ...] = ()
    summary: tuple[SummaryLine, ...] = ()
    warnings: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
