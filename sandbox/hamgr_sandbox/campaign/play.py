"""One schedule, played: the faults strike and are undone, the cluster becomes whole again, the audits speak."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from hamgr.api.status import StatusDoc
from hamgr.store.errors import StoreError
from hamgr_sandbox import kvapp
from hamgr_sandbox.campaign.checkers import STUCK, Evidence, Finding, Sight, judge
from hamgr_sandbox.campaign.client import KvClient
from hamgr_sandbox.campaign.evidence import EvidenceCollector
from hamgr_sandbox.campaign.harness import APPLICATION, PORT, Harness, leaves
from hamgr_sandbox.campaign.nemesis import Struck, place, strike, undo_all
from hamgr_sandbox.campaign.onlooker import Onlooker, is_configured
from hamgr_sandbox.campaign.orders import TROUBLE, Undo, orders_in_force, put_right
from hamgr_sandbox.campaign.partitioned_client import PartitionedClient
from hamgr_sandbox.campaign.schedule import Fault, Levels, Schedule, draw
from hamgr_sandbox.client import ApiError
from hamgr_sandbox.errors import SandboxError

WHOLE_TIMEOUT_S = 60.0
_CLEAN_UP_EVERY_S = 4.0
_LOOK_S = 0.25
_READS = 3
_WHOLE_FOR_S = 1.0  # one look may see what was true before
_FENCE_PATIENCE_S = 8.0  # for the fence that a fault is to strike in the middle of
_GLANCE_EVERY_S = 0.03
_STOPPED_FOR_S = 4.0  # longer than Kubernetes needs to attach a free disk and start a pod that waits for it
_OF_THE_PAST = ("fence-failed",)  # codes of findings that nothing but another fence would end
_RECENT_S = 0.5  # a write that was acknowledged so lately shows that clients are served


@dataclass(slots=True)
class Row:
    """The result of one schedule. Times are seconds; `findings` is empty when it went well."""

    seed: int
    levels: str = ""
    faults: list[str] = field(default_factory=list)
    missed: int = 0
    fences: list[str] = field(default_factory=list)
    acknowledged: int = 0
    acknowledged_inside: int = 0  # by the application to the client on its own node
    longest_gap_s: float = 0.0
    whole_after_s: float = 0.0
    last_missing: str = ""  # what the cluster was whole without last
    took_s: float = 0.0
    findings: list[Finding] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Play:
    """All schedules of one harness, one after the other; what was acknowledged once is to be found for ever."""

    def __init__(self, harness: Harness) -> None:
        self._harness = harness
        self.acknowledged: list[kvapp.Acknowledged] = []
        self._whole_since = 0.0
        self._last_missing = ""

    def perform(self, seed: int) -> Row:
        """Play the schedule of a seed. Raises what a broken sandbox raises."""
        schedule = draw(seed)
        row = Row(seed, schedule.levels)
        began = time.monotonic()
        self._harness.fence_by(schedule.levels)
        client = KvClient(self._harness.address, f"{seed}-")
        client.start()
        try:
            if missing := self._await_whole(client):
                row.findings = [Finding(STUCK, f"before the first fault: {missing}")]
                return row
            self._strike_and_judge(row, schedule, client)
        finally:
            client.stop()
            self.acknowledged += client.acknowledged()
            row.acknowledged = len(client.acknowledged())
            row.longest_gap_s = round(client.longest_gap_s(), 2)
            row.took_s = round(time.monotonic() - began, 1)
        return row

    def _strike_and_judge(self, row: Row, schedule: Schedule, client: KvClient) -> None:
        collector, onlooker = EvidenceCollector(self._harness), Onlooker(self._harness, client)
        onlooker.start()
        try:
            self._strike(row, schedule, client, collector, onlooker)
        finally:
            onlooker.stop()

    def _strike(
        self, row: Row, schedule: Schedule, client: KvClient, collector: EvidenceCollector, onlooker: Onlooker
    ) -> None:
        with self._insider(row.seed):
            struck = run(self._harness, schedule)
        row.faults = [str(each) for each in struck]
        row.missed = sum(bool(each.missed) for each in struck)
        undo_all(self._harness)
        put_right(self._harness)
        sights: list[Sight] = []
        stuck = self._end_with(schedule.last, client, sights, row) if schedule.last else ""
        if stuck:
            row.findings = [Finding(STUCK, stuck)]
            return
        undone = time.monotonic()
        stuck, log = self._read_log_when_whole(collector, client)
        if not stuck:
            sights.append(self._look("in the end", client, due=True))
        row.whole_after_s = round(max(0.0, self._whole_since - undone), 2)
        row.last_missing = self._last_missing
        row.acknowledged_inside = sum(write.key.startswith(f"{row.seed}-inside-") for write in self.acknowledged)
        writes = collector.writes()
        evidence = Evidence(
            [replace(each.fault, where=each.where) for each in struck],
            log,
            fences=collector.fences(),
            moments=collector.moments(),
            storage=collector.storage(),
            switchings=collector.switchings(),
            writes=writes,
            intents=collector.intents(write.revision for write in writes),
            tainted=self._harness.tainted_nodes(),
            stuck=stuck,
            sights=sights,
            ok_unserved_s=onlooker.stop(),
            holders_before=collector.holders,
        )
        row.fences = [str(seen) for seen in evidence.fences]
        row.findings = judge(evidence)

    def _end_with(self, last: Fault, client: KvClient, sights: list[Sight], row: Row) -> str:
        """Give the last order, wait until it is carried out, and look for a while; what hinders it, or empty."""
        began = time.monotonic()
        while (struck := _strike(self._harness, last)[0]).missed or self._under_way():
            if time.monotonic() - began > WHOLE_TIMEOUT_S:
                return f"{last.kind} is not carried out: {struck.missed or self._under_way()}"
            self._tidy_up(orders=False)
            time.sleep(1.0)
        row.faults.append(str(struck))
        ended = time.monotonic()
        while time.monotonic() - ended < _STOPPED_FOR_S:
            time.sleep(_LOOK_S)
            sights.append(self._look(f"after {last.kind}", client, due=False))
        put_right(self._harness)
        return ""

    def _under_way(self) -> str:
        """What shows that nothing may run, and something does or is on its way; empty: all is stopped."""
        status = self._harness.status()
        if status is None:
            return "there is no leader"
        for node in status.nodes:
            if not (node.online and self._harness.joined(node.name) and node.ready):
                return f"node {node.name} is not back: {node}"
        if status.transition is not None:
            return f"a transition is under way: {status.transition}"
        if running := [fence for fence in status.fencing if fence.outcome == "pending"]:
            return f"a fence is under way: {running[0]}"
        active = [leaf.id for leaf in leaves(status.resources) if leaf.nodes and not leaf.agent.startswith("stonith:")]
        return f"{', '.join(active)} still runs" if active else ""

    def _look(self, when: str, client: KvClient, *, due: bool) -> Sight:
        """What runs and what is said of it. Raises ApiError, ValueError without a status."""
        living, status = self._harness.living_pods(), self._harness.status()
        if status is None:
            raise ValueError("the leader has gone once all was over")
        on_record = {
            f"{leaf.id}-{node}": node
            for leaf in leaves(status.resources)
            for node in leaf.nodes
            if leaf.agent == "hamgr:pod"
        }
        serves = time.monotonic() - client.last_at() <= _RECENT_S
        return Sight(when, living, on_record, is_configured(status) and not status.found, serves, due)

    def _read_log_when_whole(self, collector: EvidenceCollector, client: KvClient) -> tuple[str, kvapp.Audit]:
        """What keeps the cluster from becoming whole, and the verdict on the log; the disk may move once more."""
        for _ in range(_READS):
            if stuck := self._await_whole(client):
                return stuck, kvapp.Audit()
            try:
                return "", collector.disk([*self.acknowledged, *client.acknowledged()])
            except (OSError, ValueError, ApiError, SandboxError) as error:
                stuck = f"the log cannot be read: {error}"
        return stuck, kvapp.Audit()

    @contextmanager
    def _insider(self, seed: int) -> Iterator[None]:
        """While the body runs, a client on the application's node writes as well. Raises ValueError without a pod."""
        pod = self._harness.active_pod()
        if pod is None:
            raise ValueError("the application runs nowhere")
        host = self._harness.sandbox.host(str(pod["spec"]["nodeName"]))
        insider = PartitionedClient(host, str(pod["status"]["podIP"]), PORT, f"{seed}-inside-")
        try:
            yield
        finally:
            self.acknowledged += insider.stop()

    def _await_whole(self, client: KvClient) -> str:
        """Wait until nothing is missing, tidying up as an operator would; what still is missing when patience ends."""
        self._whole_since = began = time.monotonic()
        self._last_missing = ""
        tidied = float("-inf")
        while (now := time.monotonic()) - self._whole_since < _WHOLE_FOR_S:
            if missing := self._missing(client):
                self._last_missing = missing
                if now - began > WHOLE_TIMEOUT_S:
                    return missing
                if now - tidied > _CLEAN_UP_EVERY_S:
                    tidied = now
                    self._tidy_up()
                self._whole_since = time.monotonic()  # tidying up takes a while
            time.sleep(_LOOK_S)
        return ""

    def _missing(self, client: KvClient) -> str:
        """The first thing that keeps the cluster from being whole; empty: it is whole."""
        status = self._harness.status()
        if status is None:
            return "there is no leader"
        for node in status.nodes:
            joined = node.hamgrd and self._harness.joined(node.name)
            if not (node.online and joined and node.ready) or node.unclean:
                return f"node {node.name} is not back: {node}"
        if status.transition is not None:
            return f"a transition is under way: {status.transition}"
        if running := [fence for fence in status.fencing if fence.outcome == "pending"]:
            return f"a fence is under way: {running[0]}"
        if status.failcounts or status.bans:
            return f"failures or bans are on record: {status.failcounts or status.bans}"
        for resource in leaves(status.resources):
            if resource.role != "Started" or resource.failed or resource.pending:
                return f"{resource.id} is not well: {resource}"
            if resource.id == APPLICATION and not resource.note.startswith("parked on"):
                return "no standby is parked"
        if time.monotonic() - client.last_at() > _RECENT_S:
            return "clients are not served"
        if found := [finding for finding in status.found if finding.code not in _OF_THE_PAST]:
            return f"hamgr finds: {found[0].text}"
        return self._missing_in_kubernetes() or ("" if self._harness.leader_answers() else "the leader does not answer")

    def _missing_in_kubernetes(self) -> str:
        try:
            if tainted := self._harness.tainted_nodes():
                return f"{tainted[0]} is out of service"
            if order := orders_in_force(self._harness):
                return order
        except ApiError as error:
            return f"the API server does not answer: {error}"
        return ""

    def _tidy_up(self, *, orders: bool = True) -> None:
        """What an operator does after trouble: forget failures, end orders, let in nodes that have fenced themselves.

        Without a leader nobody can be asked. orders: whether they end, too.
        """
        if orders:
            put_right(self._harness)
        status = self._harness.status()
        if status is None:
            return
        try:
            if status.failcounts or status.failed:
                self._harness.ask("cleanup", {"resource": "", "node": ""}, timeout_s=2.0)
            for node in self._fenced_by_themselves(status):
                self._harness.ask("unfence", {"node": node}, timeout_s=2.0)
        except StoreError:
            return

    def _fenced_by_themselves(self, status: StatusDoc) -> list[str]:
        """Nodes that wait to be let in: here none is reset by its watchdog, which would be a restart."""
        if self._harness.levels is not Levels.WATCHDOG:
            return []
        return [node.name for node in status.nodes if node.hamgrd and not node.online and not node.unclean]


def run(harness: Harness, schedule: Schedule) -> list[Struck]:
    """Strike each fault at its time and undo it at its end. What another fault makes impossible is missed."""
    began, revision = time.monotonic(), harness.past.revision()
    order = itertools.count()
    due: list[tuple[float, int, Fault | Undo]] = [(fault.at_s, next(order), fault) for fault in schedule.faults]
    heapq.heapify(due)
    struck: list[Struck] = []
    while due:
        at, _, what = heapq.heappop(due)
        time.sleep(max(0.0, began + at - time.monotonic()))
        if not isinstance(what, Fault):
            _quietly(what)
            continue
        now = time.monotonic() - began
        if what.mid_fence and not harness.fence_under_way(revision):
            if now < what.at_s + _FENCE_PATIENCE_S:
                heapq.heappush(due, (now + _GLANCE_EVERY_S, next(order), what))
            else:
                struck.append(Struck(what, "", "no fence was to be seen"))
            continue
        done, undo = _strike(harness, what)
        struck.append(done)
        if undo is not None:
            heapq.heappush(due, (time.monotonic() - began + what.lasts_s, next(order), undo))
    return struck


def _strike(harness: Harness, fault: Fault) -> tuple[Struck, Undo | None]:
    where = ""
    try:
        where = place(harness, fault)
        undo = strike(harness, fault, where)
    except TROUBLE as error:
        return Struck(fault, where, str(error).splitlines()[0][:120]), None
    return Struck(fault, where), undo


def _quietly(undo: Undo) -> None:
    """An undoing that another fault made impossible is made up for by `undo_all`."""
    try:
        undo()
    except TROUBLE:
        return
