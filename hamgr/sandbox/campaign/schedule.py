"""What goes wrong when: a schedule of faults is a pure function of its seed, so that a failure can be played again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

NODES = ("n1", "n2", "n3")
ACTIVE, LEADER = "active", "leader"  # targets that are looked up when the fault strikes

_PLACES = (ACTIVE, ACTIVE, LEADER, *NODES)
_WINDOW_S = 6.0  # in which all faults begin
_FEWEST, _MOST = 2, 6  # faults in one schedule


class Kind(StrEnum):
    """A kind of fault. Those with a duration are undone at its end, the others undo themselves."""

    POD_DELETED = "pod-deleted"
    POD_FORCE_DELETED = "pod-force-deleted"
    CONTAINER_KILLED = "container-killed"
    HAMGRD_KILLED = "hamgrd-killed"
    HAMGRD_FROZEN = "hamgrd-frozen"
    KUBELET_KILLED = "kubelet-killed"
    NODE_CRASHED = "node-crashed"
    NODE_CONFIRMED_OFF = "node-confirmed-off"  # crashed, and an operator says so
    NODE_FROZEN = "node-frozen"
    PARTITIONED = "partitioned"
    ETCD_FROZEN = "etcd-frozen"
    ETCD_KILLED = "etcd-killed"
    API_FROZEN = "api-frozen"
    API_KILLED = "api-killed"
    CONTROLLERS_KILLED = "controllers-killed"
    ATTACHER_FROZEN = "attacher-frozen"
    DETACH_SLOW = "detach-slow"
    DETACH_HANGS = "detach-hangs"
    ATTACH_SLOW = "attach-slow"
    FENCE_NODE = "fence-node"
    FENCE_POD = "fence-pod"
    MOVE = "move"
    CONFIG_APPLIED = "config-applied"


# How often each is drawn, relative to the others; and how long it lasts: seconds from, to.
_WEIGHTS = {
    Kind.POD_DELETED: 3,
    Kind.POD_FORCE_DELETED: 3,
    Kind.CONTAINER_KILLED: 4,
    Kind.HAMGRD_KILLED: 4,
    Kind.HAMGRD_FROZEN: 4,
    Kind.KUBELET_KILLED: 2,
    Kind.NODE_CRASHED: 6,
    Kind.NODE_CONFIRMED_OFF: 2,
    Kind.NODE_FROZEN: 4,
    Kind.PARTITIONED: 8,
    Kind.ETCD_FROZEN: 2,
    Kind.ETCD_KILLED: 2,
    Kind.API_FROZEN: 2,
    Kind.API_KILLED: 2,
    Kind.CONTROLLERS_KILLED: 2,
    Kind.ATTACHER_FROZEN: 2,
    Kind.DETACH_SLOW: 2,
    Kind.DETACH_HANGS: 2,
    Kind.ATTACH_SLOW: 1,
    Kind.FENCE_NODE: 2,
    Kind.FENCE_POD: 2,
    Kind.MOVE: 3,
    Kind.CONFIG_APPLIED: 1,
}
_LASTS = {
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
}
_PLACELESS = {
    Kind.ETCD_FROZEN,
    Kind.ETCD_KILLED,
    Kind.API_FROZEN,
    Kind.API_KILLED,
    Kind.CONTROLLERS_KILLED,
    Kind.ATTACHER_FROZEN,
    Kind.DETACH_SLOW,
    Kind.DETACH_HANGS,
    Kind.ATTACH_SLOW,
    Kind.CONFIG_APPLIED,
}
_PEERS = ("all", "all", "etcd", "api")
_DIRECTIONS = ("both", "both", "in", "out")

HARMLESS_TO_NODES = frozenset(
    {Kind.POD_DELETED, Kind.POD_FORCE_DELETED, Kind.CONTAINER_KILLED, Kind.MOVE, Kind.CONFIG_APPLIED}
)
"""Faults of a pod or orders of an operator: nothing of this kind may ever lead to the fencing of a node."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Times are seconds since the schedule's begin. `where`: a node, ACTIVE, LEADER, or empty.

    lasts_s: until it is undone; 0 when there is nothing to undo. peer, direction: of a partition.
    """

    kind: Kind
    at_s: float
    lasts_s: float = 0.0
    where: str = ""
    peer: str = ""
    direction: str = ""

    def __str__(self) -> str:
        words = [f"{self.at_s:.2f} s", str(self.kind), self.where]
        words += [f"from {self.peer} ({self.direction})"] if self.peer else []
        words += [f"for {self.lasts_s:.2f} s"] if self.lasts_s else []
        return " ".join(word for word in words if word)


def draw(seed: int) -> tuple[Fault, ...]:
    """The schedule of a seed, in order of time; the same for ever as long as the tables above stay as they are."""
    chance = random.Random(seed)
    count = chance.randint(_FEWEST, _MOST)
    return tuple(sorted((_draw_one(chance) for _ in range(count)), key=lambda fault: fault.at_s))


def _draw_one(chance: random.Random) -> Fault:
    kinds = list(_WEIGHTS)
    kind = chance.choices(kinds, [_WEIGHTS[each] for each in kinds])[0]
    shortest, longest = _LASTS.get(kind, (0.0, 0.0))
    return Fault(
        kind,
        at_s=round(chance.uniform(0.0, _WINDOW_S), 2),
        lasts_s=round(chance.uniform(shortest, longest), 2),
        where="" if kind in _PLACELESS else chance.choice(_PLACES),
        peer=chance.choice(_PEERS) if kind is Kind.PARTITIONED else "",
        direction=chance.choice(_DIRECTIONS) if kind is Kind.PARTITIONED else "",
    )


def may_cost(faults: Sequence[Fault], node: str) -> bool:
    """Whether one of these faults, `where` being the node that it hit, is a reason to fence this very node.

    Trouble with etcd, the API server or the storage may be one for any node.
    """
    return any(fault.kind not in HARMLESS_TO_NODES and fault.where in ("", node) for fault in faults)
