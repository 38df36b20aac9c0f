"""Nodes, resources, actions and constraints during one run of the scheduler.

They refer to each other (a node knows what runs on it, a resource its actions), so they are one module.
"""

from __future__ import annotations

from hamgr.scheduler.state.constants import OPTIONAL, RUNNABLE, STOPPED, UNKNOWN, Needs, OnFail, Variant
from hamgr.scheduler.state.settings import DEFAULT_SETTINGS

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from hamgr.cib import model


class Node:
    """A node during one run of the scheduler."""

    __slots__ = (
        "attributes",
        "bundle",
        "discovery_enabled",
        "expected_up",
        "fixed",
        "guest",
        "has_fail_counts",
        "id",
        "index",
        "is_dc",
        "maintenance",
        "name",
        "num_resources",
        "online",
        "pending",
        "permanent",
        "priority",
        "remote",
        "remote_requires_reset",
        "remote_rsc",
        "remote_was_fenced",
        "running",
        "shutdown",
        "standby",
        "standby_onfail",
        "unclean",
        "unpacked",
        "unseen",
        "utilization",
        "weight",
    )

    def __init__(self, name: str, node_id: str, remote: bool) -> None:
        self.name = name
        self.id = node_id
        self.index = 0
        self.remote = remote  # remote or guest: run by pacemaker_remoted, no member of the cluster
        self.guest = False
        self.bundle = False  # in a bundle's container: for that bundle's primitive alone
        self.online = False
        self.standby = False
        self.standby_onfail = False
        self.pending = False
        self.unclean = False
        self.unseen = False
        self.shutdown = False
        self.expected_up = False
        self.is_dc = False
        self.maintenance = False
        self.fixed = False
        self.discovery_enabled = True
        self.remote_requires_reset = False
        self.remote_was_fenced = False
        self.remote_rsc: Resource | None = None
        self.unpacked = False
        self.weight = 0
        self.priority = 0
        self.has_fail_counts = False
        self.attributes: dict[str, str] = {}
        self.permanent: dict[str, str] = {}
        self.utilization: dict[str, int] = {}
        self.running: list[Resource] = []
        self.num_resources = 0

    def __repr__(self) -> str:
        return f"<node {self.name}>"

    def is_available(self) -> bool:
        """Whether it may get resources at all, scores aside."""
        return self.online and not (self.shutdown or self.unclean or self.standby or self.maintenance)


NodeScores = dict[Node, int]


def any_available(table: NodeScores) -> bool:
    """Whether some node may get a resource with these scores."""
    return any(score >= 0 and node.is_available() for node, score in table.items())


class RecordedState:
    """What the recorded operations of a resource tell, beyond its role and where it runs."""

    __slots__ = (
        "dangling_migrations",
        "failure_ignored",
        "lock_node",
        "lock_time",
        "orphan_container_filler",
        "partial_migration_source",
        "partial_migration_target",
        "pending_node",
        "pending_task",
        "start_pending",
        "stop_required",
    )

    def __init__(self) -> None:
        self.stop_required = False  # failed in a way that needs a stop (Pacemaker's pe_rsc_stop)
        self.failure_ignored = False
        self.start_pending = False
        self.pending_task = ""
        self.pending_node: Node | None = None
        self.partial_migration_source: Node | None = None
        self.partial_migration_target: Node | None = None
        self.dangling_migrations: list[Node] = []
        self.lock_node: Node | None = None
        self.lock_time = 0  # seconds since the epoch
        self.orphan_container_filler = False


class Placing:
    """What the placement of a resource goes by, beyond its scores on nodes."""

    __slots__ = (
        "allocating",
        "discovery",
        "exclusive_discovery",
        "locations",
        "merging",
        "provisional",
        "sort_index",
        "tickets",
        "with_dependents",
        "with_primaries",
    )

    def __init__(self) -> None:
        self.provisional = True  # not assigned yet
        self.allocating = False
        self.merging = False
        self.sort_index = 0  # of a promotable clone's instance: the higher, the sooner it is promoted
        self.discovery: dict[Node, str] = {}  # never or exclusive, by node
        self.exclusive_discovery = False
        self.with_primaries: list[Colocation] = []  # colocations of which this is the dependent
        self.with_dependents: list[Colocation] = []  # colocations of which this is the primary
        self.locations: list[Location] = []
        self.tickets: list[TicketDependency] = []


class Resource:
    """A resource (or instance, or collection) during one run of the scheduler.

    ``settings`` are its configuration and never change after it has been unpacked; ``recorded`` comes from its history;
    ``placing`` is what placement goes by; ``clone`` and ``bundle`` are there for clones and for bundles only.
    """

    __slots__ = (
        "action_list",
        "actions",
        "allow_migrate",
        "allowed",
        "assigned_to",
        "blocked",
        "bundle",
        "children",
        "clone",
        "clone_name",
        "container",
        "failed",
        "failure_timeout_ms",
        "fillers",
        "history_id",
        "id",
        "known_on",
        "maintenance",
        "managed",
        "meta",
        "next_role",
        "orphan",
        "params_cache",
        "parent",
        "placing",
        "primitive",
        "priority",
        "recorded",
        "reload",
        "role",
        "running_on",
        "settings",
        "stop_unexpected",
        "utilization",
        "variant",
    )

    def __init__(self, rsc_id: str, variant: int, parent: Resource | None) -> None:
        # what it is, and what belongs to it
        self.id = rsc_id
        self.history_id = rsc_id  # the name that histories use: without ":N" for anonymous instances
        self.clone_name = ""  # the name that a history gave to an instance of an anonymous clone
        self.variant = variant
        self.parent = parent
        self.children: list[Resource] = []
        self.container: Resource | None = None
        self.fillers: list[Resource] = []
        self.clone: CloneData | None = None
        self.bundle: BundleData | None = None
        # configuration: read-only, then that which stages adapt
        self.primitive: model.Primitive | None = None
        self.settings = DEFAULT_SETTINGS
        self.meta: dict[str, str] = {}
        self.params_cache: dict[Node | None, dict[str, str]] = {}
        self.utilization: dict[str, int] = {}
        self.priority = 0
        self.failure_timeout_ms = 0
        self.allow_migrate = False
        # state
        self.recorded = RecordedState()
        self.managed = True
        self.blocked = False
        self.maintenance = False
        self.orphan = False
        self.failed = False
        self.role = STOPPED
        self.running_on: list[Node] = []
        self.known_on: dict[Node, bool] = {}
        # placement
        self.placing = Placing()
        self.allowed: NodeScores = {}
        self.assigned_to: Node | None = None
        self.next_role = UNKNOWN
        # actions
        self.reload = False
        self.stop_unexpected = False
        self.actions: dict[str, list[Action]] = {}  # by operation key
        self.action_list: list[Action] = []

    def __repr__(self) -> str:
        return f"<rsc {self.id}>"

    def top(self) -> Resource:
        """The outermost collection that holds this resource (Pacemaker's uber parent; a bundle counts as the top)."""
        rsc = self
        while rsc.parent is not None and rsc.parent.variant != Variant.BUNDLE:
            rsc = rsc.parent
        return rsc

    def top_with_bundle(self) -> Resource:
        """The outermost collection, a bundle included."""
        rsc = self
        while rsc.parent is not None:
            rsc = rsc.parent
        return rsc

    def is_clone(self) -> bool:
        return self.variant == Variant.CLONE

    def in_bundle(self) -> bool:
        """Whether this is a part of a bundle (the bundle itself is not)."""
        return self.variant != Variant.BUNDLE and self.top_with_bundle().variant == Variant.BUNDLE

    def is_within(self, other: Resource) -> bool:
        """Whether the other resource is its parent, or its parent's, and so on."""
        parent = self.parent
        while parent is not None:
            if parent is other:
                return True
            parent = parent.parent
        return False

    def leaves(self) -> Iterator[Resource]:
        """The primitives in this resource."""
        if not self.children:
            if self.variant == Variant.PRIMITIVE:
                yield self
            return
        for child in self.children:
            yield from child.leaves()

    def with_descendants(self) -> list[Resource]:
        """The resource and everything in it, outermost first."""
        found = [self]
        for child in self.children:
            found += child.with_descendants()
        return found

    def location(self, current: bool) -> Node | None:
        """Where a resource is (``current``) or will be; None also when that is more than one node."""
        if self.variant == Variant.PRIMITIVE:
            if not current:
                return self.assigned_to
            return self.running_on[0] if len(self.running_on) == 1 else None
        nodes = dict.fromkeys(
            node
            for leaf in self.leaves()
            for node in (leaf.running_on if current else (leaf.assigned_to,))
            if node is not None
        )
        return next(iter(nodes)) if len(nodes) == 1 else None

    def current_node(self) -> Node | None:
        """The node to regard a resource as active on: the source of a partial migration, or else one that is well."""
        if len(self.running_on) < 2 or self.variant != Variant.PRIMITIVE:
            return self.running_on[0] if self.running_on else None
        if self.recorded.partial_migration_source in self.running_on:
            return self.recorded.partial_migration_source
        if self.recorded.partial_migration_source is None and self.settings.needs != Needs.FENCING:
            for node in self.running_on:
                if node.online and not node.unclean:
                    return node
        return self.running_on[0]

    def active_node(self) -> tuple[Node | None, int, int]:
        """The node to regard it as active on, on how many nodes it is active, and on how many of them that are well."""
        clean = sum(node.online and not node.unclean for node in self.running_on)
        return self.current_node(), len(self.running_on), clean


class CloneData:
    """What only clones have."""

    __slots__ = (
        "clone_max",
        "clone_node_max",
        "config",
        "merged_promotion",
        "notify_phases",
        "ordered",
        "promoted_max",
        "promoted_node_max",
        "total",
    )

    def __init__(self, config: model.Clone) -> None:
        self.config = config
        self.clone_max = 0
        self.clone_node_max = 1
        self.promoted_max = 0
        self.promoted_node_max = 0
        self.ordered = False
        self.total = 0
        self.merged_promotion = False
        self.notify_phases: dict[str, Any] = {}  # the pseudo-actions around each phase, by task


class Replica:
    """One container of a bundle with what belongs to it."""

    __slots__ = ("address", "child", "container", "ip", "node", "remote")

    def __init__(self, container: Resource, address: str, child: Resource | None) -> None:
        self.container = container
        self.address = address
        self.child = child  # the instance of the contained primitive
        self.ip: Resource | None = None
        self.remote: Resource | None = None  # the connection to the guest node in the container
        self.node: Node | None = None  # that guest node

    def parts(self) -> list[Resource]:
        """All resources of the replica, in the order in which people are told about them."""
        return [part for part in (self.ip, self.container, self.remote, self.child) if part is not None]


class BundleData:
    """What only bundles have."""

    __slots__ = ("child", "config", "replicas", "replicas_per_host")

    def __init__(self, config: model.Bundle, replicas_per_host: int) -> None:
        self.config = config
        self.replicas_per_host = replicas_per_host
        self.replicas: list[Replica] = []
        self.child: Resource | None = None  # the clone of the contained primitive


class Action:
    """An action under consideration."""

    __slots__ = (
        "after",
        "before",
        "before_index",
        "cancel_task",
        "fail_role",
        "flags",
        "id",
        "interval_ms",
        "key",
        "meta",
        "needs",
        "node",
        "on_fail",
        "op",
        "priority",
        "pseudo_node",
        "reason",
        "required_runnable_before",
        "rsc",
        "runnable_before",
        "seen",
        "target_rc",
        "task",
        "timeout_ms",
    )

    def __init__(self, action_id: int, key: str, task: str, rsc: Resource | None, node: Node | None) -> None:
        self.id = action_id
        self.key = key
        self.task = task
        self.rsc = rsc
        self.node = node
        self.flags = RUNNABLE | OPTIONAL
        self.needs = Needs.NOTHING
        self.on_fail = OnFail.IGNORE
        self.fail_role = UNKNOWN
        self.interval_ms = 0
        self.timeout_ms = 0
        self.op: model.Op | None = None
        self.meta: dict[str, str] = {}
        self.reason = ""
        self.target_rc = -1
        self.priority = 0
        self.runnable_before = 0
        self.required_runnable_before = 0
        self.before: list[Link] = []  # what comes before this (inputs)
        self.before_index: dict[Action, list[Link]] = {}
        self.after: list[Link] = []  # what comes after this
        self.cancel_task = ""
        self.seen = 0

    def __repr__(self) -> str:
        return f"<{self.key} on {self.node.name if self.node else '-'}>"


class Link:
    """An ordering between two actions, seen from either end."""

    __slots__ = ("action", "flags", "state")

    def __init__(self, action: Action, flags: int) -> None:
        self.action = action
        self.flags = flags
        self.state = 0  # while the graph is made: 1 link_dup or dropped, 2 kept


class Ordering:
    """An ordering as resources see it, before it is applied to their actions."""

    __slots__ = ("first", "first_rsc", "first_task", "flags", "id", "then", "then_rsc", "then_task")

    def __init__(
        self,
        first_rsc: Resource | None,
        first_task: str,
        first: Action | None,
        then_rsc: Resource | None,
        then_task: str,
        then: Action | None,
        flags: int,
    ) -> None:
        self.first_rsc = first_rsc
        self.first_task = first_task  # an operation key
        self.first = first
        self.then_rsc = then_rsc
        self.then_task = then_task
        self.then = then
        self.flags = flags


class Colocation:
    """A colocation between two runtime resources."""

    __slots__ = ("attribute", "dependent", "dependent_role", "id", "influence", "primary", "primary_role", "score")

    def __init__(
        self,
        colocation_id: str,
        dependent: Resource,
        primary: Resource,
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
        self.influence = dependent.settings.critical if influence is None else influence


class Location:
    """A location constraint's effect: nodes and their scores."""

    __slots__ = ("discovery", "id", "nodes", "role", "rsc")

    def __init__(self, location_id: str, rsc: Resource, role: int, discovery: str) -> None:
        self.id = location_id
        self.rsc = rsc
        self.role = role
        self.discovery = discovery
        self.nodes: list[tuple[Node, int]] = []


class TicketDependency:
    """A ticket that a resource depends on."""

    __slots__ = ("id", "loss_policy", "role", "ticket")

    def __init__(self, constraint_id: str, ticket: model.Ticket, role: int, loss_policy: str) -> None:
        self.id = constraint_id
        self.ticket = ticket
        self.role = role
        self.loss_policy = loss_policy
