"""Placing one primitive: from scores per node to the chosen node.

Implements "Resource placement" (scores, stickiness, ties) of Pacemaker Explained for primitives; collections have
modules of their own and end up here for their parts.
"""

from __future__ import annotations

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import remote_connections
from hamgr.scheduler.placement import colocation_scores
from hamgr.scheduler.state.constants import OPTIONAL, PROMOTED, RUNNABLE, STOPPED
from hamgr.scheduler.state.entities import Colocation, Node, NodeScores, Resource, any_available
from hamgr.scheduler.state.working_set import WorkingSet


def sorted_nodes(work: WorkingSet, table: NodeScores, active: Node | None) -> list[Node]:
    """Nodes in the order of choice: best score, least loaded, where it is active, name."""
    balanced = work.options.placement
    if balanced != "default":
        from hamgr.scheduler.placement import utilization

        return utilization.sorted_nodes(work, table, active)
    keyed = []
    for node, score in table.items():
        weight = score if node.is_available() else -INFINITY
        keyed.append((-weight, node.num_resources, node is not active, node.name, node))
    keyed.sort(key=_first_four)
    return [item[4] for item in keyed]


def _first_four(item: tuple[int, int, bool, str, Node]) -> tuple[int, int, bool, str]:
    return item[:4]


def set_assigned(work: WorkingSet, rsc: Resource, chosen: Node | None, force: bool) -> bool:
    """Record where a resource goes; False when it cannot go there and so goes nowhere."""
    if not force and chosen is not None:
        score = rsc.allowed.get(chosen, 0)
        if score < 0 or not (chosen.is_available() or chosen.guest):
            work.because("node-unavailable", rsc, chosen, score=score)
            rsc.next_role = STOPPED
            chosen = None
    unassign(work, rsc)
    rsc.placing.provisional = False
    if chosen is None:
        rsc.next_role = STOPPED
        _unplaced(rsc)
        return False
    rsc.assigned_to = chosen
    chosen.num_resources += 1
    if work.options.placement != "default":
        from hamgr.scheduler.placement import utilization

        utilization.consume(chosen, rsc)
    work.because("assigned", rsc, chosen, score=rsc.allowed.get(chosen, 0))
    return True


def _unplaced(rsc: Resource) -> None:
    """A resource that goes nowhere is stopped, not started, and no longer monitored."""
    for action in rsc.action_list:
        if action.task == "stop":
            action.flags &= ~OPTIONAL
        elif action.task == "start" or (action.interval_ms and action.target_rc != 7):
            action.flags &= ~RUNNABLE


def keep_down(work: WorkingSet, rsc: Resource) -> bool:
    """Assign a resource and all its parts to no node; whether one of them had one."""
    had = False
    for part in rsc.leaves():
        had = had or part.assigned_to is not None
        set_assigned(work, part, None, True)
    return had


def unassign(work: WorkingSet, rsc: Resource) -> None:
    """Undo an assignment."""
    old = rsc.assigned_to
    if old is not None:
        rsc.assigned_to = None
        old.num_resources -= 1
        if work.options.placement != "default":
            from hamgr.scheduler.placement import utilization

            utilization.release(old, rsc)
    rsc.placing.provisional = True


def assign(work: WorkingSet, rsc: Resource, preferred: Node | None) -> Node | None:
    """Choose a node for a primitive (Pacemaker's pcmk__primitive_assign)."""
    parent = rsc.parent
    if parent is not None and not parent.placing.allocating:
        # The collection decides for its parts.
        work.variants[parent.variant].assign(work, parent, preferred)
    if not rsc.placing.provisional:
        return rsc.assigned_to
    if rsc.placing.allocating:
        return None
    rsc.placing.allocating = True
    _apply_colocations(work, rsc)
    if rsc.next_role == STOPPED:
        before = dict(rsc.allowed) if work.explain else {}
        for node in rsc.allowed:
            rsc.allowed[node] = -INFINITY
        if work.explain:
            work.scores_changed("to-be-stopped", rsc, before)
    elif not work.quorum and work.options.quorum_policy == "freeze" and rsc.next_role > rsc.role:
        rsc.next_role = rsc.role
    if work.options.fencing and not work.have_stonith_resource:
        rsc.managed = False
    if not rsc.managed:
        _stay(work, rsc)
    elif work.options.stop_all:
        set_assigned(work, rsc, None, True)
    elif rsc.placing.provisional:
        _choose(work, rsc, preferred)
    rsc.placing.allocating = False
    if rsc.settings.is_remote_node:
        remote_connections.connection_assigned(work, rsc)
    return rsc.assigned_to


def _apply_colocations(work: WorkingSet, rsc: Resource) -> None:
    for constraint in colocation_scores.with_primaries(rsc):
        _apply_this_with(work, rsc, constraint)
    for constraint in colocation_scores.with_dependents(rsc):
        if colocation_scores.has_influence(constraint):
            colocation_scores.add_dependent_scores(work, rsc, constraint)


def _apply_this_with(work: WorkingSet, rsc: Resource, constraint: Colocation) -> None:
    archive = None
    before = dict(rsc.allowed) if work.explain else {}
    if constraint.dependent_role >= PROMOTED or -INFINITY < constraint.score < 0:
        archive = dict(rsc.allowed)
    work.variants[constraint.primary.variant].assign(work, constraint.primary, None)
    work.variants[rsc.variant].apply_colocation(work, rsc, constraint.primary, constraint, True)
    if archive is not None and not any_available(rsc.allowed):
        rsc.allowed = archive
    if work.explain:
        primary = constraint.primary
        nodes = dict.fromkeys(leaf.assigned_to.name for leaf in primary.leaves() if leaf.assigned_to is not None)
        data: dict[str, str | int] = {"constraint": constraint.id, "primary": primary.id, "wanted": constraint.score}
        work.scores_changed("with-primary", rsc, before, where=" and ".join(nodes), **data)


def _stay(work: WorkingSet, rsc: Resource) -> None:
    """An unmanaged resource is where it is."""
    rsc.next_role = rsc.role
    node = rsc.current_node()
    work.because("unmanaged", rsc, node)
    set_assigned(work, rsc, node, True)


def _choose(work: WorkingSet, rsc: Resource, preferred: Node | None) -> None:
    table = rsc.allowed
    if work.options.placement != "default":
        from hamgr.scheduler.placement import utilization

        preferred = utilization.restrict(work, rsc, preferred)
        table = rsc.allowed
    if not rsc.placing.provisional:
        return
    chosen: Node | None = None
    order = sorted_nodes(work, table, rsc.current_node()) if table else []
    if preferred is not None and order:
        score = table.get(preferred)
        # Another node may have become better since the preference was formed.
        if score is not None and score >= table[order[0]] and score >= 0 and preferred.is_available():
            chosen = preferred
    parent = rsc.parent
    if chosen is None and order:
        chosen = order[0]
        best = table[chosen]
        if (
            best > 0
            and not (parent is not None and parent.settings.unique and parent.is_clone())
            and chosen.is_available()
        ):
            chosen = _keep_where_it_is(rsc, order, table, chosen)
    set_assigned(work, rsc, chosen, False)


def _keep_where_it_is(rsc: Resource, order: list[Node], table: NodeScores, chosen: Node) -> Node:
    """Among equally good nodes, the one where the resource is active already wins."""
    running = rsc.current_node()
    if running is not None and not running.is_available():
        running = None
    if running is not None:
        for node in order[1:]:
            if table[node] != table[chosen]:
                break
            if node is running:
                return node
    return chosen
