"""What goes wrong when: a schedule of faults is a pure function of its seed, so that a failure can be played again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

NODES = ("n1", "n2", "n3")
ACTIVE, LEADER, STANDBY = "active", "leader", "standby"  # targets that are looked up when the fault strikes

_PLACES = (ACTIVE, ACTIVE, LEADER, STANDBY, *NODES)
_WINDOW_S = 6.0  # in which all faults begin
_FEWEST, _MOST = 2, 6  # faults in one schedule
_AMBUSHES = 0.5  # the share of schedules that wait for a fence and strike in its middle
_OPENING_S = 1.5  # in which the fault comes that a fence follows
_SLOWLY = 0.5  # the share of ambushes whose detach takes a while
_ONE_MORE = 0.5  # the share of ambushes with a fault besides
_BLOCK, _BLOCKS = 50, 5  # in every fifth fifty of seeds nodes fence themselves
_AT_ONCE = 0.3  # the share of ambushes of two faults, one right after the other


class Kind(StrEnum):
    """A kind of fault. Those with a duration are undone at its end, the others undo themselves."""

    POD_DELETED = "pod-deleted"
    POD_FORCE_DELETED = "pod-force-deleted"
    CONTAINER_KILLED = "container-killed"
    HAMGRD_KILLED = "hamgrd-killed"
    HAMGRD_FROZEN = "hamgrd-frozen"
    KUBELET_KILLED = "kubelet-killed"
    KUBELET_DOWN = "kubelet-down"  # killed and not started again: its pods run on
    NODE_CRASHED = "node-crashed"
    NODE_CONFIRMED_OFF = "node-confirmed-off"  # crashed, and an operator says so
    NODE_FROZEN = "node-frozen"
    PARTITIONED = "partitioned"
    ETCD_FROZEN = "etcd-frozen"
    ETCD_KILLED = "etcd-killed"
    API_FROZEN = "api-frozen"
    API_KILLED = "api-killed"
    CONTROLLERS_KILLED = "controllers-killed"
    CONTROLLERS_FROZEN = "controllers-frozen"
    ATTACHER_FROZEN = "attacher-frozen"
    DETACH_SLOW = "detach-slow"
    DETACH_HANGS = "detach-hangs"
    ATTACH_SLOW = "attach-slow"
    FENCE_NODE = "fence-node"
    FENCE_POD = "fence-pod"
    MOVE = "move"
    CONFIG_APPLIED = "config-applied"
    NODES_RELEASED = "nodes-released"  # every partition and every freeze of a node ends: old writers are back at once
    # What operators and other people do on ordinary days.
    DISABLED = "disabled"
    NODE_STANDBY = "node-standby"
    ALL_STANDBY = "all-standby"
    BANNED = "banned"
    BANNED_EVERYWHERE = "banned-everywhere"
    CLEANED_UP = "cleaned-up"
    CORDONED = "cordoned"
    REMOVED = "removed"  # from the cluster file
    RENAMED = "renamed"
    NAMESPACE_CHANGED = "namespace-changed"
    CLAIM_CHANGED = "claim-changed"
    FOREIGN_POD = "foreign-pod"  # that nobody of hamgr's has made uses the claim


# How often each is drawn, relative to the others; and how long it lasts: seconds from, to.
_WEIGHTS = {
    Kind.POD_DELETED: 3,
    Kind.POD_FORCE_DELETED: 3,
    Kind.CONTAINER_KILLED: 4,
    Kind.HAMGRD_KILLED: 4,
    Kind.HAMGRD_FROZEN: 4,
    Kind.KUBELET_KILLED: 1,
    Kind.KUBELET_DOWN: 2,
    Kind.NODE_CRASHED: 6,
    Kind.NODE_CONFIRMED_OFF: 2,
    Kind.NODE_FROZEN: 4,
    Kind.PARTITIONED: 8,
    Kind.ETCD_FROZEN: 2,
    Kind.ETCD_KILLED: 2,
    Kind.API_FROZEN: 2,
    Kind.API_KILLED: 2,
    Kind.CONTROLLERS_KILLED: 1,
    Kind.CONTROLLERS_FROZEN: 1,
    Kind.ATTACHER_FROZEN: 2,
    Kind.DETACH_SLOW: 2,
    Kind.DETACH_HANGS: 2,
    Kind.ATTACH_SLOW: 1,
    Kind.FENCE_NODE: 2,
    Kind.FENCE_POD: 2,
    Kind.MOVE: 3,
    Kind.CONFIG_APPLIED: 1,
    Kind.NODES_RELEASED: 1,
}
# The same for the orders of operators. They come besides, from a chance of their own, so that a seed's faults stay.
_ORDERS = {
    Kind.DISABLED: 4,
    Kind.NODE_STANDBY: 4,
    Kind.ALL_STANDBY: 2,
    Kind.BANNED: 3,
    Kind.BANNED_EVERYWHERE: 2,
    Kind.CLEANED_UP: 2,
    Kind.CORDONED: 2,
    Kind.REMOVED: 3,
    Kind.RENAMED: 3,
    Kind.NAMESPACE_CHANGED: 2,
    Kind.CLAIM_CHANGED: 2,
    Kind.FOREIGN_POD: 3,
}
_LAST_ORDERS = (Kind.DISABLED, Kind.ALL_STANDBY, Kind.BANNED_EVERYWHERE, Kind.REMOVED)
"""Orders after which nothing may run; one that ends a schedule stands until that was seen."""
_ORDERED = 0.6  # the share of schedules in which operators are at work
_LAST = 0.4  # the share of those that end with one of the last orders
_MOST_ORDERS = 3
_OPENINGS = {
    Kind.NODE_CRASHED: 3,
    Kind.NODE_FROZEN: 3,
    Kind.PARTITIONED: 4,
    Kind.FENCE_NODE: 2,
}
"""What an ambush begins with: a fence of the application's node follows."""
_BLOWS: tuple[tuple[Kind, str, int], ...] = (
    (Kind.HAMGRD_FROZEN, LEADER, 5),  # past its lease, and back while another leads
    (Kind.HAMGRD_KILLED, LEADER, 3),
    (Kind.PARTITIONED, LEADER, 4),
    (Kind.NODE_CRASHED, LEADER, 2),
    (Kind.NODE_CRASHED, STANDBY, 2),
    (Kind.ETCD_FROZEN, "", 3),
    (Kind.ETCD_KILLED, "", 2),
    (Kind.API_FROZEN, "", 2),
    (Kind.API_KILLED, "", 3),
    (Kind.ATTACHER_FROZEN, "", 2),
    (Kind.CONTROLLERS_FROZEN, "", 2),
    (Kind.DETACH_HANGS, "", 2),
    (Kind.NODES_RELEASED, "", 5),
    (Kind.FENCE_NODE, ACTIVE, 1),
    (Kind.POD_FORCE_DELETED, STANDBY, 1),
)
"""What strikes in the middle of the fence: a kind, where, and how often it is drawn relative to the others."""
_LASTS = {
    Kind.KUBELET_DOWN: (1.0, 8.0),
    Kind.CONTROLLERS_FROZEN: (1.0, 6.0),
    Kind.HAMGRD_FROZEN: (1.0, 8.0),
    Kind.NODE_CRASHED: (3.0, 9.0),
    Kind.NODE_CONFIRMED_OFF: (3.0, 9.0),
    Kind.NODE_FROZEN: (1.0, 8.0),
    Kind.PARTITIONED: (1.0, 8.0),
    Kind.ETCD_FROZEN: (0.5, 4.0),
    Kind.ETCD_KILLED: (0.5, 4.0),
    Kind.API_FROZEN: (0.5, 4.0),
    Kind.API_KILLED: (0.5, 4.0),
    Kind.ATTACHER_FROZEN: (1.0, 5.0),
    Kind.DETACH_SLOW: (2.0, 6.0),
    Kind.DETACH_HANGS: (2.0, 6.0),
    Kind.ATTACH_SLOW: (2.0, 6.0),
    Kind.DISABLED: (0.3, 6.0),
    Kind.NODE_STANDBY: (0.3, 6.0),
    Kind.ALL_STANDBY: (0.3, 6.0),
    Kind.BANNED: (0.3, 6.0),
    Kind.BANNED_EVERYWHERE: (0.3, 6.0),
    Kind.CORDONED: (1.0, 6.0),
    Kind.REMOVED: (0.3, 6.0),
    Kind.RENAMED: (0.3, 6.0),
    Kind.NAMESPACE_CHANGED: (1.0, 6.0),
    Kind.CLAIM_CHANGED: (1.0, 6.0),
    Kind.FOREIGN_POD: (2.0, 8.0),
}
_PLACELESS = {
    Kind.ETCD_FROZEN,
    Kind.ETCD_KILLED,
    Kind.API_FROZEN,
    Kind.API_KILLED,
    Kind.CONTROLLERS_KILLED,
    Kind.CONTROLLERS_FROZEN,
    Kind.ATTACHER_FROZEN,
    Kind.DETACH_SLOW,
    Kind.DETACH_HANGS,
    Kind.ATTACH_SLOW,
    Kind.CONFIG_APPLIED,
    Kind.NODES_RELEASED,
    Kind.DISABLED,
    Kind.ALL_STANDBY,
    Kind.BANNED_EVERYWHERE,
    Kind.CLEANED_UP,
    Kind.REMOVED,
    Kind.RENAMED,
    Kind.NAMESPACE_CHANGED,
    Kind.CLAIM_CHANGED,
}
_PEERS = ("all", "all", "etcd", "api")
_DIRECTIONS = ("both", "both", "in", "out")

_HARMLESS_TO_NODES = frozenset(
    {
        Kind.POD_DELETED,
        Kind.POD_FORCE_DELETED,
        Kind.CONTAINER_KILLED,
        Kind.MOVE,
        Kind.CONFIG_APPLIED,
        Kind.NODES_RELEASED,
        *_ORDERS,
    }
) - {Kind.FOREIGN_POD}
"""Faults of a pod, orders of an operator, ends of other faults: none of this kind may lead to the fencing of a node."""


class Levels(StrEnum):
    """How nodes are fenced in a schedule."""

    VOLUME = "volume"
    NODE = "node"  # by the sandbox's power switch, then by volume
    WATCHDOG = "watchdog"  # nodes fence themselves, as all do in this part of a campaign


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Times are seconds since the schedule's begin. `where`: a node, ACTIVE, LEADER, STANDBY, or empty.

    lasts_s: until it is undone; 0 when there is nothing to undo. peer, direction: of a partition. mid_fence: it strikes
    not at its time but in the middle of the first fence that is under way from then on.
    """

    kind: Kind
    at_s: float
    lasts_s: float = 0.0
    where: str = ""
    peer: str = ""
    direction: str = ""
    mid_fence: bool = False

    def __str__(self) -> str:
        words = [f"{self.at_s:.2f} s"]
        words += ["mid-fence"] if self.mid_fence else []
        words += [str(self.kind), self.where]
        words += [f"from {self.peer} ({self.direction})"] if self.peer else []
        words += [f"for {self.lasts_s:.2f} s"] if self.lasts_s else []
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Schedule:
    """All of one seed: how nodes are fenced, and the faults in order of time.

    last: an order that is given when all else is over; then nothing may run, which is looked at before it is undone.
    """

    levels: Levels
    faults: tuple[Fault, ...]
    last: Fault | None = None


def draw(seed: int) -> Schedule:
    """The schedule of a seed; the same for ever as long as the tables above stay as they are."""
    chance = random.Random(seed)
    levels = draw_levels(seed)
    if chance.random() < _AMBUSHES:
        faults = _ambush(chance)
    else:
        faults = [_draw_one(chance) for _ in range(chance.randint(_FEWEST, _MOST))]
    orders, last = _orders(random.Random(f"orders of {seed}"))
    return Schedule(levels, tuple(sorted([*faults, *orders], key=lambda fault: fault.at_s)), last)


def _orders(chance: random.Random) -> tuple[list[Fault], Fault | None]:
    """What operators do during a schedule, and what they end it with."""
    if chance.random() >= _ORDERED:
        return [], None
    last = Fault(chance.choice(_LAST_ORDERS), 0.0) if chance.random() < _LAST else None
    kinds = list(_ORDERS)
    drawn = chance.choices(kinds, [_ORDERS[each] for each in kinds], k=chance.randint(1, _MOST_ORDERS))
    return [
        _draw_kind(chance, kind, "" if kind in _PLACELESS else chance.choice(_PLACES), _WINDOW_S) for kind in drawn
    ], last


def self_fencing(seed: int) -> bool:
    """Whether nodes fence themselves in this seed's sandbox: in blocks, since sandboxes are built for one or other."""
    return seed // _BLOCK % _BLOCKS == _BLOCKS - 1


def draw_levels(seed: int) -> Levels:
    """How nodes are fenced in the schedule of a seed."""
    chance = random.Random(f"levels of {seed}")
    if self_fencing(seed):
        return chance.choices([Levels.WATCHDOG, Levels.VOLUME, Levels.NODE], [4, 1, 1])[0]
    return chance.choices([Levels.VOLUME, Levels.NODE], [3, 1])[0]


def _ambush(chance: random.Random) -> list[Fault]:
    """A fault that a fence follows, mostly one that takes a while, and what strikes in the middle of it."""
    kinds = list(_OPENINGS)
    kind = chance.choices(kinds, [_OPENINGS[each] for each in kinds])[0]
    opening = _draw_kind(chance, kind, ACTIVE, _OPENING_S)
    if kind in (Kind.PARTITIONED, Kind.NODE_FROZEN):  # long enough for the node to be missed
        opening = replace(opening, lasts_s=round(chance.uniform(5.0, 9.0), 2))
    if kind is Kind.PARTITIONED:
        opening = replace(opening, peer=chance.choice(("all", "etcd")), direction="both")
    faults = [opening]
    if chance.random() < _SLOWLY:
        slow = Fault(Kind.DETACH_SLOW, 0.0, round(chance.uniform(7.0, 10.0), 2))
        faults.insert(0, slow)
    for _ in range(2 if chance.random() < _AT_ONCE else 1):
        kind, where, _weight = chance.choices(_BLOWS, [weight for *_, weight in _BLOWS])[0]
        blow = replace(_draw_kind(chance, kind, where, _OPENING_S), at_s=_OPENING_S, mid_fence=True)
        if kind is Kind.HAMGRD_FROZEN:  # past its lease
            blow = replace(blow, lasts_s=round(chance.uniform(3.2, 6.0), 2))
        faults.append(blow)
    if chance.random() < _ONE_MORE:
        faults.append(_draw_one(chance))
    return faults


def _draw_one(chance: random.Random) -> Fault:
    kinds = list(_WEIGHTS)
    kind = chance.choices(kinds, [_WEIGHTS[each] for each in kinds])[0]
    return _draw_kind(chance, kind, "" if kind in _PLACELESS else chance.choice(_PLACES), _WINDOW_S)


def _draw_kind(chance: random.Random, kind: Kind, where: str, window_s: float) -> Fault:
    shortest, longest = _LASTS.get(kind, (0.0, 0.0))
    return Fault(
        kind,
        at_s=round(chance.uniform(0.0, window_s), 2),
        lasts_s=round(chance.uniform(shortest, longest), 2),
        where=where,
        peer=chance.choice(_PEERS) if kind is Kind.PARTITIONED else "",
        direction=chance.choice(_DIRECTIONS) if kind is Kind.PARTITIONED else "",
    )


def may_cost(faults: Sequence[Fault], node: str) -> bool:
    """Whether one of these faults, `where` being the node that it hit, is a reason to fence this very node.

    Trouble with etcd, the API server or the storage may be one for any node.
    """
    return any(fault.kind not in _HARMLESS_TO_NODES and fault.where in ("", node) for fault in faults)
