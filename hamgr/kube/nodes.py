"""What a Node object and its Lease say."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from hamgr.kube.objects import LEASE, Kind, Obj, name_of, namespace_of

OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
CLOUD_SHUTDOWN = "node.cloudprovider.kubernetes.io/shutdown"


def ready(node: Mapping[str, Any]) -> bool | None:
    """The Ready condition: True, False, None when Unknown or never reported."""
    status = condition(node, "Ready").get("status")
    return {"True": True, "False": False}.get(str(status))


def condition(node: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """One entry of status.conditions, empty when absent."""
    for entry in (node.get("status") or {}).get("conditions") or []:
        if entry.get("type") == kind:
            found: Mapping[str, Any] = entry
            return found
    return {}


def boot_id(node: Mapping[str, Any]) -> str:
    """The kernel's boot id as the kubelet reported it; another one means that the host was restarted."""
    return str(((node.get("status") or {}).get("nodeInfo") or {}).get("bootID") or "")


def internal_address(node: Mapping[str, Any]) -> str:
    """The address at which the node's kubelet is reached, empty when none is reported."""
    for entry in (node.get("status") or {}).get("addresses") or []:
        if entry.get("type") == "InternalIP":
            return str(entry["address"])
    return ""


def taints(node: Mapping[str, Any]) -> list[Obj]:
    """spec.taints"""
    return list((node.get("spec") or {}).get("taints") or [])


def has_taint(node: Mapping[str, Any], key: str) -> bool:
    """Whether a taint of that key is there, whatever its value and effect."""
    return any(taint.get("key") == key for taint in taints(node))


class LeaseAges:
    """How old each node's Lease is, by our own clock since we last *saw* renewTime change.

    Time stamps of other machines are never compared with ours, as Kubernetes' own node controller does not
    (node_lifecycle_controller.go). Give `observe` to the cache as a listener. Times are monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: dict[str, tuple[str, float]] = {}

    def observe(self, kind: Kind, change: str, obj: Obj, old: Obj | None) -> None:
        """A listener for Cache: takes what concerns node leases, ignores the rest."""
        del old
        if kind is not LEASE or namespace_of(obj) != "kube-node-lease":
            return
        renewed = str((obj.get("spec") or {}).get("renewTime") or "")
        with self._lock:
            if change == "DELETED":
                self._seen.pop(name_of(obj), None)
            elif self._seen.get(name_of(obj), ("", 0.0))[0] != renewed:
                self._seen[name_of(obj)] = (renewed, self._clock())

    def age_s(self, node: str) -> float | None:
        """Seconds since the lease was seen to be renewed; None: never seen."""
        with self._lock:
            seen = self._seen.get(node)
        return None if seen is None else self._clock() - seen[1]
