"""Attributes of resources, as rules evaluate them: parameters for a node, utilization, target-role."""

from __future__ import annotations

from hamgr.cib import model, rules, scores
from hamgr.scheduler.state.constants import PROMOTED, ROLES_BY_NAME, STARTED, UNKNOWN
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Sequence


def target_role(rsc: Resource) -> int:
    """The role that meta attribute ``target-role`` limits a resource to, or UNKNOWN where it says nothing new."""
    text = rsc.meta.get("target-role")
    role = ROLES_BY_NAME.get(text.capitalize(), UNKNOWN) if text else UNKNOWN
    if role in (UNKNOWN, STARTED):
        return UNKNOWN
    if role > STARTED and (not rsc.top().settings.promotable or role == PROMOTED):
        return UNKNOWN
    return role


def params(work: WorkingSet, rsc: Resource, node: Node | None) -> dict[str, str]:
    """A resource's instance attributes as evaluated for a node (or for none)."""
    cached = rsc.params_cache.get(node)
    if cached is None:
        context = rules.Context(
            now=work.now,
            attributes=None if node is None else node.attributes,
            agent=rsc.primitive.agent if rsc.primitive else None,
        )
        cached = rules.values(rsc.settings.own_params, context)
        if rsc.parent is not None:
            for name, value in params(work, rsc.parent, node).items():
                cached.setdefault(name, value)
        rsc.params_cache[node] = cached
    return cached


def utilization(sets: Sequence[model.NvSet], context: rules.Context) -> dict[str, int]:
    """Capacities or demands by name, where they are numbers."""
    return {name: scores.leading_int(value) for name, value in rules.values(sets, context).items()}
