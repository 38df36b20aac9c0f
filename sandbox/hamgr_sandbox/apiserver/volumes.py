"""How volumes, claims, storage classes, CSI objects and volume attachments are written."""

from __future__ import annotations

from typing import Any

from hamgr_sandbox.apiserver import validation
from hamgr_sandbox.apiserver.errors import Cause, forbidden_field, invalid, required
from hamgr_sandbox.apiserver.kinds import Context, Strategy

Obj = dict[str, Any]

CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
_DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"


def claim_defaults(claim: Obj) -> None:
    """The defaults of a claim and of a claim template."""
    claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")


def _protect(obj: Obj, finalizer: str) -> None:
    """StorageObjectInUseProtection admission."""
    finalizers = obj["metadata"].setdefault("finalizers", [])
    if finalizer not in finalizers:
        finalizers.append(finalizer)


def _claim(claim: Obj, context: Context) -> None:
    claim_defaults(claim)
    _protect(claim, CLAIM_PROTECTION)
    claim["status"] = {"phase": "Pending"}
    if "storageClassName" in claim["spec"]:
        return
    classes = context.storage.items("storage.k8s.io/storageclasses")
    default = [one for one in classes if (one["metadata"].get("annotations") or {}).get(_DEFAULT_CLASS) == "true"]
    if default:
        newest = max(default, key=lambda one: one["metadata"]["creationTimestamp"])
        claim["spec"]["storageClassName"] = newest["metadata"]["name"]


def _claim_causes(claim: Obj) -> list[Cause]:
    spec = claim["spec"]
    causes = []
    if not spec.get("accessModes"):
        causes.append(required("spec.accessModes", "at least 1 access mode is required"))
    if not ((spec.get("resources") or {}).get("requests") or {}).get("storage"):
        causes.append(required("spec.resources[storage]"))
    return causes


def _claim_update(new: Obj, old: Obj) -> list[Cause]:
    def fixed(claim: Obj) -> Obj:
        mutable = {"resources", "volumeAttributesClassName"}
        if not old["spec"].get("volumeName"):
            mutable.add("volumeName")
        if not old["spec"].get("storageClassName"):
            mutable.add("storageClassName")
        return {key: value for key, value in claim["spec"].items() if key not in mutable}

    if fixed(new) == fixed(old):
        return _claim_causes(new)
    why = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
    return [forbidden_field("spec", why)]


def _volume(volume: Obj, context: Context) -> None:
    spec = volume["spec"]
    spec.setdefault("volumeMode", "Filesystem")
    spec.setdefault("persistentVolumeReclaimPolicy", "Retain")
    if "hostPath" in spec:
        spec["hostPath"].setdefault("type", "")
    _protect(volume, VOLUME_PROTECTION)
    volume["status"] = {"phase": "Pending"}


_NOT_SOURCES = {
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
}


def _source(volume: Obj) -> Obj:
    return {key: value for key, value in volume["spec"].items() if key not in _NOT_SOURCES}


def _volume_causes(volume: Obj) -> list[Cause]:
    spec = volume["spec"]
    causes = []
    if not spec.get("accessModes"):
        causes.append(required("spec.accessModes"))
    if not (spec.get("capacity") or {}).get("storage"):
        causes.append(required("spec.capacity"))
    if not _source(volume):
        causes.append(required("spec", "must specify a volume type"))
    csi = spec.get("csi")
    if csi is not None:
        causes += [required(f"spec.csi.{part}") for part in ("driver", "volumeHandle") if not csi.get(part)]
    return causes


def _volume_update(new: Obj, old: Obj) -> list[Cause]:
    if _source(new) != _source(old):
        return [
            forbidden_field("spec.persistentvolumesource", "spec.persistentvolumesource is immutable after creation")
        ]
    return _volume_causes(new) + validation.immutable(
        "spec.volumeMode", new["spec"].get("volumeMode"), old["spec"].get("volumeMode")
    )


def _storage_class(obj: Obj, context: Context) -> None:
    obj.setdefault("reclaimPolicy", "Delete")
    obj.setdefault("volumeBindingMode", "Immediate")


def _storage_class_causes(obj: Obj) -> list[Cause]:
    return [] if obj.get("provisioner") else [required("provisioner")]


def _storage_class_update(new: Obj, old: Obj) -> list[Cause]:
    causes = []
    if new.get("parameters") != old.get("parameters"):
        causes.append(forbidden_field("parameters", "updates to parameters are forbidden."))
    causes += [
        forbidden_field(part, f"updates to {part} are forbidden.")
        for part in ("provisioner", "reclaimPolicy")
        if new.get(part) != old.get(part)
    ]
    return causes + validation.immutable(
        "volumeBindingMode", new.get("volumeBindingMode"), old.get("volumeBindingMode")
    )


def _csi_driver(obj: Obj, context: Context) -> None:
    spec = obj["spec"]
    for name, value in (("attachRequired", True), ("podInfoOnMount", False), ("storageCapacity", False)):
        spec.setdefault(name, value)
    for name in ("requiresRepublish", "seLinuxMount"):
        spec.setdefault(name, False)
    spec.setdefault("fsGroupPolicy", "ReadWriteOnceWithFSType")
    spec.setdefault("volumeLifecycleModes", ["Persistent"])


def _attachment_causes(obj: Obj) -> list[Cause]:
    spec = obj["spec"]
    causes = [required(f"spec.{part}") for part in ("attacher", "nodeName") if not spec.get(part)]
    source = spec.get("source") or {}
    if not source.get("persistentVolumeName") and not source.get("inlineVolumeSpec"):
        causes.append(required("spec.source", "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
    return causes


def _internal(spec: Obj) -> str:
    """A spec as the API server prints its internal type."""
    source = spec.get("source") or {}
    return validation.quoted(
        {
            "Attacher": spec.get("attacher", ""),
            "Source": {
                "PersistentVolumeName": source.get("persistentVolumeName"),
                "InlineVolumeSpec": source.get("inlineVolumeSpec"),
            },
            "NodeName": spec.get("nodeName", ""),
        }
    )


def _attachment_update(new: Obj, old: Obj) -> list[Cause]:
    if new["spec"] != old["spec"]:
        return [invalid("spec", _internal(new["spec"]), "field is immutable")]
    return []


CLAIM = Strategy(prepare_create=_claim, validate=_claim_causes, validate_update=_claim_update, returns_deleted=True)
VOLUME = Strategy(prepare_create=_volume, validate=_volume_causes, validate_update=_volume_update, returns_deleted=True)
STORAGE_CLASS = Strategy(
    prepare_create=_storage_class,
    validate=_storage_class_causes,
    validate_update=_storage_class_update,
    returns_deleted=True,
)
CSI_DRIVER = Strategy(prepare_create=_csi_driver, unconditional_update=False, returns_deleted=True)
CSI_NODE = Strategy(unconditional_update=False, returns_deleted=True)
ATTACHMENT = Strategy(
    validate=_attachment_causes,
    validate_update=_attachment_update,
    unconditional_update=False,
    returns_deleted=True,
    status_metadata=False,
)
