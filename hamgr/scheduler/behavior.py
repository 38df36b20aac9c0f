"""What the kinds of resources do each in their own way: the table through which stages call primitives, groups, ..."""

from __future__ import annotations

from hamgr.scheduler.state.action import Act
from hamgr.scheduler.state.constraint import Colocation, LocationRt
from hamgr.scheduler.state.node import NodeRt, NodeScores
from hamgr.scheduler.state.resource import Rsc
from hamgr.scheduler.state.work import Work

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object


class Behavior(Protocol):
    """The operations in which primitives, groups, clones and bundles differ."""

    def assign(self, work: Work, rsc: Rsc, preferred: NodeRt | None) -> NodeRt | None:
        """Choose nodes for a resource; the node (of its first part) or None."""

    def create_actions(self, work: Work, rsc: Rsc) -> None:
        """Make the actions that bring the resource from its present to its next state."""

    def create_probe(self, work: Work, rsc: Rsc, node: NodeRt) -> bool:
        """Probe what is not yet known on a node; whether anything is probed."""

    def internal_constraints(self, work: Work, rsc: Rsc) -> None:
        """Add the orderings and colocations within the resource."""

    def apply_colocation(
        self, work: Work, dependent: Rsc, primary: Rsc, colocation: Colocation, for_dependent: bool
    ) -> None:
        """Apply a colocation to the dependent's scores, on behalf of the dependent or of the primary."""

    def add_scores(
        self, work: Work, rsc: Rsc, table: NodeScores, attribute: str, factor: float, mode: int
    ) -> NodeScores:
        """Add a dependent's preferences to a primary's table of scores, as MERGE_... says; the new table."""

    def apply_location(self, work: Work, rsc: Rsc, constraint: LocationRt) -> None:
        """Apply a location constraint."""

    def action_flags(self, action: Act, node: NodeRt | None) -> int:
        """An action's flags, for collections as their parts have it."""

    def update_ordered(
        self, work: Work, first: Act, then: Act, node: NodeRt | None, flags: int, filter_: int, type_: int
    ) -> int:
        """Spread what an ordering between two actions implies; which of the two changed."""

    def add_to_graph(self, work: Work, rsc: Rsc) -> None:
        """Choose which actions belong into the graph."""


BEHAVIORS: dict[int, Behavior] = {}
