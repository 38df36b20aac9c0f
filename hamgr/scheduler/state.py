"""The scheduler's one working state: runtime nodes, resources, actions and orderings that the stages fill in.

The CIB stays as it came; whatever is derived from it lives here. Objects are compared by identity and have slots,
because a cluster of hundreds of resources makes tens of thousands of them.
"""

from __future__ import annotations

from hamgr.cib import model
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.transition import Reason

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from hamgr.scheduler.behavior import Behavior

# Roles in Pacemaker's order; plain ints, since inner loops compare them.
UNKNOWN, STOPPED, STARTED, UNPROMOTED, PROMOTED = range(5)
ROLE_NAMES = ("Unknown", "Stopped", "Started", "Unpromoted", "Promoted")
ROLES_BY_NAME = {
    "Stopped": STOPPED,
    "Started": STARTED,
    "Unpromoted": UNPROMOTED,
    "Slave": UNPROMOTED,
    "Promoted": PROMOTED,
    "Master": PROMOTED,
}


# Plain ints in the next three as well: enum's members are slow to compare and enum itself is slow to import.
class Variant:
    """Kinds of resources, in the order in which colocations sort them."""

    PRIMITIVE = 1
    GROUP = 2
    CLONE = 3
    BUNDLE = 4


class OnFail:
    """What a failure leads to, by severity: of several failures the worst decides."""

    IGNORE = 0
    DEMOTE = 1
    RECOVER = 2
    RESTART_CONTAINER = 3
    RESET_REMOTE = 4
    MIGRATE = 5
    BLOCK = 6
    STOP = 7
    STANDBY = 8
    FENCE = 9

    @classmethod
    def name(cls, value: int) -> str:
        """What a value is called here."""
        return next(name for name, number in vars(cls).items() if number == value)


class Needs:
    """What has to be true of the cluster before a resource may start (meta attribute ``requires``)."""

    NOTHING = 0
    QUORUM = 1
    FENCING = 2


# Flags of an action (plain ints, combined with |).
PSEUDO = 0x01
RUNNABLE = 0x02
OPTIONAL = 0x04
PRINT_ALWAYS = 0x08
MIGRATE_RUNNABLE = 0x10
DC = 0x40
REQUIRES_ANY = 0x200
RESCHEDULE = 0x800
DUMPED = 0x2000
DANGLE = 0x4000

# Flags of an ordering.
O_NONE = 0
O_OPTIONAL = 0x1
O_APPLY_FIRST_NON_MIGRATABLE = 0x2
O_IMPLIES_FIRST = 0x10
O_IMPLIES_THEN = 0x20
O_PROMOTED_IMPLIES_FIRST = 0x40
O_IMPLIES_FIRST_MIGRATABLE = 0x80
O_RUNNABLE_LEFT = 0x100
O_PSEUDO_LEFT = 0x200
O_IMPLIES_THEN_ON_NODE = 0x400
O_PROBE = 0x800
O_RESTART = 0x1000
O_SERIALIZE_ONLY = 0x4000
O_SAME_NODE = 0x8000
O_IMPLIES_FIRST_PRINTED = 0x10000
O_IMPLIES_THEN_PRINTED = 0x20000
O_ASYMMETRICAL = 0x100000
O_LOAD = 0x200000
O_ONE_OR_MORE = 0x400000
O_ANTI_COLOCATION = 0x800000
O_PRESERVE = 0x1000000
O_THEN_CANCELS_FIRST = 0x2000000

# How one resource's preferences are merged into another's scores.
MERGE_POSITIVE = 1  # totals do not go below zero
MERGE_OPTIONAL = 2  # not at all, if no node would remain


class NodeRt:
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
        self.remote_rsc: Rsc | None = None
        self.unpacked = False
        self.weight = 0
        self.priority = 0
        self.has_fail_counts = False
        self.attributes: dict[str, str] = {}
        self.permanent: dict[str, str] = {}
        self.utilization: dict[str, int] = {}
        self.running: list[Rsc] = []
        self.num_resources = 0

    def __repr__(self) -> str:
        return f"<node {self.name}>"


NodeScores = dict[NodeRt, int]


def name_key(name: str) -> list[tuple[int, int, int]]:
    """Sorts names as people (and Pacemaker) do: case ignored, numbers in them by value."""
    key: list[tuple[int, int, int]] = []
    in_number = False
    for letter in name.lower():
        if letter not in "0123456789":
            key.append((ord(letter), 0, 0))
            in_number = False
        elif in_number:
            _, value, length = key[-1]
            key[-1] = (ord("0"), value * 10 + int(letter), length + 1)
        else:
            # No other character lies between the digits, so one place does for all numbers.
            key.append((ord("0"), int(letter), 1))
            in_number = True
    return key


class Rsc:
    """A resource (or instance, or collection) during one run of the scheduler."""

    __slots__ = (
        "action_list",
        "actions",
        "allocating",
        "allow_migrate",
        "allowed",
        "assigned_to",
        "behavior",
        "blocked",
        "bundle",
        "children",
        "clone",
        "clone_name",
        "colocated",
        "container",
        "counts",
        "critical",
        "dangling_migrations",
        "discovery",
        "exclusive_discovery",
        "failed",
        "failure_ignored",
        "failure_timeout_ms",
        "fence_device",
        "fillers",
        "history_id",
        "id",
        "is_bundle_connection",
        "is_remote_node",
        "known_on",
        "locations",
        "lock_node",
        "lock_time",
        "maintenance",
        "managed",
        "merging",
        "meta",
        "meta_sets",
        "migration_threshold",
        "multiple_active",
        "needs",
        "needs_unfencing",
        "next_role",
        "notify",
        "notify_phases",
        "ordered",
        "orphan",
        "orphan_container_filler",
        "own_params",
        "params_cache",
        "parent",
        "partial_migration_source",
        "partial_migration_target",
        "pending_node",
        "pending_task",
        "primitive",
        "priority",
        "promotable",
        "provisional",
        "reload",
        "remote_reconnect_ms",
        "restart_type_restart",
        "role",
        "running_on",
        "sort_index",
        "start_pending",
        "starting",
        "stickiness",
        "stop_required",
        "stop_unexpected",
        "stopping",
        "tickets",
        "unique",
        "utilization",
        "variant",
        "with_dependents",
        "with_primaries",
    )

    def __init__(self, rsc_id: str, variant: int, parent: Rsc | None) -> None:
        self.id = rsc_id
        self.history_id = rsc_id  # the name that histories use: without ":N" for anonymous instances
        self.clone_name = ""  # the name that a history gave to an instance of an anonymous clone
        self.variant = variant
        self.parent = parent
        self.children: list[Rsc] = []
        self.notify_phases: dict[str, Any] = {}
        self.primitive: model.Primitive | None = None
        self.behavior: Behavior
        self.meta: dict[str, str] = {}
        self.meta_sets: tuple[model.NvSet, ...] = ()
        self.own_params: tuple[model.NvSet, ...] = ()
        self.params_cache: dict[NodeRt | None, dict[str, str]] = {}
        self.utilization: dict[str, int] = {}
        # configuration
        self.priority = 0
        self.stickiness = 0
        self.migration_threshold = INFINITY
        self.failure_timeout_ms = 0
        self.multiple_active = "stop_start"
        self.restart_type_restart = False
        self.needs = Needs.NOTHING
        self.needs_unfencing = False
        self.unique = True
        self.notify = False
        self.promotable = False
        self.critical = True
        self.allow_migrate = False
        self.fence_device = False
        self.is_remote_node = False
        self.is_bundle_connection = False
        self.remote_reconnect_ms = 0
        self.container: Rsc | None = None
        self.fillers: list[Rsc] = []
        # state
        self.managed = True
        self.blocked = False
        self.maintenance = False
        self.orphan = False
        self.orphan_container_filler = False
        self.failed = False
        self.stop_required = False  # failed in a way that needs a stop (Pacemaker's pe_rsc_stop)
        self.failure_ignored = False
        self.start_pending = False
        self.stopping = False
        self.starting = False
        self.reload = False
        self.stop_unexpected = False
        self.role = STOPPED
        self.next_role = UNKNOWN
        self.running_on: list[NodeRt] = []
        self.known_on: dict[NodeRt, bool] = {}
        self.pending_task = ""
        self.pending_node: NodeRt | None = None
        self.partial_migration_source: NodeRt | None = None
        self.partial_migration_target: NodeRt | None = None
        self.dangling_migrations: list[NodeRt] = []
        self.lock_node: NodeRt | None = None
        self.lock_time = 0
        # placement
        self.allowed: NodeScores = {}
        self.discovery: dict[NodeRt, str] = {}  # never or exclusive, by node
        self.exclusive_discovery = False
        self.provisional = True
        self.allocating = False
        self.merging = False
        self.assigned_to: NodeRt | None = None
        self.sort_index = 0
        self.with_primaries: list[Colocation] = []  # colocations of which this is the dependent
        self.with_dependents: list[Colocation] = []  # colocations of which this is the primary
        self.locations: list[LocationRt] = []
        self.tickets: list[TicketRt] = []
        # clones
        self.clone: CloneData | None = None
        self.bundle: BundleData | None = None
        self.counts: dict[NodeRt, int] = {}  # instances of this clone assigned to each node
        # groups
        self.ordered = True
        self.colocated = True
        # actions
        self.actions: dict[str, list[Act]] = {}  # by operation key
        self.action_list: list[Act] = []

    def __repr__(self) -> str:
        return f"<rsc {self.id}>"

    def top(self) -> Rsc:
        """The outermost collection that holds this resource (Pacemaker's uber parent; a bundle counts as the top)."""
        rsc = self
        while rsc.parent is not None and rsc.parent.variant != Variant.BUNDLE:
            rsc = rsc.parent
        return rsc

    def top_with_bundle(self) -> Rsc:
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

    def leaves(self) -> Iterator[Rsc]:
        """The primitives in this resource."""
        if not self.children:
            if self.variant == Variant.PRIMITIVE:
                yield self
            return
        for child in self.children:
            yield from child.leaves()

    def location(self, current: bool) -> NodeRt | None:
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

    def current_node(self) -> NodeRt | None:
        """The node to regard a resource as active on: the source of a partial migration, or else one that is well."""
        if len(self.running_on) < 2 or self.variant != Variant.PRIMITIVE:
            return self.running_on[0] if self.running_on else None
        if self.partial_migration_source in self.running_on:
            return self.partial_migration_source
        if self.partial_migration_source is None and self.needs != Needs.FENCING:
            for node in self.running_on:
                if node.online and not node.unclean:
                    return node
        return self.running_on[0]


class CloneData:
    """What only clones have."""

    __slots__ = (
        "clone_max",
        "clone_node_max",
        "config",
        "interleave",
        "merged_promotion",
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
        self.interleave = False
        self.ordered = False
        self.total = 0
        self.merged_promotion = False


class Replica:
    """One container of a bundle with what belongs to it."""

    __slots__ = ("address", "child", "container", "ip", "node", "remote")

    def __init__(self, container: Rsc, address: str, child: Rsc | None) -> None:
        self.container = container
        self.address = address
        self.child = child  # the instance of the contained primitive
        self.ip: Rsc | None = None
        self.remote: Rsc | None = None  # the connection to the guest node in the container
        self.node: NodeRt | None = None  # that guest node

    def parts(self) -> list[Rsc]:
        """All resources of the replica, in the order in which people are told about them."""
        return [part for part in (self.ip, self.container, self.remote, self.child) if part is not None]


class BundleData:
    """What only bundles have."""

    __slots__ = ("child", "config", "replicas", "replicas_per_host")

    def __init__(self, config: model.Bundle, replicas_per_host: int) -> None:
        self.config = config
        self.replicas_per_host = replicas_per_host
        self.replicas: list[Replica] = []
        self.child: Rsc | None = None  # the clone of the contained primitive


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


class Link:
    """An ordering between two actions, seen from either end."""

    __slots__ = ("action", "flags", "state")

    def __init__(self, action: Act, flags: int) -> None:
        self.action = action
        self.flags = flags
        self.state = 0  # while the graph is made: 1 link_dup or dropped, 2 kept


class Act:
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

    def __init__(self, action_id: int, key: str, task: str, rsc: Rsc | None, node: NodeRt | None) -> None:
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
        self.before_index: dict[Act, list[Link]] = {}
        self.after: list[Link] = []  # what comes after this
        self.cancel_task = ""
        self.seen = 0

    def __repr__(self) -> str:
        return f"<{self.key} on {self.node.name if self.node else '-'}>"


class Ordering:
    """An ordering as resources see it, before it is applied to their actions."""

    __slots__ = ("first", "first_rsc", "first_task", "flags", "id", "then", "then_rsc", "then_task")

    def __init__(
        self,
        first_rsc: Rsc | None,
        first_task: str,
        first: Act | None,
        then_rsc: Rsc | None,
        then_task: str,
        then: Act | None,
        flags: int,
    ) -> None:
        self.first_rsc = first_rsc
        self.first_task = first_task  # an operation key
        self.first = first
        self.then_rsc = then_rsc
        self.then_task = then_task
        self.then = then
        self.flags = flags


class Options:
    """Cluster options, with Pacemaker's defaults."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self.values = values
        self.fencing = True
        self.startup_fencing = True
        self.symmetric = True
        self.quorum_policy = "stop"
        self.stop_orphans = True
        self.stop_orphan_actions = True
        self.stop_all = False
        self.maintenance = False
        self.concurrent_fencing = False
        self.remove_after_stop = False
        self.startup_probes = True
        self.placement = "default"
        self.stonith_action = "reboot"
        self.have_watchdog = False
        self.priority_fencing_delay_ms = 0
        self.shutdown_lock = False
        self.shutdown_lock_limit_s = 0
        self.enable_unfencing = False
        self.start_failure_is_fatal = True
        self.health_strategy = "none"


class Work:
    """The whole working state of one run."""

    def __init__(self, cib: model.Cib, now: int, options: Options) -> None:
        self.cib = cib
        self.now = now  # seconds since the epoch
        self.options = options
        self.quorum = cib.have_quorum
        self.nodes: list[NodeRt] = []
        self.nodes_by_name: dict[str, NodeRt] = {}
        self.nodes_by_id: dict[str, NodeRt] = {}
        self.resources: list[Rsc] = []
        self.by_id: dict[str, Rsc] = {}
        self.by_history: dict[str, list[Rsc]] = {}
        self.have_stonith_resource = False
        self.have_remote_nodes = False
        self.tickets: dict[str, model.Ticket] = {}
        self.colocations: list[Colocation] = []
        self.locations: list[LocationRt] = []
        self.orderings: list[Ordering] = []
        self.actions: list[Act] = []
        self.singletons: dict[str, list[Act]] = {}  # actions that belong to no resource, by key
        self.last_action_id = 0
        self.stop_needed: list[Rsc] = []
        self.param_check: list[tuple[Any, ...]] = []
        self.failed: list[Any] = []
        self.legacy_fail_counts = False  # kept by resource, not by operation
        self.histories: dict[str, dict[str, model.ResourceHistory]] = {}  # by node's name and history id
        self.expired_recurring: set[int] = set()  # id() of records to be rescheduled: their failure has expired
        self.warnings: dict[str, None] = {}  # each one once, in the order in which they were found
        self.reasons: list[Reason] = []
        self.explain = False  # whether each step of a score leaves its reason, too

    def next_id(self) -> int:
        self.last_action_id += 1
        return self.last_action_id

    def warn(self, text: str) -> None:
        self.warnings[text] = None

    def because(self, code: str, rsc: Rsc | None = None, node: NodeRt | None = None, **data: str | int) -> None:
        """Leave the reason for a decision."""
        self.reasons.append(Reason(code, rsc.id if rsc else "", node.name if node else "", data))

    def constrained(self, name: str) -> Rsc | None:
        """The resource that a constraint names.

        The name of a clone's member stands for the clone, once a history has tied it to an instance; before that, it
        stands for nothing.
        """
        rsc = self.by_id.get(name)
        if rsc is None:
            tied = (leaf for top in self.resources for leaf in top.leaves() if leaf.clone_name == name)
            rsc = next((leaf.top() for leaf in tied), None)
        return rsc

    def scores_changed(self, code: str, rsc: Rsc, before: NodeScores, **data: str | int) -> None:
        """Leave the reason for which a resource's scores are no longer as they were."""
        for node, score in rsc.allowed.items():
            if before.get(node) != score:
                self.because(code, rsc, node, before=before.get(node, node.weight), score=score, **data)

    def node(self, name: str) -> NodeRt | None:
        """A node by its name or id."""
        return self.nodes_by_name.get(name) or self.nodes_by_id.get(name)
