"""Live migration: moving a resource without stopping it.

Implements "Migrating Resources" of Pacemaker Explained: migrate_to on the source, migrate_from on the target, then a
stop on the source; the start becomes a pseudo-action.
"""

from __future__ import annotations

from hamgr.scheduler.actions import orderings, resource_actions
from hamgr.scheduler.state.constants import (
    MIGRATE_RUNNABLE,
    O_IMPLIES_FIRST_MIGRATABLE,
    O_OPTIONAL,
    O_PSEUDO_LEFT,
    PSEUDO,
)
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def possible(rsc: Resource, current: Node | None) -> bool:
    """Whether a resource may be migrated live from where it is to where it is assigned."""
    target = rsc.assigned_to
    return (
        rsc.allow_migrate
        and rsc.managed
        and not rsc.failed
        and not rsc.recorded.start_pending
        and current is not None
        and not current.unclean
        and target is not None
        and not target.unclean
    )


def create_actions(work: WorkingSet, rsc: Resource, current: Node) -> None:
    """Add the migration beside the stop and start that it replaces if orderings allow."""
    target = rsc.assigned_to
    assert target is not None
    start = resource_actions.start(work, rsc, target, True)
    stop = resource_actions.stop(work, rsc, current, True)
    pair = {"migrate_source": current.name, "migrate_target": target.name}
    start.flags |= PSEUDO | MIGRATE_RUNNABLE
    stop.flags |= MIGRATE_RUNNABLE
    begins = rsc.recorded.partial_migration_target is None
    if begins:
        migrate_to = _half(work, rsc, "migrate_to", current, pair)
        migrate_to.needs = start.needs
        orderings.order_tasks(work, rsc, "monitor", rsc, "migrate_to", O_OPTIONAL)
        orderings.order_tasks(work, rsc, "migrate_to", rsc, "migrate_from", O_OPTIONAL | O_IMPLIES_FIRST_MIGRATABLE)
    migrate_from = _half(work, rsc, "migrate_from", target, pair)
    if not begins:
        migrate_from.needs = start.needs
        orderings.order_tasks(work, rsc, "monitor", rsc, "migrate_from", O_OPTIONAL)
    orderings.order_tasks(work, rsc, "migrate_from", rsc, "stop", O_OPTIONAL | O_IMPLIES_FIRST_MIGRATABLE)
    orderings.order_tasks(
        work, rsc, "migrate_from", rsc, "start", O_OPTIONAL | O_IMPLIES_FIRST_MIGRATABLE | O_PSEUDO_LEFT
    )


def _half(work: WorkingSet, rsc: Resource, task: str, node: Node, pair: dict[str, str]) -> Action:
    action = resource_actions.make(work, rsc, orderings.key_of(rsc, task), task, node, True)
    action.meta.update(pair)
    action.flags |= MIGRATE_RUNNABLE
    return action
