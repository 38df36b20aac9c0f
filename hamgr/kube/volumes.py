"""Which disk stands behind a claim, where it is attached, and who may still have it mounted.

Sources: FACTS on VolumeAttachment (name, finalizer, meaning of its disappearance), on ``volumesInUse`` (written by the
kubelet before it mounts, never by a dead one) and on CSIDriver.attachRequired.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hamgr.kube.errors import KubeError, NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import (
    ANNOTATION_LEADER,
    CSI_DRIVER,
    NODE,
    PV,
    PVC,
    VOLUME_ATTACHMENT,
    Obj,
    is_terminating,
    name_of,
    namespace_of,
    revision_of,
    uid_of,
)
from hamgr.kube.pods import has_ended

# Pod volumes that live and die with one pod, or that no pod writes.
_OF_ONE_POD = frozenset(
    {"emptyDir", "configMap", "secret", "projected", "downwardAPI", "ephemeral", "gitRepo", "image"}
)

SINGLE_WRITER = frozenset({"ReadWriteOnce", "ReadWriteOncePod"})
"""Access modes of a claim to which one pod at a time may write; Kubernetes keeps to that for nodes, not for pods."""

# How the attach-detach controller waits for the end of a VolumeAttachment (csi_attacher.go): it looks at the name after
# half a second, then every 1.05 times as long, at most every seven seconds, all with a tenth of jitter.
_LOOK_S, _LOOK_GROWTH, _LONGEST_LOOK_S, _LOOK_JITTER = 0.5, 0.05, 7.0, 1.1
_LOOK_LATENCY_S = 0.25  # its request, and ours


class UnusableVolume(KubeError):
    """The claim is not bound, or its volume is none whose attachment can be known."""


class UnboundClaim(UnusableVolume):
    """No PersistentVolume is bound to the claim yet, so nothing can have been written."""


@dataclass(frozen=True, slots=True)
class Volume:
    """One CSI disk: the PersistentVolume's name, the CSI driver and its handle for the disk."""

    pv: str
    driver: str
    handle: str

    @property
    def unique_name(self) -> str:
        """As it stands in a node's status.volumesInUse and volumesAttached."""
        return f"kubernetes.io/csi/{self.driver}^{self.handle}"

    @property
    def released_mark(self) -> str:
        """What a fence writes in place of `unique_name` when it has taken the disk from a node that may still mount it.

        Nobody but us knows the name. A kubelet that reads volumesInUse and finds it otherwise than its own list writes
        its own, every ten seconds; while all is as it wrote it, it writes once in five minutes. So the mark brings
        about the report that ends it, and as long as it stands there has been none (kubelet_node_status.go).
        """
        return f"hamgr.io/released/{self.unique_name}"

    @property
    def global_mount_id(self) -> str:
        """The directory below ``plugins/kubernetes.io/csi/DRIVER`` at which a kubelet stages the disk."""
        return hashlib.sha256(self.handle.encode()).hexdigest()

    def attachment_name(self, node: str) -> str:
        """The name that the attach-detach controller gives the VolumeAttachment (csi_attacher.go)."""
        return "csi-" + hashlib.sha256((self.handle + self.driver + node).encode()).hexdigest()


def volume_of(pv: Mapping[str, Any]) -> Volume:
    """The disk of a PersistentVolume. Raises UnusableVolume when it is not a CSI volume."""
    csi = (pv.get("spec") or {}).get("csi")
    if not csi:
        raise UnusableVolume(
            422,
            "UnusableVolume",
            f"PersistentVolume {name_of(pv)} is not a CSI volume, so nothing tells who holds its disk",
        )
    return Volume(name_of(pv), str(csi["driver"]), str(csi["volumeHandle"]))


def resolve_claim(kube: Kube, namespace: str, claim: str) -> Volume:
    """The disk behind a claim. Raises NotFound, UnusableVolume (not bound, not CSI)."""
    pvc = kube.get(PVC.path(claim, namespace))
    name = (pvc.get("spec") or {}).get("volumeName")
    if not name or (pvc.get("status") or {}).get("phase") != "Bound":
        phase = (pvc.get("status") or {}).get("phase") or "Pending"
        raise UnboundClaim(
            422, "UnusableVolume", f"claim {namespace}/{claim} is {phase}: no PersistentVolume is bound to it yet"
        )
    return resolve_pv(kube, str(name))


def resolve_pv(kube: Kube, name: str) -> Volume:
    """The disk of a PersistentVolume by name. Raises NotFound, UnusableVolume."""
    return volume_of(kube.get(PV.path(name)))


def claims_of(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """The claims that a pod mounts, of its own namespace, in the order of its volumes."""
    volumes = (pod.get("spec") or {}).get("volumes") or []
    return tuple(v["persistentVolumeClaim"]["claimName"] for v in volumes if v.get("persistentVolumeClaim"))


def first_pod_of_set(name: str, spec: Mapping[str, Any]) -> str:
    """The name of the first pod of a StatefulSet. spec: the set's."""
    return f"{name}-{int((spec.get('ordinals') or {}).get('start') or 0)}"


def claims_of_set(name: str, spec: Mapping[str, Any]) -> dict[str, str]:
    """The claims that a StatefulSet makes for its first pod, each by the volume that it is mounted as there."""
    first = first_pod_of_set(name, spec)
    names = [name_of(template) for template in spec.get("volumeClaimTemplates") or []]
    return {template: f"{template}-{first}" for template in names}


def written_sources(pod: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the volumes, other than claims, by which a pod may write what outlives it (nfs, hostPath, ...)."""
    spec = pod.get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    mounts = [mount for container in containers for mount in container.get("volumeMounts") or []]
    written = {mount.get("name") for mount in mounts if not mount.get("readOnly")}
    return tuple(str(v.get("name")) for v in spec.get("volumes") or [] if v.get("name") in written and _outlives(v))


def _outlives(volume: Mapping[str, Any]) -> bool:
    kinds = volume.keys() - {"name", "persistentVolumeClaim"} - _OF_ONE_POD
    return any(not (volume[kind] or {}).get("readOnly") for kind in kinds)


def users_of_claim(pods: Iterable[Obj], namespace: str, claim: str) -> list[Obj]:
    """The pods whose spec mounts the claim and whose containers may still run."""
    return [pod for pod in pods if namespace_of(pod) == namespace and claim in claims_of(pod) and not has_ended(pod)]


def attach_required(kube: Kube, driver: str) -> bool:
    """Whether the driver attaches at the storage at all; when not, a VolumeAttachment's end proves nothing.

    A driver without CSIDriver object counts as attaching, as for Kubernetes itself.
    """
    try:
        spec = kube.get(CSI_DRIVER.path(driver)).get("spec") or {}
    except NotFound:
        return True
    return bool(spec.get("attachRequired", True))


@dataclass(frozen=True, slots=True)
class Attachment:
    """One VolumeAttachment in short."""

    name: str
    uid: str
    node: str
    attached: bool
    leaving: bool
    revision: str = ""
    attach_error: str = ""
    detach_error: str = ""


def attachment_of(va: Mapping[str, Any]) -> Attachment:
    """The fields that matter of a VolumeAttachment."""
    status = va.get("status") or {}
    return Attachment(
        name=name_of(va),
        uid=uid_of(va),
        node=str(va["spec"]["nodeName"]),
        attached=bool(status.get("attached")),
        leaving=is_terminating(va),
        revision=revision_of(va),
        attach_error=str((status.get("attachError") or {}).get("message") or ""),
        detach_error=str((status.get("detachError") or {}).get("message") or ""),
    )


def attachments_among(objects: Iterable[Obj], volume: Volume) -> list[Attachment]:
    """The attachments of this disk, whatever their names, and those that another PersistentVolume of it has: their
    names are made of driver, handle and node alone."""
    return [attachment_of(va) for va in objects if _is_attachment_of(va, volume)]


def _is_attachment_of(va: Mapping[str, Any], volume: Volume) -> bool:
    spec = va.get("spec") or {}
    by_pv = (spec.get("source") or {}).get("persistentVolumeName") == volume.pv
    return by_pv or name_of(va) == volume.attachment_name(str(spec.get("nodeName")))


def attachments(kube: Kube, volume: Volume) -> list[Attachment]:
    """Where the disk is attached now, read from the API server itself."""
    return attachments_among(kube.list(VOLUME_ATTACHMENT.collection()).items, volume)


def create_attachment(kube: Kube, volume: Volume, node: str) -> Attachment:
    """Have the CSI driver attach the disk, under the controller's own name. Raises AlreadyExists, ...

    It carries a stamp of no leader, by which the next one knows it for ours.
    """
    body = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "VolumeAttachment",
        "metadata": {"name": volume.attachment_name(node), "annotations": {ANNOTATION_LEADER: "0"}},
        "spec": {"attacher": volume.driver, "nodeName": node, "source": {"persistentVolumeName": volume.pv}},
    }
    return attachment_of(kube.post(VOLUME_ATTACHMENT.collection(), body))


def delete_attachment(kube: Kube, name: str, uid: str, revision: str) -> None:
    """Ask for the detach. The object's disappearance, not this call, says that it is done.

    uid, revision: of the attachment that was judged; Conflict is raised when it has changed since. One that is gone
    already is no error.
    """
    try:
        kube.delete(VOLUME_ATTACHMENT.path(name), uid=uid, resource_version=revision, grace=0)
    except NotFound:
        return


def name_settles_s(leaving_s: float) -> float:
    """How long after its end the name of a VolumeAttachment that was `leaving_s` on its way must stay unused.

    The controller that waits for that end by name takes a new attachment of the same name for the old one. It then
    waits in vain for two minutes, and the node is not told of the disk before that is over.
    """
    # Looks that grow by a factor 1 + g from l come, at time t, l + g * t after one another.
    return min(_LOOK_S + _LOOK_GROWTH * leaving_s, _LONGEST_LOOK_S) * _LOOK_JITTER + _LOOK_LATENCY_S


def in_use(node: Mapping[str, Any]) -> tuple[str, ...]:
    """status.volumesInUse: what the kubelet said it has, or is about to have, mounted."""
    return tuple((node.get("status") or {}).get("volumesInUse") or ())


def remove_from_in_use(kube: Kube, node: Obj, volume: Volume) -> bool:
    """Take this disk, and no other, out of the node's volumesInUse; False: it was not there.

    Only for who has proof that the node does not mount it. node: as it was judged; Conflict is raised when it has been
    written to since, by its kubelet say.
    """
    names = in_use(node)
    if volume.unique_name not in names:
        return False
    metadata = {"uid": uid_of(node), "resourceVersion": revision_of(node)}
    rest = [name for name in names if name != volume.unique_name]
    kube.patch_merge(f"{NODE.path(name_of(node))}/status", {"metadata": metadata, "status": {"volumesInUse": rest}})
    return True
