"""What a collection is by its parts: its instances, their roles, and which of them belongs to another resource."""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.state.constants import UNKNOWN, Variant
from hamgr.scheduler.state.entities import Node, Resource


def instances(rsc: Resource) -> list[Resource]:
    """A clone's instances, or a bundle's containers."""
    if rsc.bundle is not None:
        return [replica.container for replica in rsc.bundle.replicas]
    return rsc.children


def next_role(rsc: Resource) -> int:
    """The role that a resource is going to have; of a collection the highest of its parts."""
    if rsc.variant == Variant.PRIMITIVE:
        return rsc.next_role
    return max((next_role(child) for child in rsc.children), default=UNKNOWN)


def current_role(rsc: Resource) -> int:
    """The role that a resource has; of a collection the highest of its parts."""
    if rsc.variant == Variant.PRIMITIVE:
        return rsc.role
    return max((current_role(child) for child in rsc.children), default=UNKNOWN)


def number(rsc: Resource) -> int:
    """An instance's number: that of a clone's is after a colon, that of a bundle's container after a dash."""
    return scores.leading_int(rsc.id.rpartition(":" if ":" in rsc.id else "-")[2])


def blocked(rsc: Resource) -> bool:
    """Whether a resource, or any part of it, is left alone until a person has looked at it."""
    return rsc.blocked or any(blocked(child) for child in rsc.children)


def compatible(dependent: Resource, primary: Resource, current: bool, role: int = UNKNOWN) -> Resource | None:
    """The primary's instance on the node where the dependent is, or on the best node where it could be."""
    node = dependent.location(current)
    if node is not None:
        return _instance_on(primary, node, current, role)
    candidates = [
        (-(score if n.is_available() else -INFINITY), n.num_resources, n.name, n)
        for n, score in dependent.allowed.items()
    ]
    for *_, node in sorted(candidates, key=lambda c: c[:3]):
        instance = _instance_on(primary, node, current, role)
        if instance is not None:
            return instance
    return None


def _instance_on(primary: Resource, node: Node, current: bool, role: int) -> Resource | None:
    for child in instances(primary):
        if child.location(current) is not node or blocked(child):
            continue
        if role == UNKNOWN or (current_role(child) if current else next_role(child)) == role:
            return child
    return None


def strip_instance(name: str) -> str:
    """An instance's name without its number: ``db`` of ``db:0``."""
    head, colon, tail = name.rpartition(":")
    return head if colon and tail.isdigit() else name


def member_called(instance: Resource, base: str) -> Resource | None:
    """The primitive of an instance that was made from the configured primitive ``base``."""
    for leaf in instance.leaves():
        if leaf.primitive is not None and leaf.primitive.id == base:
            return leaf
    return None


_ATOMIC = {"running": "start", "stopped": "stop", "promoted": "promote", "demoted": "demote"}


def part_task(part: Resource, task: str) -> str:
    """What a collection's task is called for one of its parts: a primitive has no "running", only "start"."""
    return _ATOMIC.get(task, task) if part.variant == Variant.PRIMITIVE else task
