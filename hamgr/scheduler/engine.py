"""The stages of a scheduler run, in Pacemaker's order.

Unpack the status; unpack constraints; compare the history with the configuration; place resources; make actions;
schedule fencing; apply orderings; make the graph. Each stage reads what those before it left in the working state.
"""

from __future__ import annotations

import sys

from hamgr.cib.model import Cib
from hamgr.scheduler.actions import apply_orderings, digest_check, failures, fence_scheduling, orderings, probes
from hamgr.scheduler.constraints import unpack_constraints
from hamgr.scheduler.output import graph, summary
from hamgr.scheduler.placement import node_criteria
from hamgr.scheduler.state.constants import O_OPTIONAL
from hamgr.scheduler.state.entities import Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.transition import Transition
from hamgr.scheduler.unpack import status
from hamgr.scheduler.variants import table

TYPE_CHECKING = False  # as typing has it; neither that nor datetime is cheap enough to import for an annotation
if TYPE_CHECKING:
    from datetime import datetime


def effective_time(cib: Cib, now: datetime | int) -> int:
    """The time of the decision in seconds since the epoch: the CIB's execution date if it has one."""
    if cib.execution_date is not None:
        return cib.execution_date
    if isinstance(now, int):
        return now
    from hamgr.cib import dates

    return dates.seconds(now)


def schedule(cib: Cib, now: datetime | int) -> Transition:
    """Decide what has to be done to bring a cluster to its configured state.

    ``cib`` is the configuration with all recorded state; ``now`` the time that rules and failure timeouts see (a number
    is seconds since the epoch). Pure: the same arguments give the same transition.
    """
    work = run(cib, now)
    made, edges = graph.build(work)
    return Transition(made, edges, summary.lines(work), tuple(work.warnings), tuple(work.reasons))


def run(cib: Cib, now: datetime | int, explain: bool = False) -> WorkingSet:
    """All stages up to the applied orderings; the working state, for those who want to look at it.

    ``explain``: let each step of a score leave its reason as well, which takes time.
    """
    work = status.unpack(cib, effective_time(cib, now), table.variants_of(cib))
    work.explain = explain
    # Placement follows chains of colocations, a few calls for each resource of the chain.
    sys.setrecursionlimit(max(sys.getrecursionlimit(), 2000 + 20 * len(work.by_id)))
    if work.options.health_strategy != "none":
        from hamgr.scheduler.constraints import health

        health.apply(work)
    unpack_constraints.unpack(work)
    node_criteria.apply(work)
    for rsc in list(work.resources):
        work.variants[rsc.variant].internal_constraints(work, rsc)
    digest_check.check_all(work)
    _assign(work)
    _create_actions(work)
    if work.have_remote_nodes:
        from hamgr.scheduler.actions import remote_ordering

        remote_ordering.apply(work)
    fence_scheduling.schedule(work)
    apply_orderings.apply(work)
    return work


def _assign(work: WorkingSet) -> None:
    if work.options.placement != "default":
        from hamgr.scheduler.placement import utilization

        utilization.sort_resources(work)
    # Connections come first, since what runs on remote nodes depends on them.
    if work.have_remote_nodes:
        for rsc in work.resources:
            if rsc.settings.is_remote_node:
                work.variants[rsc.variant].assign(work, rsc, rsc.recorded.partial_migration_target)
    for rsc in work.resources:
        if not rsc.settings.is_remote_node:
            work.variants[rsc.variant].assign(work, rsc, None)


def _create_actions(work: WorkingSet) -> None:
    digest_check.check_postponed(work)
    if work.options.startup_probes:
        probes.schedule(work)
    for rsc in work.resources:
        _clear_orphan(work, rsc)
    for rsc in list(work.resources):
        work.variants[rsc.variant].create_actions(work, rsc)


def _clear_orphan(work: WorkingSet, rsc: Resource) -> None:
    """The fail counts of a resource that is no longer configured go with it."""
    if not rsc.orphan:
        return
    for node in work.nodes:
        if node.online and failures.fail_count(work, rsc, node, effective=True)[0]:
            action = failures.clear(work, rsc, node, "it is orphaned")
            orderings.new_ordering(work, rsc, "", action, rsc, orderings.key_of(rsc, "stop"), None, O_OPTIONAL)


__all__ = ["run", "schedule"]
