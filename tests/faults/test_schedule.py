"""A schedule is its seed: the same for ever, and all kinds of faults come up."""

from __future__ import annotations

import itertools

from hamgr.sandbox.campaign.schedule import ACTIVE, LEADER, NODES, Fault, Kind, draw, may_cost


def test_a_seed_always_gives_the_same_schedule() -> None:
    assert draw(31) == draw(31)
    assert [str(fault) for fault in draw(31)] == [
        "0.67 s container-killed active",
        "4.58 s node-frozen active for 1.99 s",
    ], "recorded seeds would mean something else: was a table of the module changed?"


def test_all_kinds_come_up_and_are_complete() -> None:
    faults = [fault for seed in range(500) for fault in draw(seed)]
    assert {fault.kind for fault in faults} == set(Kind)
    assert {fault.where for fault in faults} == {"", ACTIVE, LEADER, *NODES}
    for fault in faults:
        assert (fault.kind is Kind.PARTITIONED) == bool(fault.peer) == bool(fault.direction)


def test_faults_of_a_schedule_come_in_order_and_overlap() -> None:
    schedules = [draw(seed) for seed in range(100)]
    assert all(list(each) == sorted(each, key=lambda fault: fault.at_s) for each in schedules)
    overlapping = [each for each in schedules if any(a.at_s + a.lasts_s > b.at_s for a, b in itertools.pairwise(each))]
    assert overlapping


def test_only_faults_of_pods_and_orders_are_harmless_to_nodes() -> None:
    killed = Fault(Kind.CONTAINER_KILLED, 1.0, where="n1")
    crashed = Fault(Kind.NODE_CRASHED, 1.0, 3.0, "n1")
    assert not may_cost([killed], "n1")
    assert may_cost([killed, crashed], "n1")
    assert not may_cost([killed, crashed], "n2")
    assert may_cost([Fault(Kind.ETCD_FROZEN, 1.0, 3.0)], "n2")
