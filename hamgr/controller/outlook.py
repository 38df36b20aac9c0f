"""What the scheduler has to be asked before anybody can say how the cluster is.

Why is something down, and would what runs be started elsewhere if its node were gone? The first is asked when something
is down, the second of one node a round, once things are quiet: each question costs one run of the scheduler, whatever
the number of resources.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import replace

import structlog

from hamgr.cib import history
from hamgr.cib.model import Cib
from hamgr.controller.health import Stranded
from hamgr.controller.term import Term
from hamgr.scheduler.engine import run
from hamgr.scheduler.explain import Account, accounts_of
from hamgr.scheduler.state.vocabulary import PROMOTED
from hamgr.scheduler.state.work import Work
from hamgr.scheduler.status import unpack

_AGAIN_S = 10.0

log = structlog.get_logger(__name__)


def why_down(cib: Cib, leaves: Container[str], now: int) -> dict[str, Account]:
    """What the scheduler says about primitives that are down, by name. now: seconds since the epoch."""
    return accounts_of(run(cib, now, explain=True), leaves)


def stranded_without(cib: Cib, configuration: Cib, node: str, now: int) -> dict[str, Stranded]:
    """What runs on a node alone and would run nowhere if that node were gone, though the configuration lets it.

    configuration: as the cluster file has it. What that binds to one node is meant to be down with it.
    """
    here = _alone_on(unpack(cib, now), node)
    if not here:
        return {}
    without = _without(cib, node)
    work = run(without, now)
    lost = {name for name in here if not _goes_on(work, name)}
    if not lost:
        return {}
    able = run(_without(_at_its_best(configuration), node), now)
    lost = {name for name in lost if _goes_on(able, name)}
    found = accounts_of(run(without, now, explain=True), lost) if lost else {}
    return {name: Stranded(node, account) for name, account in found.items()}


def _without(cib: Cib, node: str) -> Cib:
    states = tuple(history.member_fenced(state) if state.name == node else state for state in cib.node_states)
    return replace(cib, node_states=states)


def _at_its_best(configuration: Cib) -> Cib:
    """All nodes there, nothing failed, nothing asked for by operators."""
    cib = replace(configuration, node_states=())
    for node in configuration.nodes:
        cib = history.with_node_state(cib, history.member_up(history.node_state(cib, node.name)))
    return cib


def _alone_on(work: Work, node: str) -> list[str]:
    """What is missed when a node is gone: the primitives that run there alone, of a clone what is promoted there."""
    found = []
    for top in work.resources:
        for leaf in top.leaves():
            there = [running.name for running in leaf.running_on] == [node]
            counts = (
                leaf.role == PROMOTED if top.is_clone() else not (leaf.fence_device or leaf.orphan or leaf.in_bundle())
            )
            if there and counts:
                found.append(leaf.id)
    return found


def _goes_on(work: Work, name: str) -> bool:
    """Whether a primitive will run somewhere, or, where it is a clone's, another one will be promoted."""
    leaf = work.by_id.get(name)
    if leaf is None:
        return False
    if leaf.top().is_clone():
        return any(other.next_role == PROMOTED for other in leaf.top().leaves())
    return leaf.assigned_to is not None


class Outlook:
    """Keeps the answers for the present situation. Used by the control thread alone."""

    def __init__(self, term: Term, *, clock: Callable[[], float], now: Callable[[], float]) -> None:
        """clock: monotonic seconds; now: seconds since the epoch."""
        self._term = term
        self._clock = clock
        self._now = now
        self._asked: tuple[object, frozenset[str]] | None = None
        self._accounts: dict[str, Account] = {}
        self._judged: object = None
        self._judged_at = float("-inf")
        self._to_judge: list[str] = []
        self._stranded: dict[str, dict[str, Stranded]] = {}  # by node

    def accounts(self, down: Iterable[str]) -> dict[str, Account]:
        """Why these are down. Asked anew when something has happened."""
        leaves = frozenset(down)
        if not leaves:
            return {}
        asked = (self._situation(), leaves)
        if asked != self._asked:
            self._asked = asked
            self._accounts = {}
            try:
                self._accounts = why_down(self._term.cib(), leaves, int(self._now()))
            except Exception:  # what is down is told of all the same
                log.exception("scheduler_failed")
        return self._accounts

    def stranded(self) -> dict[str, Stranded]:
        """What could not fail over, as far as it is known."""
        return {name: entry for found in self._stranded.values() for name, entry in found.items()}

    def advance(self) -> None:
        """When things are quiet: look at one node, if something has happened or it is time to look again."""
        term = self._term
        if not term.idle or term.configuration is None:
            return
        situation = self._situation()
        if situation != self._judged or self._clock() - self._judged_at >= _AGAIN_S:
            self._judged, self._judged_at = situation, self._clock()
            self._to_judge = list(term.nodes)
            self._stranded = {node: found for node, found in self._stranded.items() if node in self._to_judge}
        if self._to_judge:
            node = self._to_judge.pop(0)
            self._stranded.pop(node, None)
            try:
                self._stranded[node] = stranded_without(term.cib(), term.configuration, node, int(self._now()))
            except Exception:
                log.exception("scheduler_failed")

    def _situation(self) -> object:
        term = self._term
        return (term.changes, tuple(sorted(term.recorded.standings.items())), id(term.configuration))
