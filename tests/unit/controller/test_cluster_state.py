"""Recorded state and its journal: what memory holds is what etcd gets, whatever etcd does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest

from hamgr.cib import history, rules
from hamgr.cib.history import Result
from hamgr.cib.model import Agent, Cib, Node
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.requests.overrides import Overrides
from hamgr.controller.state.cluster_state import ClusterState, WriteQueue
from hamgr.store.errors import Deposed, StoreUnavailable
from hamgr.store.values import Entry, Snapshot

AGENT = Agent("ocf", "dummy", "hamgr")


class ModelEtcd:
    """The one call of Leadership that the journal makes, on a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.trouble: Exception | None = None
        self.transactions = 0

    def fenced_txn(self, puts: Mapping[str, Any] | None = None, deletes: Sequence[str] = ()) -> int:
        if self.trouble is not None:
            raise self.trouble
        self.transactions += 1
        self.values.update(puts or {})
        for key in deletes:
            self.values.pop(key, None)
        return self.transactions

    def snapshot(self) -> Snapshot:
        entries = {key: Entry(value, 1, 1) for key, value in self.values.items()}
        return Snapshot("state/", 1, MappingProxyType(entries))


@pytest.fixture
def etcd() -> ModelEtcd:
    return ModelEtcd()


@pytest.fixture
def cluster_state(etcd: ModelEtcd) -> ClusterState:
    return ClusterState(WriteQueue(etcd))  # type: ignore[arg-type]


def executed(resource: str = "db", rc: int = 0) -> Result:
    return Result(resource, AGENT, "start", "n1", rc=rc, call_id=1, last_rc_change=5)


def test_the_next_leader_reads_what_this_one_wrote(etcd: ModelEtcd, cluster_state: ClusterState) -> None:
    cluster_state.set_membership("n1", MembershipState.MEMBER)
    cluster_state.update("n1", history.member_up)
    cluster_state.update("n1", lambda state: history.record_result(state, executed()))
    cluster_state.set_overrides(Overrides().ban("db", "n2"))
    assert [cluster_state.next_call_id(), cluster_state.next_transition(), cluster_state.next_call_id()] == [1, 1, 2]
    assert cluster_state.flush()

    heir = ClusterState(WriteQueue(etcd))  # type: ignore[arg-type]
    heir.load(etcd.snapshot())
    assert heir.state("n1") == cluster_state.state("n1")
    assert heir.memberships == {"n1": MembershipState.MEMBER}
    assert heir.overrides == cluster_state.overrides
    assert heir.next_call_id() == 3


def test_nothing_is_lost_while_etcd_does_not_answer(etcd: ModelEtcd, cluster_state: ClusterState) -> None:
    etcd.trouble = StoreUnavailable("no answer")
    cluster_state.update("n1", history.member_up)
    assert not cluster_state.flush()
    cluster_state.update("n1", lambda state: history.record_result(state, executed(rc=1)))
    assert not cluster_state.flush()
    etcd.trouble = None
    assert cluster_state.flush()
    assert etcd.values["state/nodes/n1"]["attributes"]["fail-count-db#start_0"] == "INFINITY"
    assert etcd.values["state/nodes/n1"]["crmd"] is True


def test_a_deposed_leader_hears_of_it(etcd: ModelEtcd, cluster_state: ClusterState) -> None:
    etcd.trouble = Deposed("the leader key is another's")
    cluster_state.update("n1", history.member_up)
    with pytest.raises(Deposed):
        cluster_state.flush()


def test_an_unchanged_state_is_not_written_again(etcd: ModelEtcd, cluster_state: ClusterState) -> None:
    cluster_state.update("n1", history.member_up)
    cluster_state.flush()
    cluster_state.update("n1", history.member_up)
    cluster_state.flush()
    assert etcd.transactions == 1


def test_a_fenced_nodes_history_is_deleted(etcd: ModelEtcd, cluster_state: ClusterState) -> None:
    for resource in ("db", "disk"):
        cluster_state.update("n1", lambda state, r=resource: history.record_result(state, executed(r)))  # type: ignore[misc]
    cluster_state.flush()
    assert {"state/history/n1/db", "state/history/n1/disk"} <= etcd.values.keys()
    cluster_state.update("n1", history.member_fenced)
    cluster_state.flush()
    assert not {key for key in etcd.values if key.startswith("state/history/")}


def test_more_changes_than_a_transaction_takes_are_all_written(etcd: ModelEtcd, cluster_state: ClusterState) -> None:
    for number in range(250):
        cluster_state.update("n1", lambda state, n=number: history.record_result(state, executed(f"r{n}")))  # type: ignore[misc]
    assert cluster_state.flush()
    assert sum(key.startswith("state/history/") for key in etcd.values) == 250
    assert etcd.transactions > 2


def test_an_unreadable_entry_does_not_hide_the_others(etcd: ModelEtcd, cluster_state: ClusterState) -> None:
    cluster_state.update("n1", lambda state: history.record_result(state, executed()))
    cluster_state.flush()
    etcd.values["state/history/n1/other"] = {"id": "other", "agent": 7}
    etcd.values["state/nodes/n2"] = {"standing": "on the moon"}
    cluster_state.load(etcd.snapshot())
    assert [entry.id for entry in cluster_state.state("n1").resources] == ["db"]


def test_a_node_that_is_forgotten_leaves_nothing_behind(etcd: ModelEtcd, cluster_state: ClusterState) -> None:
    for node in ("n1", "n2"):
        cluster_state.set_membership(node, MembershipState.MEMBER)
        cluster_state.update(node, lambda state: history.record_result(history.member_up(state), executed()))
    cluster_state.set_overrides(Overrides().node_attribute("n2", "standby", "on").ban("db", "n2").ban("db", "n1"))
    cluster_state.forget_node("n2")
    cluster_state.flush()
    assert not {key for key, value in etcd.values.items() if "n2" in key or "n2" in str(value)}
    assert "n2" not in cluster_state.memberships
    assert [entry.node for entry in cluster_state.overrides.locations.values()] == ["n1"]


def test_the_scheduler_sees_all_nodes_with_overrides_and_quorum(cluster_state: ClusterState) -> None:
    cluster_state.update("n1", history.member_up)
    cluster_state.update("n3", history.member_up)
    cluster_state.set_overrides(Overrides().option("maintenance-mode", "true").node_attribute("n3", "standby", "off"))
    cib = cluster_state.assemble(Cib(nodes=(Node("n1"), Node("n2"))), "n1")
    assert [state.name for state in cib.node_states] == ["n1", "n3"]
    assert [(node.name, rules.values(node.attributes, rules.Context(0))) for node in cib.nodes] == [
        ("n1", {}),
        ("n2", {}),
        ("n3", {"standby": "on"}),
    ]
    assert (cib.have_quorum, cib.dc_uuid) == (True, "n1")
    assert cib.options[0].pairs == (("maintenance-mode", "true"),)


@pytest.mark.parametrize("key", ["state/meta", "state/overrides"])
@pytest.mark.parametrize("value", [[], "odd", {"locations": [{"moon": 1}], "call_id": None}, None])
def test_unreadable_counters_and_overrides_keep_nobody_from_leading(
    etcd: ModelEtcd, cluster_state: ClusterState, key: str, value: Any
) -> None:
    cluster_state.set_membership("n1", MembershipState.MEMBER)
    cluster_state.flush()
    etcd.values[key] = value
    cluster_state.load(etcd.snapshot())
    assert cluster_state.memberships == {"n1": MembershipState.MEMBER}
    assert cluster_state.next_call_id() == 1
