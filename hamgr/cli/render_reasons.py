"""Why the scheduler decided as it did: its reasons, codes with data, as sentences; and the scores behind them."""

from __future__ import annotations

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.state import Rsc, Work
from hamgr.scheduler.transition import Reason, SummaryLine

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

_SENTENCES: Mapping[str, Callable[[Reason], str]] = {
    "assigned": lambda r: f"is to run on {r.node} (score {score(r.data)})",
    "node-unavailable": lambda r: f"can run nowhere: the best node is {r.node} (score {score(r.data)})",
    "location": lambda r: f"constraint {r.data.get('constraint')}: score {score(r.data)} on {r.node}",
    "colocated": lambda r: (
        f"constraint {r.data.get('constraint')}: {score(r.data)} with {r.data.get('primary')} on {r.node or 'no node'}"
    ),
    "promotion-location": lambda r: (
        f"constraint {r.data.get('constraint')}: promotion score {score(r.data)} on {r.node}"
    ),
    "promoted": lambda r: f"is to be promoted on {r.node} (promotion score {score(r.data)})",
    "failed": lambda r: (
        f"{r.data.get('operation')} failed on {r.node} (exit code {r.data.get('rc')}), "
        f"for which on-fail says {str(r.data.get('on_fail')).lower()}"
    ),
    "multiply-active": lambda r: f"is active on several nodes; multiple-active says {r.data.get('recovery')}",
    "unmanaged": lambda r: f"is not managed: it stays as it is{f' on {r.node}' if r.node else ''}",
    "ticket": lambda r: f"lacks ticket {r.data.get('ticket')}; loss-policy says {r.data.get('policy')}",
    "unclean": lambda r: f"{r.node} has to be fenced: {r.data.get('why')}",
}


def reason_lines(
    resource: str, parents: Iterable[str], reasons: Iterable[Reason], summary: Iterable[SummaryLine]
) -> list[str]:
    """What was decided about a resource (or its instances), and why; empty when nothing was."""
    names = {resource, *parents}
    lines = [
        f"{line.action} {' '.join(filter(None, (line.source or line.node, line.dest and f'to {line.dest}')))}"
        + (f", due to {line.reason}" if line.reason else "")
        + (", blocked" if line.blocked else "")
        for line in summary
        if line.resource.split(":")[0] == resource.split(":")[0]
    ]
    for reason in reasons:
        if reason.resource in names or reason.resource.split(":")[0] in names:
            whose = "" if reason.resource == resource else f"{reason.resource}: "
            lines.append(whose + sentence(reason))
    return list(dict.fromkeys(lines))


def sentence(reason: Reason) -> str:
    """One reason in words; a code without a sentence of its own is shown with its data."""
    if reason.code in _SENTENCES:
        return _SENTENCES[reason.code](reason)
    data = ", ".join(f"{name} {_score(value) if name == 'score' else value}" for name, value in reason.data.items())
    return f"{reason.code.replace('-', ' ')}{f' on {reason.node}' if reason.node else ''}{f' ({data})' if data else ''}"


def score(data: Mapping[str, str | int]) -> str:
    return _score(data.get("score", 0))


def _score(value: str | int) -> str:
    if isinstance(value, int) and abs(value) >= INFINITY:
        return "INFINITY" if value > 0 else "-INFINITY"
    return str(value)


def score_lines(work: Work) -> list[str]:
    """Each resource's final score on each node, as crm_simulate --show-scores words them."""
    return [line for rsc in work.resources for line in _scores(rsc)]


def _scores(rsc: Rsc) -> Iterator[str]:
    for node in sorted(rsc.allowed, key=lambda one: one.name):
        yield f"{rsc.id} allocation score on {node.name}: {_score(rsc.allowed[node])}"
    if rsc.parent is not None and rsc.parent.promotable and rsc.assigned_to is not None:
        yield f"{rsc.id} promotion score on {rsc.assigned_to.name}: {_score(rsc.sort_index)}"
    for child in rsc.children:
        yield from _scores(child)
