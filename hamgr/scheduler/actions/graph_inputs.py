"""Which actions get into the transition graph, and which of their inputs stay in it."""

from __future__ import annotations

from hamgr.scheduler.state.constants import (
    DUMPED,
    MIGRATE_RUNNABLE,
    O_ANTI_COLOCATION,
    O_APPLY_FIRST_NON_MIGRATABLE,
    O_IMPLIES_FIRST_MIGRATABLE,
    O_IMPLIES_FIRST_PRINTED,
    O_IMPLIES_THEN_PRINTED,
    O_LOAD,
    O_NONE,
    O_ONE_OR_MORE,
    O_OPTIONAL,
    OPTIONAL,
    PRINT_ALWAYS,
    PSEUDO,
    RUNNABLE,
)
from hamgr.scheduler.state.entities import Action

_HARMLESS = O_IMPLIES_FIRST_PRINTED | O_IMPLIES_THEN_PRINTED | O_OPTIONAL


def wanted(action: Action) -> bool:
    flags = action.flags
    if not flags & RUNNABLE or (flags & OPTIONAL and not flags & PRINT_ALWAYS):
        return False
    rsc = action.rsc
    if rsc is not None and not rsc.managed and action.task != "monitor" and not action.interval_ms:
        return False
    if flags & PSEUDO or action.task in ("stonith", "do_shutdown"):
        return True
    node = action.node
    if node is None:
        return False
    if node.guest and not node.remote_requires_reset:
        return True
    return node.online and not node.unclean


def keeps(action: Action, first: Action, flags: int) -> bool:
    """Whether an input stays in the graph."""
    if flags == O_NONE:
        return False
    runnable = first.flags & RUNNABLE
    if not runnable and (not flags & ~_HARMLESS or flags & (O_ONE_OR_MORE | O_IMPLIES_FIRST_MIGRATABLE)):
        return False
    migrating = first.flags & MIGRATE_RUNNABLE
    if flags & O_APPLY_FIRST_NON_MIGRATABLE and migrating:
        return False
    if flags == O_OPTIONAL and migrating and first.key.endswith("_stop_0"):
        return False
    if flags == O_LOAD:
        if action.rsc is not None and action.task == "migrate_to":
            if first.node is None or action.rsc.assigned_to is not first.node:
                return False
        elif first.node is not action.node or first.flags & OPTIONAL:
            return False
    elif flags == O_ANTI_COLOCATION:
        if first.node is not None and action.node is not None and first.node is not action.node:
            return False
        if first.flags & OPTIONAL:
            return False
    elif (
        first.rsc is not None
        and first.rsc is not action.rsc
        and first.rsc.failed
        and not first.rsc.managed
        and first.key.endswith("_stop_0")
        and action.rsc is not None
        and action.rsc.is_clone()
    ):
        return False
    if first.flags & OPTIONAL and not first.flags & (PRINT_ALWAYS | DUMPED):
        return wanted(first)
    return True
