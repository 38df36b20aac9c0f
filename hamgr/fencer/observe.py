"""Reads from the API server what a fence needs to see: before the first effect everything, later what the phase needs.

Nothing here comes from a cache: what is read may become a proof.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hamgr.fencer.machine import AttachmentSeen, NodeSeen, PodSeen, RivalSeen
from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import FenceRecord, Pattern, PodRef, Target, VolumeRef
from hamgr.kube import nodes, parked, pods, volumes
from hamgr.kube.errors import NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import (
    DEPLOYMENT,
    LABEL_RESOURCE,
    LABEL_ROLE,
    NODE,
    POD,
    PV,
    PVC,
    ROLE_ACTIVE,
    STATEFUL_SET,
    VOLUME_ATTACHMENT,
    Obj,
    home_of,
    is_instance,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    revision_of,
    uid_of,
)

OWNER_ANNOTATION = "hamgr.io/out-of-service"
OWN_TAINT = {"key": nodes.OUT_OF_SERVICE, "value": "hamgr", "effect": "NoSchedule"}
"""The key alone releases volumes (FACTS 2.3); the effect NoExecute would evict everybody's pods."""

# Pod volumes that live and die with the node or the pod, or that are not written: no second writer through them.
_HARMLESS = frozenset({"emptyDir", "configMap", "secret", "projected", "downwardAPI", "hostPath", "gitRepo", "image"})
_WORKLOADS = {"deployment": DEPLOYMENT, "statefulset": STATEFUL_SET}
_LOCAL_PVS = frozenset({"local", "hostPath"})
_ATTACHER_FINALIZER = "external-attacher/"


@dataclass(frozen=True, slots=True)
class Discovery:
    """What there is to fence. `obstacles` say why the storage's word alone would not prove that the writer is gone."""

    node: NodeSeen
    pods: tuple[PodRef, ...] = ()
    volumes: tuple[VolumeRef, ...] = ()
    obstacles: tuple[Reason, ...] = ()
    passive_drivers: frozenset[str] = field(default_factory=frozenset)


def discover(kube: Kube, target: Target, cluster: str) -> Discovery:
    """Find the target's pods, volumes and attachments. Raises KubeError."""
    node = see_node(kube, target.node)
    on_node = kube.list(POD.collection(), field_selector=f"spec.nodeName={target.node}").items
    chosen = [pod for pod in on_node if _is_target(pod, target, cluster)]
    finder = _VolumeFinder(kube, target)
    for pod in chosen:
        finder.add_pod(pod)
    for namespace, claim in target.claims:
        planned = (namespace, claim) in target.planned
        finder.add_claim(namespace, claim, f"{namespace}/{claim}", planned=planned)
    told_by_objects = {(namespace_of(pod), name_of(pod)) for pod in chosen}
    for pattern in target.patterns:
        if (pattern.namespace, pattern.name) not in told_by_objects:
            finder.add_pattern(pattern)
        elif not pattern.planned:  # the object may be of a later pod than the one that was started
            finder.add_volumes(pattern)
    obstacles = finder.obstacles  # also of pods that are fenced along
    for pod in _sharers(on_node, chosen, finder.found):
        if _is_ours(pod, target, cluster):
            chosen.append(pod)
            finder.add_pod(pod)
        else:
            volume = next(v for v in finder.found if v.claim in volumes.claims_of(pod))
            told = f"{namespace_of(pod)}/{name_of(pod)}"
            obstacles.append(reason("foreign-pod", pod=told, pv=volume.pv, node=target.node))
    found = finder.with_attachments()
    passive = frozenset(driver for driver in {v.driver for v in found} if not volumes.attach_required(kube, driver))
    return Discovery(node, tuple(pod_ref(pod) for pod in chosen), found, tuple(obstacles), passive)


def merged(record: FenceRecord, found: Discovery) -> FenceRecord:
    """The record with what was discovered added to what earlier attempts knew; nothing known is dropped."""
    uids = {pod.uid for pod in record.pods}
    known = {volume.pv: volume for volume in record.volumes}
    current = {volume.pv: volume for volume in found.volumes}
    kept = tuple(
        current[pv] if pv in current and current[pv].attachment_uid else volume for pv, volume in known.items()
    )
    return replace(
        record,
        discovered=True,
        node_uid=record.node_uid or found.node.uid,
        boot_id=record.boot_id or found.node.boot_id,
        pods=(*record.pods, *(pod for pod in found.pods if pod.uid not in uids)),
        volumes=(*kept, *(volume for pv, volume in current.items() if pv not in known)),
    )


def pod_ref(pod: Mapping[str, Any]) -> PodRef:
    """The identity of a pod."""
    return PodRef(namespace_of(pod), name_of(pod), uid_of(pod), labels_of(pod).get(LABEL_RESOURCE, ""))


def see_node(kube: Kube, name: str) -> NodeSeen:
    """The Node object in short; `exists` is False when there is none."""
    try:
        return node_seen(kube.get(NODE.path(name)))
    except NotFound:
        return NodeSeen(exists=False)


def node_seen(node: Mapping[str, Any]) -> NodeSeen:
    """A Node object in short."""
    return NodeSeen(
        uid=uid_of(node),
        revision=revision_of(node),
        ready=nodes.ready(node),
        boot_id=nodes.boot_id(node),
        in_use=volumes.in_use(node),
        out_of_service=nodes.has_taint(node, nodes.OUT_OF_SERVICE),
        ours=OWN_TAINT in [{key: t.get(key, "") for key in OWN_TAINT} for t in nodes.taints(node)],
    )


def see_pods(kube: Kube, record: FenceRecord, cluster: str) -> tuple[dict[str, PodSeen], dict[str, Obj]]:
    """What is under each pod's name now, by the UID that the record knows, and those raw objects whose pod has ended.

    That a pod has not begun yet holds for this moment alone, so such a one is not handed on as proof for later.
    """
    seen: dict[str, PodSeen] = {}
    raw: dict[str, Obj] = {}
    for pod in record.pods:
        found = pods.find(kube, pod.name, pod.namespace)
        if found is None:
            seen[pod.uid] = PodSeen()
        elif uid_of(found) == pod.uid:
            seen[pod.uid] = _pod_seen(found)
            if pods.has_ended(found):
                raw[pod.uid] = found
        elif pods.node_of(found) == record.target.node:
            foreign = not _is_ours(found, record.target, cluster)
            seen[pod.uid] = PodSeen(replaced_by=pod_ref(found), foreign=foreign)
        else:
            seen[pod.uid] = PodSeen()
    return seen, raw


def see_rivals(kube: Kube, record: FenceRecord, cluster: str) -> tuple[RivalSeen, ...]:
    """The parked pods on other nodes that would take what the fence releases, and are not meant to."""
    stay = record.target.parked_may_stay
    if stay is None:
        return ()
    attached = [volume for volume in record.volumes if volume.claim and volume.attachment_uid]
    disks = {(volume.namespace, volume.claim) for volume in attached}
    found = parked.see_rivals(kube, cluster, disks, "", stay) if disks else []
    return tuple(
        RivalSeen(pod_ref(rival.pod), rival.terminating, rival.silent, rival.attached)
        for rival in found
        if pods.node_of(rival.pod) != record.target.node
    )


def see_attachments(kube: Kube, record: FenceRecord) -> dict[str, AttachmentSeen]:
    """Each volume's attachment to the node, under the name in the record and under the controller's own name."""
    return {volume.pv: _attachment(kube, volume, record.target.node) for volume in record.volumes}


def _attachment(kube: Kube, volume: VolumeRef, node: str) -> AttachmentSeen:
    names = dict.fromkeys(name for name in (volume.attachment, volume.volume.attachment_name(node)) if name)
    for name in names:
        try:
            found = kube.get(VOLUME_ATTACHMENT.path(name))
        except NotFound:
            continue
        if found["spec"].get("nodeName") == node:
            return attachment_seen(found)
    return AttachmentSeen()


def attachment_seen(found: Mapping[str, Any]) -> AttachmentSeen:
    """A VolumeAttachment in short."""
    short = volumes.attachment_of(found)
    finalizers = found["metadata"].get("finalizers") or []
    return AttachmentSeen(
        uid=short.uid,
        name=short.name,
        leaving=short.leaving,
        attached=short.attached,
        guarded=any(str(entry).startswith(_ATTACHER_FINALIZER) for entry in finalizers),
        error=short.detach_error,
        revision=short.revision,
    )


def _pod_seen(pod: Obj) -> PodSeen:
    metadata = pod["metadata"]
    return PodSeen(
        present=True,
        terminating=is_terminating(pod),
        forced=is_terminating(pod) and metadata.get("deletionGracePeriodSeconds") == 0,
        active=labels_of(pod).get(LABEL_ROLE) == ROLE_ACTIVE,
        finalizers=tuple(metadata.get("finalizers") or ()),
        revision=revision_of(pod),
    )


def _is_target(pod: Mapping[str, Any], target: Target, cluster: str) -> bool:
    if target.pods is not None:
        return (namespace_of(pod), name_of(pod)) in target.pods
    return _is_ours(pod, target, cluster)


def _is_ours(pod: Mapping[str, Any], target: Target, cluster: str) -> bool:
    return is_instance(pod, cluster) and (target.homes is None or home_of(pod) in target.homes)


def _sharers(on_node: Iterable[Obj], chosen: list[Obj], found: Iterable[VolumeRef]) -> list[Obj]:
    uids = {uid_of(pod) for pod in chosen}
    claims = {(volume.namespace, volume.claim) for volume in found if volume.claim}
    return [
        pod
        for pod in on_node
        if uid_of(pod) not in uids
        and not pods.has_ended(pod)
        and any((namespace_of(pod), claim) in claims for claim in volumes.claims_of(pod))
    ]


class _VolumeFinder:
    """Collects the volumes behind pods and claims, and what about them could not be proved."""

    def __init__(self, kube: Kube, target: Target) -> None:
        self._kube = kube
        self._node = target.node
        self._by_pv: dict[str, VolumeRef] = {}
        self._former_claims: set[tuple[str, str]] = set()
        self.obstacles: list[Reason] = []

    @property
    def found(self) -> tuple[VolumeRef, ...]:
        return tuple(self._by_pv.values())

    def add_pod(self, pod: Mapping[str, Any]) -> None:
        self._add_volumes(namespace_of(pod), name_of(pod), (pod.get("spec") or {}).get("volumes") or [])

    def add_pattern(self, pattern: Pattern) -> None:
        """The volumes of a pod without an object."""
        planned = pattern.planned
        self.add_volumes(pattern)
        if not pattern.workload:
            return
        kind, _, name = pattern.workload.partition("/")
        told = f"{pattern.namespace}/{pattern.name}"
        try:
            spec = self._kube.get(_WORKLOADS[kind].path(name, pattern.namespace)).get("spec") or {}
        except (KeyError, NotFound):
            if not planned:
                unknown = f"{pattern.workload}, which would tell, not found"
                self.obstacles.append(reason("volume-unprovable", volume="of unknown name", pod=told, kind=unknown))
            return
        volumes_of_it = ((spec.get("template") or {}).get("spec") or {}).get("volumes") or []
        self._add_volumes(pattern.namespace, pattern.name, volumes_of_it, planned=planned)
        for claim in volumes.claims_of_set(name, spec).values():
            self.add_claim(pattern.namespace, claim, told, planned=planned)

    def add_volumes(self, pattern: Pattern) -> None:
        """The volumes that a pattern lists itself."""
        self._add_volumes(pattern.namespace, pattern.name, json.loads(pattern.volumes), planned=pattern.planned)

    def _add_volumes(
        self, namespace: str, pod: str, listed: Iterable[Mapping[str, Any]], *, planned: bool = False
    ) -> None:
        told = f"{namespace}/{pod}"
        for volume in listed:
            name = str(volume.get("name"))
            kind = next((key for key in volume if key != "name"), "")
            source = volume.get(kind) or {}
            if kind == "persistentVolumeClaim":
                self.add_claim(namespace, str(source["claimName"]), told, planned=planned)
            elif kind == "ephemeral":
                self.add_claim(namespace, f"{pod}-{name}", told, planned=planned)
            elif kind not in _HARMLESS and not source.get("readOnly"):
                self.obstacles.append(reason("volume-unprovable", volume=name, pod=told, kind=kind))

    def add_claim(self, namespace: str, claim: str, user: str, *, planned: bool = False) -> None:
        """A claim's disk. planned: no recorded start names it, so one that does not exist was never used: it is no
        obstacle. Should it have existed once, its former disks are taken from the node if they are attached there."""
        try:
            pv_name = (self._kube.get(PVC.path(claim, namespace)).get("spec") or {}).get("volumeName")
        except NotFound:
            if planned:
                self._former_claims.add((namespace, claim))
            else:
                self.obstacles.append(reason("volume-unprovable", volume=claim, pod=user, kind="claim not found"))
            return
        if not pv_name or str(pv_name) in self._by_pv:
            return  # an unbound claim has no disk yet
        try:
            pv = self._kube.get(PV.path(str(pv_name)))
        except NotFound:
            self.obstacles.append(reason("volume-unprovable", volume=claim, pod=user, kind="volume not found"))
            return
        self._add_pv(pv, namespace, claim, user)

    def _add_pv(self, pv: Obj, namespace: str, claim: str, user: str) -> None:
        spec = pv.get("spec") or {}
        if spec.get("csi"):
            volume = volumes.volume_of(pv)
            self._by_pv[volume.pv] = VolumeRef(volume.pv, volume.driver, volume.handle, namespace, claim)
        elif not _LOCAL_PVS & spec.keys():
            known = {"capacity", "accessModes", "claimRef", "storageClassName", "nodeAffinity", "mountOptions"}
            kinds = spec.keys() - known - {"persistentVolumeReclaimPolicy", "volumeMode", "volumeAttributesClassName"}
            kind = ", ".join(sorted(kinds)) or "unknown"
            self.obstacles.append(reason("volume-unprovable", volume=claim, pod=user, kind=kind))

    def with_attachments(self) -> tuple[VolumeRef, ...]:
        """The volumes with their attachments to the node, one list call for all."""
        if not self._by_pv and not self._former_claims:
            return ()
        listed = self._kube.list(VOLUME_ATTACHMENT.collection()).items
        former = [self._attached(volume, listed) for volume in self._former_volumes()]
        return (*(self._attached(volume, listed) for volume in self.found), *(v for v in former if v.attachment_uid))

    def _former_volumes(self) -> Iterator[VolumeRef]:
        """What the claims had that do not exist any more, by the PersistentVolumes that still name them."""
        for pv in self._kube.list(PV.collection()).items if self._former_claims else []:
            held_for = (pv.get("spec") or {}).get("claimRef") or {}
            claim = (str(held_for.get("namespace")), str(held_for.get("name")))
            if claim in self._former_claims and name_of(pv) not in self._by_pv and (pv.get("spec") or {}).get("csi"):
                volume = volumes.volume_of(pv)
                yield VolumeRef(volume.pv, volume.driver, volume.handle, *claim)

    def _attached(self, volume: VolumeRef, listed: list[Obj]) -> VolumeRef:
        for entry in volumes.attachments_among(listed, volume.volume):
            if entry.node == self._node:
                return replace(volume, attachment=entry.name, attachment_uid=entry.uid)
        return volume
