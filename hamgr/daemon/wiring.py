"""Which part of hamgrd gets what: the one place that knows all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from hamgr import __version__
from hamgr.controller.loop import Controller, ControllerDeps
from hamgr.controller.settings import ControllerSettings
from hamgr.daemon.logs import dropped_lines
from hamgr.daemon.member import Member
from hamgr.daemon.mounts import MountQuestions, MountReporter
from hamgr.daemon.notify import Notifier
from hamgr.daemon.selffence.bound import Bound, bound_of, guard_options, may_live
from hamgr.daemon.selffence.client import SelfFence, Sights, stand_down
from hamgr.daemon.selffence.instances import Instances
from hamgr.daemon.settings import (
    Settings,
    SettingsError,
    fence_programs,
    kube_config,
    read_boot_id,
    seconds,
    store_config,
)
from hamgr.executor.executor import ExecutorDeps
from hamgr.executor.registry import Registry
from hamgr.fencer.fencer import Fencer
from hamgr.fencer.history import FENCES, EtcdRecords, records_of
from hamgr.fencer.records import FenceRecord, Target
from hamgr.fencer.runner import FencerDeps
from hamgr.fencer.topology import FencingConfig
from hamgr.kube.cache import Cache
from hamgr.kube.gate import Gate
from hamgr.kube.gateway import Kube
from hamgr.kube.kubelets import Kubelets
from hamgr.kube.nodes import LeaseAges
from hamgr.kube.objects import LABEL_CLUSTER, LABEL_RESOURCE, POD, PV, Obj
from hamgr.kube.pods import node_of
from hamgr.kube.volumes import volume_of
from hamgr.store.errors import StoreError
from hamgr.store.leadership import Token
from hamgr.store.membership import MEMBERS, PROMISES, MemberInfo, Promise
from hamgr.store.store import Store

READY_TIMEOUT_S = 5.0
SYNC_TIMEOUT_S = 10.0

log = structlog.get_logger(__name__)


@dataclass
class Daemon:
    """All parts of a running hamgrd. `close` undoes what `build` has begun, in the opposite order."""

    settings: Settings
    store: Store
    controller: Controller
    notifier: Notifier
    undo: list[Callable[[], None]] = field(default_factory=list)

    def close(self) -> None:
        """Let go of everything; one part's trouble does not keep the others."""
        while self.undo:
            step = self.undo.pop()
            try:
                step()
            except Exception:
                log.exception("close_failed")


def build(settings: Settings, base: Path, notifier: Notifier, each_round: Callable[[], None]) -> Daemon:
    """Connect to etcd and Kubernetes, become a member, make the controller. `each_round` runs in the control loop.

    Raises SettingsError, StoreError, KubeError, UnknownAgent, OSError: each a sentence for whoever started us. What was
    begun is undone then.
    """
    undo: list[Callable[[], None]] = []
    try:
        return _build(settings, base, notifier, each_round, undo)
    except BaseException:
        while undo:
            undo.pop()()
        raise


def _build(
    settings: Settings, base: Path, notifier: Notifier, each_round: Callable[[], None], undo: list[Callable[[], None]]
) -> Daemon:
    registry = Registry()
    registry.specs()  # a broken agent is to be heard of now
    bound = bound_of(settings)
    boot_id = read_boot_id(base / settings.boot_id_file)
    store = Store(store_config(settings, base))
    undo.append(store.close)
    store.check()
    sight = _open_kubernetes(settings, base, undo) if settings.kubernetes.enabled else None

    info = MemberInfo(settings.node, boot_id, __version__, ttl_s=round(seconds(settings.times.member_ttl)))
    member = Member(store, info)
    if bound is None:
        stand_down(store, guard_options(settings, base, boot_id))
    member.join()
    undo.append(member.leave)
    if bound is not None:
        _fence_ourselves(bound, settings, base, boot_id, member, store, sight, undo)
    reporter = MountReporter(store, settings.node, boot_id, base / settings.mountinfo_file, settings.self_fence.find)
    reporter.start()
    undo.append(reporter.stop)

    controller = _controller(settings, store, registry, sight, notifier, each_round)
    if sight is not None:
        undo.append(sight.cache.subscribe(controller.kube_changed))
    _serve_metrics(settings, store, controller, sight, undo)
    return Daemon(settings, store, controller, notifier, undo)


@dataclass(frozen=True)
class _Sight:
    """Our view of Kubernetes."""

    kube: Kube
    cache: Cache
    leases: LeaseAges
    kubelets: Kubelets


def _open_kubernetes(settings: Settings, base: Path, undo: list[Callable[[], None]]) -> _Sight:
    kube = Kube(kube_config(settings, base))
    undo.append(kube.close)
    kube.ready(READY_TIMEOUT_S)
    leases = LeaseAges()
    cache = Cache(kube, on_change=leases.observe)
    cache.start()
    undo.append(cache.stop)
    if not cache.wait_synced(SYNC_TIMEOUT_S):
        for kind in (POD, PV):
            trouble = cache.trouble(kind)
            if trouble is not None:
                raise trouble
        log.warning("kubernetes_not_seen_completely_yet", waited_s=SYNC_TIMEOUT_S)
    kubelets = Kubelets()
    undo.append(kubelets.close)
    return _Sight(kube, cache, leases, kubelets)


def _fence_ourselves(
    bound: Bound,
    settings: Settings,
    base: Path,
    boot_id: str,
    member: Member,
    store: Store,
    sight: _Sight | None,
    undo: list[Callable[[], None]],
) -> None:
    if sight is None:
        raise SettingsError("self-fencing needs Kubernetes: nobody else knows which processes are its instances")
    node, cache, kube = settings.node, sight.cache, sight.kube

    def here() -> list[Obj]:
        return [pod for pod in cache.list(POD, labels={LABEL_CLUSTER: settings.cluster}) if node_of(pod) == node]

    def living(condemned: set[str]) -> set[str]:
        fences = records_of(store.read(FENCES))  # before the pods: a fence that ends in between has deleted its own
        listed = kube.list(POD.collection(), label_selector=LABEL_RESOURCE, field_selector=f"spec.nodeName={node}")
        return may_live(condemned, node, fences, listed.items)

    def fresh() -> bool:
        return cache.synced and cache.staleness_s(POD) < seconds(settings.times.api_stale)

    options = guard_options(settings, base, boot_id)
    instances = Instances(here, settings.cluster, store)
    sights = Sights(instances.uids, fresh, living, instances.judge, instances.others)
    fence = SelfFence(bound, options, seconds(settings.times.member_ttl), member, store, sights)
    undo.append(fence.stop)
    fence.start()


def _controller(
    settings: Settings,
    store: Store,
    registry: Registry,
    sight: _Sight | None,
    notifier: Notifier,
    each_round: Callable[[], None],
) -> Controller:
    questions = MountQuestions(store)

    def alive() -> None:
        notifier.alive()
        each_round()

    def on_leading(token: Token | None) -> None:
        leads = "following" if token is None else f"leading with token {token.revision}"
        notifier.status(f"cluster {settings.cluster}, node {settings.node}: {leads}")

    on_leading(None)
    deps = ControllerDeps(
        store=store,
        registry=registry,
        executor_deps=ExecutorDeps(
            kube=sight.kube if sight else None,
            cache=sight.cache if sight else None,
            cluster=settings.cluster,
            unmounted=questions.unmounted,
            departed=questions.departed,
        ),
        fencer=_FencerFactory(settings, store, sight, questions),
        cache=sight.cache if sight else None,
        leases=sight.leases if sight else None,
        kubelets=sight.kubelets if sight else None,
        alive=alive,
        on_leading=on_leading,
    )
    return Controller(_controller_settings(settings), deps)


def _controller_settings(settings: Settings) -> ControllerSettings:
    times = settings.times
    return ControllerSettings(
        node=settings.node,
        lease_age_s=seconds(times.lease_age),
        settle_s=seconds(times.settle),
        join_wait_s=seconds(times.join_wait),
        api_stale_s=seconds(times.api_stale),
        workers=settings.workers,
    )


class _FencerFactory:
    """Makes a fencer when the controller begins a term, or when the fencing settings change in one."""

    def __init__(self, settings: Settings, store: Store, sight: _Sight | None, questions: MountQuestions) -> None:
        self._settings = settings
        self._store = store
        self._sight = sight
        self._questions = questions

    def __call__(
        self,
        config: FencingConfig,
        records: EtcdRecords,
        on_change: Callable[[FenceRecord], None],
        lost_for_s: Callable[[str], float | None],
        kubelet_lives: Callable[[str, float], bool],
        gate: Gate,
    ) -> Fencer:
        assert self._sight is not None, "fencing needs Kubernetes"
        cache = self._sight.cache
        return Fencer(
            FencerDeps(
                kube=self._sight.kube.behind(gate),
                records=records,
                config=config,
                cluster=self._settings.cluster,
                me=self._settings.node,
                devices={},
                on_change=on_change,
                lost_for_s=lambda node: None if self._may_be_member(node) else lost_for_s(node),
                promise_stands=self._promise_stands,
                last_seen=lambda name, namespace: cache.final_state(POD, name, namespace),
                unmounted=self._unmounted,
                kubelet_lives=kubelet_lives,
                confirmed=records.confirmed,
                programs=fence_programs(self._settings),
                clock=time.monotonic,
                stopping=threading.Event(),
            )
        )

    def _may_be_member(self, node: str) -> bool:
        """Asked of etcd itself: a node that is back must be seen before anybody goes by the watch's old news.

        A node that becomes a member after this answer finds the fence that asked, under way, and kills on.
        """
        try:
            return self._store.get(MEMBERS + node) is not None
        except StoreError:
            return True

    def _promise_stands(self, target: Target) -> bool:
        """Asked of etcd itself, too: a node that was back meanwhile may promise less than when the fence began."""
        try:
            entry = self._store.get(PROMISES + target.node)
            promise = Promise.from_json(None if entry is None else entry.value)
        except (StoreError, ValueError):
            return False
        return target.self_fence_s is not None and promise.is_as_good_as(target.self_fence_s, target.member_ttl_s)

    def _unmounted(self, node: str, pv: str) -> bool:
        """Whether the node's own hamgrd says that it let go of the volume; a volume that nobody knows is not let go."""
        assert self._sight is not None
        found = self._sight.cache.get(PV, pv)
        return found is not None and self._questions.unmounted(node, volume_of(found)) is True


def _serve_metrics(
    settings: Settings, store: Store, controller: Controller, sight: _Sight | None, undo: list[Callable[[], None]]
) -> None:
    if settings.metrics.listen is None:
        return
    from hamgr.daemon.metrics import Sources, serve  # 0.1 s: only for those who want it

    staleness = sight.cache.staleness_s if sight else None
    undo.append(serve(settings.metrics.listen, Sources(store, controller.leadership.valid, staleness, dropped_lines)))
