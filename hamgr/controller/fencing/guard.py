"""The fencer's guard, asked with what the controller sees now."""

from __future__ import annotations

from collections.abc import Iterable

from hamgr.cib.booleans import is_true
from hamgr.cib.durations import parse_ms
from hamgr.controller.leader import Leader
from hamgr.controller.nodes.membership import MembershipState
from hamgr.fencer.guard import GuardLimits, GuardView, PastFence, doubt, may_fence
from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import FenceRecord, Outcome
from hamgr.kube.cache import Cache
from hamgr.store.store import Store


def staleness_s(store: Store, cache: Cache | None) -> tuple[float, float]:
    """How old our views of etcd and of the Kubernetes API are; without Kubernetes the latter is never old."""
    return store.staleness_s(), 0.0 if cache is None else cache.staleness_s()


def self_doubt(store: Store, cache: Cache | None) -> Reason | None:
    """Why even an operator's fence should not begin now; None: it may."""
    return doubt(*staleness_s(store, cache))


def guard(
    node: str,
    past: Iterable[FenceRecord],
    leader: Leader,
    store: Store,
    cache: Cache | None,
    now: float,
    doomed: str = "",
) -> Reason | None:
    """Why a fence of the node may not begin now; None: it may. now: seconds since the epoch, as in the records.

    doomed: why a disk would not survive it.
    """
    if doomed:
        return reason("disk-doomed", why=doomed)
    assert leader.cluster is not None
    bad = sum(leader.cluster_state.membership(name) is MembershipState.LOST for name in leader.nodes)
    fencing = leader.cluster.fencing
    limits = GuardLimits(
        max_fences=fencing.max_fences,
        interval_s=parse_ms(fencing.max_fences_interval) / 1000,
        loop_interval_s=parse_ms(fencing.fence_loop_interval) / 1000,
    )
    view = GuardView(
        node,
        *staleness_s(store, cache),
        total=len(leader.nodes),
        bad=bad,
        # One from the future tells of a clock that was set back; it must not hold fences up until that time has come.
        past=[_past(r, now) for r in past if r.target.pods is None and r.started_at <= now],
        maintenance=leader.options().maintenance,
        node_maintenance=is_true(leader.node_attributes(node).get("maintenance")),
        changed_s=now - leader.fences.changed_at(node),
    )
    return may_fence(view, limits)


def _past(record: FenceRecord, now: float) -> PastFence:
    failed = record.outcome is Outcome.FAILED
    return PastFence(record.target.node, now - record.started_at, failed, max(0.0, now - record.ended_at))
