"""The options that there are: one table of name, kind, default, who reads it, and what it does.

Everything else that has to know of an option takes it from here: what the cluster file accepts, what `hamgr import`
takes over or names, the scheduler's and the controller's defaults, and docs/reference-options.md (`make docs`). The
settings of hamgrd.yaml, which concern one machine, are declared in `hamgr.daemon.settings`.

Names, values and defaults are Pacemaker's ("Cluster Options", "Resource Meta-Attributes", "Operation Properties" of
Pacemaker Explained): today's name first, others that Pacemaker has had behind it.
"""

from __future__ import annotations

from hamgr.cib import durations, scores
from hamgr.cib.booleans import is_true
from hamgr.cib.records import dataclass

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BOOLEAN, INTEGER, SCORE, DURATION, TEXT = "boolean", "integer", "score", "duration", "text"
COLOR = "color or score"  # red, yellow, green, or a score
INSTANCES = "number of instances"

# Who reads an option.
SCHEDULER = "scheduler"
TRANSITIONS = "transition run"
LOOP = "control loop"
EXECUTOR = "executor"
FENCER = "fencer"


@dataclass(frozen=True, slots=True)
class Option:
    """One option.

    kind: one of the words above, or the values that there are, with | between them. default: what holds where it is
    not set, empty where that depends on something else. why_not: why a running cluster makes nothing of it; the cluster
    file accepts such an option and `verify`, `apply` and `import` name it. used may say of it who reads it all the same,
    for `hamgr simulate` of a Pacemaker configuration.
    """

    name: str
    kind: str
    default: str = ""
    used: str = ""
    doc: str = ""
    why_not: str = ""
    aliases: tuple[str, ...] = ()

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that there are; none where the kind is one of the words."""
        return tuple(self.kind.split("|")) if "|" in self.kind else ()


def _table(*options: Option) -> Mapping[str, Option]:
    return {option.name: option for option in options}


_NO_CONTROLLER_TIMES = "there is no election among hamgrds, etcd decides; patience is set under `times` of hamgrd.yaml"
_NO_SERIES = "hamgr keeps no files of what the scheduler was asked; `hamgr simulate --live` asks it again"
_NO_SHUTDOWN = "stopping hamgrd on a node stops none of its instances; `hamgr standby NODE` empties a node"
_NO_REMOTE = "hamgr has no remote nodes and no guest nodes"

# fmt: off
CLUSTER = _table(
    Option("batch-limit", INTEGER, "0", TRANSITIONS, "How many actions of a transition may be under way at once; below 1: as many as hamgrd.yaml has `workers`."),
    Option("cancel-removed-actions", BOOLEAN, "true", SCHEDULER, "Whether recurring operations that are not configured any more are canceled.", aliases=("stop-orphan-actions",)),
    Option("cluster-delay", DURATION, why_not="actions are not sent over a network to other daemons, so no delay is added to their timeouts"),
    Option("cluster-ipc-limit", INTEGER, why_not="hamgr has no local clients with queues of messages"),
    Option("cluster-name", TEXT, "", SCHEDULER, "The value of the node attribute `#cluster-name` (and `#site-name`) in rules."),
    Option("cluster-recheck-interval", DURATION, "60s", LOOP, "The scheduler is asked again after so long even when nothing has happened, for rules about dates and failures that expire; 0: never. Pacemaker's default is 15min."),
    Option("concurrent-fencing", BOOLEAN, "false", SCHEDULER, "Whether several nodes may be fenced at once."),
    Option("dc-deadtime", DURATION, why_not=_NO_CONTROLLER_TIMES),
    Option("election-timeout", DURATION, why_not=_NO_CONTROLLER_TIMES),
    Option("enable-acl", BOOLEAN, why_not="who may do what is said by etcd's and Kubernetes' users and roles (docs/operations.md)"),
    Option("enable-startup-probes", BOOLEAN, "true", SCHEDULER, "Whether it is looked for resources that run before they are started."),
    Option("fencing-action", "reboot|off|poweroff", "reboot", SCHEDULER, "What the scheduler orders to be done to a node that has to be fenced. What is done is said by the fencing level and the device's `action`.", aliases=("stonith-action",)),
    Option("fencing-enabled", BOOLEAN, "true", SCHEDULER, "Whether lost nodes and instances that fail to stop are fenced. Without it two writers are possible.", aliases=("stonith-enabled",)),
    Option("fencing-max-attempts", INTEGER, why_not="a fence that failed is tried again without end, less and less often; how often in a row is said by a level's `retries`", aliases=("stonith-max-attempts",)),
    Option("fencing-reaction", "stop|panic", why_not="a node that is cut off or fenced stops its own instances by `self-fencing` of hamgrd.yaml", aliases=("fence-reaction",)),
    Option("fencing-timeout", DURATION, "60s", FENCER, "How long one attempt of a fencing level may take that has no `timeout` of its own. A value under a rule does not count.", aliases=("stonith-timeout",)),
    Option("fencing-watchdog-timeout", DURATION, why_not="level watchdog waits for as long as the node itself has promised, by `self-fencing` of hamgrd.yaml", aliases=("stonith-watchdog-timeout",)),
    Option("join-finalization-timeout", DURATION, why_not=_NO_CONTROLLER_TIMES, aliases=("crmd-finalization-timeout",)),
    Option("join-integration-timeout", DURATION, why_not=_NO_CONTROLLER_TIMES, aliases=("crmd-integration-timeout",)),
    Option("load-threshold", TEXT, why_not="hamgr does not measure the load of nodes; `node-action-limit` and `batch-limit` hold actions back"),
    Option("maintenance-mode", BOOLEAN, "false", SCHEDULER, "Whether all resources are left as they are, unwatched."),
    Option("migration-limit", INTEGER, "-1", TRANSITIONS, "How many live migrations may be under way at once from or to one node; below 1: any number."),
    Option("no-quorum-policy", "stop|freeze|ignore|demote|suicide|fence", "stop", SCHEDULER, "What becomes of resources without quorum.", why_not="without etcd's quorum nobody leads, so nothing is started or stopped, whatever this says; nodes that are cut off stop their instances by `self-fencing` of hamgrd.yaml"),
    Option("node-action-limit", INTEGER, "0", TRANSITIONS, "How many actions of a transition may be under way at once on one node; below 1: any number."),
    Option("node-health-base", SCORE, "0", SCHEDULER, "The health that a node has before its attributes are added (strategy progressive)."),
    Option("node-health-green", COLOR, "0", SCHEDULER, "What `green` in a health attribute counts (strategies progressive and custom)."),
    Option("node-health-red", COLOR, "-INFINITY", SCHEDULER, "What `red` in a health attribute counts (strategies progressive and custom)."),
    Option("node-health-strategy", "none|migrate-on-red|only-green|progressive|custom", "none", SCHEDULER, "What is made of node attributes whose names begin with `#health`."),
    Option("node-health-yellow", COLOR, "0", SCHEDULER, "What `yellow` in a health attribute counts (strategies progressive and custom)."),
    Option("node-pending-timeout", DURATION, why_not=_NO_CONTROLLER_TIMES),
    Option("pe-error-series-max", INTEGER, why_not=_NO_SERIES),
    Option("pe-input-series-max", INTEGER, why_not=_NO_SERIES),
    Option("pe-warn-series-max", INTEGER, why_not=_NO_SERIES),
    Option("placement-strategy", "default|utilization|minimal|balanced", "default", SCHEDULER, "Whether utilization counts when nodes are chosen, and how."),
    Option("priority-fencing-delay", DURATION, "0", FENCER, "So much longer the fence of the node waits that carries the more important resources, when more than one has to be fenced."),
    Option("remove-after-stop", BOOLEAN, "false", SCHEDULER, "Whether the record of a resource on a node is deleted once it was stopped there."),
    Option("shutdown-escalation", DURATION, why_not=_NO_SHUTDOWN),
    Option("shutdown-lock", BOOLEAN, "false", SCHEDULER, "Whether resources wait for the node that was shut down with them.", why_not=_NO_SHUTDOWN),
    Option("shutdown-lock-limit", DURATION, "0", SCHEDULER, "How long they wait for it; 0: for ever.", why_not=_NO_SHUTDOWN),
    Option("start-failure-is-fatal", BOOLEAN, "true", LOOP, "Whether one failed start bans a resource from a node at once; else `migration-threshold` counts."),
    Option("startup-fencing", BOOLEAN, "true", SCHEDULER, "Whether configured nodes that were never seen are fenced before anything is started."),
    Option("stop-all-resources", BOOLEAN, "false", SCHEDULER, "Whether everything is stopped."),
    Option("stop-removed-resources", BOOLEAN, "true", SCHEDULER, "Whether what runs and is not configured any more is stopped.", aliases=("stop-orphan-resources",)),
    Option("symmetric-cluster", BOOLEAN, "true", SCHEDULER, "Whether resources may run anywhere; else only where a location constraint allows them."),
    Option("transition-delay", DURATION, why_not="it would delay each failover", aliases=("crmd-transition-delay",)),
)

PRIMITIVE = _table(
    Option("allow-migrate", BOOLEAN, "false", SCHEDULER, "Whether the resource is migrated live where its agent can do that."),
    Option("allow-unhealthy-nodes", BOOLEAN, "false", SCHEDULER, "Whether it may run on nodes whose health is bad."),
    Option("container-attribute-target", "host|", "", SCHEDULER, "Of a bundle's primitive: whether its promotion score is kept on the container's host."),
    Option("critical", BOOLEAN, "true", SCHEDULER, "Whether those that it is colocated with move along when it cannot run where they are."),
    Option("failure-timeout", DURATION, "10min", SCHEDULER, "After how long a failure is forgotten. Pacemaker's default: never."),
    Option("is-managed", BOOLEAN, "true", SCHEDULER, "Whether it is started and stopped; else it is only watched."),
    Option("maintenance", BOOLEAN, "false", SCHEDULER, "Whether it is left as it is, unwatched."),
    Option("migration-threshold", SCORE, "5", SCHEDULER, "After how many failures on a node it has to leave it. Pacemaker's default: INFINITY."),
    Option("multiple-active", "block|stop_only|stop_start|stop_unexpected", "stop_start", SCHEDULER, "What is done when it is active on more than one node."),
    Option("priority", SCORE, "0", SCHEDULER, "Resources of higher priority are kept when not all can run; `priority-fencing-delay` goes by it as well."),
    Option("remote-addr", TEXT, "", SCHEDULER, "A guest node's address.", why_not=_NO_REMOTE),
    Option("remote-allow-migrate", BOOLEAN, "true", SCHEDULER, "Whether the connection to a guest node may migrate.", why_not=_NO_REMOTE),
    Option("remote-connect-timeout", DURATION, "60s", SCHEDULER, "How long connecting to a guest node may take.", why_not=_NO_REMOTE),
    Option("remote-node", TEXT, "", SCHEDULER, "The name of the guest node that the resource is.", why_not=_NO_REMOTE),
    Option("remote-port", INTEGER, "3121", SCHEDULER, "The port of a guest node.", why_not=_NO_REMOTE),
    Option("requires", "nothing|quorum|fencing|unfencing", "", SCHEDULER, "What has to be so before it is started: no fence left to do (the default while fencing is on), quorum, or nothing."),
    Option("resource-stickiness", SCORE, "100", SCHEDULER, "How much it prefers to stay where it is. Pacemaker's default: 0, of clones 1."),
    Option("target-role", "Started|Stopped|Unpromoted|Promoted|Slave|Master", "Started", SCHEDULER, "What it should be: Stopped keeps it stopped, Unpromoted keeps a promotable one from being promoted."),
)

GROUP = _table(
    Option("collocated", BOOLEAN, "true", SCHEDULER, "Whether a group's members have to run on one node."),
    Option("ordered", BOOLEAN, "", SCHEDULER, "Whether a group's members (default true), or a clone's instances (default false), are started one after another."),
)

CLONE = _table(
    Option("clone-max", INSTANCES, "", SCHEDULER, "How many instances there are; default: one for each node."),
    Option("clone-min", INTEGER, "0", SCHEDULER, "How many have to run before what is ordered after the clone may start."),
    Option("clone-node-max", INSTANCES, "1", SCHEDULER, "How many may run on one node, of a globally unique clone."),
    Option("globally-unique", BOOLEAN, "false", SCHEDULER, "Whether each instance is one of its own."),
    Option("interleave", BOOLEAN, "false", SCHEDULER, "Whether orders between clones are kept node by node."),
    Option("notify", BOOLEAN, "false", SCHEDULER, "Whether instances are told before and after what happens to the others."),
    Option("promotable", BOOLEAN, "false", SCHEDULER, "Whether instances can be promoted."),
    Option("promoted-max", INTEGER, "1", SCHEDULER, "How many are promoted.", aliases=("master-max",)),
    Option("promoted-node-max", INTEGER, "1", SCHEDULER, "How many are promoted on one node.", aliases=("master-node-max",)),
)

OPERATION = _table(
    Option("enabled", BOOLEAN, "true", SCHEDULER, "Whether a recurring operation runs."),
    Option("interval", DURATION, "0", SCHEDULER, "How often it runs; 0: not by itself. A monitor of the cluster file without one runs as often as its agent advises, else each 10 s."),
    Option("interval-origin", TEXT, why_not="monitors begin when their resource has been started; `start-delay` puts that off"),
    Option("on-fail", "ignore|block|demote|stop|restart|fence|standby|restart-container", "", SCHEDULER, "What is done when it fails; default: restart, of a stop fence."),
    Option("record-pending", BOOLEAN, why_not="hamgr has each operation on record before it begins"),
    Option("role", "Started|Stopped|Unpromoted|Promoted|Slave|Master", "", SCHEDULER, "The role in which a recurring operation runs."),
    Option("start-delay", DURATION, "0", EXECUTOR, "How long after its start a recurring operation runs for the first time."),
    Option("timeout", DURATION, "20s", SCHEDULER, "How long it may take; default: what the agent advises."),
)
# fmt: on

META: Mapping[str, Option] = {**PRIMITIVE, **GROUP, **CLONE}
"""All meta-attributes of resources, whatever they are of."""


def find(table: Mapping[str, Option], name: str) -> Option | None:
    """The option of this name, by any of the names that it has."""
    return table.get(name) or next((option for option in table.values() if name in option.aliases), None)


def names(*tables: Mapping[str, Option]) -> dict[str, Option]:
    """All names by which the tables' options can be set."""
    options: Iterable[Option] = [option for table in tables for option in table.values()]
    return {name: option for option in options for name in (option.name, *option.aliases)}


class Values:
    """Cluster options as they are set, read with the table's names and defaults. Bad values are read as Pacemaker does."""

    __slots__ = ("_set",)

    def __init__(self, values: Mapping[str, str]) -> None:
        self._set = values

    def is_set(self, name: str) -> bool:
        """Whether an option is set, under whichever name."""
        return any(known in self._set for known in (name, *CLUSTER[name].aliases))

    def text(self, name: str) -> str:
        """An option's text; today's name counts before the others."""
        option = CLUSTER[name]
        for known in (name, *option.aliases):
            if known in self._set:
                return self._set[known]
        return option.default

    def flag(self, name: str) -> bool:
        return is_true(self.text(name))

    def integer(self, name: str) -> int:
        return scores.leading_int(self.text(name))

    def score(self, name: str) -> int:
        return scores.parse(self.text(name))

    def duration_ms(self, name: str) -> int:
        return durations.parse_ms(self.text(name))
