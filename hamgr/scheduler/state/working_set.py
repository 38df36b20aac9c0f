"""The whole working state of one run."""

from __future__ import annotations

from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.transition import Reason

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Protocol

    from hamgr.cib import model
    from hamgr.scheduler.state.entities import Colocation, Location, NodeScores, Ordering
    from hamgr.scheduler.state.settings import ClusterOptions
else:
    Protocol = object


class WorkingSet:
    """The whole working state of one run."""

    def __init__(
        self, cib: model.Cib, now: int, options: ClusterOptions, variants: Mapping[int, VariantMethods] | None = None
    ) -> None:
        self.cib = cib
        self.variants = variants or {}  # what the kinds of resources do each in their own way; unpacking needs none
        self.now = now  # seconds since the epoch
        self.options = options
        self.quorum = cib.have_quorum
        self.nodes: list[Node] = []
        self.nodes_by_name: dict[str, Node] = {}
        self.nodes_by_id: dict[str, Node] = {}
        self.resources: list[Resource] = []
        self.by_id: dict[str, Resource] = {}
        self.by_history: dict[str, list[Resource]] = {}
        self.have_stonith_resource = False
        self.have_remote_nodes = False
        self.tickets: dict[str, model.Ticket] = {}
        self.colocations: list[Colocation] = []
        self.locations: list[Location] = []
        self.orderings: list[Ordering] = []
        self.actions: list[Action] = []
        self.singletons: dict[str, list[Action]] = {}  # actions that belong to no resource, by key
        self.last_action_id = 0
        self.stop_needed: list[Resource] = []
        self.param_check: list[tuple[Any, ...]] = []
        self.failed: list[Any] = []
        self.legacy_fail_counts = False  # kept by resource, not by operation
        self.histories: dict[str, dict[str, model.ResourceHistory]] = {}  # by node's name and history id
        self.expired_recurring: set[int] = set()  # id() of records to be rescheduled: their failure has expired
        self.warnings: dict[str, None] = {}  # each one once, in the order in which they were found
        self.reasons: list[Reason] = []
        self.explain = False  # whether each step of a score leaves its reason, too

    def action(self, rsc: Resource | None, key: str, task: str, node: Node | None) -> tuple[Action, bool]:
        """The action of a resource (None: of the cluster) with this key on this node, and whether it is new.

        One that had no node yet gets this one.
        """
        table = self.singletons if rsc is None else rsc.actions
        for action in table.get(key, ()):
            if action.node is None or node is None or action.node is node:
                if action.node is None:
                    action.node = node
                return action, False
        self.last_action_id += 1
        action = Action(self.last_action_id, key, task, rsc, node)
        self.actions.append(action)
        table.setdefault(key, []).append(action)
        return action, True

    def warn(self, text: str) -> None:
        self.warnings[text] = None

    def because(self, code: str, rsc: Resource | None = None, node: Node | None = None, **data: str | int) -> None:
        """Leave the reason for a decision."""
        self.reasons.append(Reason(code, rsc.id if rsc else "", node.name if node else "", data))

    def constrained(self, name: str) -> Resource | None:
        """The resource that a constraint names.

        The name of a clone's member stands for the clone, once a history has tied it to an instance; before that, it
        stands for nothing.
        """
        rsc = self.by_id.get(name)
        if rsc is None:
            tied = (leaf for top in self.resources for leaf in top.leaves() if leaf.clone_name == name)
            rsc = next((leaf.top() for leaf in tied), None)
        return rsc

    def scores_changed(self, code: str, rsc: Resource, before: NodeScores, **data: str | int) -> None:
        """Leave the reason for which a resource's scores are no longer as they were."""
        for node, score in rsc.allowed.items():
            if before.get(node) != score:
                self.because(code, rsc, node, before=before.get(node, node.weight), score=score, **data)

    def node(self, name: str) -> Node | None:
        """A node by its name or id."""
        return self.nodes_by_name.get(name) or self.nodes_by_id.get(name)

    def node_of(self, state: model.NodeState) -> Node | None:
        """The node that a recorded state is about; None when no such node is known."""
        return self.nodes_by_id.get(state.id or state.name) or self.nodes_by_name.get(state.name)


class VariantMethods(Protocol):
    """The operations in which primitives, groups, clones and bundles differ."""

    def assign(self, work: WorkingSet, rsc: Resource, preferred: Node | None) -> Node | None:
        """Choose nodes for a resource; the node (of its first part) or None."""

    def create_actions(self, work: WorkingSet, rsc: Resource) -> None:
        """Make the actions that bring the resource from its present to its next state."""

    def create_probe(self, work: WorkingSet, rsc: Resource, node: Node) -> bool:
        """Probe what is not yet known on a node; whether anything is probed."""

    def internal_constraints(self, work: WorkingSet, rsc: Resource) -> None:
        """Add the orderings and colocations within the resource."""

    def apply_colocation(
        self, work: WorkingSet, dependent: Resource, primary: Resource, colocation: Colocation, for_dependent: bool
    ) -> None:
        """Apply a colocation to the dependent's scores, on behalf of the dependent or of the primary."""

    def add_scores(
        self, work: WorkingSet, rsc: Resource, table: NodeScores, attribute: str, factor: float, mode: int
    ) -> NodeScores:
        """Add a dependent's preferences to a primary's table of scores, as MERGE_... says; the new table."""

    def apply_location(self, work: WorkingSet, rsc: Resource, constraint: Location) -> None:
        """Apply a location constraint."""

    def action_flags(self, work: WorkingSet, action: Action, node: Node | None) -> int:
        """An action's flags, for collections as their parts have it."""

    def update_ordered(
        self, work: WorkingSet, first: Action, then: Action, node: Node | None, flags: int, filter_: int, type_: int
    ) -> int:
        """Spread what an ordering between two actions implies; which of the two changed."""

    def add_to_graph(self, work: WorkingSet, rsc: Resource) -> None:
        """Choose which actions belong into the graph."""
