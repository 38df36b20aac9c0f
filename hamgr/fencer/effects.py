"""Carries out the effects that the state machine asks for. Each carries a precondition, so that a late one is void.

A subject that is gone, or whose name another object has taken, is no error: the next look tells the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from hamgr.fencer.machine import Act, Effect
from hamgr.fencer.records import FenceRecord, PodRef
from hamgr.kube import nodes, pods, services, volumes
from hamgr.kube.errors import Conflict, Invalid, NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import NODE, POD

OWNER_ANNOTATION = "hamgr.io/out-of-service"
TAINT_VALUE = "hamgr"
TAINT_EFFECT = "NoSchedule"  # the key alone releases volumes (FACTS 2.3); NoExecute would evict everybody's pods


def carry_out(kube: Kube, record: FenceRecord, act: Act) -> None:
    """Do it. Raises KubeError; power is not here but with the level's means."""
    _EFFECTS[act.effect](kube, record, act)


def remove_own_taint(kube: Kube, node: str, uid: str) -> None:
    """Take our out-of-service taint and its annotation from the node. Raises KubeError."""
    nodes.remove_taint(kube, node, uid=uid, key=nodes.OUT_OF_SERVICE, value=TAINT_VALUE, effect=TAINT_EFFECT)
    kube.patch_merge(NODE.path(node), {"metadata": {"uid": uid, "annotations": {OWNER_ANNOTATION: None}}})


def _cut_clients(kube: Kube, record: FenceRecord, act: Act) -> None:
    del record
    for pod in act.pods:
        with suppress(NotFound, Conflict):
            services.deactivate(kube, pod.name, pod.namespace, pod.uid)


def _stop_pods(kube: Kube, record: FenceRecord, act: Act) -> None:
    del record
    for pod in act.pods:
        found = pods.find(kube, pod.name, pod.namespace)
        if found is not None:
            with suppress(NotFound, Conflict):
                kube.delete(_path(pod), uid=pod.uid, grace=max(pods.grace_of(found), 1))


def _delete_pods(kube: Kube, record: FenceRecord, act: Act) -> None:
    del record
    for pod in act.pods:
        with suppress(NotFound, Conflict):
            kube.delete(_path(pod), uid=pod.uid, grace=0)


def _delete_attachments(kube: Kube, record: FenceRecord, act: Act) -> None:
    del record
    for volume in act.volumes:
        with suppress(NotFound, Conflict):
            volumes.delete_attachment(kube, volume.attachment, volume.attachment_uid)


def _remove_in_use(kube: Kube, record: FenceRecord, act: Act) -> None:
    for volume in act.volumes:
        with suppress(NotFound):
            volumes.remove_from_in_use(kube, record.target.node, volume.volume)


def _taint(kube: Kube, record: FenceRecord, act: Act) -> None:
    """Taint the node, unless it is Ready; void when the node is written to in between, it may have become Ready."""
    del act
    with suppress(NotFound, Conflict, Invalid):
        node = kube.get(NODE.path(record.target.node))
        if nodes.ready(node) or nodes.has_taint(node, nodes.OUT_OF_SERVICE):
            return
        kube.patch_json(NODE.path(record.target.node), taint_patch(node, record.id))


def taint_patch(node: Mapping[str, Any], owner: str) -> list[dict[str, Any]]:
    """JSON patch that adds our taint and says whose it is, to exactly this state of the node."""
    metadata = node["metadata"]
    ours = {"key": nodes.OUT_OF_SERVICE, "value": TAINT_VALUE, "effect": TAINT_EFFECT}
    escaped = OWNER_ANNOTATION.replace("/", "~1")
    annotate: dict[str, Any] = {"op": "add", "path": f"/metadata/annotations/{escaped}", "value": owner}
    if not metadata.get("annotations"):
        annotate = {"op": "add", "path": "/metadata/annotations", "value": {OWNER_ANNOTATION: owner}}
    return [
        {"op": "test", "path": "/metadata/uid", "value": metadata["uid"]},
        {"op": "test", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
        {"op": "add", "path": "/spec/taints", "value": [*nodes.taints(node), ours]},
        annotate,
    ]


def _path(pod: PodRef) -> str:
    return POD.path(pod.name, pod.namespace)


_EFFECTS: Mapping[Effect, Callable[[Kube, FenceRecord, Act], None]] = {
    Effect.CUT_CLIENTS: _cut_clients,
    Effect.STOP_POD: _stop_pods,
    Effect.DELETE_POD: _delete_pods,
    Effect.DELETE_ATTACHMENT: _delete_attachments,
    Effect.REMOVE_IN_USE: _remove_in_use,
    Effect.TAINT: _taint,
}
