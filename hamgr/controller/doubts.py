"""What is on record as under way or watched, and nobody will ever say how it ended: it is forgotten, or probed anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from hamgr.cib import history
from hamgr.cib.model import ResourceHistory
from hamgr.controller.chronicle import Chronicle
from hamgr.controller.membership import Standing
from hamgr.controller.recorded import Recorded
from hamgr.kube.objects import (
    ANNOTATION_PARKED,
    LABEL_RESOURCE,
    annotations_of,
    is_terminating,
    labels_of,
    name_of,
    uid_of,
)
from hamgr.kube.pods import has_ended, node_of


class Doubts:
    """Takes out of the records what they cannot know. Used by the control thread alone."""

    def __init__(
        self,
        recorded: Recorded,
        chronicle: Chronicle,
        findable: Callable[[ResourceHistory], bool] = lambda _entry: True,
    ) -> None:
        """findable: whether a probe would look for the instance that is on record."""
        self._findable = findable
        self._recorded = recorded
        self._chronicle = chronicle
        self._strays: set[str] = set()  # UIDs of pods for which their nodes were probed
        self._unwatched: set[str] = set()  # nodes whose monitors were ended, though the records still have them

    def note_unwatched(self, node: str) -> None:
        """Monitors on that node were ended, some of them at least."""
        self._unwatched.add(node)

    def forget_what_the_last_leader_ran(self) -> None:
        """Recurring operations ended with it, and how its operations in flight ended nobody knows: those are probed."""
        for node in self._recorded.standings:
            self._recorded.update(node, history.forget_recurring)
            self._forget_pending(node)

    def settle(self) -> None:
        """Between two transitions nothing is in flight: what is recorded as under way ended without our hearing how.

        So it is with what ran on a node that was lost and came back, and with what was recorded and then not begun.
        Where monitors were ended they have to be started again. Of nodes that are away the records are all there is.
        """
        for node, standing in self._recorded.standings.items():
            if standing not in (Standing.MEMBER, Standing.KUBELET):
                continue
            if node in self._unwatched:
                self._unwatched.remove(node)
                self._recorded.update(node, history.forget_recurring)
            self._forget_pending(node)

    def note_pod(self, pod: Mapping[str, Any]) -> bool:
        """A pod of ours as it is now; True when it belies the records: then its node is probed, once for each pod.

        It may be the late request of a past leader, or somebody's `kubectl apply`: an instance of which nobody knows is
        a second writer as soon as its disk is one that several nodes can have. A parked pod may run by Kubernetes' own
        rules, and is looked after when the active one is missed.
        """
        resource, node = labels_of(pod).get(LABEL_RESOURCE, ""), node_of(pod)
        expected = is_terminating(pod) or has_ended(pod) or ANNOTATION_PARKED in annotations_of(pod)
        if expected or name_of(pod) != f"{resource}-{node}" or uid_of(pod) in self._strays:
            return False
        belied = history.not_running(self._recorded.state(node), resource)
        for entry in belied:
            self._recorded.update(node, partial(history.forget_resource, resource=entry))
            text = f"a pod of {resource} is on {node}, though on record it does not run there: {node} is probed"
            self._chronicle.tell("stray_instance", text, level="warning", node=node, resource=entry)
            self._strays.add(uid_of(pod))
        return bool(belied)

    def _forget_pending(self, node: str) -> None:
        state, probed, assumed = history.forget_pending(self._recorded.state(node), self._findable)
        self._recorded.set_state(state)
        for resource in probed:
            text = f"how the last operation on {resource} ended is not known: {node} is probed"
            self._chronicle.tell("operation_unknown", text, node=node, resource=resource)
        for resource in assumed:
            text = (
                f"how the last operation on {resource} ended is not known, and its definition has changed since: it is "
                f"stopped on {node} as it was started"
            )
            self._chronicle.tell("operation_unknown", text, node=node, resource=resource)
