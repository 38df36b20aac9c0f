"""Applies orderings: from what resources and constraints asked for to links between actions, and then what they imply.

Implements "Ordering Constraints" of Pacemaker Explained; what a link implies is in `action_relations`.
"""

from __future__ import annotations

from hamgr.scheduler.actions import action_relations, graph_inputs, orderings, probes, resource_actions
from hamgr.scheduler.state.constants import (
    DANGLE,
    O_IMPLIES_THEN,
    O_LOAD,
    O_NONE,
    O_PRESERVE,
    RUNNABLE,
    STOPPED,
    UNPROMOTED,
)
from hamgr.scheduler.state.entities import Action, Link, Ordering, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def apply(work: WorkingSet) -> None:
    """Apply all orderings, then spread their consequences."""
    # Resources' implicit orderings come first in Pacemaker's list, which it walks backwards; links between actions do
    # not depend on it.
    for ordering in work.orderings:
        if ordering.first_rsc is not None:
            _from_resource(work, ordering)
        elif ordering.then_rsc is not None:
            _to_resource(ordering.first, ordering.then_rsc, ordering)
        else:
            orderings.order(ordering.first, ordering.then, ordering.flags)
    # Newest first, as everywhere below: of several reasons the first one is told, and a cycle ends as Pacemaker's does.
    for action in reversed(work.actions[:]):
        action_relations.block_dependents(work, action)
    probes.order(work)
    for action in reversed(work.actions[:]):
        action_relations.update(work, action)
    _disable_invalid(work)


def _disable_invalid(work: WorkingSet) -> None:
    """Drop orderings between a resource on a guest node and the resource that makes the guest node."""
    for action in reversed(work.actions):
        for link in action.before:
            first = link.action
            if (
                first.node is not None
                and first.node.guest
                and first.rsc is not None
                and not link.flags & O_PRESERVE
                and action.rsc is not None
                and first.node.remote_rsc is not None
                and action.rsc is first.node.remote_rsc.container
            ) or (link.flags == O_LOAD and action.task == "migrate_to" and _loops(action, link)):
                link.flags = O_NONE


def _loops(action: Action, link: Link) -> bool:
    """Whether an input that would be in the graph itself waits for the action, so that both would wait forever."""
    seen: set[Action] = set()
    stack = [(action, link)]
    while stack:
        then, via = stack.pop()
        if via.action in seen or not graph_inputs.keeps(then, via.action, via.flags):
            continue
        if via.action is action:
            return True
        seen.add(via.action)
        stack.extend((via.action, before) for before in via.action.before)
    return False


def _from_resource(work: WorkingSet, ordering: Ordering) -> None:
    rsc = ordering.first_rsc
    assert rsc is not None
    firsts = [ordering.first] if ordering.first is not None else list(rsc.actions.get(ordering.first_task, ()))
    if not firsts and ordering.first_rsc is not ordering.then_rsc:
        first = _inherent_first(work, rsc, ordering)
        if first is not None:
            firsts = [first]
    for first in firsts:
        if ordering.then_rsc is not None:
            _to_resource(first, ordering.then_rsc, ordering)
        else:
            orderings.order(first, ordering.then, ordering.flags)


def _inherent_first(work: WorkingSet, rsc: Resource, ordering: Ordering) -> Action | None:
    """An action that nobody has asked for yet, made (optional) so that the ordering has an end to hold."""
    task, interval = parse_key(ordering.first_task, rsc.id)
    if task == "stop" and action_relations.state_of(rsc) == STOPPED:
        return None
    if task == "demote" and action_relations.state_of(rsc) == UNPROMOTED:
        return None
    return resource_actions.make(work, rsc, ordering.first_task, task, None, True, interval)


def parse_key(key: str, rsc_id: str) -> tuple[str, int]:
    """Task and interval of an operation key."""
    rest = key[len(rsc_id) + 1 :] if key.startswith(rsc_id + "_") else key
    task, _, interval = rest.rpartition("_")
    return task, int(interval) if interval.isdigit() else 0


def _to_resource(first: Action | None, rsc: Resource, ordering: Ordering) -> None:
    flags = ordering.flags
    if ordering.then is not None:
        thens = [ordering.then]
    else:
        thens = list(rsc.actions.get(ordering.then_task, ()))
    if not thens or (first is None and not flags & O_IMPLIES_THEN):
        return
    if first is not None and first.rsc is rsc and first.flags & DANGLE:
        flags &= ~O_IMPLIES_THEN
    for then in thens:
        if first is not None:
            orderings.order(first, then, flags)
        else:
            then.flags &= ~RUNNABLE
