"""The node lifecycle controller: notices silent nodes, marks them and their pods, and taints them."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from hamgr_sandbox.client import ApiError, Key, Object, key_of
from hamgr_sandbox.controllers import nodehealth, objects
from hamgr_sandbox.controllers.cluster import Cluster
from hamgr_sandbox.controllers.events import timestamp
from hamgr_sandbox.controllers.nodehealth import Timings, Zone
from hamgr_sandbox.controllers.workqueue import WorkQueue

log = logging.getLogger(__name__)
SOURCE = "node-controller"
LEASES = "kube-node-lease"


class NodeLifecycle:
    """Signs of life are changes of a node's Lease or heartbeat, dated by this process's monotonic clock when seen."""

    def __init__(self, cluster: Cluster, timings: Timings) -> None:
        self._cluster = cluster
        self._timings = timings
        self._nodes = cluster.watch("Node")
        self._leases = cluster.watch("Lease")
        self._pods = cluster.watch("Pod")
        self._last_sign: dict[str, float] = {}
        self._registered: set[str] = set()
        self._all_down = False
        self._evicted_at: dict[str, float] = {}
        self._evicting: dict[str, str] = {}
        self._taints: WorkQueue[Key] = WorkQueue("node taints", self._taint)
        self._nodes.listeners.append(self._node_changed)
        self._leases.listeners.append(self._lease_changed)

    async def run(self) -> None:
        # What was last seen before this process could see is not known: every node has its whole grace period.
        now = self._cluster.now()
        self._last_sign = {name: now for _, name in self._nodes.items}
        await asyncio.gather(self._taints.run(), self._monitor())

    def _node_changed(self, kind: str, node: Object, old: Object | None) -> None:
        name = node["metadata"]["name"]
        if kind == "DELETED":
            self._last_sign.pop(name, None)
            self._registered.discard(name)
            self._tell_node(node, "RemovingNode", f"Node {name} event: Removing Node {name} from Controller")
            return
        if name not in self._registered:
            self._registered.add(name)
            self._tell_node(node, "RegisteredNode", f"Node {name} event: Registered Node {name} in Controller")
        if old is None or _heartbeat(node) != _heartbeat(old):
            self._last_sign[name] = self._cluster.now()
        self._taints.add(key_of(node))

    def _lease_changed(self, kind: str, lease: Object, old: Object | None) -> None:
        namespace, name = key_of(lease)
        renewed = old is None or lease["spec"].get("renewTime") != old["spec"].get("renewTime")
        if namespace == LEASES and kind != "DELETED" and renewed:
            self._last_sign[name] = self._cluster.now()

    async def _taint(self, key: Key) -> None:
        """NoSchedule follows the conditions at once, NoExecute what the monitor decided at its last look."""
        if (node := self._nodes.items.get(key)) is not None:
            await self._write_taints(node, nodehealth.with_scheduling_taints(node, timestamp()))
        node = self._nodes.items.get(key)
        if key[1] in self._evicting and node is not None:
            await self._write_taints(node, nodehealth.with_evicting_taint(node, self._evicting[key[1]], timestamp()))
        self._evicting.pop(key[1], None)

    async def _write_taints(self, node: Object, taints: list[Object] | None) -> None:
        if taints is not None:
            metadata = {"resourceVersion": node["metadata"]["resourceVersion"]}
            await self._cluster.patch(node, {"metadata": metadata, "spec": {"taints": taints or None}})

    async def _monitor(self) -> None:
        while True:
            for node in list(self._nodes.items.values()):
                try:
                    await self._examine(node)
                except ApiError as error:
                    # The next look is one monitor period away, as in the real controller after its own retries.
                    log.warning("node %s: %s", node["metadata"]["name"], error)
            self._decide_evictions()
            await asyncio.sleep(self._timings.monitor_period_s)

    async def _examine(self, node: Object) -> None:
        name = node["metadata"]["name"]
        before = nodehealth.readiness(node)
        last_sign = self._last_sign.setdefault(name, self._cluster.now())
        if nodehealth.is_silent(node, last_sign, self._cluster.now(), self._timings):
            conditions = nodehealth.silent_conditions(node, timestamp())
            if conditions is not None:
                metadata = {"resourceVersion": node["metadata"]["resourceVersion"]}
                patch: dict[str, Any] = {"metadata": metadata, "status": {"conditions": conditions}}
                node = await self._cluster.patch(node, patch, "status")
                log.warning("node %s has been silent for %.0f s", name, self._cluster.now() - last_sign)
        if before == "True" and nodehealth.readiness(node) != "True":
            self._tell_node(node, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        if nodehealth.readiness(node) != "True" and objects.condition(node, "Ready"):
            await self._mark_pods(name)

    async def _mark_pods(self, node: str) -> None:
        """Take the pods of a node that is not ready out of their Services (MarkPodsNotReady)."""
        for pod in list(self._pods.items.values()):
            if objects.node_of(pod) != node or not objects.is_true(pod, "Ready"):
                continue
            self._cluster.events.record(SOURCE, pod, "NodeNotReady", "Node is not ready", kind="Warning")
            conditions = objects.with_condition(pod["status"]["conditions"], "Ready", {"status": "False"}, timestamp())
            patch = {"metadata": {"uid": pod["metadata"]["uid"]}, "status": {"conditions": conditions}}
            try:
                await self._cluster.patch(pod, patch, "status")
            except ApiError as error:
                if error.code not in (404, 409):
                    raise

    def _decide_evictions(self) -> None:
        nodes = list(self._nodes.items.values())
        states = nodehealth.zones(nodes, self._timings.unhealthy_zone_threshold)
        all_down = nodehealth.all_down(states)
        if self._all_down and not all_down:
            # The view is back after a blackout; who is really gone shows within a new grace period.
            self._last_sign = dict.fromkeys(self._last_sign, self._cluster.now())
        if all_down != self._all_down:
            log.warning("all nodes look lost: nobody is evicted" if all_down else "some nodes are back")
        self._all_down = all_down
        for node in nodes:
            key = "" if all_down else nodehealth.evicting_taint(node)
            zone = nodehealth.zone_of(node)
            differs = nodehealth.with_evicting_taint(node, key, "") is not None
            if differs and (not key or self._may_evict(zone, states[zone], node)):
                self._evicting[node["metadata"]["name"]] = key
                self._taints.add(key_of(node))

    def _may_evict(self, zone: str, state: Zone, node: Object) -> bool:
        """The rate at which nodes of one zone are given up: one in ten seconds, none while most of the zone is bad."""
        if any(taint["effect"] == "NoExecute" for taint in objects.taints(node)):
            return True  # merely exchanging one taint for the other
        if state is Zone.PARTLY_DISRUPTED:
            return False
        now = self._cluster.now()
        if now - self._evicted_at.get(zone, float("-inf")) < 1 / self._timings.eviction_rate:
            return False
        self._evicted_at[zone] = now
        return True

    def _tell_node(self, node: Object, reason: str, message: str) -> None:
        self._cluster.events.record(SOURCE, node, reason, message)


def _heartbeat(node: Object) -> object:
    return objects.condition(node, "Ready").get("lastHeartbeatTime")
