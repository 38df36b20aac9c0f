"""What can be asked of the leader, and what it answers: one dataclass each, for the commands and the leader alike.

A request goes through etcd as its kind, the version of this interface and a body (`hamgr.store.requests`). The leader
refuses what it does not understand, since a part that it skipped might be the one that mattered. Answers may have more
in them than a command knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Generic, TypeVar

from hamgr.api.exits import Exit
from hamgr.api.wire import from_value

VERSION = 1
"""Rises when a request's meaning changes, or when leaving a new field out would do something else than was asked."""

A = TypeVar("A")


class NotUnderstood(Exception):
    """A request or answer of another version; the message says so, the code is what a command ends with."""

    code = Exit.CONFIG


@dataclass(frozen=True, slots=True)
class Verb:
    """A command of `hamgr` that is a request and no more.

    sets: the fields that the verb itself says. Of the others, those without a default are the command's arguments, and
    those with one its options. said: what is printed when it is done, with the fields in braces.
    """

    name: str
    summary: str
    said: str
    sets: Mapping[str, Any] = field(default_factory=dict)


class Request(Generic[A]):
    """What all requests have: their kind, what answers them, and the verbs that are nothing but this request."""

    kind: ClassVar[str]
    answer: ClassVar[type[Any]]
    verbs: ClassVar[tuple[Verb, ...]] = ()

    def read_answer(self, value: object) -> A:
        """The leader's answer. Raises NotUnderstood."""
        try:
            found: A = from_value(self.answer, value, strict=False)
        except ValueError as error:
            text = f"the leader's answer to {self.kind} cannot be read ({error}): its hamgrd is of another version"
            raise NotUnderstood(text) from None
        return found


# --- answers -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """It is carried out."""


@dataclass(frozen=True, slots=True)
class FenceBegun:
    """fence: the id of the record; its progress is read from `fences/ID`."""

    fence: str


@dataclass(frozen=True, slots=True)
class PlannedLevel:
    """One level. unfit: why it cannot be used; empty: it can."""

    level: str
    steps: tuple[str, ...]
    proves: str
    unfit: str = ""


@dataclass(frozen=True, slots=True)
class FencePlan:
    """The levels in the order in which they would be tried."""

    node: str
    levels: tuple[PlannedLevel, ...]


@dataclass(frozen=True, slots=True)
class DeviceDescription:
    """One fence device with the names of its parameters: values may be secrets. nodes: by which it is used."""

    name: str
    agent: str
    params: tuple[str, ...]
    params_from: str
    port_map: Mapping[str, str]
    timeout_s: float
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class FenceDeviceList:
    """The devices, and what is wrong with devices, as sentences."""

    devices: tuple[DeviceDescription, ...]
    troubles: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopologyLevel:
    """One configured level."""

    level: str
    devices: tuple[str, ...]
    timeout_s: float
    attempts: int
    delay_s: float
    random_delay_s: float
    action: str


@dataclass(frozen=True, slots=True)
class NodeLevels:
    """A node's levels in order. promise_s: within how many seconds it stops itself; null: it does not."""

    node: str
    levels: tuple[TopologyLevel, ...]
    promise_s: float | None = None


@dataclass(frozen=True, slots=True)
class Topology:
    """Each node's levels."""

    nodes: tuple[NodeLevels, ...]


@dataclass(frozen=True, slots=True)
class DeviceTest:
    """trouble: why the device does not work; empty: it does. states: node to what the device says of it."""

    device: str
    trouble: str
    states: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Removed:
    """What was taken off the node, as people call it."""

    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """RESOURCE on NODE, for each that had failed."""

    cleaned: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DiskFindings:
    """What is wrong with the file, and what is worth knowing, as sentences."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Constrained:
    """The id of the constraint."""

    constraint: str


@dataclass(frozen=True, slots=True)
class Cleared:
    """The ids of the constraints that are gone."""

    cleared: tuple[str, ...]


# --- requests ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fence(Request[FenceBegun]):
    """Fences a node, or a pod (NAME or NAMESPACE/NAME). anyway: also against the leader's doubts."""

    kind = "fence"
    answer = FenceBegun
    target: str
    level: str = ""
    anyway: bool = False


@dataclass(frozen=True, slots=True)
class PlanFence(Request[FencePlan]):
    """Says what `fence` would do."""

    kind = "fence-plan"
    answer = FencePlan
    target: str
    level: str = ""


@dataclass(frozen=True, slots=True)
class CheckDisks(Request[DiskFindings]):
    """Says what the templates and claims of a cluster file come to in Kubernetes. text: the file's."""

    kind = "check-disks"
    answer = DiskFindings
    text: str


@dataclass(frozen=True, slots=True)
class ListDevices(Request[FenceDeviceList]):
    """Lists the fence devices."""

    kind = "fence-devices"
    answer = FenceDeviceList


@dataclass(frozen=True, slots=True)
class ListLevels(Request[Topology]):
    """Lists each node's fencing levels."""

    kind = "fence-topology"
    answer = Topology


@dataclass(frozen=True, slots=True)
class AskDevice(Request[DeviceTest]):
    """Asks a device whether it works; nothing is switched."""

    kind = "fence-test"
    answer = DeviceTest
    device: str


@dataclass(frozen=True, slots=True)
class Confirm(Request[FenceBegun]):
    """An operator vouches that a node is off."""

    kind = "confirm"
    answer = FenceBegun
    node: str
    reason: str = ""
    anyway: bool = False


@dataclass(frozen=True, slots=True)
class Unfence(Request[Removed]):
    """Lets a fenced node take part again."""

    kind = "unfence"
    answer = Removed
    node: str


@dataclass(frozen=True, slots=True)
class Cleanup(Request[Cleaned]):
    """Forgets failures and looks again at what is running; empty: of all resources, on all nodes."""

    kind = "cleanup"
    answer = Cleaned
    resource: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Move(Request[Constrained]):
    """Moves a resource to a node. role: Promoted, or empty for any; lifetime_s: until it is undone, null: for ever."""

    kind = "move"
    answer = Constrained
    resource: str
    node: str
    role: str = ""
    lifetime_s: float | None = None


@dataclass(frozen=True, slots=True)
class Ban(Request[Constrained]):
    """Keeps a resource off a node; as `move`."""

    kind = "ban"
    answer = Constrained
    resource: str
    node: str
    role: str = ""
    lifetime_s: float | None = None


@dataclass(frozen=True, slots=True)
class Clear(Request[Cleared]):
    """Undoes moves and bans of a resource; node: only those that name it."""

    kind = "clear"
    answer = Cleared
    resource: str
    node: str = ""


@dataclass(frozen=True, slots=True)
class Standby(Request[Done]):
    """Moves everything off a node, or lets it take part again."""

    kind = "standby"
    answer = Done
    node: str
    on: bool

    verbs = (
        Verb(
            "standby",
            "Move everything off a node.",
            "{node} is in standby; undo: hamgr unstandby {node}",
            {"on": True},
        ),
        Verb("unstandby", "Let resources onto a node again.", "{node} takes part again", {"on": False}),
    )


@dataclass(frozen=True, slots=True)
class Maintenance(Request[Done]):
    """Leaves a node alone, or with an empty name all of the cluster."""

    kind = "maintenance"
    answer = Done
    on: bool
    node: str = ""


@dataclass(frozen=True, slots=True)
class Manage(Request[Done]):
    """Leaves a resource as it is, or looks after it again as the cluster file says."""

    kind = "managed"
    answer = Done
    resource: str
    on: bool

    verbs = (
        Verb(
            "manage",
            "Let the cluster look after a resource again.",
            "{resource} is managed as the cluster file says",
            {"on": True},
        ),
        Verb(
            "unmanage",
            "Leave a resource as it is, running or not.",
            "{resource} is left alone; undo: hamgr manage {resource}",
            {"on": False},
        ),
    )


@dataclass(frozen=True, slots=True)
class TargetRole(Request[Done]):
    """Sets a resource's target-role: Stopped, Started, Unpromoted or Promoted; null: as the cluster file says."""

    kind = "target-role"
    answer = Done
    resource: str
    role: str | None

    verbs = (
        Verb("enable", "Let a resource run.", "{resource} may run", {"role": None}),
        Verb(
            "disable",
            "Stop a resource and keep it stopped.",
            "{resource} is to be stopped; undo: hamgr enable {resource}",
            {"role": "Stopped"},
        ),
    )


KINDS: Mapping[str, type[Request[Any]]] = {each.kind: each for each in Request.__subclasses__()}
VERBS: Mapping[str, tuple[type[Request[Any]], Verb]] = {
    verb.name: (request, verb) for request in KINDS.values() for verb in request.verbs
}


def read_request(kind: str, version: int, body: object) -> Request[Any]:
    """A request as the leader takes it from the queue. Raises NotUnderstood."""
    if version > VERSION:
        raise NotUnderstood(
            f"the request {kind!r} is of version {version} of hamgr's interface, and the leader knows {VERSION}: use "
            "the `hamgr` of the leader's version, or bring hamgrd up to date on all nodes"
        )
    if kind not in KINDS:
        raise NotUnderstood(f"the leader does not know the request {kind!r}: is it of another version?")
    try:
        return from_value(KINDS[kind], {} if body is None else body, strict=True)
    except ValueError as error:
        text = f"the leader does not understand this request ({kind}: {error}): is it of another version?"
        raise NotUnderstood(text) from None
