"""Orderings: between two actions (a link), or between tasks of resources, to be applied when all actions are known."""

from __future__ import annotations

from hamgr.scheduler.state.constants import O_APPLY_FIRST_NON_MIGRATABLE, O_NONE, O_OPTIONAL
from hamgr.scheduler.state.entities import Action, Link, Ordering, Resource
from hamgr.scheduler.state.working_set import WorkingSet

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


def key_of(rsc: Resource, task: str, interval_ms: int = 0) -> str:
    return f"{rsc.id}_{task}_{interval_ms}"


def order(first: Action | None, then: Action | None, flags: int) -> bool:
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
    work: WorkingSet,
    first_rsc: Resource | None,
    first_key: str,
    first: Action | None,
    then_rsc: Resource | None,
    then_key: str,
    then: Action | None,
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


def _migration_equivalents(work: WorkingSet, first: Resource, then: Resource, ordering: Ordering) -> None:
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
        if then.recorded.partial_migration_target is not None:
            order_tasks(work, first, "stop", then, "migrate_from", flags)
    elif pair == ("promote", "start"):
        order_tasks(work, first, "promote", then, "migrate_to", O_OPTIONAL)
    elif pair == ("demote", "stop"):
        order_tasks(work, first, "demote", then, "migrate_to", O_OPTIONAL)
        if then.recorded.partial_migration_target is not None:
            order_tasks(work, first, "demote", then, "migrate_from", O_OPTIONAL)


def order_tasks(work: WorkingSet, first: Resource, first_task: str, then: Resource, then_task: str, flags: int) -> None:
    """Order a task of one resource before a task of another."""
    new_ordering(work, first, key_of(first, first_task), None, then, key_of(then, then_task), None, flags)


def order_starts(work: WorkingSet, first: Resource, then: Resource, flags: int) -> None:
    order_tasks(work, first, "start", then, "start", flags)


def order_stops(work: WorkingSet, first: Resource, then: Resource, flags: int) -> None:
    order_tasks(work, first, "stop", then, "stop", flags)
