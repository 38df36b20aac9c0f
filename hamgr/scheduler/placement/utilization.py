"""Utilization: placing resources by what they need and what nodes have left.

Implements "Utilization and Placement Strategy" of Pacemaker Explained (utilization, balanced, minimal).
"""

from __future__ import annotations

from functools import cmp_to_key

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import cluster_actions, orderings
from hamgr.scheduler.placement import colocation_scores, node_scores
from hamgr.scheduler.state.constants import O_LOAD, OPTIONAL, Variant
from hamgr.scheduler.state.entities import Action, Colocation, Node, NodeScores, Resource, any_available
from hamgr.scheduler.state.working_set import WorkingSet


def compare_capacities(a: Node, b: Node) -> int:
    """Negative when ``a`` has more left, counting capacities."""
    result = 0
    for name in a.utilization.keys() | b.utilization.keys():
        mine, other = a.utilization.get(name, 0), b.utilization.get(name, 0)
        result += (mine < other) - (mine > other)
    return result


def consume(node: Node, rsc: Resource) -> None:
    for name, amount in rsc.utilization.items():
        node.utilization[name] = node.utilization.get(name, 0) - amount


def release(node: Node, rsc: Resource) -> None:
    for name, amount in rsc.utilization.items():
        node.utilization[name] = node.utilization.get(name, 0) + amount


def sorted_nodes(work: WorkingSet, table: NodeScores, active: Node | None) -> list[Node]:
    """Nodes in the order of choice under a placement strategy."""
    strategy = work.options.placement

    def compare(a: Node, b: Node) -> int:
        score_a = table[a] if a.is_available() else -INFINITY
        score_b = table[b] if b.is_available() else -INFINITY
        if score_a != score_b:
            return -1 if score_a > score_b else 1
        if strategy != "minimal":
            if strategy == "balanced":
                order = compare_capacities(a, b)
                if order:
                    return order
            if a.num_resources != b.num_resources:
                return -1 if a.num_resources < b.num_resources else 1
            if active is not None and (a is active) != (b is active):
                return -1 if a is active else 1
        return (a.name > b.name) - (a.name < b.name)

    return sorted(table, key=cmp_to_key(compare))


# --- capacity -----------------------------------------------------------------------------------------


def _colocated(rsc: Resource, origin: Resource, found: list[Resource]) -> list[Resource]:
    """All that has to be on one node with a resource."""
    if rsc in found:
        return found
    found.append(rsc)
    if rsc.variant == Variant.GROUP and (rsc.settings.colocated or (rsc.parent is not None and rsc.parent.is_clone())):
        for member in rsc.children:
            _colocated(member, origin, found)
    for constraint in colocation_scores.with_primaries(rsc):
        primary = constraint.primary
        if primary is not origin and _binding(rsc, primary, constraint):
            _colocated(primary, origin, found)
    for constraint in colocation_scores.with_dependents(rsc):
        dependent = constraint.dependent
        if dependent is origin or (rsc.is_clone() and not dependent.is_clone()):
            continue
        if _binding(dependent, rsc, constraint):
            _colocated(dependent, origin, found)
    return found


def _binding(dependent: Resource, primary: Resource, constraint: Colocation) -> bool:
    return (
        constraint.score == INFINITY
        and colocation_scores.affects(dependent, primary, constraint, preview=True) == colocation_scores.LOCATION
    )


def _demand(resources: list[Resource]) -> dict[str, int]:
    counted: set[Resource] = set()
    total: dict[str, int] = {}
    for rsc in resources:
        parts = [rsc]
        if rsc.is_clone():
            # Any one instance, unless one is counted already.
            leaves = [leaf for child in rsc.children for leaf in child.leaves()]
            parts = (
                []
                if any(leaf in resources for leaf in leaves)
                else list(rsc.children[0].leaves() if rsc.children else ())
            )
        elif rsc.bundle is not None:
            # Any one container, since all are the same.
            parts = [replica.container for replica in rsc.bundle.replicas[:1]] if rsc.placing.provisional else []
        elif rsc.variant == Variant.GROUP:
            parts = list(rsc.leaves()) if rsc.settings.colocated else list(rsc.leaves())[:1]
        for part in parts:
            if part in counted or not part.placing.provisional:
                continue
            counted.add(part)
            for name, amount in part.utilization.items():
                total[name] = total.get(name, 0) + amount
    return total


def _fits(node: Node, demand: dict[str, int]) -> bool:
    return all(amount <= node.utilization.get(name, 0) for name, amount in demand.items())


def restrict(work: WorkingSet, rsc: Resource, preferred: Node | None) -> Node | None:
    """Ban a resource from nodes without room; the node to prefer."""
    together = _demand(_colocated(rsc, rsc, []))
    candidates = [node for node, score in rsc.allowed.items() if score >= 0 and node.is_available()]
    roomiest: Node | None = None
    for node in candidates:
        # Of nodes with equal room the first one listed; Pacemaker takes the first of a hash table of node ids.
        if roomiest is None or compare_capacities(node, roomiest) < 0:
            roomiest = node
    fits_together = any(_fits(node, together) for node in candidates)
    demand = together if fits_together else rsc.utilization
    for node in candidates:
        if not _fits(node, demand):
            node_scores.ban(work, rsc, node, "utilization")
    return preferred or (None if fits_together else roomiest)


# --- order of assignment --------------------------------------------------------------------------------


def sort_resources(work: WorkingSet) -> None:
    """Those with the strongest preferences are assigned first."""
    nodes = sorted_nodes(work, {node: node.weight for node in work.nodes}, None)
    tables = {rsc: _preferences(work, rsc) for rsc in work.resources}

    def compare(a: Resource, b: Resource) -> int:
        if a.priority != b.priority:
            return -1 if a.priority > b.priority else 1
        table_a, table_b = tables[a], tables[b]
        score_a, score_b = _score_at_home(a, table_a), _score_at_home(b, table_b)
        if score_a != score_b:
            return -1 if score_a > score_b else 1
        for node in nodes:
            score_a, score_b = table_a.get(node, -INFINITY), table_b.get(node, -INFINITY)
            if score_a != score_b:
                return -1 if score_a > score_b else 1
        return 0

    work.resources.sort(key=cmp_to_key(compare))


def _score_at_home(rsc: Resource, table: NodeScores) -> int:
    home = rsc.current_node()
    return table.get(home, -INFINITY) if home is not None else -INFINITY


def _preferences(work: WorkingSet, rsc: Resource) -> NodeScores:
    return _merge(work, rsc, None, "#uname", 1.0)


def _merge(work: WorkingSet, rsc: Resource, table: NodeScores | None, attribute: str, factor: float) -> NodeScores:
    if rsc.variant == Variant.GROUP and rsc.children:
        if rsc.placing.merging:
            return table or {}
        rsc.placing.merging = True
        # A group's last member is with all the others, so that its own preferences contain theirs.
        member = rsc.children[-1] if table is None else rsc.children[0]
        table = _merge(work, member, table, attribute, factor)
        for constraint in colocation_scores.with_primaries(rsc):
            part = colocation_scores.float32(constraint.score / INFINITY)
            table = _merge(work, constraint.primary, table, constraint.attribute, part)
        rsc.placing.merging = False
        return table
    if rsc.placing.merging:
        return table or {}
    rsc.placing.merging = True
    if table is None:
        result = dict(rsc.allowed)
    else:
        result = colocation_scores.matching(rsc, table, attribute, factor, False)
    if any_available(result):
        sign = -1 if factor < 0 else 1
        for constraint in colocation_scores.with_primaries(rsc):
            part = colocation_scores.float32(sign * constraint.score / INFINITY)
            result = _merge(work, constraint.primary, result, constraint.attribute, part)
    elif table is not None:
        # Preferences that leave no node are not counted.
        result = table
    rsc.placing.merging = False
    return result


# --- orderings ----------------------------------------------------------------------------------------


def internal_constraints(work: WorkingSet, rsc: Resource) -> None:
    """What stops on a node makes room before anything starts there (or migrates to it)."""
    for node in rsc.running_on:
        stopped = _load_stopped(work, node)
        orderings.new_ordering(work, rsc, orderings.key_of(rsc, "stop"), None, None, stopped.key, stopped, O_LOAD)
    for node in rsc.allowed:
        stopped = _load_stopped(work, node)
        for task in ("start", "migrate_to"):
            orderings.new_ordering(work, None, stopped.key, stopped, rsc, orderings.key_of(rsc, task), None, O_LOAD)


def _load_stopped(work: WorkingSet, node: Node) -> Action:
    stopped = cluster_actions.pseudo(work, f"load_stopped_{node.name}", node=node)
    stopped.flags &= ~OPTIONAL
    return stopped
