"""The controller's one thread: campaign, lead, step down, for ever.

Watches, agents' results, the fencer and requests post events into one queue; this thread takes them out and is the only
one that touches state. It renews the leadership itself, so that a loop that hangs loses it.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from hamgr.clock import boottime
from hamgr.clusterfile.load import ConfigError, load_yaml
from hamgr.controller.disks.care import DiskCare
from hamgr.controller.disks.workloads import Workloads
from hamgr.controller.events import (
    Event,
    FenceChanged,
    KubeChanged,
    LateRequestsVoid,
    OperationEnded,
    StoreChanged,
    Vacancy,
)
from hamgr.controller.fencing.cleanup import FenceCleanup
from hamgr.controller.fencing.fences import FencerPort, Fences
from hamgr.controller.fencing.guard import guard, self_doubt
from hamgr.controller.fencing.targets import all_claims
from hamgr.controller.leader import Leader
from hamgr.controller.nodes.observations import NodeObservations
from hamgr.controller.nodes.rejoin import Rejoin
from hamgr.controller.pods.endings import Endings
from hamgr.controller.requests.handlers import Inquiry, Refusal, RequestHandlers, exit_code_of
from hamgr.controller.settings import ControllerSettings
from hamgr.controller.stamping import Stamping
from hamgr.controller.standby.parking import Parking
from hamgr.controller.state.cluster_state import STATE, ClusterState, WriteQueue
from hamgr.controller.state.event_recorder import EventRecorder
from hamgr.controller.status.report import Reporter
from hamgr.executor.executor import Executor, ExecutorDeps
from hamgr.executor.operations import OpResult
from hamgr.executor.registry import Registry
from hamgr.fencer.history import EtcdRecords
from hamgr.fencer.records import FenceRecord
from hamgr.fencer.topology import FencingConfig
from hamgr.kube.cache import Cache
from hamgr.kube.errors import KubeError
from hamgr.kube.gate import Gate, LeadersGate
from hamgr.kube.kubelets import Kubelets
from hamgr.kube.nodes import LeaseAges
from hamgr.kube.objects import (
    ENDPOINT_SLICE,
    LABEL_CLUSTER,
    LABEL_RESOURCE,
    POD,
    VOLUME_ATTACHMENT,
    Kind,
    Obj,
    labels_of,
)
from hamgr.store.errors import Deposed, StoreError, StoreUnavailable
from hamgr.store.eventlog import EventLog
from hamgr.store.leadership import Leadership, Token
from hamgr.store.membership import GOODBYES, MEMBERS, PROMISES
from hamgr.store.requests import REQUESTS, Request, RequestQueue
from hamgr.store.store import Store
from hamgr.store.values import Change, Snapshot
from hamgr.store.watch import Watch

CONFIG = "config"

_TICK_S = 0.2
_CAMPAIGN_S = 0.5
_BATCH = 200
_CLOSE_S = 2.0
_AUDIT_S = 1.0
_AUDIT_AT_MOST_EVERY_S = 0.2
_GIVES_WAY_S = 3.0  # in which the others, who hear of a vacancy at once, have long been elected
# Which agents' monitors have to look when an object of a kind has changed that names no resource.
_WATCHERS = {VOLUME_ATTACHMENT: ("volume",), ENDPOINT_SLICE: ("service",)}

log = structlog.get_logger(__name__)


class FencerFactory(Protocol):
    """Makes a fencer: `records` is where it writes, `on_change` gets each record as it is saved.

    lost_for_s: for how long a node's member lease is known to be gone; None while it is there.
    kubelet_lives: whether a node's kubelet has shown life within the last so many seconds.
    gate: what its requests to Kubernetes have to pass.
    """

    def __call__(
        self,
        config: FencingConfig,
        records: EtcdRecords,
        on_change: Callable[[FenceRecord], None],
        lost_for_s: Callable[[str], float | None],
        kubelet_lives: Callable[[str, float], bool],
        gate: Gate,
    ) -> FencerPort: ...


@dataclass(frozen=True, slots=True)
class ControllerDeps:
    """What a controller works with. Everything but the store may be missing in tests (no Kubernetes, dummy agents)."""

    store: Store
    registry: Registry
    executor_deps: ExecutorDeps
    fencer: FencerFactory
    cache: Cache | None = None
    leases: LeaseAges | None = None
    kubelets: Kubelets | None = None
    alive: Callable[[], None] = lambda: None  # feeds the watchdog; called in every round
    on_leading: Callable[[Token | None], None] = lambda _token: None
    clock: Callable[[], float] = boottime
    now: Callable[[], float] = time.time


@dataclass(slots=True)
class LeaderSession:
    """What exists only while we lead."""

    leader: Leader
    executor: Executor
    stamping: Stamping
    rejoin: Rejoin
    fence_cleanup: FenceCleanup
    requests: RequestQueue
    handlers: RequestHandlers
    parking: Parking
    care: DiskCare
    workloads: Workloads
    reporter: Reporter
    endings: Endings
    inquiries: ThreadPoolExecutor
    resets: int  # of the store, when all was read
    watches: list[Watch] = field(default_factory=list)
    audited_at: float = float("-inf")  # monotonic seconds
    audited: int = -1  # how many changes of pods there were then


class Controller:
    """One daemon's controller. `run` is its thread; everything else posts events."""

    def __init__(self, settings: ControllerSettings, deps: ControllerDeps) -> None:
        self._settings = settings
        self._deps = deps
        self._leadership = Leadership(deps.store, settings.node, clock=deps.clock)
        self._events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
        self._epoch = 0  # events of an earlier term are dropped
        self._session: LeaderSession | None = None
        self._campaigned_at = float("-inf")
        self._gives_way_until = float("-inf")
        self._left_to_others: set[str] = set()  # fences for which we gave way
        self._vacancy: Watch | None = None
        self._whole_since = self._looked_at = deps.clock()

    @property
    def leadership(self) -> Leadership:
        return self._leadership

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then leadership is handed over. No error of a store, cluster or agent ends it."""
        try:
            while not stop.is_set():
                self._deps.alive()
                try:
                    self._round()
                except Deposed as error:
                    log.warning("deposed", why=str(error))
                    self._step_down()
                    self._leadership.resign()
                except StoreUnavailable as error:
                    log.warning("etcd_unavailable", error=str(error))
                    self._step_down(hand_over=True)  # what a round had begun is done again from what is recorded
                    stop.wait(_TICK_S)
                except Exception:  # one odd event must not end the daemon; state is rebuilt from etcd
                    log.exception("round_failed")
                    self._step_down(hand_over=True)
                    stop.wait(_CAMPAIGN_S)
        finally:
            self._step_down(hand_over=True)
            if self._vacancy is not None:
                self._vacancy.stop()

    # --- a round -----------------------------------------------------------------------------------------------------

    def _round(self) -> None:
        events = self._take_events()
        self._watch_our_own_eyes()
        if self._session is None:
            self._campaign(any(isinstance(event, Vacancy) for event in events))
            return
        if not self._leadership.renew():
            raise Deposed(f"{self._settings.node} could not renew its leadership in time")
        session = self._session
        if self._deps.store.resets != session.resets:
            raise Deposed("etcd was restored from a backup: everything is read anew")
        if self._blind() and not self._alone():
            session.leader.say_why_it_ends(
                "it has not seen the Kubernetes API server for too long; one that sees it leads next"
            )
            self._step_down(hand_over=True)
            return
        for event in events:
            self._dispatch(session, event)
        if session.stamping.done:
            self._audit(session)
            session.leader.advance()
        if self._gives_way(session.leader.fences.running):
            self._step_down(hand_over=True)
            return
        self._do_courtesies(session, news=bool(events) or session.leader.transition_run is not None)

    def _do_courtesies(self, session: LeaderSession, *, news: bool) -> None:
        """Parking and the status: what goes wrong there must not cost the leadership, which the next would lose too."""
        try:
            session.parking.clear_the_way()
            session.parking.advance()
            session.care.advance()
            session.reporter.publish(news=news)
        except StoreError:
            raise
        except Exception:
            log.exception("courtesy_failed")

    def _audit(self, session: LeaderSession) -> None:
        """Whenever pods have changed, and every so often, since the records change as well."""
        cache = self._deps.cache
        if cache is None:
            return
        try:
            now, changes = self._deps.clock(), cache.changes(POD)
            waited_s = now - session.audited_at
            if waited_s >= _AUDIT_S or (changes != session.audited and waited_s >= _AUDIT_AT_MOST_EVERY_S):
                session.audited_at, session.audited = now, changes
                cluster = self._deps.executor_deps.cluster
                session.leader.audit(cache.list(POD, labels={LABEL_CLUSTER: cluster}), cluster)
        except StoreError:
            raise
        except Exception:  # one odd pod must not cost the leadership
            log.exception("audit_failed")

    def _take_events(self) -> list[Event]:
        """Wait a moment for an event, then take all that are there (bounded, so that renewal is never starved)."""
        taken: list[Event] = []
        try:
            epoch, event = self._events.get(timeout=_TICK_S)
            while True:
                if epoch in (0, self._epoch):
                    taken.append(event)
                if len(taken) >= _BATCH:
                    break
                epoch, event = self._events.get_nowait()
        except queue.Empty:
            pass
        return taken

    def _post(self, event: Event) -> None:
        self._events.put((self._epoch, event))

    def _watch_our_own_eyes(self) -> None:
        """A look at etcd that was interrupted: it did not answer, or we stood still ourselves since the last round."""
        now, before = self._deps.clock(), self._looked_at
        self._looked_at = now
        if max(self._deps.store.staleness_s(), now - before) > self._settings.settle_s / 2:
            self._whole_since = now

    def _settled(self) -> bool:
        return self._deps.clock() - self._whole_since >= self._settings.settle_s

    def _blind(self) -> bool:
        cache = self._deps.cache
        return cache is not None and cache.staleness_s() > self._settings.api_stale_s

    # --- following ---------------------------------------------------------------------------------------------------

    def _campaign(self, vacant: bool) -> None:
        if self._vacancy is None:
            self._vacancy = self._leadership.watch_vacancy(lambda: self._events.put((0, Vacancy())))
        due = self._deps.clock() - self._campaigned_at >= _CAMPAIGN_S
        giving_way = self._deps.clock() < self._gives_way_until
        if not (vacant or due) or ((self._blind() or giving_way) and not self._alone()):
            return
        self._campaigned_at = self._deps.clock()
        token = self._leadership.campaign()
        if token is not None:
            log.info("leading", node=self._settings.node, token=token.revision)
            self._epoch += 1
            try:
                records = EtcdRecords(self._deps.store, self._leadership)
                fences = records.load()
                if self._gives_way(fences):
                    self._leadership.resign()
                    return
                self._open(records, fences)
            except BaseException:
                self._step_down()
                self._leadership.resign()
                raise
            self._deps.on_leading(token)

    def _gives_way(self, fences: Iterable[FenceRecord]) -> bool:
        """Whether somebody else has to lead, since a device is about to switch this node off: who switches himself off
        ends the fence one lease later than anybody else would. Once for each fence: another one may not be able to.
        """
        ours = {record.id for record in fences if record.switches_off(self._settings.node)} - self._left_to_others
        if not ours or self._alone():
            return False
        log.warning("handing_over", why="this node is to be switched off")
        self._left_to_others |= ours
        self._gives_way_until = self._deps.clock() + _GIVES_WAY_S
        return True

    def _alone(self) -> bool:
        """Whether no other daemon could lead instead: then a blind leader is better than none."""
        members = self._deps.store.read(MEMBERS).entries
        return not members.keys() - {MEMBERS + self._settings.node}

    def _step_down(self, *, hand_over: bool = False) -> None:
        session, self._session = self._session, None
        self._epoch += 1
        if session is None:
            return
        self._deps.on_leading(None)
        session.leader.fences.close()  # first what has effects; a watch may have to wait for etcd before it ends
        session.stamping.close()
        session.fence_cleanup.close()
        session.workloads.close()
        session.rejoin.close()
        session.endings.close()
        session.inquiries.shutdown(wait=False, cancel_futures=True)
        session.executor.close(_CLOSE_S)
        for watch in session.watches:
            watch.stop()
        if hand_over:
            self._leadership.resign()

    # --- leading -----------------------------------------------------------------------------------------------------

    def _open(self, records: EtcdRecords, past_fences: Sequence[FenceRecord]) -> None:
        """Begin a term: read everything, then watch what others write. What was begun is in `_office`, to be ended."""
        deps, settings = self._deps, self._settings
        store, leadership = deps.store, self._leadership
        resets = store.resets
        snapshots = {prefix: store.read(prefix) for prefix in (MEMBERS, GOODBYES, PROMISES, CONFIG, REQUESTS, STATE)}
        leads = LeadersGate(leadership.left_s, leadership.confirmed)
        bare = deps.executor_deps.kube
        stamping = Stamping(
            None if bare is None else bare.behind(leads),
            deps.cache,
            deps.executor_deps.cluster,
            lambda stamped: self._post(LateRequestsVoid(stamped)),
            deps.clock,
        )
        gate = replace(leads, closed=stamping.why_closed)
        kube = None if deps.executor_deps.kube is None else deps.executor_deps.kube.behind(gate)
        rejoin = Rejoin(kube, deps.clock)
        fence_cleanup = FenceCleanup(kube, deps.executor_deps.cluster, leadership.valid, deps.clock)
        journal = WriteQueue(leadership)
        cluster_state = ClusterState(journal)
        cluster_state.load(snapshots[STATE])
        observations = NodeObservations(
            snapshots[MEMBERS],
            deps.cache,
            deps.leases,
            deps.clock,
            snapshots[PROMISES],
            snapshots[GOODBYES],
            deps.kubelets,
        )
        fences = Fences(
            lambda config: deps.fencer(
                config, records, self._on_fence, observations.lost_for_s, observations.kubelet_lives, gate
            ),
            past_fences,
            allowed=lambda node, past: guard(
                node, past, session.leader, store, deps.cache, deps.now(), care.doomed(node)
            ),
            doubt=lambda: self_doubt(store, deps.cache),
            describe=lambda node: session.leader.target(node),
            boots=lambda node: (observations.boot_id(node), observations.reported_boot_id(node)),
            rejoin=rejoin,
            fence_cleanup=fence_cleanup,
        )
        recorder = EventRecorder(journal, EventLog(store, leadership), deps.now)
        executor = Executor(
            deps.registry,
            self._on_result,
            replace(deps.executor_deps, kube=kube),
            workers=settings.workers,
            clock=deps.clock,
            may_act=leadership.valid,
        )
        leader = Leader(settings, cluster_state, recorder, observations, executor, fences, leadership.id,
                    clock=deps.clock, now=deps.now, settled=self._settled,
                    agents=deps.registry)  # fmt: skip
        requests = RequestQueue(store, leadership)
        inquiries = ThreadPoolExecutor(2, thread_name_prefix="inquiry")
        reporter = Reporter(leader, leadership, deps.cache, clock=deps.clock, now=deps.now, submit=inquiries.submit)
        parking = Parking(leader, deps.registry, executor, deps.cache, deps.executor_deps.cluster,
                          clock=deps.clock, now=deps.now)  # fmt: skip
        workloads = Workloads(kube, deps.clock)
        care = DiskCare(leader, executor, deps.cache, workloads, recorder, deps.executor_deps.cluster, settings.node,
                        clock=deps.clock, now=deps.now)  # fmt: skip
        reporter.about_disks = care.findings
        reporter.notices = care.notices
        leader.second_users = care.second_users
        leader.standby_preference.standby_of = parking.standby_of
        endings = Endings(kube, leadership.valid)
        leader.auditor.end_pod = endings.end
        reporter.unwarmed = parking.unwarmed
        handlers = RequestHandlers(leader, kube, deps.cache, deps.now, care.doomed)
        self._session = session = LeaderSession(
            leader,
            executor,
            stamping,
            rejoin,
            fence_cleanup,
            requests,
            handlers,
            parking,
            care,
            workloads,
            reporter,
            endings,
            inquiries,
            resets,
        )
        recorder.emit("leader", f"{settings.node} leads", node=settings.node)
        unusable = {key: "no JSON that can be used" for read in snapshots.values() for key in read.malformed}
        for key, why in (unusable | cluster_state.unusable | records.unusable).items():
            text = (
                f"the key {store.full_key(key)} in etcd cannot be used and counts as absent: {why}; once nobody needs "
                f"to look at it: `etcdctl del {store.full_key(key)}`"
            )
            recorder.emit("key_unusable", text[:1000], level="error", key=key[:200])
            reporter.unusable.append(text[:1000])
        self._configure(session, snapshots[CONFIG])
        disks = () if leader.configuration is None else all_claims(leader.cib())
        stamping.begin(disks, 0 if leadership.token is None else leadership.token.revision)
        for request in requests.take(snapshots[REQUESTS]):
            self._carry_out(session, request)
        for prefix in (MEMBERS, PROMISES, CONFIG, REQUESTS):
            session.watches.append(store.watch(snapshots[prefix], self._on_store))

    def _dispatch(self, session: LeaderSession, event: Event) -> None:
        match event:
            case StoreChanged(changes):
                self._store_changed(session, changes)
            case KubeChanged(kind, _, obj, old):
                self._kube_changed(session, kind, obj, old)
            case OperationEnded(result):
                session.leader.operation_ended(result)
            case FenceChanged(record):
                session.leader.fence_changed(record)
            case LateRequestsVoid(stamped):
                session.leader.took_over(stamped)
            case Vacancy():
                pass

    def _store_changed(self, session: LeaderSession, changes: Sequence[Change]) -> None:
        session.leader.observations.note(changes)
        if any(change.key == CONFIG for change in changes):
            self._configure(session, self._deps.store.read(CONFIG))
            session.leader.touch("the configuration has changed")
        if any(change.key.startswith(REQUESTS) and change.entry is not None for change in changes):
            for request in session.requests.take():
                self._carry_out(session, request)

    def _carry_out(self, session: LeaderSession, request: Request) -> None:
        try:
            answer = session.handlers.carry_out(request)
        except Refusal as refusal:
            session.requests.refuse(request.id, str(refusal), refusal.code)
            return
        except StoreError:
            raise
        except Exception:  # one odd request must not cost the leadership
            log.exception("request_failed", kind=request.kind)
            session.requests.refuse(request.id, f"the leader could not carry out {request.kind}: its log says why")
            return
        if isinstance(answer, Inquiry):
            session.inquiries.submit(_inquire, session.requests, request, answer)
        else:
            session.requests.answer(request.id, answer)

    def _configure(self, session: LeaderSession, snapshot: Snapshot) -> None:
        """Take over the applied cluster file; one that this version cannot read leaves the last one in force."""
        applied = snapshot.value(CONFIG)
        if not isinstance(applied, Mapping):
            if CONFIG in snapshot.entries:
                session.reporter.trouble = "its key in etcd holds no document: `hamgr apply -f FILE` writes it anew"
            return
        try:
            cluster = load_yaml(str(applied.get("text", "")), "the applied cluster file", self._deps.registry.specs())
        except (ConfigError, LookupError, ValueError, TypeError, RecursionError) as error:
            log.error("configuration_unusable", error=str(error))
            session.reporter.trouble = str(error)
            return
        session.reporter.trouble = ""
        session.reporter.applied(applied)
        session.leader.configure(cluster)

    def _kube_changed(self, session: LeaderSession, kind: Kind, obj: Obj, old: Obj | None) -> None:
        """A watch has seen something: let the monitors of what it concerns look at once."""
        if kind is POD:
            resource = labels_of(obj).get(LABEL_RESOURCE) or (labels_of(old).get(LABEL_RESOURCE) if old else None)
            if resource:
                for name in session.leader.companions(resource):
                    session.executor.poke(name)
        elif kind in (VOLUME_ATTACHMENT, ENDPOINT_SLICE):
            for op in session.executor.recurring():
                if op.agent in _WATCHERS[kind]:
                    session.executor.poke(op.resource)

    # --- posts from other threads ------------------------------------------------------------------------------------

    def kube_changed(self, kind: Kind, change: str, obj: Obj, old: Obj | None) -> None:
        """A listener for the Kubernetes cache."""
        if kind in (POD, VOLUME_ATTACHMENT, ENDPOINT_SLICE):
            self._post(KubeChanged(kind, change, obj, old))

    def _on_result(self, result: OpResult) -> None:
        self._post(OperationEnded(result))

    def _on_fence(self, record: FenceRecord) -> None:
        self._post(FenceChanged(record))

    def _on_store(self, changes: Sequence[Change], revision: int) -> None:
        self._post(StoreChanged(changes, revision))


def _inquire(requests: RequestQueue, request: Request, inquiry: Inquiry) -> None:
    """Answer a request that has to ask Kubernetes first, beside the control loop."""
    try:
        requests.answer(request.id, inquiry())
    except Refusal as refusal:
        requests.refuse(request.id, str(refusal), refusal.code)
    except KubeError as error:
        requests.refuse(request.id, error.message, exit_code_of(error))
    except StoreError as error:
        log.warning("request_not_answered", kind=request.kind, error=str(error))
    except Exception:
        log.exception("request_failed", kind=request.kind)
        requests.refuse(request.id, f"the leader could not carry out {request.kind}: its log says why")
