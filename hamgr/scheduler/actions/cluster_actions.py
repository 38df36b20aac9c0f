"""Actions of the cluster as a whole, which belong to no resource: fencing, shutdown, pseudo-actions."""

from __future__ import annotations

from hamgr.scheduler.state.constants import OPTIONAL, PSEUDO, RUNNABLE
from hamgr.scheduler.state.entities import Action, Node
from hamgr.scheduler.state.working_set import WorkingSet


def make(work: WorkingSet, key: str, task: str, node: Node | None, optional: bool) -> Action:
    """The action with this key on this node, made if need be and made required unless ``optional``."""
    action, _ = work.action(None, key, task, node)
    if not optional:
        action.flags &= ~OPTIONAL
    return action


def pseudo(work: WorkingSet, task: str, node: Node | None = None) -> Action:
    """A pseudo-action, runnable, and optional until something needs it."""
    action = make(work, task, task, node, True)
    action.flags |= PSEUDO | RUNNABLE
    return action
