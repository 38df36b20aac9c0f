"""Each resource's scores on each node, as crm_simulate --show-scores words them."""

from __future__ import annotations

from hamgr.cib import scores
from hamgr.scheduler.state.entities import Resource
from hamgr.scheduler.state.working_set import WorkingSet

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator


def score_lines(work: WorkingSet) -> list[str]:
    """All resources in the order of the configuration."""
    return [line for rsc in work.resources for line in _scores(rsc)]


def _scores(rsc: Resource) -> Iterator[str]:
    for node in sorted(rsc.allowed, key=lambda one: one.name):
        yield f"{rsc.id} allocation score on {node.name}: {scores.text(rsc.allowed[node])}"
    if rsc.parent is not None and rsc.parent.settings.promotable:
        where = rsc.location(current=False)
        yield f"{rsc.id} promotion score on {where.name if where else 'none'}: {scores.text(rsc.placing.sort_index)}"
    for child in rsc.children:
        yield from _scores(child)
