"""The cluster information base as values: what an administrator configured and what the controller has recorded.

Everything here is a frozen, slotted dataclass whose optional fields have defaults, so that a CIB can be built by hand,
from XML (`hamgr.cib.xml.document`) or from hamgr's YAML, and changed with `dataclasses.replace`. The vocabulary is
that of Pacemaker's schema pacemaker-3.9 and "Pacemaker Explained"; names that clash with Python get the nearest
English word.

Scores are ints (`hamgr.cib.scores`), durations are milliseconds, times are seconds since the epoch. Options keep the
text that the configuration has, because rules may choose between several values of the same option.
"""

from __future__ import annotations

from hamgr.cib.records import dataclass, field
from hamgr.cib.scores import INFINITY

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping

# --- rules ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Expression:
    """Compares a node attribute (``#uname``, ``#kind``, ``#health-x`` ... included) with a value."""

    attribute: str
    operation: str  # lt, gt, lte, gte, eq, ne, defined, not_defined
    value: str = ""
    type: str = ""  # string, integer, number, version; empty: integer or number where both sides are, else string
    value_source: str = (
        ""  # empty: literal; "param" or "meta": the value names a resource's parameter or meta attribute
    )


@dataclass(frozen=True, slots=True)
class DateExpression:
    """Compares the time of the decision with dates."""

    operation: str = "in_range"  # in_range, gt, lt, date_spec
    start: str = ""  # ISO 8601
    end: str = ""
    duration: Mapping[str, str] = field(default_factory=dict)  # years, months, weeks, days, hours, minutes, seconds
    date_spec: Mapping[str, str] = field(default_factory=dict)  # hours, monthdays, weekdays, ... each "n" or "n-m"


@dataclass(frozen=True, slots=True)
class ResourceExpression:
    """Matches resources by agent, in resource and operation defaults; an empty field matches anything."""

    standard: str = ""
    provider: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True)
class OpExpression:
    """Matches operations by name and interval, in operation defaults."""

    name: str
    interval_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """A boolean combination of expressions, with the score that it gives where it holds."""

    id: str = ""
    expressions: tuple[Expression | DateExpression | ResourceExpression | OpExpression | Rule, ...] = ()
    boolean_op: str = "and"
    score: int = 0
    score_attribute: str = ""  # instead of a fixed score: the node attribute that holds it
    role: str = ""


@dataclass(frozen=True, slots=True)
class NvSet:
    """A set of name-value pairs; the set with the highest score is used first, a set whose rule fails is skipped."""

    pairs: tuple[tuple[str, str], ...] = ()
    id: str = ""
    score: int = 0
    rule: Rule | None = None


# --- nodes and resources --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """A configured cluster node."""

    name: str
    id: str = ""  # Pacemaker's node UUID; empty: the same as the name
    type: str = "member"  # member, ping, remote
    attributes: tuple[NvSet, ...] = ()
    utilization: tuple[NvSet, ...] = ()


@dataclass(frozen=True, slots=True)
class Agent:
    """Which resource agent runs a resource: ``ocf:heartbeat:IPaddr2``."""

    standard: str
    type: str
    provider: str = ""


@dataclass(frozen=True, slots=True)
class Op:
    """An operation as configured for a primitive."""

    name: str
    interval_ms: int = 0
    id: str = ""
    # The element's other XML attributes by their Pacemaker names: timeout, role, on-fail, enabled, start-delay,
    # interval-origin, record-pending.
    attributes: Mapping[str, str] = field(default_factory=dict)
    meta: tuple[NvSet, ...] = ()
    params: tuple[NvSet, ...] = ()


@dataclass(frozen=True, slots=True)
class Primitive:
    """A resource that one agent runs; templates have been resolved into it."""

    id: str
    agent: Agent
    ops: tuple[Op, ...] = ()
    params: tuple[NvSet, ...] = ()
    meta: tuple[NvSet, ...] = ()
    utilization: tuple[NvSet, ...] = ()
    template: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Primitives that run together on one node and start in order."""

    id: str
    members: tuple[Primitive, ...] = ()
    params: tuple[NvSet, ...] = ()
    meta: tuple[NvSet, ...] = ()


@dataclass(frozen=True, slots=True)
class Clone:
    """A primitive or group that runs on several nodes; ``promotable`` in its meta attributes gives instances roles."""

    id: str
    member: Primitive | Group
    params: tuple[NvSet, ...] = ()
    meta: tuple[NvSet, ...] = ()
    master: bool = False  # written with the legacy tag <master>, which implies promotable


@dataclass(frozen=True, slots=True)
class PortMapping:
    """A port of a bundle's replicas that is reachable from outside."""

    id: str = ""
    port: str = ""
    internal_port: str = ""
    range: str = ""


@dataclass(frozen=True, slots=True)
class StorageMapping:
    """A directory of the host that is mounted into a bundle's replicas."""

    id: str = ""
    source_dir: str = ""
    source_dir_root: str = ""
    target_dir: str = ""
    options: str = ""


@dataclass(frozen=True, slots=True)
class Bundle:
    """Containers, each with an address of its own, that run replicas of at most one primitive."""

    id: str
    technology: str = "docker"  # docker, podman, rkt; empty: not configured, so there is nothing to run
    container: Mapping[str, str] = field(default_factory=dict)  # the container element's XML attributes
    network: Mapping[str, str] = field(default_factory=dict)  # the network element's XML attributes
    ports: tuple[PortMapping, ...] = ()
    storage: tuple[StorageMapping, ...] = ()
    primitive: Primitive | None = None
    meta: tuple[NvSet, ...] = ()


Resource = Primitive | Group | Clone | Bundle


# --- constraints ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResourceSet:
    """Several resources in one constraint."""

    members: tuple[str, ...]
    id: str = ""
    # Whether the members come one after the other; None: they do, but a neighboring set is ordered with all of them.
    sequential: bool | None = None
    require_all: bool = True
    role: str = ""
    action: str = ""
    kind: str = ""  # of an ordering, where it differs from the constraint's
    ordering: str = ""  # group (default) or listed, in colocations
    score: int | None = None


@dataclass(frozen=True, slots=True)
class Location:
    """Where a resource prefers (or refuses) to run."""

    id: str
    rsc: str = ""
    rsc_pattern: str = ""  # regular expression on resource ids; with a leading "!" those that do not match
    node: str = ""
    score: int = 0
    role: str = ""
    discovery: str = ""  # always, never, exclusive
    rules: tuple[Rule, ...] = ()
    sets: tuple[ResourceSet, ...] = ()
    lifetime: Rule | None = None


@dataclass(frozen=True, slots=True)
class Colocation:
    """``rsc`` is placed relative to ``with_rsc``."""

    id: str
    rsc: str = ""
    with_rsc: str = ""
    score: int = INFINITY
    rsc_role: str = ""
    with_rsc_role: str = ""
    node_attribute: str = ""  # empty: same node
    influence: str = ""  # empty: the dependent's meta attribute "critical"
    sets: tuple[ResourceSet, ...] = ()
    lifetime: Rule | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """``first_action`` of ``first`` comes before ``then_action`` of ``then``."""

    id: str
    first: str = ""
    then: str = ""
    first_action: str = ""  # empty: start
    then_action: str = ""  # empty: as first_action
    kind: str = ""  # Mandatory, Optional, Serialize; empty: by score, else Mandatory
    score: int | None = None  # legacy: 0 is Optional
    symmetrical: bool | None = None  # None: true, except for Serialize
    require_all: bool = True
    sets: tuple[ResourceSet, ...] = ()
    lifetime: Rule | None = None


@dataclass(frozen=True, slots=True)
class TicketConstraint:
    """A resource may hold its role only while the ticket is granted here."""

    id: str
    ticket: str
    rsc: str = ""
    rsc_role: str = ""
    loss_policy: str = ""  # stop (default), demote, fence, freeze
    sets: tuple[ResourceSet, ...] = ()
    lifetime: Rule | None = None


Constraint = Location | Colocation | Order | TicketConstraint


@dataclass(frozen=True, slots=True)
class FencingLevel:
    """Devices that together fence a target; levels are tried in ascending order of index."""

    index: int
    devices: tuple[str, ...]
    id: str = ""
    target: str = ""
    target_pattern: str = ""
    target_attribute: str = ""
    target_value: str = ""


@dataclass(frozen=True, slots=True)
class Ticket:
    """State of a cluster ticket."""

    id: str
    granted: bool = False
    standby: bool = False
    last_granted: int = -1
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Alert:
    """A program that is told about cluster events, and who it tells."""

    id: str
    path: str
    recipients: tuple[tuple[str, str], ...] = ()  # (id, value)
    params: tuple[NvSet, ...] = ()
    meta: tuple[NvSet, ...] = ()


# --- recorded state -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpRecord:
    """The recorded result of an operation: Pacemaker's ``lrm_rsc_op``.

    ``transition_key`` is "ACTION:TRANSITION:TARGET_RC:CONTROLLER_UUID"; ``transition_magic`` is
    "OP_STATUS:RC;TRANSITION_KEY". ``op_status`` is Pacemaker's execution status: -1 pending, 0 done, 1 cancelled,
    2 timeout, 3 unsupported, 4 error, 5 agent error, 6 hard error, 7 not installed, ...
    """

    operation: str
    id: str = ""  # of the entry; RESOURCE_last_failure_0 marks the record of the last failure
    operation_key: str = ""
    interval_ms: int = 0
    call_id: int = -1
    rc: int = 0
    op_status: int = 0
    transition_key: str = ""
    transition_magic: str = ""
    last_rc_change: int = 0  # seconds since the epoch; 0: not recorded
    exec_time: int = 0  # milliseconds
    queue_time: int = 0  # milliseconds
    op_digest: str = ""
    op_restart_digest: str = ""
    op_force_restart: str | None = None  # parameters whose change needs a restart, space separated; None: all
    op_secure_digest: str = ""
    op_secure_params: str = ""
    on_node: str = ""
    exit_reason: str = ""
    migrate_source: str = ""
    migrate_target: str = ""
    crm_feature_set: str = ""


@dataclass(frozen=True, slots=True)
class Started:
    """With what an instance was last started, so that this very instance can be stopped whatever the configuration
    says by then. Pacemaker's controller keeps the parameters in memory (stop_params); here the next leader needs them.
    """

    agent: Agent
    params: Mapping[str, str] = field(default_factory=dict)  # never a secret's value
    timeouts: Mapping[str, int] = field(default_factory=dict)  # as configured then: task, milliseconds
    digest: str = ""  # op_digest of that start
    group: str = ""  # the group that it was a member of


@dataclass(frozen=True, slots=True)
class ResourceHistory:
    """What is recorded about one resource on one node: Pacemaker's ``lrm_resource``."""

    id: str
    agent: Agent
    ops: tuple[OpRecord, ...] = ()
    container: str = ""
    shutdown_lock: int = 0  # seconds since the epoch; 0: none
    started: Started | None = None  # None: it was not started yet, or by a version that did not write this down


@dataclass(frozen=True, slots=True)
class NodeState:
    """What the controller knows about a node: Pacemaker's ``node_state``."""

    name: str
    id: str = ""  # empty: the same as the name
    in_ccm: bool | None = None  # a cluster member; None: not recorded
    crmd: bool = False  # its controller process is reachable ("online")
    join: str = ""  # member, pending, down, banned
    expected: str = ""  # member, down
    shutdown: str = ""  # legacy attribute; the transient attribute is what counts now
    remote_node: bool = False
    node_fenced: str = ""
    node_in_maintenance: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)  # transient: gone when the node leaves
    resources: tuple[ResourceHistory, ...] = ()


@dataclass(frozen=True, slots=True)
class Cib:
    """Everything the scheduler may look at."""

    nodes: tuple[Node, ...] = ()
    resources: tuple[Resource, ...] = ()
    constraints: tuple[Constraint, ...] = ()  # in document order
    options: tuple[NvSet, ...] = ()  # cluster options (crm_config)
    rsc_defaults: tuple[NvSet, ...] = ()
    op_defaults: tuple[NvSet, ...] = ()
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    templates: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # template id: primitives made from it
    fencing_levels: tuple[FencingLevel, ...] = ()
    alerts: tuple[Alert, ...] = ()
    node_states: tuple[NodeState, ...] = ()
    tickets: tuple[Ticket, ...] = ()
    have_quorum: bool = False
    dc_uuid: str = ""
    no_quorum_panic: bool = False  # the cluster has had quorum before (what no-quorum-policy=suicide waits for)
    crm_feature_set: str = (
        "3.16.2"  # of the software that wrote it; before 3.0.13 fail counts were kept by resource only
    )
    execution_date: int | None = None  # seconds since the epoch: decide as of this time
