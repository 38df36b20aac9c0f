"""A node during one run of the scheduler, and the order of nodes."""

from __future__ import annotations

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from hamgr.scheduler.state.resource import Rsc


class NodeRt:
    """A node during one run of the scheduler."""

    __slots__ = (
        "attributes",
        "bundle",
        "discovery_enabled",
        "expected_up",
        "fixed",
        "guest",
        "has_fail_counts",
        "id",
        "index",
        "is_dc",
        "maintenance",
        "name",
        "num_resources",
        "online",
        "pending",
        "permanent",
        "priority",
        "remote",
        "remote_requires_reset",
        "remote_rsc",
        "remote_was_fenced",
        "running",
        "shutdown",
        "standby",
        "standby_onfail",
        "unclean",
        "unpacked",
        "unseen",
        "utilization",
        "weight",
    )

    def __init__(self, name: str, node_id: str, remote: bool) -> None:
        self.name = name
        self.id = node_id
        self.index = 0
        self.remote = remote  # remote or guest: run by pacemaker_remoted, no member of the cluster
        self.guest = False
        self.bundle = False  # in a bundle's container: for that bundle's primitive alone
        self.online = False
        self.standby = False
        self.standby_onfail = False
        self.pending = False
        self.unclean = False
        self.unseen = False
        self.shutdown = False
        self.expected_up = False
        self.is_dc = False
        self.maintenance = False
        self.fixed = False
        self.discovery_enabled = True
        self.remote_requires_reset = False
        self.remote_was_fenced = False
        self.remote_rsc: Rsc | None = None
        self.unpacked = False
        self.weight = 0
        self.priority = 0
        self.has_fail_counts = False
        self.attributes: dict[str, str] = {}
        self.permanent: dict[str, str] = {}
        self.utilization: dict[str, int] = {}
        self.running: list[Rsc] = []
        self.num_resources = 0

    def __repr__(self) -> str:
        return f"<node {self.name}>"


NodeScores = dict[NodeRt, int]


def name_key(name: str) -> list[tuple[int, int, int]]:
    """Sorts names as people (and Pacemaker) do: case ignored, numbers in them by value."""
    key: list[tuple[int, int, int]] = []
    in_number = False
    for letter in name.lower():
        if letter not in "0123456789":
            key.append((ord(letter), 0, 0))
            in_number = False
        elif in_number:
            _, value, length = key[-1]
            key[-1] = (ord("0"), value * 10 + int(letter), length + 1)
        else:
            # No other character lies between the digits, so one place does for all numbers.
            key.append((ord("0"), int(letter), 1))
            in_number = True
    return key
