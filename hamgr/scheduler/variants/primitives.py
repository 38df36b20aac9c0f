"""Primitives: the actions that take a resource from its role to the next one, and what they wait for.

Implements "Resource Operations" and the role transitions of Pacemaker: Promoted -> demote -> Unpromoted -> stop ->
Stopped -> start -> promote.
"""

from __future__ import annotations

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import (
    action_relations,
    migration,
    orderings,
    probes,
    recurring,
    resource_actions,
    unfencing,
)
from hamgr.scheduler.constraints import colocations, unpack_constraints
from hamgr.scheduler.placement import assignment, colocation_scores
from hamgr.scheduler.state.constants import (
    DANGLE,
    O_IMPLIES_FIRST,
    O_IMPLIES_THEN,
    O_OPTIONAL,
    O_PROMOTED_IMPLIES_FIRST,
    O_RESTART,
    O_RUNNABLE_LEFT,
    O_SAME_NODE,
    O_THEN_CANCELS_FIRST,
    OPTIONAL,
    PRINT_ALWAYS,
    PROMOTED,
    PSEUDO,
    RUNNABLE,
    STARTED,
    STOPPED,
    UNKNOWN,
    UNPROMOTED,
    Needs,
)
from hamgr.scheduler.state.entities import Action, Colocation, Location, Node, NodeScores, Resource
from hamgr.scheduler.state.working_set import WorkingSet

# From a role towards another: the role that comes next on the way.
_NEXT = (
    (UNKNOWN, STOPPED, STOPPED, STOPPED, STOPPED),
    (STOPPED, STOPPED, STARTED, UNPROMOTED, UNPROMOTED),
    (STOPPED, STOPPED, STARTED, UNPROMOTED, PROMOTED),
    (STOPPED, STOPPED, STOPPED, UNPROMOTED, PROMOTED),
    (STOPPED, UNPROMOTED, UNPROMOTED, UNPROMOTED, PROMOTED),
)


class PrimitiveMethods:
    def assign(self, work: WorkingSet, rsc: Resource, preferred: Node | None) -> Node | None:
        return assignment.assign(work, rsc, preferred)

    def create_actions(self, work: WorkingSet, rsc: Resource) -> None:
        create_actions(work, rsc)

    def create_probe(self, work: WorkingSet, rsc: Resource, node: Node) -> bool:
        return probes.probe_primitive(work, rsc, node)

    def internal_constraints(self, work: WorkingSet, rsc: Resource) -> None:
        internal_constraints(work, rsc)

    def apply_colocation(
        self, work: WorkingSet, dependent: Resource, primary: Resource, constraint: Colocation, for_dependent: bool
    ) -> None:
        if for_dependent:
            work.variants[primary.variant].apply_colocation(work, dependent, primary, constraint, False)
        else:
            colocation_scores.apply_to_primitive(work, dependent, primary, constraint)

    def add_scores(
        self, work: WorkingSet, rsc: Resource, table: NodeScores, attribute: str, factor: float, mode: int
    ) -> NodeScores:
        return colocation_scores.add_scores(work, rsc, table, attribute, factor, mode)

    def apply_location(self, work: WorkingSet, rsc: Resource, constraint: Location) -> None:
        unpack_constraints.apply_to_scores(work, rsc, constraint)

    def action_flags(self, work: WorkingSet, action: Action, node: Node | None) -> int:
        return action.flags

    def update_ordered(
        self, work: WorkingSet, first: Action, then: Action, node: Node | None, flags: int, filter_: int, type_: int
    ) -> int:
        return action_relations.update_primitive(work, first, then, flags, filter_, type_)

    def add_to_graph(self, work: WorkingSet, rsc: Resource) -> None:
        return


# --- orderings within -----------------------------------------------------------------------------------


def internal_constraints(work: WorkingSet, rsc: Resource) -> None:
    """Stop before start, demote before stop, start before promote; and what a container implies."""
    if not rsc.managed:
        return
    orderings.order_tasks(work, rsc, "stop", rsc, "start", O_OPTIONAL | O_IMPLIES_THEN | O_RESTART)
    if rsc.top().settings.promotable or rsc.role > UNPROMOTED:
        orderings.order_tasks(work, rsc, "demote", rsc, "stop", O_PROMOTED_IMPLIES_FIRST)
        orderings.order_tasks(work, rsc, "start", rsc, "promote", O_RUNNABLE_LEFT)
    # History is not removed on a node where the resource is about to be probed.
    orderings.order_tasks(work, rsc, "delete", rsc, "monitor", O_SAME_NODE | O_THEN_CANCELS_FIRST)
    if rsc.settings.needs_unfencing and not rsc.settings.fence_device and work.options.enable_unfencing:
        unfencing.internal_constraints(work, rsc)
    if rsc.utilization and work.options.placement != "default":
        from hamgr.scheduler.placement import utilization

        utilization.internal_constraints(work, rsc)
    if rsc.container is not None:
        _with_container(work, rsc, rsc.container)
    if rsc.settings.is_remote_node or rsc.settings.fence_device:
        _avoid_remote_nodes(rsc)


def _with_container(work: WorkingSet, rsc: Resource, container: Resource) -> None:
    remote: Resource | None = None
    if rsc.settings.is_remote_node:
        if not rsc.settings.is_bundle_connection:
            _avoid_remote_nodes(container)
        orderings.order_tasks(work, container, "monitor", rsc, "stop", O_OPTIONAL)
    elif container.settings.is_remote_node:
        remote = container
    else:
        remote = next((f for f in container.fillers if f.settings.is_remote_node), None)
    if remote is not None:
        for node in rsc.allowed:
            if node.remote_rsc is not remote:
                rsc.allowed[node] = -INFINITY
        return
    orderings.order_tasks(work, container, "start", rsc, "start", O_IMPLIES_THEN | O_RUNNABLE_LEFT)
    orderings.order_tasks(work, rsc, "stop", container, "stop", O_IMPLIES_FIRST)
    score = 10_000 if rsc.settings.is_bundle_connection else INFINITY
    colocations.add(work, "resource-with-container", rsc, container, score, influence=True)


def _avoid_remote_nodes(rsc: Resource) -> None:
    for node in rsc.allowed:
        if node.remote_rsc is not None:
            rsc.allowed[node] = -INFINITY


# --- actions ----------------------------------------------------------------------------------------------


def active_node(rsc: Resource) -> tuple[Node | None, int, int]:
    """The node to regard a resource as active on, and on how many (clean) nodes it is active."""
    clean = sum(node.online and not node.unclean for node in rsc.running_on)
    return rsc.current_node(), len(rsc.running_on), clean


def _halfway(rsc: Resource, current: Node | None) -> bool:
    """Whether a migration has come so far that the resource is active at its source and target, and can go on."""
    source, target = rsc.recorded.partial_migration_source, rsc.recorded.partial_migration_target
    return (
        source is not None
        and target is not None
        and len(rsc.running_on) == 2
        and current is source
        and rsc.assigned_to is target
    )


def _needs_restart(work: WorkingSet, rsc: Resource, current: Node | None) -> tuple[bool, bool]:
    """Whether a resource that stays where it is has to be stopped and started, or else to be promoted again."""
    if rsc.failed:
        return rsc.recorded.stop_required, not rsc.recorded.stop_required and rsc.next_role == PROMOTED
    if rsc.blocked:
        return True, False
    if rsc.role > STARTED and current is not None and rsc.assigned_to is not None:
        return not resource_actions.start(work, rsc, rsc.assigned_to, True).flags & OPTIONAL, False
    return False, False


def create_actions(work: WorkingSet, rsc: Resource) -> None:
    """Make a primitive's actions (Pacemaker's pcmk__primitive_create_actions)."""
    if rsc.next_role == UNKNOWN:
        rsc.next_role = STOPPED if rsc.assigned_to is None else STARTED
    current, all_active, clean_active = rsc.active_node()
    for source in rsc.recorded.dangling_migrations:
        stop = resource_actions.stop(work, rsc, source, False)
        stop.flags |= DANGLE
        if work.options.remove_after_stop:
            resource_actions.schedule_cleanup(work, rsc, source, False)
    moving = current is not None and rsc.assigned_to not in (None, current) and rsc.next_role >= STARTED
    migrate = moving and migration.possible(rsc, current)
    continues = migrate and _halfway(rsc, current)
    interrupted = not continues and not (
        rsc.recorded.partial_migration_source is None and rsc.recorded.partial_migration_target is None
    )
    everywhere = interrupted or rsc.settings.needs == Needs.FENCING
    multiply_active = not continues and (all_active if everywhere else clean_active) > 1
    if interrupted:
        rsc.recorded.partial_migration_source = rsc.recorded.partial_migration_target = None
        migrate = False
    # An interrupted migration ends on both nodes, whatever is said of being active more than once.
    rsc.stop_unexpected = multiply_active and not interrupted and rsc.settings.multiple_active == "stop_unexpected"
    recovers = multiply_active and rsc.settings.multiple_active in ("stop_start", "stop_unexpected")
    need_stop = moving or interrupted or recovers
    need_promote = False
    if rsc.recorded.start_pending:
        resource_actions.start(work, rsc, rsc.assigned_to, True).flags |= PRINT_ALWAYS
    if not moving:
        restart, need_promote = _needs_restart(work, rsc, current)
        need_stop = need_stop or restart
    _restart(work, rsc, current, need_stop, need_promote)
    _transition(work, rsc)
    recurring.create(work, rsc)
    if migrate:
        assert current is not None
        migration.create_actions(work, rsc, current)


def _restart(work: WorkingSet, rsc: Resource, current: Node | None, need_stop: bool, need_promote: bool) -> None:
    """Down to Stopped and back up to the present role: optional, unless something needs it."""
    role = rsc.role
    while role != STOPPED:
        following = _NEXT[role][STOPPED]
        _step(work, rsc, role, following, current, not need_stop, restarting=True)
        role = following
    while rsc.role <= rsc.next_role and role != rsc.role and not rsc.blocked:
        following = _NEXT[role][rsc.role]
        required = need_stop or (following == PROMOTED and need_promote)
        _step(work, rsc, role, following, rsc.assigned_to, not required, restarting=True)
        role = following


def _transition(work: WorkingSet, rsc: Resource) -> None:
    role = rsc.role
    while role != rsc.next_role:
        following = _NEXT[role][rsc.next_role]
        _step(work, rsc, role, following, rsc.assigned_to, False, restarting=False)
        role = following


def _step(
    work: WorkingSet, rsc: Resource, role: int, following: int, node: Node | None, optional: bool, restarting: bool
) -> None:
    if following == role:
        return
    if following == STOPPED:
        _stop(work, rsc, optional, restarting)
    elif following == PROMOTED:
        _promote(work, rsc, node, optional, restarting)
    elif role == PROMOTED:
        for place in rsc.running_on:
            if not _expected(rsc, place, restarting):
                resource_actions.demote(work, rsc, place, optional)
    elif role == STOPPED:
        _start(work, rsc, node, optional, restarting)


def _expected(rsc: Resource, node: Node | None, restarting: bool) -> bool:
    """Whether a multiply active resource is meant to be on this node, so that it may just stay there."""
    return (
        restarting and rsc.stop_unexpected and rsc.next_role > STOPPED and node is not None and rsc.assigned_to is node
    )


def _stop(work: WorkingSet, rsc: Resource, optional: bool, restarting: bool) -> None:
    for node in rsc.running_on:
        if _expected(rsc, node, restarting):
            continue
        required = not optional
        if rsc.recorded.partial_migration_target is not None:
            if node is rsc.recorded.partial_migration_target:
                continue
            required = True
        stop = resource_actions.stop(work, rsc, node, not required)
        if rsc.assigned_to is None:
            stop.reason = "node availability"
        elif restarting and rsc.stop_unexpected:
            stop.reason = "being multiply active"
        if not rsc.managed:
            stop.flags &= ~RUNNABLE
        if work.options.remove_after_stop:
            resource_actions.schedule_cleanup(work, rsc, node, not required)
        if rsc.settings.needs_unfencing:
            unfencing.after_stop(work, stop, node)


def _start(work: WorkingSet, rsc: Resource, node: Node | None, optional: bool, restarting: bool) -> None:
    start = resource_actions.start(work, rsc, node, True)
    if node is not None:
        unfencing.order(work, rsc, node, start, O_IMPLIES_THEN)
    if start.flags & RUNNABLE and not optional:
        start.flags &= ~OPTIONAL
    if _expected(rsc, node, restarting):
        start.flags |= PSEUDO


def _promote(work: WorkingSet, rsc: Resource, node: Node | None, optional: bool, restarting: bool) -> None:
    starts = resource_actions.all_of(rsc, "start", node, require_node=True)
    if all(start.flags & RUNNABLE for start in starts):
        promote = resource_actions.promote(work, rsc, node, optional)
        if _expected(rsc, node, restarting):
            promote.flags |= PSEUDO
    else:
        for promote in resource_actions.all_of(rsc, "promote", node, require_node=True):
            promote.flags &= ~RUNNABLE
