"""Recorded state and its journal: what memory holds is what etcd gets, whatever etcd does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import pytest

from hamgr.cib import history, rules
from hamgr.cib.history import Result
from hamgr.cib.model import Agent, Cib, Node
from hamgr.controller.membership import Standing
from hamgr.controller.overrides import Overrides
from hamgr.controller.recorded import Journal, Recorded
from hamgr.store.errors import Deposed, StoreUnavailable
from hamgr.store.values import Entry, Snapshot

AGENT = Agent("ocf", "dummy", "hamgr")


class ModelEtcd:
    """The one call of Leadership that the journal makes, on a dictionary."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.trouble: Exception | None = None
        self.transactions = 0

    def guarded(self, puts: Mapping[str, Any] | None = None, deletes: Sequence[str] = ()) -> int:
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
def recorded(etcd: ModelEtcd) -> Recorded:
    return Recorded(Journal(etcd))  # type: ignore[arg-type]


def executed(resource: str = "db", rc: int = 0) -> Result:
    return Result(resource, AGENT, "start", "n1", rc=rc, call_id=1, last_rc_change=5)


def test_the_next_leader_reads_what_this_one_wrote(etcd: ModelEtcd, recorded: Recorded) -> None:
    recorded.set_standing("n1", Standing.MEMBER)
    recorded.update("n1", history.member_up)
    recorded.update("n1", lambda state: history.record_result(state, executed()))
    recorded.set_overrides(Overrides().ban("db", "n2"))
    assert [recorded.next_call_id(), recorded.next_transition(), recorded.next_call_id()] == [1, 1, 2]
    assert recorded.flush()

    heir = Recorded(Journal(etcd))  # type: ignore[arg-type]
    heir.load(etcd.snapshot())
    assert heir.state("n1") == recorded.state("n1")
    assert heir.standings == {"n1": Standing.MEMBER}
    assert heir.overrides == recorded.overrides
    assert heir.next_call_id() == 3


def test_nothing_is_lost_while_etcd_does_not_answer(etcd: ModelEtcd, recorded: Recorded) -> None:
    etcd.trouble = StoreUnavailable("no answer")
    recorded.update("n1", history.member_up)
    assert not recorded.flush()
    recorded.update("n1", lambda state: history.record_result(state, executed(rc=1)))
    assert not recorded.flush()
    etcd.trouble = None
    assert recorded.flush()
    assert etcd.values["state/nodes/n1"]["attributes"]["fail-count-db#start_0"] == "INFINITY"
    assert etcd.values["state/nodes/n1"]["crmd"] is True


def test_a_deposed_leader_hears_of_it(etcd: ModelEtcd, recorded: Recorded) -> None:
    etcd.trouble = Deposed("the leader key is another's")
    recorded.update("n1", history.member_up)
    with pytest.raises(Deposed):
        recorded.flush()


def test_an_unchanged_state_is_not_written_again(etcd: ModelEtcd, recorded: Recorded) -> None:
    recorded.update("n1", history.member_up)
    recorded.flush()
    recorded.update("n1", history.member_up)
    recorded.flush()
    assert etcd.transactions == 1


def test_a_fenced_nodes_history_is_deleted(etcd: ModelEtcd, recorded: Recorded) -> None:
    for resource in ("db", "disk"):
        recorded.update("n1", lambda state, r=resource: history.record_result(state, executed(r)))  # type: ignore[misc]
    recorded.flush()
    assert {"state/history/n1/db", "state/history/n1/disk"} <= etcd.values.keys()
    recorded.update("n1", history.member_fenced)
    recorded.flush()
    assert not {key for key in etcd.values if key.startswith("state/history/")}


def test_more_changes_than_a_transaction_takes_are_all_written(etcd: ModelEtcd, recorded: Recorded) -> None:
    for number in range(250):
        recorded.update("n1", lambda state, n=number: history.record_result(state, executed(f"r{n}")))  # type: ignore[misc]
    assert recorded.flush()
    assert sum(key.startswith("state/history/") for key in etcd.values) == 250
    assert etcd.transactions > 2


def test_an_unreadable_entry_does_not_hide_the_others(etcd: ModelEtcd, recorded: Recorded) -> None:
    recorded.update("n1", lambda state: history.record_result(state, executed()))
    recorded.flush()
    etcd.values["state/history/n1/other"] = {"id": "other", "agent": 7}
    etcd.values["state/nodes/n2"] = {"standing": "on the moon"}
    recorded.load(etcd.snapshot())
    assert [entry.id for entry in recorded.state("n1").resources] == ["db"]


def test_a_node_that_is_forgotten_leaves_nothing_behind(etcd: ModelEtcd, recorded: Recorded) -> None:
    for node in ("n1", "n2"):
        recorded.set_standing(node, Standing.MEMBER)
        recorded.update(node, lambda state: history.record_result(history.member_up(state), executed()))
    recorded.set_overrides(Overrides().node_attribute("n2", "standby", "on").ban("db", "n2").ban("db", "n1"))
    recorded.forget_node("n2")
    recorded.flush()
    assert not {key for key, value in etcd.values.items() if "n2" in key or "n2" in str(value)}
    assert "n2" not in recorded.standings
    assert [entry.node for entry in recorded.overrides.locations.values()] == ["n1"]


def test_the_scheduler_sees_all_nodes_with_overrides_and_quorum(recorded: Recorded) -> None:
    recorded.update("n1", history.member_up)
    recorded.update("n3", history.member_up)
    recorded.set_overrides(Overrides().option("maintenance-mode", "true").node_attribute("n3", "standby", "off"))
    cib = recorded.assemble(Cib(nodes=(Node("n1"), Node("n2"))), "n1")
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
    etcd: ModelEtcd, recorded: Recorded, key: str, value: Any
) -> None:
    recorded.set_standing("n1", Standing.MEMBER)
    recorded.flush()
    etcd.values[key] = value
    recorded.load(etcd.snapshot())
    assert recorded.standings == {"n1": Standing.MEMBER}
    assert recorded.next_call_id() == 1
