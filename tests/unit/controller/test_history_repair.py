"""What the records cannot know, and what is taken out of them for that."""

from __future__ import annotations

import pytest
from fixtures.leader_world import ModelEtcd, ModelLeadership, Told

from hamgr.cib import history
from hamgr.cib.history import Result
from hamgr.cib.model import Agent
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.state.cluster_state import ClusterState, WriteQueue
from hamgr.controller.state.history_repair import HistoryRepair

AGENT = Agent("ocf", "dummy", "hamgr")
UNDER_WAY = Result("db", AGENT, "start", "n1", status=history.PENDING, call_id=2)
STARTED = Result("web", AGENT, "start", "n1", call_id=1)
MONITORED = Result("web", AGENT, "monitor", "n1", interval_ms=10_000, call_id=3)


class Records:
    """A node's records: one operation under way, and one instance that is monitored."""

    def __init__(self, membership: MembershipState) -> None:
        journal = WriteQueue(ModelLeadership(ModelEtcd()))  # type: ignore[arg-type]
        self._cluster_state = ClusterState(journal)
        self._cluster_state.set_membership("n1", membership)
        for result in (STARTED, MONITORED, UNDER_WAY):
            self._cluster_state.update("n1", lambda state, result=result: history.record_result(state, result))
        recorder = Told(journal, None, lambda: 0.0)
        self.told = recorder.told
        self.history_repair = HistoryRepair(self._cluster_state, recorder)

    @property
    def known(self) -> list[str]:
        """Of what there is a record."""
        found = self._cluster_state.state("n1").resources
        return sorted(f"{op.operation} of {entry.id}" for entry in found for op in entry.ops)


ALL = ["monitor of web", "start of db", "start of web"]


@pytest.mark.parametrize("membership", [MembershipState.MEMBER, MembershipState.KUBELET])
def test_what_was_under_way_on_a_node_that_is_there_is_to_be_probed(membership: MembershipState) -> None:
    records = Records(membership)
    records.history_repair.settle()
    assert records.known == ["monitor of web", "start of web"]
    assert records.told == [
        ("operation_unknown", "how the last operation on db ended is not known: n1 is probed"),
    ]


@pytest.mark.parametrize("membership", [MembershipState.LOST, MembershipState.FENCED, MembershipState.UNSEEN])
def test_of_a_node_that_is_away_the_records_are_all_there_is(membership: MembershipState) -> None:
    records = Records(membership)
    records.history_repair.note_unwatched("n1")
    records.history_repair.settle()
    assert records.known == ALL


def test_monitors_that_were_ended_are_to_be_started_again_once() -> None:
    records = Records(MembershipState.MEMBER)
    records.history_repair.note_unwatched("n1")
    records.history_repair.settle()
    assert records.known == ["start of web"]
    again = Records(MembershipState.MEMBER)
    again.history_repair.note_unwatched("n2")
    again.history_repair.settle()
    assert again.known == ["monitor of web", "start of web"]


@pytest.mark.parametrize("membership", MembershipState)
def test_a_new_leader_goes_by_no_monitor_and_by_nothing_under_way(membership: MembershipState) -> None:
    records = Records(membership)
    records.history_repair.forget_what_the_last_leader_ran()
    assert records.known == ["start of web"]
