"""Decide which volumes to attach and to detach: the attach-detach controller's judgement as a pure function.

Implements pkg/controller/volume/attachdetach/reconciler of Kubernetes 1.36 for CSI volumes: Multi-Attach, waiting for
``volumesInUse``, the out-of-service taint, the forced detach after six minutes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from hamgr_sandbox.client import Key, Object, key_of
from hamgr_sandbox.controllers import objects

Place: TypeAlias = tuple[str, str]  # (unique volume name, node)

_SINGLE_NODE_MODES = {"ReadWriteOnce", "ReadWriteOncePod"}
_ATTACH_ERROR = "Multi-Attach error for volume"


@dataclass(frozen=True, slots=True)
class Volume:
    """One CSI volume. ``shared``: its access modes let several nodes have it at once."""

    pv: str
    driver: str
    handle: str
    shared: bool = False

    @property
    def unique_name(self) -> str:
        """As node status names it in volumesAttached and volumesInUse."""
        return f"kubernetes.io/csi/{self.driver}^{self.handle}"

    def attachment_name(self, node: str) -> str:
        """The VolumeAttachment's name (csi_attacher.go getAttachmentName)."""
        return "csi-" + hashlib.sha256(f"{self.handle}{self.driver}{node}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Wanted:
    """A volume that pods on a node need there; pods as (namespace, name)."""

    volume: Volume
    node: str
    pods: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Attached:
    """A volume that is attached to a node as far as the controller knows.

    ``confirmed`` is false when an attach or detach failed half-way; ``in_use``: the node says (or has not yet denied)
    that it has the volume mounted; ``unwanted_since`` is the time no pod has needed it, ``reported``: it stands in the
    node's volumesAttached.
    """

    volume: Volume
    node: str
    confirmed: bool = True
    in_use: bool = True
    reported: bool = True
    unwanted_since: float | None = None


@dataclass(frozen=True, slots=True)
class NodeHealth:
    """What the decision needs to know of a node; a node without an object is not healthy."""

    ready: bool
    out_of_service: bool = False


@dataclass(frozen=True, slots=True)
class Attach:
    wanted: Wanted


@dataclass(frozen=True, slots=True)
class Detach:
    """``verify``: ask the API server once more that the node does not use the volume."""

    attached: Attached
    verify: bool


@dataclass(frozen=True, slots=True)
class StartWaiting:
    """The volume is unwanted as of now: the six minutes begin."""

    place: Place


@dataclass(frozen=True, slots=True)
class StopWaiting:
    """The volume is wanted again."""

    place: Place


@dataclass(frozen=True, slots=True)
class RefuseMultiAttach:
    """Tell these pods, by (pod, message), why their volume does not come."""

    wanted: Wanted
    messages: tuple[tuple[Key, str], ...]


Operation: TypeAlias = Attach | Detach | StartWaiting | StopWaiting | RefuseMultiAttach


@dataclass(frozen=True, slots=True)
class Plan:
    """``operations`` to do now; ``look_again_at``: the next time at which time alone changes the answer."""

    operations: tuple[Operation, ...]
    look_again_at: float | None


def desired(
    pods: Iterable[Object],
    claims: Mapping[Key, Object],
    volumes: Mapping[Key, Object],
    detached_drivers: Collection[str],
) -> dict[Place, Wanted]:
    """The volumes that scheduled pods need on their nodes. ``detached_drivers`` have attachRequired false."""
    users: dict[Place, tuple[Volume, list[Key]]] = {}
    for pod in pods:
        node = objects.node_of(pod)
        if not node or objects.is_terminated(pod):
            continue
        for claim_key in objects.claims_of(pod):
            volume = bound_volume(claims.get(claim_key), volumes)
            if volume is not None and volume.driver not in detached_drivers:
                users.setdefault((volume.unique_name, node), (volume, []))[1].append(key_of(pod))
    return {place: Wanted(volume, place[1], tuple(keys)) for place, (volume, keys) in users.items()}


def bound_volume(claim: Object | None, volumes: Mapping[Key, Object]) -> Volume | None:
    """The CSI volume that a bound claim stands for."""
    if claim is None or claim.get("status", {}).get("phase") != "Bound":
        return None
    return csi_volume(volumes.get(("", claim["spec"].get("volumeName", ""))))


def csi_volume(pv: Object | None) -> Volume | None:
    """The volume of a PersistentVolume; None when there is none or it is not CSI."""
    source = (pv or {}).get("spec", {}).get("csi")
    if pv is None or not source:
        return None
    modes = set(pv["spec"].get("accessModes") or [])
    shared = not modes or bool(modes - _SINGLE_NODE_MODES)
    return Volume(pv["metadata"]["name"], source["driver"], source["volumeHandle"], shared)


def reconcile(
    wanted: Mapping[Place, Wanted],
    actual: Mapping[Place, Attached],
    nodes: Mapping[str, NodeHealth],
    now: float,
    *,
    busy: Collection[Place] = (),
    refused: Collection[Place] = (),
    force_after_s: float = 360.0,
) -> Plan:
    """One pass: detach what no pod needs, attach what pods need. Times are monotonic seconds.

    ``busy`` places have an operation under way or in back-off; ``refused`` have had their Multi-Attach event already.
    """
    operations: list[Operation] = []
    times: list[float] = []
    detaching: set[str] = set()
    for place, attached in actual.items():
        if place in wanted:
            if attached.unwanted_since is not None:
                operations.append(StopWaiting(place))
            continue
        since = now if attached.unwanted_since is None else attached.unwanted_since
        if attached.unwanted_since is None:
            operations.append(StartWaiting(place))
        if place in busy:
            continue
        health = nodes.get(attached.node, NodeHealth(ready=False))
        forced = not health.ready and now - since >= force_after_s
        if attached.in_use and not forced and not health.out_of_service:
            if not health.ready:
                times.append(since + force_after_s)
            continue
        operations.append(Detach(attached, verify=not (forced or health.out_of_service)))
        detaching.add(attached.volume.unique_name)
    operations += _attachments(wanted, actual, set(busy), detaching, set(refused))
    return Plan(tuple(operations), min(times, default=None))


def _attachments(
    wanted: Mapping[Place, Wanted],
    actual: Mapping[Place, Attached],
    busy: set[Place],
    detaching: set[str],
    refused: set[Place],
) -> list[Operation]:
    operations: list[Operation] = []
    # A volume for one node has one operation at a time, whatever the node.
    occupied = detaching | {volume for volume, _ in busy}
    for place, want in wanted.items():
        have = actual.get(place)
        if (have is not None and have.confirmed) or place in busy:
            continue
        if not want.volume.shared:
            if elsewhere := _nodes_with(want.volume, actual) - {want.node}:
                if place not in refused:
                    operations.append(RefuseMultiAttach(want, _refusals(want, elsewhere, wanted)))
                continue
            if want.volume.unique_name in occupied:
                continue
            occupied.add(want.volume.unique_name)
        operations.append(Attach(want))
    return operations


def _nodes_with(volume: Volume, actual: Mapping[Place, Attached]) -> set[str]:
    return {node for (name, node), attached in actual.items() if name == volume.unique_name and attached.confirmed}


def _refusals(want: Wanted, elsewhere: set[str], wanted: Mapping[Place, Wanted]) -> tuple[tuple[Key, str], ...]:
    """Each waiting pod's message. Names of pods in other namespaces are nobody's business (reportMultiAttachError)."""
    name = want.volume.unique_name
    holders = [pod for node in sorted(elsewhere) if (name, node) in wanted for pod in wanted[name, node].pods]
    start = f'{_ATTACH_ERROR} "{want.volume.pv}" Volume is already'
    if not holders:
        text = f"{start} exclusively attached to one node and can't be attached to another"
        return tuple((pod, text) for pod in want.pods)
    messages = []
    for pod in want.pods:
        near = [holder for namespace, holder in holders if namespace == pod[0]]
        far = f"{len(holders) - len(near)} pod(s) in different namespaces"
        text = f"{start} used by " + (f"pod(s) {', '.join(near)}" if near else far)
        messages.append((pod, f"{text} and {far}" if near and len(near) < len(holders) else text))
    return tuple(messages)
