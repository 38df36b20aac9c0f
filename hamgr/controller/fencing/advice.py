"""What a person is told about a node that has to be fenced. Pure: parts of the status document in, a sentence out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hamgr.api.status import FenceStatus, NodeStatus, ResourceStatus


def about_unclean_node(node: NodeStatus, resources: Sequence[ResourceStatus], fences: Sequence[FenceStatus]) -> str:
    """What waits for a node that is not proved gone, why it is not, and what ends that. fences: newest first."""
    name = node.name
    waiting = ", ".join(id_ for resource in resources for id_ in _running_on(resource, name)) or "what ran there"
    if _is_proved(name, fences):
        return f"node {name} is proved gone and its disks are being released; then {waiting} can start elsewhere"
    if not _has_failed(name, fences):
        return f"node {name} has to be fenced: {waiting} can start elsewhere once it is proved gone"
    if node.online:
        return (
            f"node {name} has to be fenced, and that has failed so far: {waiting} will not start elsewhere until it "
            f"is. hamgr goes on trying; `hamgr fence history {name}` says what fails"
        )
    return (
        f"node {name} is lost and not proved gone: {waiting} will not start elsewhere until it is. hamgr goes on "
        f"trying. To end it by hand: go and see that {name} is off, then `hamgr fence --confirm {name}`"
    )


def _is_proved(node: str, fences: Sequence[FenceStatus]) -> bool:
    """Whether a fence that goes on has its proof, and only the disks are not free yet."""
    return any(fence.target == node and fence.outcome == "pending" and fence.proof for fence in fences)


def _has_failed(node: str, fences: Sequence[FenceStatus]) -> bool:
    """Whether a fence of the node that is under way has failed so far, or the last one that has ended did."""
    if any(fence.target == node and fence.outcome == "pending" and fence.tried for fence in fences):
        return True
    ended = [fence.outcome for fence in fences if fence.target == node and fence.outcome in ("succeeded", "failed")]
    return ended[:1] == ["failed"]


def _running_on(resource: ResourceStatus, node: str) -> Iterator[str]:
    """The primitives below a resource that were on this node alone; hamgr's own stand-in for fencing is none."""
    if not resource.children and resource.nodes == (node,) and not resource.agent.startswith("stonith:"):
        yield resource.id
    for child in resource.children:
        yield from _running_on(child, node)
