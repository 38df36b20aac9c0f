"""What the scheduler has to be asked before anybody can say how the cluster is.

Why is something down, and would what runs be started elsewhere if its node were gone? The first is asked when something
is down, the second of one node a round, once things are quiet: each question costs one run of the scheduler, whatever
the number of resources.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import structlog

from hamgr.cib import history
from hamgr.cib.model import Cib
from hamgr.controller.leader import Leader
from hamgr.controller.status.health import Stranded
from hamgr.scheduler.engine import run
from hamgr.scheduler.output.explain import Account, accounts_of
from hamgr.scheduler.state.constants import PROMOTED
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.unpack.status import unpack

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


def _alone_on(work: WorkingSet, node: str) -> list[str]:
    """What is missed when a node is gone: the primitives that run there alone, of a clone what is promoted there."""
    found = []
    for top in work.resources:
        for leaf in top.leaves():
            there = [running.name for running in leaf.running_on] == [node]
            apart = leaf.settings.fence_device or leaf.orphan or leaf.in_bundle()
            counts = leaf.role == PROMOTED if top.is_clone() else not apart
            if there and counts:
                found.append(leaf.id)
    return found


def _goes_on(work: WorkingSet, name: str) -> bool:
    """Whether a primitive will run somewhere, or, where it is a clone's, another one will be promoted."""
    leaf = work.by_id.get(name)
    if leaf is None:
        return False
    if leaf.top().is_clone():
        return any(other.next_role == PROMOTED for other in leaf.top().leaves())
    return leaf.assigned_to is not None


Submit = Callable[[Callable[[], Any]], "Future[Any]"]


def at_once(question: Callable[[], Any]) -> Future[Any]:
    """Answer a question here and now: for those who have the time."""
    answer: Future[Any] = Future()
    try:
        answer.set_result(question())
    except Exception as error:  # noqa: BLE001  as a pool does it
        answer.set_exception(error)
    return answer


class Outlook:
    """Keeps the answers for the present situation. Used by the control thread alone; the scheduler runs beside it."""

    def __init__(
        self, leader: Leader, *, clock: Callable[[], float], now: Callable[[], float], submit: Submit = at_once
    ) -> None:
        """clock: monotonic seconds; now: seconds since the epoch. submit: has a question answered, elsewhere."""
        self._leader = leader
        self._clock = clock
        self._now = now
        self._submit = submit
        self._why = _Question()
        self._what_if = _Question()
        self._explained: object = None  # the situation and the primitives that `_accounts` is about
        self._explained_at = float("-inf")
        self._accounts: dict[str, Account] = {}
        self._judged: object = None
        self._judged_at = float("-inf")
        self._to_judge: list[str] = []
        self._stranded: dict[str, dict[str, Stranded]] = {}  # by node

    def accounts(self, down: Iterable[str]) -> dict[str, Account]:
        """Why these are down, as far as it is known. Asked anew when something has happened, or after a while."""
        leaves = frozenset(down)
        wanted = (self._situation(), leaves)
        is_old = wanted != self._explained or self._clock() - self._explained_at >= _AGAIN_S
        if leaves and is_old and self._why.is_free:
            self._explained_at = self._clock()
            cib, now = self._leader.cib(), int(self._now())
            self._why.ask(wanted, self._submit(lambda: why_down(cib, leaves, now)))
        if (answer := self._why.take()) is not None:
            self._explained, self._accounts = answer[0], answer[1] or {}
        return {name: account for name, account in self._accounts.items() if name in leaves}

    def stranded(self) -> dict[str, Stranded]:
        """What could not fail over, as far as it is known."""
        return {name: entry for found in self._stranded.values() for name, entry in found.items()}

    def advance(self) -> None:
        """When things are quiet: have one node looked at, if something has happened or it is time to look again."""
        leader = self._leader
        if (answer := self._what_if.take()) is not None:
            self._stranded[str(answer[0])] = answer[1] or {}
        if not leader.idle or leader.configuration is None or not self._what_if.is_free:
            return
        situation = self._situation()
        if situation != self._judged or self._clock() - self._judged_at >= _AGAIN_S:
            self._judged, self._judged_at = situation, self._clock()
            self._to_judge = list(leader.nodes)
            self._stranded = {node: found for node, found in self._stranded.items() if node in self._to_judge}
        if self._to_judge:
            node = self._to_judge.pop(0)
            cib, configuration, now = leader.cib(), leader.configuration, int(self._now())
            self._what_if.ask(node, self._submit(lambda: stranded_without(cib, configuration, node, now)))

    def _situation(self) -> object:
        """What differs when the scheduler might answer otherwise: results of a transition are seen at its end."""
        leader = self._leader
        return (
            leader.changes,
            leader.idle,
            tuple(sorted(leader.cluster_state.memberships.items())),
            id(leader.configuration),
        )


class _Question:
    """One question to the scheduler that is being answered, if any, with what it is about."""

    def __init__(self) -> None:
        self._asked: tuple[object, Future[Any]] | None = None

    @property
    def is_free(self) -> bool:
        return self._asked is None

    def ask(self, about: object, answer: Future[Any]) -> None:
        self._asked = (about, answer)

    def take(self) -> tuple[object, Any] | None:
        """What was asked about and its answer, once; the answer is None where the scheduler failed."""
        if self._asked is None or not self._asked[1].done():
            return None
        (about, answer), self._asked = self._asked, None
        try:
            return about, answer.result()
        except Exception:  # what is down is told of all the same
            log.exception("scheduler_failed")
            return about, None
