"""Parked pods: have the standby node ready before it is needed.

A parked pod is bound to the node that would take over and waits there for the volume; its kubelet has then reported the
volume already, which otherwise costs up to ten seconds of every failover. Which node that is, the scheduler says: it is
asked "and if the node it runs on were gone?". Parking is never needed for safety, so whatever fails here is logged and
tried again later.

Kubernetes itself lets a parked pod run as soon as it counts the disk as free, and asks nobody for a proof: it does so
six minutes after a node fell silent on which the active pod's object was removed by force. So pods are parked for such
disks only whose driver is trusted to detach at the storage (`fencing.drivers`): there the detach is the proof.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from hamgr.cib import history
from hamgr.cib.model import Agent, Cib, Primitive
from hamgr.controller.leader import PARK, Leader
from hamgr.controller.tree import primitives
from hamgr.executor.executor import Executor
from hamgr.executor.operations import Op
from hamgr.executor.registry import Registry, UnknownAgent
from hamgr.kube.cache import Cache
from hamgr.kube.objects import (
    LABEL_CLUSTER,
    LABEL_RESOURCE,
    NODE,
    POD,
    PV,
    PVC,
    Obj,
    home_of,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
)
from hamgr.kube.pods import is_parked, is_ready, node_of
from hamgr.kube.volumes import UnusableVolume, Volume, claims_of, in_use, volume_of, written_sources
from hamgr.scheduler import schedule
from hamgr.scheduler.transition import GraphAction

_AGAIN_S = 10.0
_SLICE_S = 0.3  # of a round, at most, and one question to the scheduler
_TIMEOUT_MS = 20_000
_PODS = Agent("ocf", "pod", "hamgr")  # whose `unpark` knows what to do with any pod of ours

log = structlog.get_logger(__name__)


def successor(cib: Cib, resource: str, node: str, now: datetime) -> GraphAction | None:
    """The start that the scheduler would order elsewhere if `node` were gone, fenced and all; None: there is none."""
    states = tuple(
        history.member_fenced(state) if state.name == node else history.forget_recurring(state)
        for state in cib.node_states
    )
    transition = schedule(replace(cib, node_states=states), now)
    for action in transition.actions:
        if action.task == "start" and action.resource == resource and action.node != node:
            return action
    return None


def is_warm(pod: Mapping[str, Any], cache: Cache) -> bool:
    """Whether a parked pod would start as soon as its disk is attached: its kubelet has reported the disk in use."""
    node = cache.get(NODE, node_of(pod))
    if node is None or is_terminating(pod):
        return False
    reported = in_use(node)
    return all(volume is not None and volume.unique_name in reported for volume in _disks(pod, cache))


def _disks(pod: Mapping[str, Any], cache: Cache) -> Iterator[Volume | None]:
    """What stands behind each claim of a pod; None: it is not known, or no CSI volume."""
    for claim in claims_of(pod):
        pvc = cache.get(PVC, claim, namespace_of(pod)) or {}
        pv = cache.get(PV, str((pvc.get("spec") or {}).get("volumeName") or ""))
        try:
            yield None if pv is None else volume_of(pv)
        except UnusableVolume:
            yield None


class Parking:
    """Keeps one parked pod for each resource that can have one. Used by the control thread alone."""

    def __init__(
        self,
        leader: Leader,
        registry: Registry,
        executor: Executor,
        cache: Cache | None,
        cluster: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._leader = leader
        self._registry = registry
        self._executor = executor
        self._cache = cache
        self._cluster = cluster
        self._clock = clock
        self._now = now
        self._looked_at = float("-inf")
        self._looked_when: object = None
        self._left: deque[Primitive] = deque()  # still to be looked after this time
        self._wanted: dict[str, str] = {}  # resource: the node on which a pod of it should be parked
        self._cleared = 0  # the number of the last transition whose way was cleared

    def standby_of(self, resource: str) -> str:
        """The node on which a warm parked pod of a resource waits; empty: there is none."""
        cache = self._cache
        if cache is None:
            return ""
        return next((node_of(pod) for pod in self._pods(resource, cache) if is_parked(pod) and is_warm(pod, cache)), "")

    def _pods(self, resource: str, cache: Cache) -> list[Obj]:
        """The pods of a resource where it is configured to have some; elsewhere anybody may use the labels."""
        labelled = cache.list(POD, labels={LABEL_CLUSTER: self._cluster, LABEL_RESOURCE: resource})
        return [pod for pod in labelled if home_of(pod) in self._leader.cluster_state.homes]

    def unwarmed(self) -> dict[str, str]:
        """The resources of which no pod is parked and warm where one should be, and where that is."""
        return {resource: node for resource, node in self._wanted.items() if self.standby_of(resource) != node}

    def clear_the_way(self) -> None:
        """When a transition begins: send away parked pods that would win a disk which is not meant for them.

        Early, no more: what releases a disk (a stop, a fence) looks itself, and waits until they are gone.
        """
        run = self._leader.transition_run
        if run is None or run.number == self._cleared or self._cache is None:
            return
        self._cleared = run.number
        stay, moved = run.pods_to_start(), run.resources_to_move()
        for pod in self._parked():
            if name_of(pod) not in stay and labels_of(pod).get(LABEL_RESOURCE) in moved:
                self._send_away(pod)

    def _parked(self) -> list[Obj]:
        pods = [] if self._cache is None else self._cache.list(POD, labels={LABEL_CLUSTER: self._cluster})
        spaces = self._leader.namespaces
        return [pod for pod in pods if is_parked(pod) and not is_terminating(pod) and namespace_of(pod) in spaces]

    def _send_away(self, pod: Mapping[str, Any]) -> None:
        """By the pod itself: what it is of may not be configured any more, or otherwise."""
        where = {"namespace": namespace_of(pod)}
        self._order("unpark", node_of(pod), labels_of(pod).get(LABEL_RESOURCE, ""), _PODS, where)

    def advance(self) -> None:
        """Once things are quiet, and again every ten seconds: see that each parked pod is where it should be."""
        if self._cache is None or not self._leader.idle or self._leader.configuration is None:
            return
        situation = (self._leader.changes, tuple(sorted(self._leader.cluster_state.memberships.items())))
        began = self._clock()
        if situation != self._looked_when or (not self._left and began - self._looked_at >= _AGAIN_S):
            self._looked_when, self._looked_at = situation, began
            wanted = [p for p in primitives(self._leader.configuration) if self._parkable(p) and self._is_active(p.id)]
            self._left = deque(wanted)
            looked_after = {primitive.id for primitive in wanted}
            self._wanted = {resource: node for resource, node in self._wanted.items() if resource in looked_after}
            for pod in self._parked():
                if labels_of(pod).get(LABEL_RESOURCE) not in looked_after:
                    self._send_away(pod)  # there is nothing that it could take over: it would just start
        while self._left:  # the scheduler is asked for each: the rest waits for the next rounds, which renew the lease
            self._look_after(self._left.popleft(), self._cache)
            if self._clock() - began >= _SLICE_S:
                break

    def _is_active(self, resource: str) -> bool:
        states = (self._leader.cluster_state.state(node) for node in self._leader.cluster_state.memberships)
        entries = (entry for state in states for entry in state.resources)
        return any(history.is_active(entry) for entry in entries if entry.id.partition(":")[0] == resource)

    def _parkable(self, primitive: Primitive) -> bool:
        if primitive.agent.standard != "ocf" or primitive.agent.provider != "hamgr":
            return False
        try:
            agent = self._registry.get(primitive.agent.type)
        except UnknownAgent:
            return False
        values = agent.metadata.with_defaults(_plain_params(primitive))
        return "park" in agent.other_actions() and values.get("park") == "true"

    def _look_after(self, primitive: Primitive, cache: Cache) -> None:
        pods = self._pods(primitive.id, cache)
        active = [node_of(pod) for pod in pods if is_ready(pod)]
        if len(active) != 1:
            return
        wanted = None
        if all(self._is_safe(pod, cache) for pod in pods):
            now = datetime.fromtimestamp(self._now(), UTC)
            wanted = successor(self._leader.cib(), primitive.id, active[0], now)
            if wanted is None and self._leader.cluster_state.rules:
                wanted = successor(self._leader.cib(ruled=False), primitive.id, active[0], now)
        if wanted is None:
            self._wanted.pop(primitive.id, None)
        else:
            self._wanted[primitive.id] = wanted.node
        parked = {node_of(pod) for pod in pods if is_parked(pod)}
        for node in parked - {wanted.node if wanted else ""}:
            self._order("unpark", node, primitive.id, primitive.agent, _plain_params(primitive))
        if wanted is not None and wanted.node not in parked:
            self._order("park", wanted.node, primitive.id, primitive.agent, wanted.params)

    def _is_safe(self, pod: Mapping[str, Any], cache: Cache) -> bool:
        """Whether nothing but a proof lets a second pod like this one write to what it writes to."""
        drivers = self._leader.fences.config.drivers
        return not written_sources(pod) and all(
            volume is not None and volume.driver in drivers for volume in _disks(pod, cache)
        )

    def _order(self, task: str, node: str, resource: str, agent: Agent, params: Mapping[str, str]) -> None:
        """Have an agent park or unpark. params: as the scheduler evaluates them for the node, where it matters."""
        log.info("parking", task=task, resource=resource, node=node)
        self._executor.run(Op(resource, agent.type, task, node, timeout_ms=_TIMEOUT_MS, params=params, key=PARK))


def _plain_params(primitive: Primitive) -> dict[str, str]:
    """The parameters without regard to rules: enough to find a pod by."""
    return dict(pair for nvset in reversed(primitive.params) for pair in nvset.pairs)
