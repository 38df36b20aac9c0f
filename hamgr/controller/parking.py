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

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from hamgr.cib import history
from hamgr.cib.model import Agent, Cib, Primitive
from hamgr.controller.targets import primitives
from hamgr.controller.term import PARK, Term
from hamgr.executor.executor import Executor
from hamgr.executor.operations import Op
from hamgr.executor.registry import Registry, UnknownAgent
from hamgr.kube.cache import Cache
from hamgr.kube.objects import LABEL_CLUSTER, LABEL_RESOURCE, NODE, POD, PV, PVC, is_terminating, namespace_of
from hamgr.kube.pods import is_parked, is_ready, node_of
from hamgr.kube.volumes import UnusableVolume, Volume, claims_of, in_use, volume_of
from hamgr.scheduler import schedule
from hamgr.scheduler.transition import GraphAction

_AGAIN_S = 10.0
_TIMEOUT_MS = 20_000

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
        term: Term,
        registry: Registry,
        executor: Executor,
        cache: Cache | None,
        cluster: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._term = term
        self._registry = registry
        self._executor = executor
        self._cache = cache
        self._cluster = cluster
        self._clock = clock
        self._now = now
        self._looked_at = float("-inf")
        self._looked_when: object = None
        self._cleared = 0  # the number of the last transition whose way was cleared

    def standby_of(self, resource: str) -> str:
        """The node on which a warm parked pod of a resource waits; empty: there is none."""
        cache = self._cache
        if cache is None:
            return ""
        pods = cache.list(POD, labels={LABEL_CLUSTER: self._cluster, LABEL_RESOURCE: resource})
        return next((node_of(pod) for pod in pods if is_parked(pod) and is_warm(pod, cache)), "")

    def clear_the_way(self) -> None:
        """When a transition begins: send away parked pods that would win a disk which is meant for another node."""
        course = self._term.course
        if course is None or course.number == self._cleared or self._cache is None:
            return
        self._cleared = course.number
        for action in course.transition.actions:
            if action.task != "start" or action.agent is None:
                continue
            labels = {LABEL_CLUSTER: self._cluster, LABEL_RESOURCE: action.resource}
            for pod in self._cache.list(POD, labels=labels):
                if is_parked(pod) and node_of(pod) != action.node:
                    self._order("unpark", node_of(pod), action.resource, action.agent, action.params)

    def advance(self) -> None:
        """Once things are quiet, and again every ten seconds: see that each parked pod is where it should be."""
        if self._cache is None or not self._term.idle or self._term.configuration is None:
            return
        situation = (self._term.changes, tuple(sorted(self._term.recorded.standings.items())))
        if situation == self._looked_when and self._clock() - self._looked_at < _AGAIN_S:
            return
        self._looked_when, self._looked_at = situation, self._clock()
        for primitive in primitives(self._term.configuration):
            if self._parkable(primitive):
                self._look_after(primitive, self._cache)

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
        labels = {LABEL_CLUSTER: self._cluster, LABEL_RESOURCE: primitive.id}
        pods = cache.list(POD, labels=labels)
        active = [node_of(pod) for pod in pods if is_ready(pod)]
        if len(active) != 1:
            return
        wanted = None
        if all(self._is_safe(pod, cache) for pod in pods):
            wanted = successor(self._term.cib(), primitive.id, active[0], datetime.fromtimestamp(self._now(), UTC))
        parked = {node_of(pod) for pod in pods if is_parked(pod)}
        for node in parked - {wanted.node if wanted else ""}:
            self._order("unpark", node, primitive.id, primitive.agent, _plain_params(primitive))
        if wanted is not None and wanted.node not in parked:
            self._order("park", wanted.node, primitive.id, primitive.agent, wanted.params)

    def _is_safe(self, pod: Mapping[str, Any], cache: Cache) -> bool:
        """Whether nothing but a proof lets a second pod like this one have its disks."""
        drivers = self._term.fences.config.drivers
        return all(volume is not None and volume.driver in drivers for volume in _disks(pod, cache))

    def _order(self, task: str, node: str, resource: str, agent: Agent, params: Mapping[str, str]) -> None:
        """Have an agent park or unpark. params: as the scheduler evaluates them for the node, where it matters."""
        log.info("parking", task=task, resource=resource, node=node)
        self._executor.run(Op(resource, agent.type, task, node, timeout_ms=_TIMEOUT_MS, params=params, key=PARK))


def _plain_params(primitive: Primitive) -> dict[str, str]:
    """The parameters without regard to rules: enough to find a pod by."""
    return dict(pair for nvset in reversed(primitive.params) for pair in nvset.pairs)
