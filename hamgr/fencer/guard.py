"""Whether a fence may begin now: first suspect ourselves, then a storm, then a loop. A pure decision.

A fence that is wrong costs an outage; a storm of them costs the cluster. So nothing is fenced on a stale view, when
most of the nodes look bad (then it is us who are cut off), or beyond a number of nodes in an interval; a node that is
fenced again and again is left alone for longer each time. Fences that fail are no such loop: nothing came of them. They
are tried again soon, less and less often while nothing changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from hamgr.fencer.reasons import Reason, reason


@dataclass(frozen=True, slots=True)
class PastFence:
    """A fence that has begun before: its node, how many seconds ago, and whether it has failed.

    over_s: how many seconds ago it ended.
    """

    node: str
    ago_s: float
    failed: bool = False
    over_s: float = 0.0


@dataclass(frozen=True, slots=True)
class GuardView:
    """What is known when a fence of `node` is about to begin; `bad` counts the nodes that look lost, it included.

    changed_s: how many seconds ago something last changed by which a fence that has failed may succeed now.
    """

    node: str
    etcd_staleness_s: float
    api_staleness_s: float
    total: int
    bad: int
    past: Sequence[PastFence] = ()
    maintenance: bool = False
    node_maintenance: bool = False
    changed_s: float = inf


@dataclass(frozen=True, slots=True)
class Staleness:
    """How old our views of etcd and of the Kubernetes API may be, in seconds, for anything to be fenced by them."""

    etcd_s: float = 3.0
    api_s: float = 5.0


@dataclass(frozen=True, slots=True)
class GuardLimits:
    """When to hold back: at most `max_fences` different nodes within `interval_s`. The first three are the cluster
    file's (`hamgr.clusterfile.fencing.Fencing` has their defaults).

    A node fenced `loop_count` times within `loop_interval_s` waits `loop_backoff_s` after its last fence, twice as long
    with each further one. A fence that failed is tried again `retry_s` after its end, twice as long after each further
    one in a row, up to `retry_max_s`.
    """

    max_fences: int
    interval_s: float
    loop_interval_s: float
    loop_count: int = 3
    loop_backoff_s: float = 60.0
    retry_s: float = 1.0
    retry_max_s: float = 30.0


def may_fence(view: GuardView, limits: GuardLimits) -> Reason | None:
    """None: go ahead. Otherwise why not now; the question is to be asked again as time goes by."""
    why = doubt(view.etcd_staleness_s, view.api_staleness_s)
    if why is not None:
        return why
    if view.bad * 2 > view.total:
        return reason("most-nodes-bad", bad=view.bad, total=view.total)
    if view.maintenance:
        return reason("maintenance")
    if view.node_maintenance:
        return reason("node-maintenance", node=view.node)
    return _storm(view, limits) or _loop(view, limits) or _failing(view, limits)


def doubt(etcd_staleness_s: float, api_staleness_s: float, limits: Staleness = Staleness()) -> Reason | None:
    """Why our own view of the world is not to be trusted now; None: it is. All that holds an operator's order back."""
    if etcd_staleness_s > limits.etcd_s:
        return reason("etcd-stale", seconds=etcd_staleness_s)
    if api_staleness_s > limits.api_s:
        return reason("api-stale", seconds=api_staleness_s)
    return None


def _storm(view: GuardView, limits: GuardLimits) -> Reason | None:
    others: dict[str, float] = {}  # node: how long ago it was fenced last
    for fence in view.past:
        if fence.ago_s < limits.interval_s and fence.node != view.node:
            others[fence.node] = min(fence.ago_s, others.get(fence.node, fence.ago_s))
    if len(others) < limits.max_fences:
        return None
    stays = sorted(others.values())[limits.max_fences - 1]  # once this one is too long ago, there are fewer than that
    retry_in = limits.interval_s - stays
    return reason("storm", count=len(others), interval=limits.interval_s, retry_in=retry_in)


def _loop(view: GuardView, limits: GuardLimits) -> Reason | None:
    done = (fence for fence in view.past if fence.node == view.node and not fence.failed)
    ours = [fence.ago_s for fence in done if fence.ago_s < limits.loop_interval_s]
    if len(ours) < limits.loop_count:
        return None
    retry_in = limits.loop_backoff_s * 2.0 ** (len(ours) - limits.loop_count) - min(ours)
    if retry_in <= 0:
        return None
    return reason("fence-loop", node=view.node, count=len(ours), interval=limits.loop_interval_s, retry_in=retry_in)


def _failing(view: GuardView, limits: GuardLimits) -> Reason | None:
    """The failures since the last fence that did not fail, and since something has changed."""
    ours = [fence for fence in view.past if fence.node == view.node]
    since = min([view.changed_s, *(fence.ago_s for fence in ours if not fence.failed)])
    failed = [fence.over_s for fence in ours if fence.failed and fence.over_s < since]
    if not failed:
        return None
    doubled = min(len(failed) - 1, 30)
    retry_in = min(limits.retry_s * 2.0**doubled, limits.retry_max_s) - min(failed)
    return reason("fences-failed", node=view.node, count=len(failed), retry_in=retry_in) if retry_in > 0 else None
