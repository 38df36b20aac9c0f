"""What a person can do about a node that is lost and not proved gone. Pure: parts of the status document in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hamgr.cib.status import FenceStatus, NodeStatus, ResourceStatus


def about_lost_nodes(
    nodes: Sequence[NodeStatus], resources: Sequence[ResourceStatus], fences: Sequence[FenceStatus]
) -> Iterator[str]:
    """A sentence for each node whose fence has failed, be it to try again. fences: newest first."""
    for node in nodes:
        if not node.unclean or node.online or _is_proved(node.name, fences) or not _has_failed(node.name, fences):
            continue
        waiting = [id_ for resource in resources for id_ in _running_on(resource, node.name)]
        what = ", ".join(waiting) or "what ran there"
        yield (
            f"node {node.name} is lost and not proved gone: {what} will not start elsewhere until it is. hamgr goes on "
            f"trying. To end it by hand: go and see that {node.name} is off, then `hamgr fence --confirm {node.name}`"
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
