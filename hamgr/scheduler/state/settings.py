"""What is configured for the cluster and for a resource, as the stages use it."""

from __future__ import annotations

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.state.constants import Needs

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

    from hamgr.cib import model


class ClusterOptions:
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
