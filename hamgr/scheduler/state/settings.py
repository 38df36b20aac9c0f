"""What is configured for the cluster and for a resource, as the stages use it."""

from __future__ import annotations

from hamgr.cib.booleans import is_true
from hamgr.cib.options import Values
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.state.constants import Needs

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from hamgr.cib import model


class ClusterOptions(Values):
    """Cluster options by the table in `hamgr.cib.options`; what the stages ask for often is an attribute."""

    __slots__ = (
        "concurrent_fencing",
        "enable_unfencing",
        "fencing",
        "have_watchdog",
        "health_strategy",
        "maintenance",
        "placement",
        "priority_fencing_delay_ms",
        "quorum_policy",
        "remove_after_stop",
        "shutdown_lock",
        "shutdown_lock_limit_s",
        "start_failure_is_fatal",
        "startup_fencing",
        "startup_probes",
        "stonith_action",
        "stop_all",
        "stop_orphan_actions",
        "stop_orphans",
        "symmetric",
    )

    def __init__(self, values: Mapping[str, str], *, may_panic: bool = True, enable_unfencing: bool = False) -> None:
        """may_panic: whether nodes that have lost quorum have had any, so that they may be fenced for it."""
        super().__init__(values)
        self.fencing = self.flag("fencing-enabled")
        self.startup_fencing = self.flag("startup-fencing")
        self.symmetric = self.flag("symmetric-cluster")
        self.stop_orphans = self.flag("stop-removed-resources")
        self.stop_orphan_actions = self.flag("cancel-removed-actions")
        self.stop_all = self.flag("stop-all-resources")
        self.maintenance = self.flag("maintenance-mode")
        self.concurrent_fencing = self.flag("concurrent-fencing")
        self.remove_after_stop = self.flag("remove-after-stop")
        self.startup_probes = self.flag("enable-startup-probes")
        self.start_failure_is_fatal = self.flag("start-failure-is-fatal")
        self.placement = self.text("placement-strategy")
        action = self.text("fencing-action")
        self.stonith_action = "off" if action == "poweroff" else action
        self.priority_fencing_delay_ms = self.duration_ms("priority-fencing-delay")
        self.shutdown_lock = self.flag("shutdown-lock")
        self.shutdown_lock_limit_s = self.duration_ms("shutdown-lock-limit") // 1000
        self.health_strategy = self.text("node-health-strategy")
        policy = self.text("no-quorum-policy")
        policy = "suicide" if policy == "fence" else policy
        self.quorum_policy = policy if policy in ("ignore", "freeze", "demote", "suicide") else "stop"
        if policy == "suicide" and not (self.fencing and may_panic):
            self.quorum_policy = "stop"
        self.have_watchdog = is_true(values.get("have-watchdog"))  # a fact that Pacemaker's fencer writes
        self.enable_unfencing = enable_unfencing


class ResourceSettings:
    """What is configured for a resource, with what it inherits. Unpacking makes it; it never changes.

    No dataclass, because there are thousands of them: this is made in a fifth of the time.
    """

    __slots__ = (
        "colocated",
        "critical",
        "fence_device",
        "is_bundle_connection",
        "is_remote_node",
        "meta_sets",
        "migration_threshold",
        "multiple_active",
        "needs",
        "needs_unfencing",
        "notify",
        "ordered",
        "own_params",
        "promotable",
        "remote_reconnect_ms",
        "restart_type_restart",
        "stickiness",
        "unique",
    )

    def __init__(
        self,
        *,
        meta_sets: tuple[model.NvSet, ...] = (),
        own_params: tuple[model.NvSet, ...] = (),
        stickiness: int = 0,
        migration_threshold: int = INFINITY,
        multiple_active: str = "stop_start",
        restart_type_restart: bool = False,
        needs: int = Needs.NOTHING,
        needs_unfencing: bool = False,
        critical: bool = True,
        fence_device: bool = False,
        is_remote_node: bool = False,
        is_bundle_connection: bool = False,
        remote_reconnect_ms: int = 0,
        unique: bool = True,
        notify: bool = False,
        promotable: bool = False,
        ordered: bool = True,
        colocated: bool = True,
    ) -> None:
        self.meta_sets: Final = meta_sets  # its own meta attributes, as written
        self.own_params: Final = own_params  # its own instance attributes, as written
        self.stickiness: Final = stickiness
        self.migration_threshold: Final = migration_threshold
        self.multiple_active: Final = multiple_active
        self.restart_type_restart: Final = restart_type_restart
        self.needs: Final = needs
        self.needs_unfencing: Final = needs_unfencing
        self.critical: Final = critical
        self.fence_device: Final = fence_device
        self.is_remote_node: Final = is_remote_node  # it is the connection to a Pacemaker Remote node
        self.is_bundle_connection: Final = is_bundle_connection
        self.remote_reconnect_ms: Final = remote_reconnect_ms
        self.unique: Final = unique  # its instances can be told apart
        self.notify: Final = notify
        self.promotable: Final = promotable
        self.ordered: Final = ordered  # of a group
        self.colocated: Final = colocated  # of a group

    def with_changes(self, **changes: Any) -> ResourceSettings:
        """The same settings but for some, while a resource is unpacked."""
        return ResourceSettings(**{name: getattr(self, name) for name in self.__slots__} | changes)


DEFAULT_SETTINGS = ResourceSettings()
