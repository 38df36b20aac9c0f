"""An action under consideration, and what orders it: orderings of resources, links between actions."""

from __future__ import annotations

from hamgr.scheduler.state.vocabulary import UNKNOWN, Needs, OnFail

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from hamgr.cib import model
    from hamgr.scheduler.state.node import NodeRt
    from hamgr.scheduler.state.resource import Rsc

# Flags of an action (plain ints, combined with |).
PSEUDO = 0x01
RUNNABLE = 0x02
OPTIONAL = 0x04
PRINT_ALWAYS = 0x08
MIGRATE_RUNNABLE = 0x10
DC = 0x40
REQUIRES_ANY = 0x200
RESCHEDULE = 0x800
DUMPED = 0x2000
DANGLE = 0x4000

# Flags of an ordering.
O_NONE = 0
O_OPTIONAL = 0x1
O_APPLY_FIRST_NON_MIGRATABLE = 0x2
O_IMPLIES_FIRST = 0x10
O_IMPLIES_THEN = 0x20
O_PROMOTED_IMPLIES_FIRST = 0x40
O_IMPLIES_FIRST_MIGRATABLE = 0x80
O_RUNNABLE_LEFT = 0x100
O_PSEUDO_LEFT = 0x200
O_IMPLIES_THEN_ON_NODE = 0x400
O_PROBE = 0x800
O_RESTART = 0x1000
O_SERIALIZE_ONLY = 0x4000
O_SAME_NODE = 0x8000
O_IMPLIES_FIRST_PRINTED = 0x10000
O_IMPLIES_THEN_PRINTED = 0x20000
O_ASYMMETRICAL = 0x100000
O_LOAD = 0x200000
O_ONE_OR_MORE = 0x400000
O_ANTI_COLOCATION = 0x800000
O_PRESERVE = 0x1000000
O_THEN_CANCELS_FIRST = 0x2000000


class Act:
    """An action under consideration."""

    __slots__ = (
        "after",
        "before",
        "before_index",
        "cancel_task",
        "fail_role",
        "flags",
        "id",
        "interval_ms",
        "key",
        "meta",
        "needs",
        "node",
        "on_fail",
        "op",
        "priority",
        "pseudo_node",
        "reason",
        "required_runnable_before",
        "rsc",
        "runnable_before",
        "seen",
        "target_rc",
        "task",
        "timeout_ms",
    )

    def __init__(self, action_id: int, key: str, task: str, rsc: Rsc | None, node: NodeRt | None) -> None:
        self.id = action_id
        self.key = key
        self.task = task
        self.rsc = rsc
        self.node = node
        self.flags = RUNNABLE | OPTIONAL
        self.needs = Needs.NOTHING
        self.on_fail = OnFail.IGNORE
        self.fail_role = UNKNOWN
        self.interval_ms = 0
        self.timeout_ms = 0
        self.op: model.Op | None = None
        self.meta: dict[str, str] = {}
        self.reason = ""
        self.target_rc = -1
        self.priority = 0
        self.runnable_before = 0
        self.required_runnable_before = 0
        self.before: list[Link] = []  # what comes before this (inputs)
        self.before_index: dict[Act, list[Link]] = {}
        self.after: list[Link] = []  # what comes after this
        self.cancel_task = ""
        self.seen = 0

    def __repr__(self) -> str:
        return f"<{self.key} on {self.node.name if self.node else '-'}>"


class Link:
    """An ordering between two actions, seen from either end."""

    __slots__ = ("action", "flags", "state")

    def __init__(self, action: Act, flags: int) -> None:
        self.action = action
        self.flags = flags
        self.state = 0  # while the graph is made: 1 link_dup or dropped, 2 kept


class Ordering:
    """An ordering as resources see it, before it is applied to their actions."""

    __slots__ = ("first", "first_rsc", "first_task", "flags", "id", "then", "then_rsc", "then_task")

    def __init__(
        self,
        first_rsc: Rsc | None,
        first_task: str,
        first: Act | None,
        then_rsc: Rsc | None,
        then_task: str,
        then: Act | None,
        flags: int,
    ) -> None:
        self.first_rsc = first_rsc
        self.first_task = first_task  # an operation key
        self.first = first
        self.then_rsc = then_rsc
        self.then_task = then_task
        self.then = then
        self.flags = flags
