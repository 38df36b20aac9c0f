"""Controllers on a real etcd, with dummy agents that watch for a second instance, and a fencer that does as it is told.

No Kubernetes: what is tested is the leader's part. A member is a key on a lease, as its hamgrd would hold it, so that
a test decides when a node falls silent. `Site` is all that a test needs to know.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
from fixtures.etcd import EtcdServer
from fixtures.waiting import wait_until
from hamgr_agents.dummy import DummyAgent

from hamgr.api.events import Event
from hamgr.api.status import ResourceStatus, StatusDoc
from hamgr.controller.loop import Controller, ControllerDeps
from hamgr.controller.settings import ControllerSettings
from hamgr.executor.agent import ActionContext, ActionResult
from hamgr.executor.executor import ExecutorDeps
from hamgr.executor.ocf import Ocf
from hamgr.executor.registry import Registry
from hamgr.fencer.history import EtcdRecords
from hamgr.fencer.plan import LevelPlan, Plan
from hamgr.fencer.reasons import Reason
from hamgr.fencer.records import Confirmation, FenceRecord, NotOurs, Outcome, Proof, Tried, new_record
from hamgr.fencer.records import Target as FenceTarget
from hamgr.fencer.topology import Level, LevelConfig
from hamgr.store import Store, StoreConfig
from hamgr.store.eventlog import read_events
from hamgr.store.membership import MEMBERS, MemberInfo
from hamgr.store.requests import Requests
from hamgr.store.store import Leased

NODES = ("n1", "n2", "n3")
CLUSTER = """
cluster: t
nodes: [n1, n2, n3]
resources:
  - id: db
    agent: dummy
    operations: {monitor: {interval: 200ms, timeout: 10s}}
constraints:
  - location: {resource: db, node: n1, score: 50}
"""


class WatchedAgent(DummyAgent):
    """A dummy that remembers each action, can be held up and told to fail, and notices a second instance."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str, str]] = []
        self.doubles: list[str] = []
        self.failing: dict[tuple[str, str], Ocf] = {}
        self.dead: set[str] = set()
        self._gates: dict[tuple[str, str], threading.Event] = {}
        self._guard = threading.Lock()

    def perform(self, action: str, ctx: ActionContext) -> ActionResult:
        with self._guard:
            self.calls.append((action, ctx.resource, ctx.node))
            gate = self._gates.get((action, ctx.node))
        while gate is not None and not gate.wait(0.01) and not ctx.over():
            pass
        if ctx.node in self.dead:
            return ActionResult(Ocf.ERR_GENERIC, f"{ctx.node} is dead")
        rc = self.failing.get((action, ctx.node))
        if rc is not None:
            return ActionResult(rc, f"told to fail in {action}")
        if action == "start" and (others := self.where(ctx.resource) - {ctx.node}):
            self.doubles.append(f"{ctx.resource} started on {ctx.node} while on {', '.join(sorted(others))}")
        return super().perform(action, ctx)

    def hold(self, action: str, node: str) -> threading.Event:
        """Let an action on a node wait until the event is set (or its time is over)."""
        self._gates[(action, node)] = threading.Event()
        return self._gates[(action, node)]

    def where(self, resource: str) -> set[str]:
        """On which nodes a resource is up in truth."""
        with self._lock:
            return {node for (name, node), state in self._states.items() if name == resource and state}

    def vanish(self, node: str) -> None:
        """What ran on a node is gone, as after its power was cut."""
        with self._lock:
            for key in [key for key in self._states if key[1] == node]:
                del self._states[key]

    def called(self, action: str, node: str) -> int:
        """How often an action ran on a node."""
        with self._guard:
            return sum((name, where) == (action, node) for name, _, where in self.calls)


class FenceOffice:
    """What all scripted fencers of a test share: verdicts by node, and what they were asked."""

    def __init__(self, agent: WatchedAgent) -> None:
        self.agent = agent
        self.asked: list[FenceRecord] = []
        self.resumed: list[str] = []
        self.verdicts: dict[str, str] = {}  # node: succeed (default), fail or wait
        self.superseded: dict[str, str] = {}  # fence: the one that has taken its place
        self._changed = threading.Condition()

    def decide(self, node: str, verdict: str) -> None:
        """What becomes of fences of this node, those under way included."""
        with self._changed:
            self.verdicts[node] = verdict
            self._changed.notify_all()

    def supersede(self, fence_id: str, by: str) -> None:
        """What becomes of a fence whose place another one has taken."""
        with self._changed:
            self.superseded[fence_id] = by
            self._changed.notify_all()

    def verdict(self, record: FenceRecord, closed: threading.Event) -> str:
        """Wait for the verdict; empty when the fencer was closed meanwhile. A word is always taken."""
        node = record.target.node
        with self._changed:
            while (
                self.verdicts.get(node, "succeed") == "wait"
                and not record.confirmation
                and record.id not in self.superseded
                and not closed.is_set()
            ):
                self._changed.wait(0.02)
            if closed.is_set() or record.id in self.superseded:
                return "" if closed.is_set() else "superseded"
            return "succeed" if record.confirmation else self.verdicts.get(node, "succeed")

    def nodes(self) -> list[str]:
        return [record.target.node for record in self.asked]


class ScriptedFencer:
    """A FencerPort that writes records as the real one does and ends each fence with the office's verdict."""

    def __init__(self, session: FenceOffice, records: EtcdRecords, on_change: Callable[[FenceRecord], None]) -> None:
        self._session, self._records, self._on_change = session, records, on_change
        self._closed = threading.Event()

    def fence(
        self,
        target: FenceTarget,
        why: Reason,
        requested_by: str,
        levels: Sequence[LevelConfig] | None = None,
        confirmation: Confirmation | None = None,
        earlier: Sequence[FenceRecord] = (),
    ) -> FenceRecord:
        chosen = tuple(levels or (LevelConfig(Level.VOLUME),))
        record = new_record(target, why, requested_by, chosen, confirmation=confirmation).going_on_from(earlier)
        self._session.asked.append(record)
        threading.Thread(target=self._run, args=(record,)).start()
        return record

    def resume(self, record: FenceRecord, superseded_by: str = "") -> bool:
        self._session.resumed.append(record.id)
        if superseded_by:
            self.supersede(record.id, superseded_by)
        threading.Thread(target=self._run, args=(record,)).start()
        return True

    def supersede(self, fence_id: str, by: str) -> None:
        self._session.supersede(fence_id, by)

    def plan(self, target: FenceTarget, levels: Sequence[LevelConfig] | None = None) -> Plan:
        level = levels[0].level if levels else Level.VOLUME
        return Plan(target.node, (LevelPlan(level, ("one step",), "a proof"),))

    def monitor_devices(self) -> dict[str, str]:
        return {}

    def close(self) -> None:
        self._closed.set()

    def _run(self, record: FenceRecord) -> None:
        record = replace(record, executed_by="the fencer")
        try:
            self._save(record)
            verdict = self._session.verdict(record, self._closed)
            if verdict == "superseded":
                self._save(record.superseded(self._session.superseded[record.id], record.started_at + 1))
            elif verdict == "succeed":
                self._session.agent.vanish(record.target.node)
                proof = Proof("detached", "pv-1", "the disk is detached", "n1")
                self._save(replace(record, outcome=Outcome.SUCCEEDED, proofs=(proof,), ended_at=record.started_at + 1))
            elif verdict == "fail":
                tried = Tried("volume", 1, "internal", {"error": "told to fail"})
                self._save(replace(record, outcome=Outcome.FAILED, tried=(tried,), ended_at=record.started_at + 1))
        except NotOurs:
            pass  # the next leader goes on

    def _save(self, record: FenceRecord) -> None:
        self._records.save(record)
        self._on_change(record)


class Running:
    """One controller in its thread, as the daemon of `node` would run it."""

    def __init__(self, node: str, site: Site) -> None:
        self.node = node
        self._site = site
        self._store = Store(site.store_config)
        self._may_go_on = threading.Event()
        self._may_go_on.set()
        self._hangs = threading.Event()
        deps = ControllerDeps(
            store=self._store,
            registry=Registry({"dummy": site.agent}),
            executor_deps=ExecutorDeps(cluster="t"),
            fencer=lambda _config, records, on_change, *_: ScriptedFencer(site.session, records, on_change),
            alive=self._alive,
        )
        settings = ControllerSettings(node, settle_s=site.settle_s, join_wait_s=site.join_wait_s)
        self.controller = Controller(settings, deps)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.controller.run, args=(self._stop,), name=f"controller {node}")
        self._thread.start()

    def _alive(self) -> None:
        if not self._may_go_on.is_set():
            self._hangs.set()
            self._may_go_on.wait()
            self._hangs.clear()

    def hang(self) -> None:
        """Let the control loop stand still; returns when it does."""
        self._may_go_on.clear()
        assert self._hangs.wait(30)

    def go_on(self) -> None:
        self._may_go_on.set()

    def stop(self) -> None:
        """End it in good order. Idempotent."""
        self._stop.set()
        self._may_go_on.set()
        self._thread.join(30)
        assert not self._thread.is_alive()
        self._store.close()


class Site:
    """Members, controllers, agents and fences of one test."""

    settle_s = 0.6
    join_wait_s = 3.0
    nodes = NODES
    cluster = CLUSTER

    def __init__(self, etcd: EtcdServer) -> None:
        self.store_config = StoreConfig((etcd.endpoint,), cluster="t", silence_s=0.1)
        self.store = Store(self.store_config)
        self.requests = Requests(self.store)
        self.agent = WatchedAgent()
        self.session = FenceOffice(self.agent)
        self._leases: dict[str, int] = {}
        self._running: list[Running] = []

    # --- setting up --------------------------------------------------------------------------------------------------

    def join(self, *nodes: str) -> None:
        """The nodes' daemons become members."""
        for node in nodes:
            lease, _ = self.store.grant(120)
            self._leases[node] = lease
            self.store.transact(puts={MEMBERS + node: Leased(asdict(MemberInfo(node, f"boot-{node}")), lease)})

    def silence(self, *nodes: str) -> None:
        """The nodes' member leases run out, all in one moment."""
        self.store.transact(deletes=[MEMBERS + node for node in nodes])

    def apply(self, text: str = CLUSTER) -> None:
        document = {"text": text, "applied_by": "root@test", "applied_at": "2026-11-22T21:00:00Z"}
        self.store.transact(puts={"config": document})

    def start(self, node: str = "n1") -> Running:
        running = Running(node, self)
        self._running.append(running)
        return running

    def whole(self, text: str = CLUSTER) -> Running:
        """Three members, the cluster file, and a leader on n1 that has started everything."""
        self.join(*NODES)
        self.apply(text)
        leader = self.start("n1")
        wait_until(lambda: self.leader() == "n1")
        wait_until(self.idle)
        return leader

    def close(self) -> None:
        for node in list(self.session.verdicts):
            self.session.decide(node, "fail")
        for running in self._running:
            running.stop()
        self.store.close()

    # --- looking -----------------------------------------------------------------------------------------------------

    def leader(self) -> str:
        entry = self.store.get("leader")
        return "" if entry is None else str(entry.value["node"])

    def depose(self) -> None:
        """Take the leader's lease away from it."""
        entry = self.store.get("leader")
        assert entry is not None
        self.store.revoke(entry.lease)

    def status(self) -> StatusDoc:
        """What the leader has published; an empty document before it has."""
        entry = self.store.get("status")
        return StatusDoc("") if entry is None else StatusDoc.from_value(entry.value)

    def resource(self, name: str) -> ResourceStatus:
        return next(resource for resource in self.status().resources if resource.id == name)

    def idle(self) -> bool:
        """Whether the leader has published that everything runs where it should."""
        status = self.status()
        return (
            status.leader == self.leader()
            and status.transition is None
            and any(resource.id == "db" and resource.role == "Started" for resource in status.resources)
        )

    def events(self, code: str) -> list[Event]:
        return [event for event in map(Event.from_value, (v for _, v in read_events(self.store))) if event.code == code]

    def cluster_state(self, node: str) -> dict[str, Any]:
        entry = self.store.get(f"state/nodes/{node}")
        return {} if entry is None else entry.value

    def runs_on(self, node: str, resource: str = "db") -> bool:
        return self.agent.where(resource) == {node}

    def ask(self, kind: str, body: object, timeout_s: float = 20) -> Any:
        """One request, as the command line makes it. Raises RequestRefused."""
        return self.requests.wait(self.requests.submit(kind, body), timeout_s)


@pytest.fixture
def site(etcd_server: EtcdServer) -> Iterator[Site]:
    made = Site(etcd_server)
    yield made
    made.close()
    assert made.agent.doubles == [], "two instances at once"
