"""Actions of the cluster as a whole, which belong to no resource: fencing, shutdown, pseudo-actions."""

from __future__ import annotations

from hamgr.scheduler.state.constants import OPTIONAL, PSEUDO, RUNNABLE
from hamgr.scheduler.state.entities import Act, NodeRt
from hamgr.scheduler.state.working_set import Work


def make(work: Work, key: str, task: str, node: NodeRt | None, optional: bool) -> Act:
    """The action with this key on this node, made if need be and made required unless ``optional``."""
    action, _ = work.action(None, key, task, node)
    if not optional:
        action.flags &= ~OPTIONAL
    return action


def pseudo(work: Work, task: str, node: NodeRt | None = None) -> Act:
    """A pseudo-action, runnable, and optional until something needs it."""
    action = make(work, task, task, node, True)
    action.flags |= PSEUDO | RUNNABLE
    return action
