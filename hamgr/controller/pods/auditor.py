"""The audit at work: pods are held against the records in every round, and what should not run is ended, or adopted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

import structlog

from hamgr.cib import history
from hamgr.cib.model import Agent, Started
from hamgr.controller.fencing.fences import Fences
from hamgr.controller.pods.audit import Finding, Known, Rule, audit
from hamgr.controller.state.cluster_state import ClusterState
from hamgr.controller.state.event_recorder import EventRecorder
from hamgr.controller.transition.run import TransitionRun
from hamgr.controller.tree import Configured
from hamgr.fencer.reasons import reason

_POD = Agent("ocf", "pod", "hamgr")
_AGAIN_S = 60.0  # before the same is tried again of a pod that is still there

log = structlog.get_logger(__name__)


class Ending(Protocol):
    """Deletes a pod gracefully beside the control loop."""

    def __call__(self, name: str, namespace: str, uid: str) -> None: ...


class Auditor:
    """Finds what should not run, and has it ended. Used by the control thread alone."""

    def __init__(
        self,
        cluster_state: ClusterState,
        recorder: EventRecorder,
        fences: Fences,
        me: str,
        *,
        shows_life: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        """me: this node's name. shows_life: whether a node was heard of since it is down. clock: monotonic seconds."""
        self._cluster_state = cluster_state
        self._recorder = recorder
        self._fences = fences
        self._me = me
        self._shows_life = shows_life
        self._clock = clock
        self._since: dict[tuple[str, str], float] = {}  # (UID, kind)
        self._acted: dict[tuple[str, str], float] = {}
        self._present: tuple[Finding, ...] = ()
        self._homes_of: tuple[Configured | None, dict[str, frozenset[str]]] = (None, {})
        self.end_pod: Ending = _nobody

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong now, and has been for long enough to be told."""
        return self._present

    def look(
        self, pods: Iterable[Mapping[str, Any]], configured: Configured, cluster: str, run: TransitionRun | None
    ) -> str:
        """Hold all pods against the records; what has to be told the scheduler, empty: nothing."""
        found = self._settled(audit(pods, self._known(configured, cluster, run)))
        self._present = found
        return self._act_on(found)

    def _known(self, configured: Configured, cluster: str, run: TransitionRun | None) -> Known:
        expected: set[tuple[str, str]] = set()
        down: set[tuple[str, str]] = set()
        homes = dict(self._homes(configured))
        for state in (self._cluster_state.state(node) for node in self._cluster_state.memberships):
            for entry in state.resources:
                resource = entry.id.partition(":")[0]
                active = history.is_active(entry)
                (expected if active else down).add((resource, state.name))
                if active:
                    params = {} if entry.started is None else entry.started.params
                    home = params.get("namespace") or "default"
                    if home not in homes.get(resource, ()):
                        homes[resource] = homes.get(resource, frozenset()) | {home}
        if run is not None:
            expected |= run.being_started()
        memberships = self._cluster_state.memberships
        fences = [self._fences.last_of(node) for node in memberships]
        return Known(
            cluster,
            memberships,
            homes,
            frozenset(expected),
            frozenset(down),
            frozenset(pod.uid for fence in fences if fence is not None for pod in fence.pods),
            frozenset(node for node in memberships if self._shows_life(node)),
            frozenset(record.target.node for record in self._fences.running),
        )

    def _homes(self, configured: Configured) -> Mapping[str, frozenset[str]]:
        """The namespace of each configured resource."""
        if self._homes_of[0] is not configured:
            homes = {}
            for primitive in configured.primitives.values():
                values = dict(pair for nvset in reversed(primitive.params) for pair in nvset.pairs)
                homes[primitive.id] = frozenset({values.get("namespace") or "default"})
            self._homes_of = (configured, homes)
        return self._homes_of[1]

    def _settled(self, found: tuple[Finding, ...]) -> tuple[Finding, ...]:
        now = self._clock()
        self._since = {_key(finding): self._since.get(_key(finding), now) for finding in found}
        return tuple(finding for finding in found if now - self._since[_key(finding)] >= finding.patience_s)

    def _act_on(self, found: tuple[Finding, ...]) -> str:
        why = ""
        for finding in found:
            last = self._acted.get(_key(finding))
            if finding.rule is Rule.NONE or (last is not None and self._clock() - last < _AGAIN_S):
                continue
            if self._end(finding):
                self._acted[_key(finding)] = self._clock()
                self._recorder.emit(finding.kind.replace("-", "_"), finding.text, level="warning",
                                     node=finding.node, resource=finding.resource)  # fmt: skip
                why = why or f"pod {finding.name} should not run on {finding.node}"
        return why

    def _end(self, finding: Finding) -> bool:
        """Do by the rule; False: not now."""
        match finding.rule:
            case Rule.PROBE:
                for entry in history.not_running(self._cluster_state.state(finding.node), finding.resource):
                    self._cluster_state.update(finding.node, partial(history.forget_resource, resource=entry))
            case Rule.RECORD:
                started = Started(_POD, {"namespace": finding.namespace})
                self._cluster_state.update(finding.node, lambda s: history.assume_running(s, finding.resource, started))
            case Rule.DELETE:
                self.end_pod(finding.name, finding.namespace, finding.uid)
            case Rule.FENCE:
                if self._fences.refusal(finding.node) is not None:
                    return False
                told = f"{finding.namespace}/{finding.name}"
                self._fences.fence_node(finding.node, reason("late-pod", pod=told, node=finding.node), self._me)
        return True


def _key(finding: Finding) -> tuple[str, str]:
    return (finding.uid, finding.kind)


def _nobody(name: str, namespace: str, uid: str) -> None:
    log.info("pod_left", pod=f"{namespace}/{name}", uid=uid, reason="no Kubernetes")
