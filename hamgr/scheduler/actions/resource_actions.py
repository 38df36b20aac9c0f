"""Making the actions of resources, finding them again, and deciding whether they can run.

An action starts as optional and runnable; stages make it required, orderings spread that, and a node or a quorum that
is missing takes its runnability away.
"""

from __future__ import annotations

from hamgr.scheduler.actions import fencing, orderings
from hamgr.scheduler.inputs import operations
from hamgr.scheduler.state.constants import (
    DC,
    O_IMPLIES_THEN,
    O_OPTIONAL,
    OPTIONAL,
    PROMOTED,
    PSEUDO,
    RUNNABLE,
    UNPROMOTED,
    Needs,
    Variant,
)
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def find(rsc: Resource, key: str, node: Node | None = None) -> Action | None:
    """The newest action of a resource with this key on this node (None: on any)."""
    for action in reversed(rsc.actions.get(key, ())):
        if node is None or action.node is node:
            return action
    return None


def find_task(rsc: Resource, task: str, node: Node | None = None) -> Action | None:
    return find(rsc, f"{rsc.id}_{task}_0", node)


def all_of(rsc: Resource, task: str, node: Node | None = None, require_node: bool = False) -> list[Action]:
    """Actions of a resource for a task (interval 0), the oldest first.

    One that has no node yet gets the node that is asked about; ``require_node`` leaves it alone instead.
    """
    found: list[Action] = []
    for action in rsc.actions.get(f"{rsc.id}_{task}_0", ()):
        if action.node is None and node is not None and not require_node:
            action.node = node
        if (node is None or action.node is node) and (not require_node or action.node is not None):
            found.append(action)
    return found


def make(
    work: WorkingSet, rsc: Resource, key: str, task: str, node: Node | None, optional: bool, interval_ms: int = 0
) -> Action:
    """The action with this key on this node, made if need be and made required unless ``optional``."""
    action, new = work.action(rsc, key, task, node)
    if new:
        action.interval_ms = interval_ms
        rsc.action_list.append(action)
        _configure(work, rsc, action)
    _update_optional(rsc, action, optional)
    update_runnable(work, rsc, action)
    return action


def _configure(work: WorkingSet, rsc: Resource, action: Action) -> None:
    if rsc.variant != Variant.PRIMITIVE and action.task not in ("start", "promote"):
        return
    task = action.task
    if rsc.primitive is not None:
        op = operations.find_op(rsc, task, action.interval_ms)
        action.op = op
        action.meta = operations.op_meta(work, rsc, op, task, action.interval_ms)
        action.timeout_ms = operations.timeout_ms(work, rsc, op, action.meta, task, action.interval_ms)
    if task in ("start", "promote"):
        action.needs = rsc.settings.needs


def _update_optional(rsc: Resource, action: Action, optional: bool) -> None:
    if action.node is not None and not action.flags & PSEUDO and not rsc.managed and action.interval_ms == 0:
        action.flags |= OPTIONAL
    elif not optional:
        action.flags &= ~OPTIONAL


def quorum_policy(work: WorkingSet, rsc: Resource) -> str:
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


def is_active(rsc: Resource, whole: bool) -> bool:
    """Whether a resource (all of its parts, if ``whole``) is active somewhere."""
    if rsc.variant == Variant.PRIMITIVE:
        return any(node.unclean or node.online or not rsc.managed for node in rsc.running_on)
    states = [is_active(child, whole) for child in rsc.children]
    return all(states) if whole else any(states)


def update_runnable(work: WorkingSet, rsc: Resource, action: Action) -> None:
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


def rsc_pseudo(work: WorkingSet, rsc: Resource, task: str, optional: bool, runnable: bool = True) -> Action:
    """A pseudo-action of a collection, such as a clone's "started"."""
    action = make(work, rsc, orderings.key_of(rsc, task), task, None, optional)
    action.flags |= PSEUDO
    if runnable:
        action.flags |= RUNNABLE
    return action


def start(work: WorkingSet, rsc: Resource, node: Node | None, optional: bool) -> Action:
    return make(work, rsc, orderings.key_of(rsc, "start"), "start", node, optional)


def stop(work: WorkingSet, rsc: Resource, node: Node | None, optional: bool) -> Action:
    return make(work, rsc, orderings.key_of(rsc, "stop"), "stop", node, optional)


def promote(work: WorkingSet, rsc: Resource, node: Node | None, optional: bool) -> Action:
    return make(work, rsc, orderings.key_of(rsc, "promote"), "promote", node, optional)


def demote(work: WorkingSet, rsc: Resource, node: Node | None, optional: bool) -> Action:
    return make(work, rsc, orderings.key_of(rsc, "demote"), "demote", node, optional)


def schedule_cleanup(work: WorkingSet, rsc: Resource, node: Node, optional: bool) -> None:
    """Have a resource's history on a node removed, after its stop and before its start."""
    if rsc.failed or node.unclean or not node.online:
        return
    make(work, rsc, orderings.key_of(rsc, "delete"), "delete", node, optional)
    orderings.order_tasks(work, rsc, "stop", rsc, "delete", O_IMPLIES_THEN if optional else O_OPTIONAL)
    orderings.order_tasks(work, rsc, "delete", rsc, "start", O_IMPLIES_THEN if optional else O_OPTIONAL)
