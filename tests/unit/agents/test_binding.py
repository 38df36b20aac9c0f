"""What an unbound claim needs: values in, the next step out."""

from __future__ import annotations

from typing import Any

import pytest
from hamgr_agents.binding import Await, Refuse, towards_bound

SELECTED = "volume.kubernetes.io/selected-node"


def claim(phase: str = "Pending", *, selected: str = "", **spec: Any) -> dict[str, Any]:
    annotations = {SELECTED: selected} if selected else {}
    metadata = {"name": "data", "namespace": "shop", "annotations": annotations}
    return {"metadata": metadata, "spec": {"storageClassName": "fast"} | spec, "status": {"phase": phase}}


def storage_class(mode: str, provisioner: str = "ebs.csi.aws.com") -> dict[str, Any]:
    return {"metadata": {"name": "fast"}, "provisioner": provisioner, "volumeBindingMode": mode}


WAITS, AT_ONCE = storage_class("WaitForFirstConsumer"), storage_class("Immediate")


def test_the_node_is_selected_once_and_again_when_the_provisioner_gives_up() -> None:
    first = towards_bound(claim(), WAITS, "n1")
    assert first == Await(
        "claim shop/data is Pending: provisioner ebs.csi.aws.com has not made its volume yet, for node n1",
        for_node=True,
        select=True,
    )
    assert towards_bound(claim(selected="n1"), WAITS, "n1") == Await(first.why, for_node=True)
    assert towards_bound(claim(selected="n2"), WAITS, "n1") == first


def test_an_immediate_class_is_merely_waited_for() -> None:
    needed = towards_bound(claim(), AT_ONCE, "n1")
    assert isinstance(needed, Await)
    assert not needed.for_node
    assert not needed.select


@pytest.mark.parametrize("mode", ["WaitForFirstConsumer", "Immediate"])
def test_a_class_that_makes_no_volumes_is_refused_with_the_way_out(mode: str) -> None:
    needed = towards_bound(claim(), storage_class(mode, "kubernetes.io/no-provisioner"), "n1")
    assert isinstance(needed, Refuse)
    assert "StorageClass fast makes no volumes (kubernetes.io/no-provisioner)" in needed.why
    assert "name a PersistentVolume in the claim's volumeName" in needed.why


@pytest.mark.parametrize(
    ("entry", "given", "words"),
    [
        (claim("Lost", volumeName="pv-1"), WAITS, "is Lost: its PersistentVolume pv-1 is gone"),
    ],
)
def test_what_nobody_will_bind_is_refused(entry: dict[str, Any], given: dict[str, Any] | None, words: str) -> None:
    needed = towards_bound(entry, given, "n1")
    assert isinstance(needed, Refuse)
    assert words in needed.why


def test_a_class_that_does_not_exist_yet_is_waited_for() -> None:
    needed = towards_bound(claim(), None, "n1")
    assert needed == Await("claim shop/data is Pending: StorageClass fast does not exist")


def test_a_claim_without_a_class_waits_for_a_volume_that_somebody_makes() -> None:
    needed = towards_bound(claim(storageClassName=""), None, "n1")
    assert isinstance(needed, Await)
    assert not needed.for_node
    assert "has no StorageClass: create a PersistentVolume and name it in volumeName" in needed.why


def test_a_claim_that_names_its_volume_waits_for_that_one() -> None:
    needed = towards_bound(claim(volumeName="pv-1"), WAITS, "n1")
    assert needed == Await("claim shop/data is Pending: it waits for PersistentVolume pv-1, which it names")
