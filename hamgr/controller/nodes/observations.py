"""What is seen of the nodes right now: members in etcd, Node objects and Leases in Kubernetes, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from math import inf
from typing import Any

import structlog

from hamgr.controller.nodes.membership import NodeView
from hamgr.kube import nodes as kube_nodes
from hamgr.kube.cache import Cache
from hamgr.kube.kubelets import Kubelets
from hamgr.kube.nodes import LeaseAges
from hamgr.kube.objects import LEASE, NODE
from hamgr.store.membership import GOODBYES, MEMBERS, PROMISES, MemberInfo, Promise, members_of
from hamgr.store.values import Change, Snapshot

_HEARD_FOR_S = 5.0  # an answer that is older says nothing any more
_LATE_S = 10.5  # kubelets renew their Lease each 10 s, give or take four hundredths

log = structlog.get_logger(__name__)


class NodeObservations:
    """The present sight of all nodes. Without Kubernetes, `cache` and `leases` are None."""

    def __init__(
        self,
        snapshot: Snapshot,
        cache: Cache | None,
        leases: LeaseAges | None,
        clock: Callable[[], float] = time.monotonic,
        promises: Snapshot | None = None,
        goodbyes: Snapshot | None = None,
        kubelets: Kubelets | None = None,
    ) -> None:
        """goodbyes: what daemons said that were gone before we led; what is said later is seen below members/.
        kubelets: asked about nodes whose Lease is late; None: then the Lease alone counts.
        """
        self._kubelets = kubelets
        self._clock = clock
        self._promises: dict[str, Any] = {} if promises is None else dict(promises.values)
        self._gone_since: dict[str, float] = {}
        self._began = clock()
        self.members: dict[str, MemberInfo] = members_of(snapshot)
        self._last_boot: dict[str, str] = {node: info.boot_id for node, info in self.members.items()}
        self._ended_boots: dict[str, set[str]] = {}  # node: boots before the one that its hamgrd was last seen in
        self._goodbyes = {node for node, info in self.members.items() if info.leaving}
        if goodbyes is not None:
            self._goodbyes |= {key.removeprefix(GOODBYES) for key in goodbyes.entries}
        self._cache = cache
        self._leases = leases

    def note(self, changes: Iterable[Change]) -> bool:
        """Take what a watch saw below members/; True when a member came, went or said goodbye."""
        news = False
        for change in changes:
            if change.key.startswith(PROMISES):
                self._note_promise(change)
            if not change.key.startswith(MEMBERS):
                continue
            news = True
            node = change.key.removeprefix(MEMBERS)
            if change.entry is None:
                self.members.pop(node, None)
                self._gone_since[node] = self._clock()
                continue
            try:
                info = MemberInfo.from_json(change.value)
            except ValueError as error:
                log.warning("member_entry_malformed", key=change.key, error=str(error))
                continue
            self.members[node] = info
            before = self._last_boot.get(node, info.boot_id)
            if before != info.boot_id:
                self._ended_boots.setdefault(node, set()).add(before)
            self._last_boot[node] = info.boot_id
            self._gone_since.pop(node, None)
            if info.leaving:
                self._goodbyes.add(node)
            else:
                self._goodbyes.discard(node)
        return news

    def _note_promise(self, change: Change) -> None:
        if change.entry is None:
            self._promises.pop(change.key, None)
        else:
            self._promises[change.key] = change.value

    def promise(self, node: str) -> Promise | None:
        """By when the node stops its own instances; None when nothing makes sure of it, or of an earlier boot alone."""
        try:
            promise = Promise.from_json(self._promises.get(PROMISES + node))
        except ValueError:
            return None
        reported = self.reported_boot_id(node)
        if reported and reported == self.outdated_boot_id(node):
            reported = self._last_boot[node]
        return promise if reported in ("", promise.boot_id) else None

    def lost_for_s(self, node: str) -> float | None:
        """For how long the node's member lease is known to be gone; None while it is there. From any thread."""
        return None if node in self.members else self._clock() - self._gone_since.get(node, self._began)

    def late_s(self, node: str) -> float | None:
        """For how long a node without hamgrd has been late to renew its Lease; None: it is not, or has a hamgrd."""
        age_s = None if self._leases is None else self._leases.age_s(node)
        return age_s - _LATE_S if age_s is not None and age_s > _LATE_S and node not in self.members else None

    def seen_for_s(self) -> float:
        """For how long the Leases of all nodes have been seen without a break."""
        return inf if self._cache is None else self._cache.seen_for_s(LEASE)

    def renewed_within(self, node: str, seconds: float) -> bool:
        """Whether the node's Lease was renewed that lately."""
        age_s = None if self._leases is None else self._leases.age_s(node)
        return age_s is not None and age_s < seconds

    def kubelet_lives(self, node: str, within_s: float) -> bool:
        """Whether a node's kubelet answers, or has renewed its Lease within so many seconds; False while unknown.

        One whose Lease is late does not count: it does not get through to the API server, and so reports nothing.
        Asking has its port dialed. From any thread.
        """
        age_s, obj = None if self._leases is None else self._leases.age_s(node), self.node_object(node)
        contact = None if obj is None or self._kubelets is None else self._kubelets.look(obj)
        if age_s is None or age_s > _LATE_S:
            return False
        return age_s < min(within_s, self.seen_for_s()) or (contact is not None and contact.answers)

    def of(self, node: str, *, cleared: bool = False, heard_s: float | None = None, renewed: bool = False) -> NodeView:
        """The view of one node. heard_s: how long ago an instance there was asked that has answered; None: none has.
        renewed: as in `NodeView`.
        """
        member = self.members.get(node)
        obj = self.node_object(node)
        lease_age_s = None if self._leases is None else self._leases.age_s(node)
        late_s = self.late_s(node)
        contact = None
        if member is None and lease_age_s is not None and obj is not None and self._kubelets is not None:
            if late_s is not None:
                contact = self._kubelets.look(obj)
            else:
                self._kubelets.get_to_know(obj)
        return NodeView(
            member=member is not None and not member.leaving,
            left=node in self._goodbyes,
            cleared=cleared,
            ready=None if obj is None else bool(kube_nodes.ready(obj)),
            lease_age_s=lease_age_s,
            answers=contact is not None and contact.answers,
            silent_s=None if contact is None else contact.silent_for_s,
            heard=late_s is not None and heard_s is not None and heard_s < min(late_s, _HEARD_FOR_S),
            renewed=renewed,
        )

    def node_object(self, node: str) -> Mapping[str, Any] | None:
        """The Node object, None when there is none (or no Kubernetes)."""
        return None if self._cache is None else self._cache.get(NODE, node)

    def boot_id(self, node: str) -> str:
        """The boot id as the member or else the kubelet reported it, empty when neither did."""
        member = self.members.get(node)
        if member is not None:
            return member.boot_id
        return self.reported_boot_id(node)

    def reported_boot_id(self, node: str) -> str:
        """The boot id as the kubelet reported it; empty when it did not."""
        obj = self.node_object(node)
        return "" if obj is None else kube_nodes.boot_id(obj)

    def outdated_boot_id(self, node: str) -> str:
        """The boot id that the kubelet still reports though the node's hamgrd has joined in a later boot; else empty.

        Which boot is the later one is known by the order in which one node's members were seen in etcd, by nothing
        else: a report may be ahead of a member entry that has not run out yet.
        """
        reported = self.reported_boot_id(node)
        return reported if reported in self._ended_boots.get(node, ()) else ""
