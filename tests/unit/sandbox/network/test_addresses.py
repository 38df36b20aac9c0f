"""Sandboxes side by side get ranges of their own, and give them back."""

import ipaddress
from pathlib import Path

import pytest
from hamgr_sandbox.addresses import MAX_NODES, AddressPlan, NoFreeSlot, release, reserve, sandbox_id


@pytest.mark.parametrize("loopback", [True, False])
def test_a_plan_stays_within_its_slot_and_overlaps_nothing(loopback: bool) -> None:
    plan = AddressPlan(slot=31, loopback=loopback)
    whole = ipaddress.ip_network(plan.network)
    nodes = [ipaddress.ip_address(plan.node(number)) for number in range(1, MAX_NODES + 1)]
    balancers = ipaddress.ip_network(plan.balancer_network)
    pods = [ipaddress.ip_network(plan.pod_cidr(number)) for number in range(1, MAX_NODES + 1)]
    assert all(node in whole and node not in balancers for node in nodes)
    assert all(ipaddress.ip_address(address) in balancers for address in plan.balancers)
    assert all(each.subnet_of(whole) and not each.overlaps(balancers) for each in pods)
    assert not any(node in each for node in nodes for each in pods)
    reserved = ipaddress.ip_network("127.0.0.0/8" if loopback else "198.18.0.0/15")
    assert whole.subnet_of(reserved)


def test_slots_are_kept_and_given_back(tmp_path: Path) -> None:
    registry = tmp_path / "registry"
    sandboxes = [tmp_path / f"sandbox-{number}" for number in range(33)]
    for directory in sandboxes:
        directory.mkdir()
    plans = [reserve(directory, registry) for directory in sandboxes[:32]]
    assert len({plan.slot for plan in plans}) == 32
    assert reserve(sandboxes[3], registry) == plans[3]
    with pytest.raises(NoFreeSlot, match="sandbox-7"):
        reserve(sandboxes[32], registry)
    release(sandboxes[7], registry)
    assert reserve(sandboxes[32], registry) == plans[7]
    sandboxes[9].rmdir()
    sandboxes[7].touch()
    assert reserve(sandboxes[7], registry) == plans[9], "the range of a sandbox whose directory is gone is free"


def test_ids_differ_by_directory(tmp_path: Path) -> None:
    assert sandbox_id(tmp_path / "a") == sandbox_id(tmp_path / "b" / ".." / "a") != sandbox_id(tmp_path / "b")
