"""What the leader does about disks besides attaching them: keeps them from deletion, sees who else has them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import structlog

from hamgr.api.status import Finding
from hamgr.cib import history
from hamgr.cib.booleans import is_true
from hamgr.cib.model import Cib, Clone, Group, NvSet, Resource
from hamgr.controller.disks import findings
from hamgr.controller.disks.claims import Claim
from hamgr.controller.disks.findings import Sharing
from hamgr.controller.disks.workloads import Source, Workloads
from hamgr.controller.leader import PARK, Leader
from hamgr.controller.nodes.removal import running_on
from hamgr.controller.placement.bars import claims_used, find_bars, source_of
from hamgr.controller.placement.node_constraints import SHARED, NodeRule
from hamgr.controller.state.event_recorder import EventRecorder
from hamgr.controller.transition.disk_order import disks_of
from hamgr.controller.tree import primitives
from hamgr.executor.executor import Executor
from hamgr.executor.operations import Op
from hamgr.kube.cache import Cache
from hamgr.kube.objects import (
    ANNOTATION_KEPT_BY,
    FINALIZER,
    LABEL_CLUSTER,
    NODE,
    POD,
    PV,
    PVC,
    Obj,
    annotations_of,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
)
from hamgr.kube.pods import has_ended
from hamgr.kube.volumes import claims_of

_LOOK_EVERY_S = 3.0
_TIMEOUT_MS = 20_000

log = structlog.get_logger(__name__)


def unmanaged(cib: Cib) -> frozenset[str]:
    """The primitives that are not managed, by what is said of them, their group or clone."""
    found: set[str] = set()
    for top in cib.resources:
        found |= _unmanaged(top, above=False)
    return frozenset(found)


def _unmanaged(resource: Resource, *, above: bool) -> set[str]:
    told = _meta(resource.meta).get("is-managed")
    said = above or (told is not None and not is_true(told))
    found = {resource.id} if said else set()
    for part in _parts(resource):
        found |= _unmanaged(part, above=said)
    return found


def _parts(resource: Resource) -> tuple[Resource, ...]:
    match resource:
        case Group():
            return resource.members
        case Clone():
            return (resource.member,)
    return ()


def _meta(sets: Iterable[NvSet]) -> dict[str, str]:
    return {name: value for nvset in reversed(tuple(sets)) for name, value in nvset.pairs}


def kept_claims(cib: Cib, workloads: Mapping[Source, Obj]) -> frozenset[Claim]:
    """The claims that are to be kept from being deleted: all that managed resources hold or mount, by a `volume`
    resource, a template in the file, or one that a workload lends."""
    free = unmanaged(cib)
    managed = (primitive for primitive in primitives(cib) if primitive.id not in free)
    return frozenset(claim for primitive in managed for claim in claims_used(primitive, workloads))


def freed_claims(cib: Cib, workloads: Mapping[Source, Obj]) -> frozenset[Claim]:
    """Those of resources that somebody has taken out of hamgr's hands, and of no managed one: they are let go at once,
    though pods use them."""
    free = unmanaged(cib)
    found = (claim for p in primitives(cib) if p.id in free for claim in claims_used(p, workloads))
    return frozenset(found) - kept_claims(cib, workloads)


def finalizer_orders(
    claims: Iterable[Obj],
    kept: Collection[Claim],
    used: Collection[Claim],
    cluster: str,
    freed: Collection[Claim] = (),
    *,
    all_known: bool = True,
) -> Iterator[tuple[str, Claim]]:
    """What to do about finalizers: ("protect" or "release", claim). used: the claims that pods of this cluster use;
    freed: those that are let go all the same. all_known: False: some workload was not read yet, so that what is kept is
    not the whole; nothing is let go then.

    One that is being deleted takes no new finalizer. One of a resource that is gone keeps it until its pods are.
    """
    for claim in claims:
        key = (namespace_of(claim), name_of(claim))
        has = FINALIZER in (claim["metadata"].get("finalizers") or [])
        if key in kept and not has and not is_terminating(claim):
            yield "protect", key
        elif key in kept or not has or annotations_of(claim).get(ANNOTATION_KEPT_BY) != cluster:
            continue
        elif key in freed or (all_known and key not in used):
            yield "release", key


class DiskCare:
    """Used by the control thread alone; what asks Kubernetes is done elsewhere. Without a cache it does nothing."""

    def __init__(
        self,
        leader: Leader,
        executor: Executor,
        cache: Cache | None,
        workloads: Workloads,
        recorder: EventRecorder,
        cluster: str,
        me: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._leader = leader
        self._executor = executor
        self._cache = cache
        self._workloads = workloads
        self._recorder = recorder
        self._cluster = cluster
        self._me = me
        self._clock = clock
        self._now = now
        self._looked_at = float("-inf")
        self._told: set[str] = set()
        self._seen_shared: list[Sharing] = []

    def advance(self) -> None:
        """Every few seconds: see to finalizers, and to the nodes that resources cannot be on."""
        cache = self._cache
        if cache is None or self._leader.configuration is None or self._clock() - self._looked_at < _LOOK_EVERY_S:
            return
        self._looked_at = self._clock()
        cib = self._leader.cib()
        self._workloads.look(self._lenders(cib).values())
        self._look_at_bars(cib, cache)
        self._look_at_finalizers(cib, cache)
        shared = self._shared(cib)
        if shared != self._seen_shared:
            self._seen_shared = shared
            self._leader.touch("who else would write to a disk has changed")
        for finding in self.notices():
            if finding.text not in self._told:
                self._told.add(finding.text)
                self._recorder.emit(finding.code, finding.text, level="warning")

    def findings(self) -> Iterator[Finding]:
        """For the status."""
        cache = self._cache
        if cache is None or self._leader.configuration is None:
            return
        cib = self._leader.cib()
        disks = self._disks(cib, cache)
        yield from findings.doomed_disks(disks)
        yield from findings.foreign_users(cache.list(POD), disks, self._cluster)
        yield from findings.busy_workloads(self._lenders(cib), self._workloads.known())
        yield from findings.doubled_disks(disks, cache.list(PV))
        yield from findings.shared_disk_findings(self._shared(cib))

    def second_users(self, cib: Cib) -> tuple[NodeRule, ...]:
        """That what would write to a disk beside another resource is started nowhere."""
        return tuple(NodeRule(SHARED, name, "", shared.why) for shared in self._shared(cib) for name in shared.others)

    def _shared(self, cib: Cib) -> list[Sharing]:
        if self._cache is None:
            return []
        claims = {(namespace_of(claim), name_of(claim)): claim for claim in self._cache.list(PVC)}
        entries = (entry for state in cib.node_states for entry in state.resources if history.is_active(entry))
        active = {entry.id.partition(":")[0] for entry in entries}
        return list(findings.shared_disks(cib, self._workloads.known(), claims, active))

    def notices(self) -> Iterator[Finding]:
        """For the status: what is worth knowing, and no trouble."""
        cache = self._cache
        if cache is not None and self._leader.configuration is not None:
            yield from findings.reclaim_policies(self._disks(self._leader.cib(), cache))

    def doomed(self, node: str, only: Collection[str] | None = None) -> str:
        """Why the disk of something that is on record on a node (of some resources, if given) would not survive its
        fence; empty: all would. Both the definition's claims count and those of the start on record."""
        cache = self._cache
        if cache is None or self._leader.configuration is None:
            return ""
        cib = self._leader.cib()
        active = {name.partition(":")[0] for name in running_on(cib, node, int(self._now()))}
        chosen = active if only is None else active & set(only)
        started = (
            claim
            for entry in self._leader.cluster_state.state(node).resources
            if entry.started is not None and entry.id.partition(":")[0] in chosen
            for claim in disks_of(entry.started.params)
        )
        for claim, (pvc, pv) in self._disks(cib, cache, chosen, started).items():
            if why := findings.doomed_disk(claim, pvc, pv):
                return why
        return ""

    def _lenders(self, cib: Cib) -> dict[str, Source]:
        found = {primitive.id: source_of(primitive) for primitive in primitives(cib)}
        return {resource: source for resource, source in found.items() if source is not None}

    def _disks(
        self, cib: Cib, cache: Cache, only: Collection[str] | None = None, more: Iterable[Claim] = ()
    ) -> dict[Claim, tuple[Obj | None, Obj | None]]:
        """The claims of all resources (of some, if given), each with its object and its PersistentVolume's.

        more: others besides.
        """
        known = self._workloads.known()
        used = [
            claim
            for primitive in primitives(cib)
            if only is None or primitive.id in only
            for claim in claims_used(primitive, known)
        ]
        found: dict[Claim, tuple[Obj | None, Obj | None]] = {}
        for namespace, name in (*used, *more):
            pvc = cache.get(PVC, name, namespace)
            volume = str(((pvc or {}).get("spec") or {}).get("volumeName") or "")
            found[namespace, name] = (pvc, cache.get(PV, volume) if volume else None)
        return found

    def _look_at_bars(self, cib: Cib, cache: Cache) -> None:
        volumes = {claim: pv for claim, (_, pv) in self._disks(cib, cache).items() if pv is not None}
        nodes = {node.name: found for node in cib.nodes if (found := cache.get(NODE, node.name)) is not None}
        at = int(self._now())
        active = {(rsc.partition(":")[0], node) for node in nodes for rsc in running_on(cib, node, at)}
        bars = find_bars(cib, nodes, volumes, self._workloads.known(), active)
        if bars != self._leader.cluster_state.bars:
            self._leader.cluster_state.set_bars(bars)
            self._leader.touch("what nodes can have has changed (labels, node affinity of templates or volumes)")

    def _look_at_finalizers(self, cib: Cib, cache: Cache) -> None:
        known = self._workloads.known()
        kept, freed = kept_claims(cib, known), freed_claims(cib, known)
        all_known = self._workloads.have_read(self._lenders(cib).values())
        used = {
            (namespace_of(pod), claim)
            for pod in cache.list(POD)
            if labels_of(pod).get(LABEL_CLUSTER) == self._cluster and not has_ended(pod)
            for claim in claims_of(pod)
        }
        for task, (namespace, name) in finalizer_orders(
            cache.list(PVC), kept, used, self._cluster, freed, all_known=all_known
        ):
            log.info("claim_finalizer", task=task, claim=f"{namespace}/{name}")
            params = {"namespace": namespace, "claim": name}
            lane = f"{namespace}/{name}"
            self._executor.run(Op(lane, "volume", task, self._me, timeout_ms=_TIMEOUT_MS, params=params, key=PARK))
