"""What is on record as under way or watched, and nobody will ever say how it ended: it is forgotten, or probed anew."""

from __future__ import annotations

from collections.abc import Callable

from hamgr.cib import history
from hamgr.cib.model import ResourceHistory
from hamgr.controller.chronicle import Chronicle
from hamgr.controller.membership import Standing
from hamgr.controller.recorded import Recorded


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
