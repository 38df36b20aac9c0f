"""What is read off the objects of Kubernetes, and what a fence remembers of it."""

from dataclasses import replace
from typing import Any

import pytest
from fixtures.fences import DISK, POD, a_record

from hamgr.fencer.machine import AttachmentSeen, NodeSeen
from hamgr.fencer.observe import OWN_TAINT, Discovery, attachment_seen, merged, node_seen, pod_ref
from hamgr.fencer.records import PodRef, VolumeRef

NODE = {
    "metadata": {"name": "n1", "uid": "node-uid", "resourceVersion": "12"},
    "status": {
        "conditions": [{"type": "Ready", "status": "False"}],
        "nodeInfo": {"bootID": "boot-1"},
        "volumesInUse": ["kubernetes.io/csi/d^1", "kubernetes.io/csi/d^2"],
    },
}


def tainted(**taint: str) -> dict[str, Any]:
    return {**NODE, "spec": {"taints": [{"key": "other", "effect": "NoExecute"}, taint]}}


def test_a_node_in_short() -> None:
    expected = NodeSeen(True, "node-uid", "12", False, "boot-1", ("kubernetes.io/csi/d^1", "kubernetes.io/csi/d^2"))
    assert node_seen(NODE) == expected
    assert node_seen(tainted(key="another", effect="NoSchedule")) == expected


def test_a_taint_of_somebody_elses_is_not_ours() -> None:
    ours = node_seen(tainted(**OWN_TAINT, timeAdded="2026-01-01T00:00:00Z"))
    assert (ours.out_of_service, ours.ours) == (True, True)
    for theirs in ({"value": "nodeshutdown"}, {"effect": "NoExecute"}):
        found = node_seen(tainted(**{**OWN_TAINT, **theirs}))
        assert (found.out_of_service, found.ours) == (True, False)


def attachment(**more: Any) -> dict[str, Any]:
    metadata = {"name": "csi-va", "uid": "va-uid", **more.pop("metadata", {})}
    return {"metadata": metadata, "spec": {"nodeName": "n1"}, "status": more}


def test_an_attachment_in_short() -> None:
    assert attachment_seen(attachment(attached=True)) == AttachmentSeen("va-uid", "csi-va", False, True, False, "")
    leaving = attachment(
        metadata={"deletionTimestamp": "now", "finalizers": ["example.com/x", "external-attacher/ebs-csi-aws-com"]},
        detachError={"message": "busy"},
    )
    assert attachment_seen(leaving) == AttachmentSeen("va-uid", "csi-va", True, False, True, "busy")


def test_only_the_attachers_own_finalizer_guards_an_attachment() -> None:
    other = attachment(metadata={"finalizers": ["example.com/external-attacher/x"]})
    assert not attachment_seen(other).guarded


def test_whose_instance_a_pod_is() -> None:
    labels = {"hamgr.io/resource": "db"}
    pod = {"metadata": {"namespace": "default", "name": "db-n1", "uid": "pod-uid", "labels": labels}}
    assert pod_ref(pod) == POD
    assert pod_ref({"metadata": {**pod["metadata"], "labels": {}}}).resource == ""


# --- what a later look adds ----------------------------------------------------------------------------------------

NODE_FOUND = NodeSeen(uid="node-uid-2", boot_id="boot-2")
SECOND = PodRef("default", "db-n1", "pod-uid-2", "db")
LOGS = VolumeRef("pv-2", DISK.driver, "disk-2", "default", "logs", "csi-logs", "va-2")


def test_what_a_first_look_finds_is_remembered() -> None:
    empty = a_record(pods=(), volumes=(), node_uid="", boot_id="")
    record = merged(empty, Discovery(NODE_FOUND, pods=(POD,), volumes=(DISK,)))
    assert record.discovered
    assert (record.node_uid, record.boot_id, record.pods, record.volumes) == ("node-uid-2", "boot-2", (POD,), (DISK,))


def test_which_machine_and_boot_is_fenced_does_not_change_on_the_way() -> None:
    record = merged(a_record(), Discovery(NODE_FOUND))
    assert (record.node_uid, record.boot_id) == ("node-uid", "boot-1")


def test_nothing_that_was_known_is_dropped_by_a_later_look() -> None:
    record = merged(a_record(), Discovery(NodeSeen(), pods=(SECOND, POD), volumes=(LOGS,)))
    assert record.pods == (POD, SECOND)
    assert record.volumes == (DISK, LOGS)


@pytest.mark.parametrize("uid", ["va-uid-2", ""])
def test_a_new_attachment_replaces_the_one_that_was_known(uid: str) -> None:
    now = replace(DISK, attachment="csi-new" if uid else "", attachment_uid=uid)
    record = merged(a_record(), Discovery(NodeSeen(), volumes=(now,)))
    assert record.volumes == ((now if uid else DISK),)
