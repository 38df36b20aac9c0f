"""Parked pods that would take a disk as soon as it is released, and how they go before that.

A parked pod waits for its disk and runs as soon as the attach-detach controller gives it the disk, without asking us.
So whoever is about to release a disk first sends away those that are not meant to have it, and waits until they are
gone from the API: then no controller can attach the disk for them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass

from hamgr.kube import nodes
from hamgr.kube.errors import Conflict, NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import (
    LABEL_CLUSTER,
    LABEL_RESOURCE,
    NODE,
    POD,
    PVC,
    VOLUME_ATTACHMENT,
    Obj,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    revision_of,
    uid_of,
)
from hamgr.kube.pods import find, grace_of, is_parked, node_of
from hamgr.kube.volumes import claims_of

PATIENCE_S = 3.0
"""For how long a kubelet may take to let a pod go of which it has started nothing; then it counts as silent."""

Disks = Collection[tuple[str, str]]
"""(namespace, claim)"""


def rivals(pods: Iterable[Obj], cluster: str, disks: Disks, resource: str, stay: Collection[str]) -> list[Obj]:
    """The parked pods of a resource, or for one of these disks, that are not to have it.

    stay: names of pods that may have it, since the transition starts the resource there.
    """

    def concerned(pod: Obj) -> bool:
        ours = labels_of(pod).get(LABEL_CLUSTER) == cluster and is_parked(pod) and name_of(pod) not in stay
        same = bool(resource) and labels_of(pod).get(LABEL_RESOURCE) == resource
        return ours and (same or any((namespace_of(pod), claim) in disks for claim in claims_of(pod)))

    return [pod for pod in pods if concerned(pod)]


@dataclass(frozen=True, slots=True)
class Rival:
    """A parked pod that has to go before a disk is released.

    silent: its node cannot confirm that it is gone. attached: a disk of it is attached to its node, so it is not the
    release that it waits for.
    """

    pod: Obj
    terminating: bool
    silent: bool = False
    attached: bool = False


def see_rivals(kube: Kube, cluster: str, disks: Disks, resource: str, stay: Collection[str]) -> list[Rival]:
    """The rivals as the API server has them now. Raises KubeError."""
    listed = kube.list(POD.collection(), label_selector=f"{LABEL_CLUSTER}={cluster}").items
    return [_look(kube, pod) for pod in rivals(listed, cluster, disks, resource, stay)]


def _look(kube: Kube, pod: Obj) -> Rival:
    if not is_terminating(pod):
        return Rival(pod, terminating=False)
    node = _found(kube, NODE.path(node_of(pod)))
    return Rival(pod, True, node is None or nodes.ready(node) is not True, _is_attached(kube, pod))


def _is_attached(kube: Kube, pod: Obj) -> bool:
    """Whether an attachment of any disk of the pod names its node, on its way or not."""
    claims = [_found(kube, PVC.path(claim, namespace_of(pod))) for claim in claims_of(pod)]
    volumes = {str((claim.get("spec") or {}).get("volumeName") or "") for claim in claims if claim is not None}
    listed = kube.list(VOLUME_ATTACHMENT.collection()).items
    here = [va["spec"] for va in listed if va["spec"].get("nodeName") == node_of(pod)]
    return any((spec.get("source") or {}).get("persistentVolumeName") in volumes for spec in here)


def _found(kube: Kube, path: str) -> Obj | None:
    try:
        return kube.get(path)
    except NotFound:
        return None


def send_away(kube: Kube, name: str, namespace: str, uid: str, *, by_force: bool) -> None:
    """Have a parked pod deleted: this one, and as it is now, so that one that has begun to run is left alone."""
    pod = find(kube, name, namespace)
    if pod is None or uid_of(pod) != uid or not is_parked(pod):
        return
    grace = 0 if by_force else max(grace_of(pod), 1)
    with suppress(NotFound, Conflict):
        kube.delete(POD.path(name, namespace), uid=uid, resource_version=revision_of(pod), grace=grace)


class Clearing:
    """Sends rivals away, for one action: `step` again and again until it says nothing."""

    def __init__(self, kube: Kube, cluster: str, clock: Callable[[], float]) -> None:
        """clock: monotonic seconds."""
        self._kube = kube
        self._cluster = cluster
        self._clock = clock
        self._told: dict[str, float] = {}
        self._clear = False

    def step(self, disks: Disks, resource: str, stay: Collection[str]) -> str:
        """Do what can be done now; what is still being waited for, empty once nothing is in the way. Raises KubeError.

        By force goes only what its kubelet does not confirm, and then only while no attachment of its disks names its
        node: there is nothing that it could be running with.
        """
        if self._clear:
            return ""
        waiting = ""
        for rival in see_rivals(self._kube, self._cluster, disks, resource, stay):
            if rival.attached:
                continue
            told = self._told.setdefault(uid_of(rival.pod), self._clock())
            force = rival.terminating and (rival.silent or self._clock() - told >= PATIENCE_S)
            if force or not rival.terminating:
                name, namespace, uid = name_of(rival.pod), namespace_of(rival.pod), uid_of(rival.pod)
                send_away(self._kube, name, namespace, uid, by_force=force)
            waiting = f"parked pod {name_of(rival.pod)} has to go first, or it would get the disk"
        self._clear = not waiting
        return waiting
