"""Notifications: telling the instances of a clone before and after their peers change.

Implements "Clone Notifications" of Pacemaker Administration: around each phase of a clone there are "pre" and "post"
pseudo-actions, between which every active instance runs its agent's notify action.
"""

from __future__ import annotations

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import orderings, resource_actions
from hamgr.scheduler.state.constants import O_IMPLIES_THEN, O_OPTIONAL, OPTIONAL, PSEUDO, RUNNABLE, STOPPED
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet

_DONE = {"start": "running", "stop": "stopped", "promote": "promoted", "demote": "demoted"}


class Phase:
    """The pseudo-actions around one phase of a clone."""

    __slots__ = ("post", "post_done", "pre", "pre_done", "task")

    def __init__(self, task: str) -> None:
        self.task = task
        self.pre: Action | None = None
        self.pre_done: Action | None = None
        self.post: Action | None = None
        self.post_done: Action | None = None


def _pseudo(work: WorkingSet, rsc: Resource, around: Action, task: str, kind: str) -> Action:
    key = f"{rsc.id}_{kind}_notify_{around.task}_0"
    action = resource_actions.make(work, rsc, key, task, None, bool(around.flags & OPTIONAL))
    action.flags |= PSEUDO
    return action


def _phase(work: WorkingSet, rsc: Resource, task: str, action: Action | None, complete: Action | None) -> Phase:
    phase = Phase(task)
    if action is not None:
        phase.pre = _pseudo(work, rsc, action, "notify", "pre")
        phase.pre_done = _pseudo(work, rsc, action, "notified", "confirmed-pre")
        for made in (phase.pre, phase.pre_done):
            made.meta.update({"notify_type": "pre", "notify_operation": task})
            made.flags |= RUNNABLE
        orderings.order(phase.pre, phase.pre_done, O_OPTIONAL)
        orderings.order(phase.pre_done, action, O_OPTIONAL)
    if complete is not None:
        phase.post = _pseudo(work, rsc, complete, "notify", "post")
        phase.post_done = _pseudo(work, rsc, complete, "notified", "confirmed-post")
        for made in (phase.post, phase.post_done):
            made.meta.update({"notify_type": "post", "notify_operation": task})
            made.priority = INFINITY
            made.flags = (made.flags & ~RUNNABLE) | (complete.flags & RUNNABLE)
        orderings.order(complete, phase.post, O_IMPLIES_THEN)
        orderings.order(phase.post, phase.post_done, O_IMPLIES_THEN)
    if action is not None and complete is not None:
        orderings.order(phase.pre_done, phase.post, O_OPTIONAL)
    return phase


def add_pseudo_actions(work: WorkingSet, clone: Resource, up: str, down: str) -> None:
    """Add the notifications around two opposite phases, and their order relative to the other phases."""
    assert clone.clone is not None
    phases: dict[str, Phase] = clone.clone.notify_phases
    for task in (up, down):
        phases[task] = _phase(
            work, clone, task, resource_actions.find_task(clone, task), resource_actions.find_task(clone, _DONE[task])
        )
    if up == "start":
        _after(phases, "stop", "start")
        return
    for first, then in (
        ("demote", "stop"),
        ("demote", "start"),
        ("demote", "promote"),
        ("start", "promote"),
        ("stop", "promote"),
    ):
        _after(phases, first, then)


def _after(phases: dict[str, Phase], first: str, then: str) -> None:
    if first in phases and then in phases:
        orderings.order(phases[first].post_done, phases[then].pre, O_OPTIONAL)


# --- instances' notify actions --------------------------------------------------------------------------


def create(work: WorkingSet, clone: Resource) -> None:
    """Settle which phases of a clone take place, and make its instances' notify actions for them."""
    for action in reversed(clone.action_list[:]):
        work.variants[clone.variant].action_flags(work, action, None)
    assert clone.clone is not None
    for phase in clone.clone.notify_phases.values():
        _create(work, clone, phase, _happening(clone))


def _happening(rsc: Resource) -> set[str]:
    """Tasks that some instance carries out."""
    found = set()
    for leaf in rsc.leaves():
        for action in leaf.action_list:
            if action.flags & OPTIONAL or action.node is None:
                continue
            if action.flags & RUNNABLE or (action.task == "stop" and action.node.unclean):
                found.add(action.task)
    return found


def _create(work: WorkingSet, rsc: Resource, phase: Phase, happening: set[str]) -> None:
    for leaf in list(rsc.leaves()):
        _notify_instance(work, leaf, phase, happening)


def _notify_instance(work: WorkingSet, rsc: Resource, phase: Phase, happening: set[str]) -> None:
    task = phase.task
    if task != "stop" and task not in happening:
        return
    if task in ("stop", "demote") and rsc.role != STOPPED:
        for node in rsc.running_on:
            stop = resource_actions.find_task(rsc, "stop", node)
            if stop is not None and stop.flags & PSEUDO and (node.unclean or node.remote_requires_reset):
                continue
            _notify(work, rsc, node, phase, "pre")
            if task == "demote" or stop is None or stop.flags & OPTIONAL:
                _notify_after(work, rsc, node, phase)
    elif task in ("start", "promote") and rsc.next_role != STOPPED:
        target = rsc.assigned_to
        if target is None:
            return
        start = resource_actions.find_task(rsc, "start")
        if start is not None and _connection_blocked(start):
            return
        if task != "start" or start is None or start.flags & OPTIONAL:
            _notify(work, rsc, target, phase, "pre")
        _notify_after(work, rsc, target, phase)


def _connection_blocked(action: Action) -> bool:
    """Whether an action's node is to be reached through a connection that cannot start."""
    connection = action.node.remote_rsc if action.node is not None else None
    start = resource_actions.find_task(connection, "start") if connection is not None else None
    return start is not None and not start.flags & RUNNABLE


def _notify(work: WorkingSet, rsc: Resource, node: Node, phase: Phase, kind: str) -> bool:
    around = phase.pre if kind == "pre" else phase.post
    done = phase.pre_done if kind == "pre" else phase.post_done
    if around is None or done is None or not node.online or not around.flags & RUNNABLE:
        return False
    key = f"{rsc.id}_{kind}_notify_{phase.task}_0"
    action = resource_actions.make(work, rsc, key, "notify", node, bool(around.flags & OPTIONAL))
    action.meta.update({"notify_type": kind, "notify_operation": phase.task})
    orderings.order(around, action, O_OPTIONAL)
    orderings.order(action, done, O_OPTIONAL)
    return True


def _notify_after(work: WorkingSet, rsc: Resource, node: Node, phase: Phase) -> None:
    _notify(work, rsc, node, phase, "post")
    for action in rsc.action_list:
        if action.interval_ms and action.task != "cancel":
            orderings.order(phase.post_done, action, O_OPTIONAL)


def after_fencing(work: WorkingSet, rsc: Resource, fence: Action) -> None:
    """Tell the surviving instances of a clone when a peer has been stopped by fencing."""
    phase = _phase(work, rsc, "stop", None, fence)
    _create(work, rsc.top(), phase, {"stop"})
