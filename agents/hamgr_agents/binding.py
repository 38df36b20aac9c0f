"""How a claim gets its volume when no scheduler places its pod: what to do next, as a pure function.

A claim of a class with volumeBindingMode WaitForFirstConsumer, the usual one of clouds, stays Pending until the
scheduler has said for which node: by the annotation `volume.kubernetes.io/selected-node`. hamgr's pods name their node
themselves, so hamgr says it. A provisioner that fails takes the annotation away, and asks for another choice by that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hamgr.kube.objects import annotations_of, is_terminating, name_of, namespace_of

SELECTED_NODE = "volume.kubernetes.io/selected-node"
_NO_PROVISIONER = "kubernetes.io/no-provisioner"


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody will ever bind it."""

    why: str


@dataclass(frozen=True, slots=True)
class Await:
    """Somebody else is at it. for_node: the volume is made for our node; select: say so before.

    claim: as it was read.
    """

    why: str
    for_node: bool = False
    select: bool = False
    claim: Mapping[str, Any] = field(default_factory=dict, compare=False)


def towards_bound(claim: Mapping[str, Any], storage_class: Mapping[str, Any] | None, node: str) -> Refuse | Await:
    """What an unbound claim needs to become Bound for a node. storage_class: of its name; None: there is none."""
    spec, told = claim.get("spec") or {}, f"claim {namespace_of(claim)}/{name_of(claim)}"
    phase = (claim.get("status") or {}).get("phase") or "Pending"
    if is_terminating(claim):
        return Refuse(f"{told} is being deleted")
    if phase == "Lost":
        return Refuse(f"{told} is Lost: its PersistentVolume {spec.get('volumeName')} is gone, and what was on it")
    if spec.get("volumeName"):
        return Await(f"{told} is {phase}: it waits for PersistentVolume {spec['volumeName']}, which it names")
    if not spec.get("storageClassName"):
        return Await(f"{told} is {phase} and has no StorageClass: create a PersistentVolume and name it in volumeName")
    if storage_class is None:
        return Await(f"{told} is {phase}: StorageClass {spec['storageClassName']} does not exist")
    maker = str(storage_class.get("provisioner"))
    if maker == _NO_PROVISIONER:
        return Refuse(
            f"{told} is {phase}: StorageClass {name_of(storage_class)} makes no volumes ({_NO_PROVISIONER}), and only "
            "Kubernetes' scheduler chooses one that exists: name a PersistentVolume in the claim's volumeName"
        )
    waits = f"{told} is {phase}: provisioner {maker} has not made its volume yet"
    if storage_class.get("volumeBindingMode") != "WaitForFirstConsumer":
        return Await(waits)
    selected = annotations_of(claim).get(SELECTED_NODE)
    return Await(f"{waits}, for node {node}", for_node=True, select=selected != node, claim=claim)
