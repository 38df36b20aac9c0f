"""What fences mean for the records: nothing runs any more where a fence has succeeded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from hamgr.cib import history
from hamgr.cib.history import Result
from hamgr.cib.model import NodeState
from hamgr.controller.fencing.fences import Fences
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.state.cluster_state import ClusterState


class FenceResults:
    """Puts on record what fences have done. Used by the control thread alone."""

    def __init__(self, cluster_state: ClusterState, fences: Fences, leader_id: str, now: Callable[[], float]) -> None:
        """now: seconds since the epoch."""
        self._cluster_state = cluster_state
        self._fences = fences
        self._leader_id = leader_id
        self._now = now

    def fenced(self, node: str) -> None:
        """A node was fenced as a whole: it is down with nothing on it."""
        self._cluster_state.update(node, history.member_fenced)
        self._cluster_state.set_membership(node, MembershipState.FENCED)
        last = self._fences.last_of(node)
        self._cluster_state.settle_fence(node, "" if last is None else last.id)

    def stopped(self, node: str, resources: Iterable[str], *, detached: bool) -> None:
        """Resources were stopped by the fence of a pod. detached: their disks were taken from the node, too."""
        for resource in resources:
            self._cluster_state.update(node, partial(self._after_stop, resource=resource, detached=detached))

    def ban(self, resource: str, node: str) -> None:
        """Keep a resource away from a node until somebody cleans up."""
        failed = f"{resource}#monitor_0"
        marks = {f"fail-count-{failed}": "INFINITY", f"last-failure-{failed}": str(int(self._now()))}
        self._cluster_state.update(node, lambda s: history.set_attributes(s, marks))

    def _after_stop(self, state: NodeState, resource: str, detached: bool) -> NodeState:
        """A node's state after one of a fenced pod's companions was stopped by the fence.

        A disk that the fence left attached (an orderly stop proves the pod gone, no more) is still on record, for the
        scheduler to detach it before it is attached elsewhere.
        """
        cluster_state = next((entry for entry in state.resources if entry.id == resource), None)
        if cluster_state is None or (cluster_state.agent.type == "volume" and not detached):
            return state
        stop = Result(
            resource,
            cluster_state.agent,
            "stop",
            state.name,
            call_id=self._cluster_state.next_call_id(),
            controller=self._leader_id,
            last_rc_change=int(self._now()),
        )
        return history.record_result(history.forget_recurring_of(state, resource), stop)
