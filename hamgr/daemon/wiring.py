"""Which part of hamgrd gets what: the one place that knows all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from hamgr import __version__
from hamgr.controller.loop import Controller, Means
from hamgr.controller.settings import ControllerSettings
from hamgr.daemon.member import Member
from hamgr.daemon.mounts import MountQuestions, MountReporter
from hamgr.daemon.notify import Notifier
from hamgr.daemon.settings import Settings, kube_config, read_boot_id, seconds, store_config
from hamgr.executor.executor import Surroundings
from hamgr.executor.registry import Registry
from hamgr.fencer.fencer import Fencer
from hamgr.fencer.history import EtcdRecords
from hamgr.fencer.records import FenceRecord
from hamgr.fencer.runner import Surroundings as FencerSurroundings
from hamgr.fencer.topology import FencingConfig
from hamgr.kube.cache import Cache
from hamgr.kube.gateway import Kube
from hamgr.kube.nodes import LeaseAges
from hamgr.kube.objects import POD, PV
from hamgr.kube.volumes import volume_of
from hamgr.store.leadership import Token
from hamgr.store.membership import MemberInfo
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
    boot_id = read_boot_id(settings.boot_id_file)
    store = Store(store_config(settings, base))
    undo.append(store.close)
    store.check()
    sight = _open_kubernetes(settings, base, undo) if settings.kubernetes.enabled else None

    info = MemberInfo(settings.node, boot_id, __version__, ttl_s=round(seconds(settings.times.member_ttl)))
    member = Member(store, info)
    member.join()
    undo.append(member.leave)
    reporter = MountReporter(store, settings.node, boot_id, settings.mountinfo_file)
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
    return _Sight(kube, cache, leases)


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
    means = Means(
        store=store,
        registry=registry,
        surroundings=Surroundings(
            kube=sight.kube if sight else None,
            cache=sight.cache if sight else None,
            cluster=settings.cluster,
            unmounted=questions.unmounted,
        ),
        fencer=_FencerFactory(settings, sight, questions),
        cache=sight.cache if sight else None,
        leases=sight.leases if sight else None,
        alive=alive,
        on_leading=on_leading,
    )
    return Controller(_controller_settings(settings), means)


def _controller_settings(settings: Settings) -> ControllerSettings:
    times = settings.times
    return ControllerSettings(
        node=settings.node,
        lease_age_s=seconds(times.lease_age),
        settle_s=seconds(times.settle),
        join_wait_s=seconds(times.join_wait),
        api_stale_s=seconds(times.api_stale),
        recheck_s=seconds(times.recheck),
    )


class _FencerFactory:
    """Makes a fencer when the controller begins a term, or when the fencing settings change in one."""

    def __init__(self, settings: Settings, sight: _Sight | None, questions: MountQuestions) -> None:
        self._settings = settings
        self._sight = sight
        self._questions = questions

    def __call__(
        self,
        config: FencingConfig,
        records: EtcdRecords,
        on_change: Callable[[FenceRecord], None],
        lost_for_s: Callable[[str], float | None],
    ) -> Fencer:
        assert self._sight is not None, "fencing needs Kubernetes"
        cache = self._sight.cache
        return Fencer(
            FencerSurroundings(
                kube=self._sight.kube,
                records=records,
                config=config,
                cluster=self._settings.cluster,
                me=self._settings.node,
                devices={},
                on_change=on_change,
                lost_for_s=lost_for_s,
                last_seen=lambda name, namespace: cache.last_seen(POD, name, namespace),
                unmounted=self._unmounted,
                clock=time.monotonic,
                stopping=threading.Event(),
            )
        )

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
    undo.append(serve(settings.metrics.listen, Sources(store, controller.leadership.valid, staleness)))
