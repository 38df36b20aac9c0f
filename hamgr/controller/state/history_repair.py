"""What is on record as under way or watched, and nobody will ever say how it ended: it is forgotten, or probed anew."""

from __future__ import annotations

from collections.abc import Callable

from hamgr.cib import history
from hamgr.cib.model import ResourceHistory
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.state.cluster_state import ClusterState
from hamgr.controller.state.event_recorder import EventRecorder


class HistoryRepair:
    """Takes out of the records what they cannot know. Used by the control thread alone."""

    def __init__(
        self,
        cluster_state: ClusterState,
        recorder: EventRecorder,
        findable: Callable[[ResourceHistory], bool] = lambda _entry: True,
    ) -> None:
        """findable: whether a probe would look for the instance that is on record."""
        self._findable = findable
        self._cluster_state = cluster_state
        self._recorder = recorder
        self._unwatched: set[str] = set()  # nodes whose monitors were ended, though the records still have them

    def note_unwatched(self, node: str) -> None:
        """Monitors on that node were ended, some of them at least."""
        self._unwatched.add(node)

    def forget_what_the_last_leader_ran(self) -> None:
        """Recurring operations ended with it, and how its operations in flight ended nobody knows: those are probed."""
        for node in self._cluster_state.memberships:
            self._cluster_state.update(node, history.forget_recurring)
            self._forget_pending(node)

    def settle(self) -> None:
        """Between two transitions nothing is in flight: what is recorded as under way ended without our hearing how.

        So it is with what ran on a node that was lost and came back, and with what was recorded and then not begun.
        Where monitors were ended they have to be started again. Of nodes that are away the records are all there is.
        """
        for node, membership in self._cluster_state.memberships.items():
            if membership not in (MembershipState.MEMBER, MembershipState.KUBELET):
                continue
            if node in self._unwatched:
                self._unwatched.remove(node)
                self._cluster_state.update(node, history.forget_recurring)
            self._forget_pending(node)

    def _forget_pending(self, node: str) -> None:
        state, probed, assumed = history.forget_pending(self._cluster_state.state(node), self._findable)
        self._cluster_state.set_state(state)
        for resource in probed:
            text = f"how the last operation on {resource} ended is not known: {node} is probed"
            self._recorder.emit("operation_unknown", text, node=node, resource=resource)
        for resource in assumed:
            text = (
                f"how the last operation on {resource} ended is not known, and its definition has changed since: it is "
                f"stopped on {node} as it was started"
            )
            self._recorder.emit("operation_unknown", text, node=node, resource=resource)
