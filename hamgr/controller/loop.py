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

from hamgr.cib.config import ConfigError, load_yaml
from hamgr.clock import boottime
from hamgr.controller.chronicle import Chronicle
from hamgr.controller.disk_care import DiskCare
from hamgr.controller.endings import Endings
from hamgr.controller.events import (
    Event,
    FenceChanged,
    KubeChanged,
    LateRequestsVoid,
    OperationEnded,
    StoreChanged,
    Vacancy,
)
from hamgr.controller.fences import FencerPort, Fences
from hamgr.controller.guarding import guard, self_doubt
from hamgr.controller.leftovers import Leftovers
from hamgr.controller.operator import Inquiry, Operator, Refusal, exit_code_of
from hamgr.controller.parking import Parking
from hamgr.controller.recorded import STATE, Journal, Recorded
from hamgr.controller.report import Reporter
from hamgr.controller.returns import Returns
from hamgr.controller.settings import ControllerSettings
from hamgr.controller.stamping import Stamping
from hamgr.controller.targets import claims
from hamgr.controller.term import Term
from hamgr.controller.views import Views
from hamgr.controller.workloads import Workloads
from hamgr.executor.executor import Executor, Surroundings
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
class Means:
    """What a controller works with. Everything but the store may be missing in tests (no Kubernetes, dummy agents)."""

    store: Store
    registry: Registry
    surroundings: Surroundings
    fencer: FencerFactory
    cache: Cache | None = None
    leases: LeaseAges | None = None
    kubelets: Kubelets | None = None
    alive: Callable[[], None] = lambda: None  # feeds the watchdog; called in every round
    on_leading: Callable[[Token | None], None] = lambda _token: None
    clock: Callable[[], float] = boottime
    now: Callable[[], float] = time.time


@dataclass(slots=True)
class _Office:
    """What exists only while we lead."""

    term: Term
    executor: Executor
    stamping: Stamping
    returns: Returns
    leftovers: Leftovers
    requests: RequestQueue
    operator: Operator
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

    def __init__(self, settings: ControllerSettings, means: Means) -> None:
        self._settings = settings
        self._means = means
        self._leadership = Leadership(means.store, settings.node, clock=means.clock)
        self._events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
        self._era = 0  # events of an earlier term are dropped
        self._office: _Office | None = None
        self._campaigned_at = float("-inf")
        self._gives_way_until = float("-inf")
        self._left_to_others: set[str] = set()  # fences for which we gave way
        self._vacancy: Watch | None = None
        self._whole_since = self._looked_at = means.clock()

    @property
    def leadership(self) -> Leadership:
        return self._leadership

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; then leadership is handed over. No error of a store, cluster or agent ends it."""
        try:
            while not stop.is_set():
                self._means.alive()
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
        if self._office is None:
            self._campaign(any(isinstance(event, Vacancy) for event in events))
            return
        if not self._leadership.renew():
            raise Deposed(f"{self._settings.node} could not renew its leadership in time")
        office = self._office
        if self._means.store.resets != office.resets:
            raise Deposed("etcd was restored from a backup: everything is read anew")
        if self._blind() and not self._alone():
            office.term.say_why_it_ends(
                "it has not seen the Kubernetes API server for too long; one that sees it leads next"
            )
            self._step_down(hand_over=True)
            return
        for event in events:
            self._dispatch(office, event)
        if office.stamping.done:
            self._audit(office)
            office.term.advance()
        if self._gives_way(office.term.fences.running):
            self._step_down(hand_over=True)
            return
        self._do_courtesies(office, news=bool(events) or office.term.course is not None)

    def _do_courtesies(self, office: _Office, *, news: bool) -> None:
        """Parking and the status: what goes wrong there must not cost the leadership, which the next would lose too."""
        try:
            office.parking.clear_the_way()
            office.parking.advance()
            office.care.advance()
            office.reporter.publish(news=news)
        except StoreError:
            raise
        except Exception:
            log.exception("courtesy_failed")

    def _audit(self, office: _Office) -> None:
        """Whenever pods have changed, and every so often, since the records change as well."""
        cache = self._means.cache
        if cache is None:
            return
        try:
            now, changes = self._means.clock(), cache.changes(POD)
            waited_s = now - office.audited_at
            if waited_s >= _AUDIT_S or (changes != office.audited and waited_s >= _AUDIT_AT_MOST_EVERY_S):
                office.audited_at, office.audited = now, changes
                cluster = self._means.surroundings.cluster
                office.term.audit(cache.list(POD, labels={LABEL_CLUSTER: cluster}), cluster)
        except StoreError:
            raise
        except Exception:  # one odd pod must not cost the leadership
            log.exception("audit_failed")

    def _take_events(self) -> list[Event]:
        """Wait a moment for an event, then take all that are there (bounded, so that renewal is never starved)."""
        taken: list[Event] = []
        try:
            era, event = self._events.get(timeout=_TICK_S)
            while True:
                if era in (0, self._era):
                    taken.append(event)
                if len(taken) >= _BATCH:
                    break
                era, event = self._events.get_nowait()
        except queue.Empty:
            pass
        return taken

    def _post(self, event: Event) -> None:
        self._events.put((self._era, event))

    def _watch_our_own_eyes(self) -> None:
        """A look at etcd that was interrupted: it did not answer, or we stood still ourselves since the last round."""
        now, before = self._means.clock(), self._looked_at
        self._looked_at = now
        if max(self._means.store.staleness_s(), now - before) > self._settings.settle_s / 2:
            self._whole_since = now

    def _settled(self) -> bool:
        return self._means.clock() - self._whole_since >= self._settings.settle_s

    def _blind(self) -> bool:
        cache = self._means.cache
        return cache is not None and cache.staleness_s() > self._settings.api_stale_s

    # --- following ---------------------------------------------------------------------------------------------------

    def _campaign(self, vacant: bool) -> None:
        if self._vacancy is None:
            self._vacancy = self._leadership.watch_vacancy(lambda: self._events.put((0, Vacancy())))
        due = self._means.clock() - self._campaigned_at >= _CAMPAIGN_S
        giving_way = self._means.clock() < self._gives_way_until
        if not (vacant or due) or ((self._blind() or giving_way) and not self._alone()):
            return
        self._campaigned_at = self._means.clock()
        token = self._leadership.campaign()
        if token is not None:
            log.info("leading", node=self._settings.node, token=token.revision)
            self._era += 1
            try:
                records = EtcdRecords(self._means.store, self._leadership)
                fences = records.load()
                if self._gives_way(fences):
                    self._leadership.resign()
                    return
                self._open(records, fences)
            except BaseException:
                self._step_down()
                self._leadership.resign()
                raise
            self._means.on_leading(token)

    def _gives_way(self, fences: Iterable[FenceRecord]) -> bool:
        """Whether somebody else has to lead, since a device is about to switch this node off: who switches himself off
        ends the fence one lease later than anybody else would. Once for each fence: another one may not be able to.
        """
        ours = {record.id for record in fences if record.switches_off(self._settings.node)} - self._left_to_others
        if not ours or self._alone():
            return False
        log.warning("handing_over", why="this node is to be switched off")
        self._left_to_others |= ours
        self._gives_way_until = self._means.clock() + _GIVES_WAY_S
        return True

    def _alone(self) -> bool:
        """Whether no other daemon could lead instead: then a blind leader is better than none."""
        members = self._means.store.read(MEMBERS).entries
        return not members.keys() - {MEMBERS + self._settings.node}

    def _step_down(self, *, hand_over: bool = False) -> None:
        office, self._office = self._office, None
        self._era += 1
        if office is None:
            return
        self._means.on_leading(None)
        office.term.fences.close()  # first what has effects; a watch may have to wait for etcd before it ends
        office.stamping.close()
        office.leftovers.close()
        office.workloads.close()
        office.returns.close()
        office.endings.close()
        office.inquiries.shutdown(wait=False, cancel_futures=True)
        office.executor.close(_CLOSE_S)
        for watch in office.watches:
            watch.stop()
        if hand_over:
            self._leadership.resign()

    # --- leading -----------------------------------------------------------------------------------------------------

    def _open(self, records: EtcdRecords, past_fences: Sequence[FenceRecord]) -> None:
        """Begin a term: read everything, then watch what others write. What was begun is in `_office`, to be ended."""
        means, settings = self._means, self._settings
        store, leadership = means.store, self._leadership
        resets = store.resets
        snapshots = {prefix: store.read(prefix) for prefix in (MEMBERS, GOODBYES, PROMISES, CONFIG, REQUESTS, STATE)}
        leads = LeadersGate(leadership.left_s, leadership.confirmed)
        bare = means.surroundings.kube
        stamping = Stamping(
            None if bare is None else bare.behind(leads),
            means.cache,
            means.surroundings.cluster,
            lambda stamped: self._post(LateRequestsVoid(stamped)),
            means.clock,
        )
        gate = replace(leads, closed=stamping.why_closed)
        kube = None if means.surroundings.kube is None else means.surroundings.kube.behind(gate)
        returns = Returns(kube, means.clock)
        leftovers = Leftovers(kube, means.surroundings.cluster, leadership.valid, means.clock)
        journal = Journal(leadership)
        recorded = Recorded(journal)
        recorded.load(snapshots[STATE])
        views = Views(
            snapshots[MEMBERS],
            means.cache,
            means.leases,
            means.clock,
            snapshots[PROMISES],
            snapshots[GOODBYES],
            means.kubelets,
        )
        fences = Fences(
            lambda config: means.fencer(config, records, self._on_fence, views.lost_for_s, views.kubelet_lives, gate),
            past_fences,
            allowed=lambda node, past: guard(
                node, past, office.term, store, means.cache, means.now(), care.doomed(node)
            ),
            doubt=lambda: self_doubt(store, means.cache),
            describe=lambda node: office.term.target(node),
            boots=lambda node: (views.boot_id(node), views.reported_boot_id(node)),
            returns=returns,
            leftovers=leftovers,
        )
        chronicle = Chronicle(journal, EventLog(store, leadership), means.now)
        executor = Executor(
            means.registry,
            self._on_result,
            replace(means.surroundings, kube=kube),
            clock=means.clock,
            may_act=leadership.valid,
        )
        term = Term(settings, recorded, chronicle, views, executor, fences, leadership.id,
                    clock=means.clock, now=means.now, settled=self._settled,
                    agents=means.registry)  # fmt: skip
        requests = RequestQueue(store, leadership)
        inquiries = ThreadPoolExecutor(2, thread_name_prefix="inquiry")
        reporter = Reporter(term, leadership, means.cache, clock=means.clock, now=means.now, submit=inquiries.submit)
        parking = Parking(term, means.registry, executor, means.cache, means.surroundings.cluster,
                          clock=means.clock, now=means.now)  # fmt: skip
        workloads = Workloads(kube, means.clock)
        care = DiskCare(term, executor, means.cache, workloads, chronicle, means.surroundings.cluster, settings.node,
                        clock=means.clock, now=means.now)  # fmt: skip
        reporter.about_disks = care.findings
        term.takeover.standby_of = parking.standby_of
        endings = Endings(kube, leadership.valid)
        term.auditor.end_pod = endings.end
        reporter.unwarmed = parking.unwarmed
        operator = Operator(term, kube, means.cache, means.now)
        self._office = office = _Office(
            term,
            executor,
            stamping,
            returns,
            leftovers,
            requests,
            operator,
            parking,
            care,
            workloads,
            reporter,
            endings,
            inquiries,
            resets,
        )
        chronicle.tell("leader", f"{settings.node} leads", node=settings.node)
        unusable = {key: "no JSON that can be used" for read in snapshots.values() for key in read.malformed}
        for key, why in (unusable | recorded.unusable | records.unusable).items():
            text = (
                f"the key {store.full_key(key)} in etcd cannot be used and counts as absent: {why}; once nobody needs "
                f"to look at it: `etcdctl del {store.full_key(key)}`"
            )
            chronicle.tell("key_unusable", text[:1000], level="error", key=key[:200])
            reporter.unusable.append(text[:1000])
        self._configure(office, snapshots[CONFIG])
        disks = () if term.configuration is None else claims(term.configuration)
        stamping.begin(disks, 0 if leadership.token is None else leadership.token.revision)
        for request in requests.take(snapshots[REQUESTS]):
            self._carry_out(office, request)
        for prefix in (MEMBERS, PROMISES, CONFIG, REQUESTS):
            office.watches.append(store.watch(snapshots[prefix], self._on_store))

    def _dispatch(self, office: _Office, event: Event) -> None:
        match event:
            case StoreChanged(changes):
                self._store_changed(office, changes)
            case KubeChanged(kind, _, obj, old):
                self._kube_changed(office, kind, obj, old)
            case OperationEnded(result):
                office.term.operation_ended(result)
            case FenceChanged(record):
                office.term.fence_changed(record)
            case LateRequestsVoid(stamped):
                office.term.took_over(stamped)
            case Vacancy():
                pass

    def _store_changed(self, office: _Office, changes: Sequence[Change]) -> None:
        office.term.views.note(changes)
        if any(change.key == CONFIG for change in changes):
            self._configure(office, self._means.store.read(CONFIG))
            office.term.touch("the configuration has changed")
        if any(change.key.startswith(REQUESTS) and change.entry is not None for change in changes):
            for request in office.requests.take():
                self._carry_out(office, request)

    def _carry_out(self, office: _Office, request: Request) -> None:
        try:
            answer = office.operator.carry_out(request)
        except Refusal as refusal:
            office.requests.refuse(request.id, str(refusal), refusal.code)
            return
        except StoreError:
            raise
        except Exception:  # one odd request must not cost the leadership
            log.exception("request_failed", kind=request.kind)
            office.requests.refuse(request.id, f"the leader could not carry out {request.kind}: its log says why")
            return
        if isinstance(answer, Inquiry):
            office.inquiries.submit(_inquire, office.requests, request, answer)
        else:
            office.requests.answer(request.id, answer)

    def _configure(self, office: _Office, snapshot: Snapshot) -> None:
        """Take over the applied cluster file; one that this version cannot read leaves the last one in force."""
        applied = snapshot.value(CONFIG)
        if not isinstance(applied, Mapping):
            if CONFIG in snapshot.entries:
                office.reporter.trouble = "its key in etcd holds no document: `hamgr apply -f FILE` writes it anew"
            return
        try:
            cluster = load_yaml(str(applied.get("text", "")), "the applied cluster file", self._means.registry.specs())
        except (ConfigError, LookupError, ValueError, TypeError, RecursionError) as error:
            log.error("configuration_unusable", error=str(error))
            office.reporter.trouble = str(error)
            return
        office.reporter.trouble = ""
        office.reporter.applied(applied)
        office.term.configure(cluster)

    def _kube_changed(self, office: _Office, kind: Kind, obj: Obj, old: Obj | None) -> None:
        """A watch has seen something: let the monitors of what it concerns look at once."""
        if kind is POD:
            resource = labels_of(obj).get(LABEL_RESOURCE) or (labels_of(old).get(LABEL_RESOURCE) if old else None)
            if resource:
                for name in office.term.companions(resource):
                    office.executor.poke(name)
        elif kind in (VOLUME_ATTACHMENT, ENDPOINT_SLICE):
            for op in office.executor.recurring():
                if op.agent in _WATCHERS[kind]:
                    office.executor.poke(op.resource)

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
    except KubeError as error:
        requests.refuse(request.id, error.message, exit_code_of(error))
    except StoreError as error:
        log.warning("request_not_answered", kind=request.kind, error=str(error))
    except Exception:
        log.exception("request_failed", kind=request.kind)
        requests.refuse(request.id, f"the leader could not carry out {request.kind}: its log says why")
