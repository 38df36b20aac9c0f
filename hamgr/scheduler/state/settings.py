"""What is configured for the cluster and for a resource, as the stages use it."""

from __future__ import annotations

from hamgr.cib.records import dataclass
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.state.constants import Needs

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping

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


@dataclass(frozen=True, slots=True)
class ResourceSettings:
    """What is configured for a resource, with what it inherits. Unpacking makes it; no stage after that changes it."""

    meta_sets: tuple[model.NvSet, ...] = ()  # its own meta attributes, as written
    own_params: tuple[model.NvSet, ...] = ()  # its own instance attributes, as written
    stickiness: int = 0
    migration_threshold: int = INFINITY
    multiple_active: str = "stop_start"
    restart_type_restart: bool = False
    needs: int = Needs.NOTHING
    needs_unfencing: bool = False
    critical: bool = True
    fence_device: bool = False
    is_remote_node: bool = False  # it is the connection to a Pacemaker Remote node
    is_bundle_connection: bool = False
    remote_reconnect_ms: int = 0
    unique: bool = True  # its instances can be told apart
    notify: bool = False
    promotable: bool = False
    ordered: bool = True  # of a group
    colocated: bool = True  # of a group


DEFAULT_SETTINGS = ResourceSettings()
