"""Changes of a resource's scores on nodes, for reasons that are no configured constraints."""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def prefer(work: WorkingSet, rsc: Resource, node: Node, score: int, code: str) -> None:
    """Add to a resource's score on a node; -INFINITY bans it."""
    for part in rsc.with_descendants():
        part.allowed[node] = scores.add(part.allowed.get(node, node.weight), score)
    if score:
        work.because(code, rsc, node, score=score)


def ban(work: WorkingSet, rsc: Resource, node: Node, code: str) -> None:
    """Keep a resource off a node, for a reason that is no configured constraint."""
    for part in rsc.with_descendants():
        part.allowed[node] = -INFINITY
    work.because(code, rsc, node, score=-INFINITY)


def ban_everywhere(work: WorkingSet, rsc: Resource, code: str) -> None:
    for part in rsc.with_descendants():
        for node in work.nodes:
            part.allowed[node] = -INFINITY
    work.because(code, rsc, score=-INFINITY)
