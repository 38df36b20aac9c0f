"""Making actions, deciding whether they can run, and linking them by orderings.

An action starts as optional and runnable; stages make it required, orderings spread that, and a node or a quorum that
is missing takes its runnability away.
"""

from __future__ import annotations

from hamgr.scheduler import fencing, operations
from hamgr.scheduler.state.action import (
    DC,
    O_APPLY_FIRST_NON_MIGRATABLE,
    O_NONE,
    O_OPTIONAL,
    OPTIONAL,
    PSEUDO,
    RUNNABLE,
    Act,
    Link,
    Ordering,
)
from hamgr.scheduler.state.node import NodeRt
from hamgr.scheduler.state.resource import Rsc
from hamgr.scheduler.state.vocabulary import PROMOTED, UNPROMOTED, Needs, Variant
from hamgr.scheduler.state.work import Work

INVERSE_TASK = {
    "start": "stop",
    "stop": "start",
    "promote": "demote",
    "demote": "promote",
    "started": "stopped",
    "stopped": "started",
    "promoted": "demoted",
    "demoted": "promoted",
}


def key_of(rsc: Rsc, task: str, interval_ms: int = 0) -> str:
    return f"{rsc.id}_{task}_{interval_ms}"


def find(rsc: Rsc, key: str, node: NodeRt | None = None) -> Act | None:
    """The newest action of a resource with this key on this node (None: on any)."""
    for action in reversed(rsc.actions.get(key, ())):
        if node is None or action.node is node:
            return action
    return None


def find_task(rsc: Rsc, task: str, node: NodeRt | None = None) -> Act | None:
    return find(rsc, f"{rsc.id}_{task}_0", node)


def all_of(rsc: Rsc, task: str, node: NodeRt | None = None, require_node: bool = False) -> list[Act]:
    """Actions of a resource for a task (interval 0), the oldest first.

    One that has no node yet gets the node that is asked about; ``require_node`` leaves it alone instead.
    """
    found: list[Act] = []
    for action in rsc.actions.get(f"{rsc.id}_{task}_0", ()):
        if action.node is None and node is not None and not require_node:
            action.node = node
        if (node is None or action.node is node) and (not require_node or action.node is not None):
            found.append(action)
    return found


def make(
    work: Work,
    rsc: Rsc | None,
    key: str,
    task: str,
    node: NodeRt | None,
    optional: bool,
    interval_ms: int = 0,
) -> Act:
    """The action with this key on this node, made if need be and made required unless ``optional``."""
    table = work.singletons if rsc is None else rsc.actions
    action = None
    for candidate in table.get(key, ()):
        if candidate.node is None or node is None or candidate.node is node:
            action = candidate
            if candidate.node is None:
                candidate.node = node
            break
    if action is None:
        action = Act(work.next_id(), key, task, rsc, node)
        action.interval_ms = interval_ms
        work.actions.append(action)
        table.setdefault(key, []).append(action)
        if rsc is None:
            action.meta = {}
        else:
            rsc.action_list.append(action)
            _configure(work, rsc, action)
    _update_optional(action, optional)
    if rsc is not None:
        update_runnable(work, rsc, action)
        if task == "stop":
            rsc.stopping = True
        elif task == "start":
            rsc.starting = bool(action.flags & RUNNABLE)
    return action


def _configure(work: Work, rsc: Rsc, action: Act) -> None:
    if rsc.variant != Variant.PRIMITIVE and action.task not in ("start", "promote"):
        return
    task = action.task
    if rsc.primitive is not None:
        op = operations.find_op(rsc, task, action.interval_ms)
        action.op = op
        action.meta = operations.op_meta(work, rsc, op, task, action.interval_ms)
        action.timeout_ms = operations.timeout_ms(work, rsc, op, action.meta, task, action.interval_ms)
    if task in ("start", "promote"):
        action.needs = rsc.needs


def _update_optional(action: Act, optional: bool) -> None:
    rsc = action.rsc
    if (
        rsc is not None
        and action.node is not None
        and not action.flags & PSEUDO
        and not rsc.managed
        and action.interval_ms == 0
    ):
        action.flags |= OPTIONAL
    elif not optional:
        action.flags &= ~OPTIONAL


def quorum_policy(work: Work, rsc: Rsc) -> str:
    """The effect of missing quorum on a resource; ``demote`` acts on promotable ones and is ``stop`` for others."""
    policy = work.options.quorum_policy
    if not work.quorum and policy == "demote":
        if rsc.role in (PROMOTED, UNPROMOTED):
            if rsc.next_role > UNPROMOTED:
                rsc.next_role = UNPROMOTED
                work.because("no-quorum-demote", rsc)
            return "ignore"
        return "stop"
    return policy


def is_active(rsc: Rsc, whole: bool) -> bool:
    """Whether a resource (all of its parts, if ``whole``) is active somewhere."""
    if rsc.variant == Variant.PRIMITIVE:
        return any(node.unclean or node.online or not rsc.managed for node in rsc.running_on)
    states = [is_active(child, whole) for child in rsc.children]
    return all(states) if whole else any(states)


def update_runnable(work: Work, rsc: Rsc, action: Act) -> None:
    """Decide whether an action can run where it is to run."""
    if action.flags & PSEUDO:
        return
    node = action.node
    if node is None:
        action.flags &= ~RUNNABLE
        return
    dc = action.flags & DC
    if not dc and not node.online and (not node.guest or node.remote_requires_reset):
        action.flags &= ~RUNNABLE
        if rsc.managed and action.task == "stop" and not node.unclean:
            fencing.fence_node(work, node, "resource actions are unrunnable", priority_delay=False)
    elif not dc and node.pending:
        action.flags &= ~RUNNABLE
    elif action.needs == Needs.NOTHING:
        action.reason = ""
        action.flags |= RUNNABLE
        if node.guest and not fencing.can_fence(work, node):
            action.flags &= ~RUNNABLE
    else:
        policy = "ignore" if work.quorum else quorum_policy(work, rsc)
        if policy == "stop":
            action.flags &= ~RUNNABLE
            action.reason = "no quorum"
        elif policy == "freeze":
            if not is_active(rsc, True) or rsc.next_role > rsc.role:
                action.flags &= ~RUNNABLE
                action.reason = "quorum freeze"
        else:
            action.flags |= RUNNABLE


def pseudo(work: Work, task: str, node: NodeRt | None = None) -> Act:
    """A pseudo-action of the cluster as a whole, runnable, and optional until something needs it."""
    action = make(work, None, task, task, node, True)
    action.flags |= PSEUDO | RUNNABLE
    return action


def rsc_pseudo(work: Work, rsc: Rsc, task: str, optional: bool, runnable: bool = True) -> Act:
    """A pseudo-action of a collection, such as a clone's "started"."""
    action = make(work, rsc, key_of(rsc, task), task, None, optional)
    action.flags |= PSEUDO
    if runnable:
        action.flags |= RUNNABLE
    return action


def start(work: Work, rsc: Rsc, node: NodeRt | None, optional: bool) -> Act:
    return make(work, rsc, key_of(rsc, "start"), "start", node, optional)


def stop(work: Work, rsc: Rsc, node: NodeRt | None, optional: bool) -> Act:
    return make(work, rsc, key_of(rsc, "stop"), "stop", node, optional)


def promote(work: Work, rsc: Rsc, node: NodeRt | None, optional: bool) -> Act:
    return make(work, rsc, key_of(rsc, "promote"), "promote", node, optional)


def demote(work: Work, rsc: Rsc, node: NodeRt | None, optional: bool) -> Act:
    return make(work, rsc, key_of(rsc, "demote"), "demote", node, optional)


def order(first: Act | None, then: Act | None, flags: int) -> bool:
    """Link two actions; False when there was nothing to add."""
    if first is None or then is None or flags == O_NONE:
        return False
    links = then.before_index.get(first)
    if links is not None:
        for link in links:
            if link.flags & flags:
                return False
    link = Link(first, flags)
    then.before.append(link)
    if links is None:
        then.before_index[first] = [link]
    else:
        links.append(link)
    first.after.append(Link(then, flags))
    return True


def new_ordering(
    work: Work,
    first_rsc: Rsc | None,
    first_key: str,
    first: Act | None,
    then_rsc: Rsc | None,
    then_key: str,
    then: Act | None,
    flags: int,
) -> None:
    """Remember an ordering for the stage that applies them (Pacemaker's pcmk__new_ordering)."""
    if (first is None and first_rsc is None) or (then is None and then_rsc is None):
        return
    if first_rsc is None and first is not None:
        first_rsc = first.rsc
    if then_rsc is None and then is not None:
        then_rsc = then.rsc
    ordering = Ordering(
        first_rsc,
        first_key or (first.key if first else ""),
        first,
        then_rsc,
        then_key or (then.key if then else ""),
        then,
        flags,
    )
    work.orderings.append(ordering)
    if first_rsc is not None and then_rsc is not None and first_rsc is not then_rsc and then_rsc.allow_migrate:
        _migration_equivalents(work, first_rsc, then_rsc, ordering)


def _migration_equivalents(work: Work, first: Rsc, then: Rsc, ordering: Ordering) -> None:
    """What an ordering between starts or stops means for the migrations that may replace them."""
    if first.is_within(then) or then.is_within(first):
        return
    first_task, then_task = (
        key.rpartition("_")[0].rpartition("_")[2] for key in (ordering.first_task, ordering.then_task)
    )
    pair = (first_task, then_task)
    flags = O_OPTIONAL | (O_APPLY_FIRST_NON_MIGRATABLE if first.allow_migrate else 0)
    if pair == ("start", "start"):
        if first.allow_migrate:
            order_tasks(work, first, "migrate_from", then, "migrate_to", O_OPTIONAL)
        order_tasks(work, first, "start", then, "migrate_to", flags)
    elif pair == ("stop", "stop"):
        order_tasks(work, first, "stop", then, "migrate_to", flags)
        if then.partial_migration_target is not None:
            order_tasks(work, first, "stop", then, "migrate_from", flags)
    elif pair == ("promote", "start"):
        order_tasks(work, first, "promote", then, "migrate_to", O_OPTIONAL)
    elif pair == ("demote", "stop"):
        order_tasks(work, first, "demote", then, "migrate_to", O_OPTIONAL)
        if then.partial_migration_target is not None:
            order_tasks(work, first, "demote", then, "migrate_from", O_OPTIONAL)


def order_tasks(work: Work, first: Rsc, first_task: str, then: Rsc, then_task: str, flags: int) -> None:
    """Order a task of one resource before a task of another."""
    new_ordering(work, first, key_of(first, first_task), None, then, key_of(then, then_task), None, flags)


def order_starts(work: Work, first: Rsc, then: Rsc, flags: int) -> None:
    order_tasks(work, first, "start", then, "start", flags)


def order_stops(work: Work, first: Rsc, then: Rsc, flags: int) -> None:
    order_tasks(work, first, "stop", then, "stop", flags)
