"""Who belongs to the cluster right now: a pure judgement of what etcd and Kubernetes say about each node.

Corosync tells Pacemaker who is a member; here a `hamgrd` on a node proves its life by its member lease in etcd, and
where no `hamgrd` runs (or it was stopped cleanly) the node's own Lease and Ready condition stand in, more slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf


class MembershipState(StrEnum):
    """A node's place in the cluster, as the leader records it."""

    UNSEEN = "unseen"
    """Configured, but no sign of life was ever seen."""
    MEMBER = "member"
    """Its hamgrd holds a member lease."""
    KUBELET = "kubelet"
    """No hamgrd is expected there; its kubelet is alive."""
    LOST = "lost"
    """It was alive and then fell silent: unclean until fenced or back."""
    FENCED = "fenced"
    """Fenced with a proof, and not back yet."""


TEXTS = {
    MembershipState.UNSEEN: "node {node} was never seen",
    MembershipState.MEMBER: "node {node} is a member: its hamgrd holds its lease",
    MembershipState.KUBELET: "node {node} is alive by its kubelet; no hamgrd runs there",
    MembershipState.LOST: "node {node} fell silent",
    MembershipState.FENCED: "node {node} is fenced",
}
BECAME = {MembershipState.MEMBER: "a member", MembershipState.KUBELET: "alive by its kubelet"}


@dataclass(frozen=True, slots=True)
class NodeView:
    """What is seen of one node now.

    member: its member key exists and does not say that the daemon is leaving.
    left: its hamgrd said goodbye since it was last a member (a clean stop).
    cleared: the fencer has seen a fenced node come back clean: restarted, or rid of the fenced pods and volumes.
    ready: Kubernetes' Ready condition; None when there is no such Node object.
    lease_age_s: seconds since the node's Lease was last *seen to change*, by our monotonic clock; None without one.
    answers: the kubelet's own port has answered us just now. silent_s: for how long each dial of that port has met
        silence; None when it has not, or was not dialed, which is done only once the Lease is late.
    heard: something that runs on the node has itself answered a monitor that was begun after the Lease had become late.
    renewed: the Lease of a node that is down was renewed since then, and nobody is fencing it.
    """

    member: bool = False
    left: bool = False
    cleared: bool = False
    ready: bool | None = None
    lease_age_s: float | None = None
    answers: bool = False
    silent_s: float | None = None
    heard: bool = False
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class Limits:
    """When silence becomes a verdict.

    lease_age_s: a node without hamgrd is lost when its Lease has not moved for so long (kubelets renew each 10 s),
        unless its kubelet or an instance there answers: then Kubernetes' own verdict is waited for (the Ready
        condition, after 50 s).
    silent_age_s, silence_s: and when it has not moved for so long and the kubelet's port has been silent for so long.
    settled: whether our view of etcd has been whole for long enough that a missing member key means a silent member.
    seen_for_s: for how long we have seen Leases without a break; what was renewed in one is not known.
    """

    lease_age_s: float = 25.0
    silent_age_s: float = 12.0
    silence_s: float = 3.0
    settled: bool = True
    seen_for_s: float = inf


def judge(before: MembershipState, view: NodeView, limits: Limits) -> MembershipState:
    """Give a node's standing from its last one and what is seen of it now."""
    if view.member and (before is not MembershipState.FENCED or view.cleared):
        return MembershipState.MEMBER
    alive = _alive(view, limits)
    match before:
        case MembershipState.MEMBER:
            if view.left:
                return MembershipState.LOST if _silent(view, limits) else MembershipState.KUBELET
            return MembershipState.LOST if limits.settled else MembershipState.MEMBER
        case MembershipState.KUBELET:
            return (
                MembershipState.LOST if _silent(view, limits) and not _only_our_view(view) else MembershipState.KUBELET
            )
        case MembershipState.UNSEEN:
            return MembershipState.KUBELET if alive else MembershipState.UNSEEN
        case MembershipState.FENCED:
            # A sign of life is not enough: it may be the partitioned host coming back with its old pods and mounts.
            return MembershipState.KUBELET if alive and view.cleared else MembershipState.FENCED
        case MembershipState.LOST:
            return MembershipState.KUBELET if alive and view.renewed else MembershipState.LOST


def _alive(view: NodeView, limits: Limits) -> bool:
    """Whether a node lives, by its kubelet's Lease and, when that is late, by what answers there."""
    if not view.ready or view.lease_age_s is None:
        return False
    if view.heard:
        return True
    if view.silent_s is not None and view.silent_s >= limits.silence_s:
        return view.lease_age_s < limits.silent_age_s
    return view.lease_age_s < limits.lease_age_s or view.answers


def _silent(view: NodeView, limits: Limits) -> bool:
    """Whether a node's kubelet does not work, as far as we could have seen otherwise.

    After an outage of the API server the Leases of all nodes are old, and none of them had a chance to renew it.
    """
    age_s = None if view.lease_age_s is None else min(view.lease_age_s, limits.seen_for_s)
    return not _alive(replace(view, lease_age_s=age_s), limits)


def _only_our_view(view: NodeView) -> bool:
    """Whether nothing at all is known, which says more about us than about the node."""
    return view.ready is None and view.lease_age_s is None


def judge_all(
    before: Mapping[str, MembershipState], observations: Mapping[str, NodeView], limits: Limits
) -> dict[str, tuple[MembershipState, MembershipState]]:
    """Give the nodes whose standing changes, as name -> (before, now)."""
    changes = {}
    for node, view in observations.items():
        old = before.get(node, MembershipState.UNSEEN)
        new = judge(old, view, limits)
        if new is not old:
            changes[node] = (old, new)
    return changes
