"""What restrains where a resource may be and in which role: colocations, locations and tickets, as runtime objects.

Orderings restrain actions, not places: they are in `action`.
"""

from __future__ import annotations

from hamgr.scheduler.state.vocabulary import UNKNOWN

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from hamgr.cib import model
    from hamgr.scheduler.state.node import NodeRt
    from hamgr.scheduler.state.resource import Rsc

# How one resource's preferences are merged into another's scores.
MERGE_POSITIVE = 1  # totals do not go below zero
MERGE_OPTIONAL = 2  # not at all, if no node would remain


class Colocation:
    """A colocation between two runtime resources."""

    __slots__ = ("attribute", "dependent", "dependent_role", "id", "influence", "primary", "primary_role", "score")

    def __init__(
        self,
        colocation_id: str,
        dependent: Rsc,
        primary: Rsc,
        score: int,
        dependent_role: int = UNKNOWN,
        primary_role: int = UNKNOWN,
        attribute: str = "",
        influence: bool | None = None,
    ) -> None:
        self.id = colocation_id
        self.dependent = dependent
        self.primary = primary
        self.score = score
        self.dependent_role = dependent_role
        self.primary_role = primary_role
        self.attribute = attribute or "#uname"
        self.influence = dependent.critical if influence is None else influence


class LocationRt:
    """A location constraint's effect: nodes and their scores."""

    __slots__ = ("discovery", "id", "nodes", "role", "rsc")

    def __init__(self, location_id: str, rsc: Rsc, role: int, discovery: str) -> None:
        self.id = location_id
        self.rsc = rsc
        self.role = role
        self.discovery = discovery
        self.nodes: list[tuple[NodeRt, int]] = []


class TicketRt:
    """A ticket that a resource depends on."""

    __slots__ = ("id", "loss_policy", "role", "ticket")

    def __init__(self, constraint_id: str, ticket: model.Ticket, role: int, loss_policy: str) -> None:
        self.id = constraint_id
        self.ticket = ticket
        self.role = role
        self.loss_policy = loss_policy
