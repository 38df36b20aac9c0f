"""Who else uses a disk: the pods beside which nothing may be started. Pure.

ReadWriteOnce is a promise for one node, not for one pod: Kubernetes lets any number of pods of a node have the volume.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from hamgr.kube.objects import LABEL_CLUSTER, LABEL_RESOURCE, Obj, is_terminating, labels_of, name_of, namespace_of
from hamgr.kube.pods import has_ended, is_parked, node_of
from hamgr.kube.volumes import UnusableVolume, Volume, claims_of, volume_of

Claim = tuple[str, str]
"""(namespace, name)"""


@dataclass(frozen=True, slots=True)
class Rival:
    """A pod that uses a claim, or may still use it. leaving: it is being deleted already."""

    pod: str
    claim: str
    node: str
    leaving: bool

    def __str__(self) -> str:
        state = "is still being stopped, and uses" if self.leaving else "uses"
        return f"pod {self.pod} on {self.node} {state} claim {self.claim}"


def rivals(
    pods: Iterable[Obj],
    claims: Collection[Claim],
    *,
    cluster: str,
    node: str,
    own: Collection[Claim],
    attached: Collection[str],
) -> list[Rival]:
    """The pods because of which nothing that writes to these claims may start on `node`, those that stay first.

    own: (namespace, name) of the pods that the start is about. attached: the nodes to which the disk is attached, or
    being attached: a pod of ours that is parked elsewhere has no part of the disk. One that no node has uses nothing.
    """
    found = []
    for pod in pods:
        used = next(((ns, c) for ns, c in claims if ns == namespace_of(pod) and c in claims_of(pod)), None)
        if used is None or not node_of(pod) or has_ended(pod) or (namespace_of(pod), name_of(pod)) in own:
            continue
        waits = is_parked(pod) and labels_of(pod).get(LABEL_CLUSTER) == cluster
        if waits and node_of(pod) not in (node, *attached):
            continue
        told = f"{namespace_of(pod)}/{name_of(pod)}"
        found.append(Rival(told, "/".join(used), node_of(pod), is_terminating(pod)))
    return sorted(found, key=lambda rival: (rival.leaving, rival.pod))


def instances_on(pods: Iterable[Obj], cluster: str, node: str) -> list[Claim]:
    """The pods of this cluster's resources on a node, by namespace and name."""
    return [
        (namespace_of(pod), name_of(pod))
        for pod in pods
        if node_of(pod) == node and labels_of(pod).get(LABEL_CLUSTER) == cluster and LABEL_RESOURCE in labels_of(pod)
    ]


def twins(volume: Volume, pvs: Iterable[Obj]) -> list[Obj]:
    """Other PersistentVolumes of the same disk: the same driver and handle. Kubernetes takes them for another one."""
    return [pv for pv in pvs if name_of(pv) != volume.pv and _is_same_disk(pv, volume)]


def claims_of_disk(claim: Claim, volume: Volume | None, pvs: Iterable[Obj]) -> list[Claim]:
    """A claim, and whatever other claims have the same disk."""
    bound = [] if volume is None else [(pv.get("spec") or {}).get("claimRef") or {} for pv in twins(volume, pvs)]
    others = [(str(ref["namespace"]), str(ref["name"])) for ref in bound if ref.get("namespace") and ref.get("name")]
    return list(dict.fromkeys([claim, *others]))


def _is_same_disk(pv: Obj, volume: Volume) -> bool:
    try:
        other = volume_of(pv)
    except UnusableVolume:
        return False
    return (other.driver, other.handle) == (volume.driver, volume.handle)
