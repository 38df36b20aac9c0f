"""Actions of a clone or bundle as a whole (start, running, stop, stopped), and how orderings reach its instances.

A collection's action stands for those of its instances: it is required and runnable as they are, and what it is ordered
with is spread to them.
"""

from __future__ import annotations

from hamgr.cib.booleans import is_true
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import action_relations, notifications, orderings, resource_actions
from hamgr.scheduler.placement import assignment
from hamgr.scheduler.state.constants import (
    MIGRATE_RUNNABLE,
    O_IMPLIES_THEN,
    O_RUNNABLE_LEFT,
    OPTIONAL,
    PSEUDO,
    RUNNABLE,
    Variant,
)
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.parts import compatible, instances, part_task
from hamgr.scheduler.state.working_set import WorkingSet


def create_pseudo_actions(work: WorkingSet, rsc: Resource, parts: list[Resource]) -> None:
    """A clone's start, running, stop and stopped."""
    status = {"start": False, "stop": False, "active": False}
    for child in parts:
        _pseudo_status(child, status)
    starting, stopping, active = status["start"], status["stop"], status["active"]
    resource_actions.rsc_pseudo(work, rsc, "start", not starting)
    running = resource_actions.rsc_pseudo(work, rsc, "running", not starting, runnable=False)
    running.priority = INFINITY
    running.flags = running.flags | RUNNABLE if active or starting else running.flags & ~RUNNABLE
    stop = resource_actions.rsc_pseudo(work, rsc, "stop", not stopping)
    stopped = resource_actions.rsc_pseudo(work, rsc, "stopped", not stopping)
    stopped.priority = INFINITY
    stop.flags |= MIGRATE_RUNNABLE
    if rsc.settings.notify and rsc.is_clone():
        notifications.add_pseudo_actions(work, rsc, "start", "stop")


def _pseudo_status(rsc: Resource, status: dict[str, bool]) -> None:
    for child in rsc.children:
        _pseudo_status(child, status)
    if rsc.children:
        return
    if rsc.running_on:
        status["active"] = True
    for action in rsc.action_list:
        if action.flags & OPTIONAL or not action.flags & (PSEUDO | RUNNABLE):
            continue
        if action.task == "stop":
            status["stop"] = True
        elif action.task == "start" and action.flags & RUNNABLE:
            status["start"] = True


def _part_action_task(part: Resource, action: Action) -> str:
    task = action.task
    if "notify" in action.key and task in ("notified", "notify"):
        # "confirmed-post_notify_running": what has been notified about
        task = action.key.rpartition("_")[0].rpartition("_")[2]
    return part_task(part, task)


def summed_flags(work: WorkingSet, action: Action, parts: list[Resource], node: Node | None) -> int:
    """A collection's action is required if any part's is, and runnable if any part's is."""
    flags = OPTIONAL | RUNNABLE | PSEUDO
    any_runnable = False
    for child in parts:
        child_action = resource_actions.find_task(
            child, _part_action_task(child, action), None if child.children else node
        )
        if child_action is None:
            continue
        child_flags = work.variants[child.variant].action_flags(work, child_action, node)
        if flags & OPTIONAL and not child_flags & OPTIONAL:
            flags &= ~OPTIONAL
            action.flags &= ~OPTIONAL
        if child_flags & RUNNABLE:
            any_runnable = True
    if not any_runnable:
        flags &= ~RUNNABLE
        if node is None:
            action.flags &= ~RUNNABLE
    return flags


# --- orderings between collections --------------------------------------------------------------------


def _may_interleave(first: Action, then: Action) -> bool:
    if first.rsc is None or then.rsc is None or first.rsc is then.rsc:
        return False
    if first.rsc.variant < Variant.CLONE or then.rsc.variant < Variant.CLONE:
        return False
    rsc = first.rsc if then.task in ("stop", "demote") else then.rsc
    return is_true(rsc.meta.get("interleave"))


def update_ordered(
    work: WorkingSet, first: Action, then: Action, node: Node | None, flags: int, filter_: int, type_: int
) -> int:
    """Spread an ordering to the instances of its second action (and pair them where they interleave)."""
    if _may_interleave(first, then):
        return _update_interleaved(work, first, then, node, filter_, type_)
    if then.rsc is None:
        return 0
    changed = action_relations.update_primitive(work, first, then, flags, filter_, type_)
    for child in instances(then.rsc):
        action = resource_actions.find_task(child, then.task, node)
        if action is None or not work.variants[child.variant].action_flags(work, action, node) & RUNNABLE:
            continue
        child_changed = work.variants[child.variant].update_ordered(work, first, action, node, flags, filter_, type_)
        changed |= child_changed
        if child_changed & action_relations.THEN:
            for link in list(action.after):
                action_relations.update(work, link.action)
    return changed


def _update_interleaved(
    work: WorkingSet, first: Action, then: Action, node: Node | None, filter_: int, type_: int
) -> int:
    assert first.rsc is not None
    assert then.rsc is not None
    current = first.key.endswith(("_stopped_0", "_demoted_0"))
    changed = 0
    for child in instances(then.rsc):
        partner = compatible(child, first.rsc, current)
        if partner is None:
            if not current and type_ & (O_RUNNABLE_LEFT | O_IMPLIES_THEN):
                # Nothing to pair with where it would run, so it must not run.
                changed |= action_relations.THEN if assignment.keep_down(work, child) else 0
            continue
        # Of a bundle, these are its containers' actions; what is inside of them is not paired.
        first_child_action = resource_actions.find_task(partner, _part_action_task(partner, first), node)
        then_action = resource_actions.find_task(child, part_task(child, then.task), node)
        if first_child_action is None or then_action is None:
            continue
        if orderings.order(first_child_action, then_action, type_):
            changed |= action_relations.FIRST | action_relations.THEN
        changed |= work.variants[child.variant].update_ordered(
            work,
            first_child_action,
            then_action,
            node,
            work.variants[partner.variant].action_flags(work, first_child_action, node),
            filter_,
            type_,
        )
    return changed
