"""Carries out the effects that the state machine asks for. Each carries a precondition, so that a late one is void.

Every effect names the UID and the resourceVersion that the machine has seen: a leader that was frozen before its
request and thawed after the node came back, or after the next leader has stamped the object, changes nothing.

A subject that is gone, or whose name another object has taken, is no error: the next look tells the machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from hamgr.fencer.machine import Act, Effect, NodeSeen, Seen
from hamgr.fencer.observe import OWN_TAINT, OWNER_ANNOTATION, node_seen
from hamgr.fencer.records import FenceRecord, PodRef, VolumeRef
from hamgr.kube import nodes, parked, pods, services, volumes
from hamgr.kube.errors import Conflict, Invalid, NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import NODE, POD, name_of

_ANNOTATION_PATH = f"/metadata/annotations/{OWNER_ANNOTATION.replace('/', '~1')}"


def carry_out(kube: Kube, record: FenceRecord, act: Act, seen: Seen) -> None:
    """Do it, `seen` being what the act was decided on. Raises KubeError; power is with the level's means, not here."""
    if act.effect in _NODE_PATCHES:
        with suppress(NotFound, Conflict, Invalid):
            kube.patch_json(*_NODE_PATCHES[act.effect](kube, record, act, seen.node))
    else:
        _EFFECTS[act.effect](kube, act, seen)


def remove_own_taint(kube: Kube, node: Mapping[str, Any]) -> bool:
    """Take our out-of-service taint and its annotation from a node, in one write and from exactly this state of it.

    False: there was none. Raises KubeError; Conflict or Invalid when the node has been written to since.
    """
    patch = untaint_patch(node)
    if patch:
        kube.patch_json(NODE.path(name_of(node)), patch)
    return bool(patch)


def _cut_clients(kube: Kube, act: Act, seen: Seen) -> None:
    for pod in act.pods:
        with suppress(NotFound, Conflict):
            services.deactivate(kube, pod.name, pod.namespace, pod.uid, seen.pods[pod.uid].revision)


def _unpark(kube: Kube, act: Act, seen: Seen) -> None:
    del seen
    for pod in act.pods:
        parked.send_away(kube, pod.name, pod.namespace, pod.uid, by_force=act.effect is Effect.UNPARK_BY_FORCE)


def _stop_pods(kube: Kube, act: Act, seen: Seen) -> None:
    for pod in act.pods:
        found = pods.find(kube, pod.name, pod.namespace)
        if found is not None:
            _delete_pod(kube, pod, seen, max(pods.grace_of(found), 1))


def _delete_pods(kube: Kube, act: Act, seen: Seen) -> None:
    for pod in act.pods:
        _delete_pod(kube, pod, seen, 0)


def _delete_pod(kube: Kube, pod: PodRef, seen: Seen, grace_s: int) -> None:
    path = POD.path(pod.name, pod.namespace)
    with suppress(NotFound, Conflict):
        kube.delete(path, uid=pod.uid, resource_version=seen.pods[pod.uid].revision, grace=grace_s)


def _delete_attachments(kube: Kube, act: Act, seen: Seen) -> None:
    for volume in act.volumes:
        revision = seen.attachments[volume.pv].revision
        with suppress(NotFound, Conflict):
            volumes.delete_attachment(kube, volume.attachment, volume.attachment_uid, revision)


def release_patch(node: NodeSeen, held: Sequence[VolumeRef]) -> list[dict[str, Any]]:
    """JSON patch that takes these volumes, and no others, out of exactly this state of volumesInUse."""
    names = {volume.volume.unique_name for volume in held}
    found = [at for at, name in enumerate(node.in_use) if name in names]
    edits: list[dict[str, Any]] = []
    for at in reversed(found):  # from the end: the places of the others stay
        path = f"/status/volumesInUse/{at}"
        edits += [{"op": "test", "path": path, "value": node.in_use[at]}, {"op": "remove", "path": path}]
    return [*_same_node(node), *edits]


def mark_patch(node: NodeSeen, held: Sequence[VolumeRef]) -> list[dict[str, Any]]:
    """JSON patch that replaces these volumes, and no others, by their marks in exactly this state of volumesInUse."""
    marks = {volume.volume.unique_name: volume.volume.released_mark for volume in held}
    edits: list[dict[str, Any]] = []
    for at, name in enumerate(node.in_use):
        if name in marks:
            path = f"/status/volumesInUse/{at}"
            edits += [
                {"op": "test", "path": path, "value": name},
                {"op": "replace", "path": path, "value": marks[name]},
            ]
    return [*_same_node(node), *edits]


def taint_patch(node: Mapping[str, Any], seen: NodeSeen, owner: str) -> list[dict[str, Any]]:
    """JSON patch that adds our taint and says whose it is, to exactly that state of the node."""
    annotate: dict[str, Any] = {"op": "add", "path": _ANNOTATION_PATH, "value": owner}
    if not node["metadata"].get("annotations"):
        annotate = {"op": "add", "path": "/metadata/annotations", "value": {OWNER_ANNOTATION: owner}}
    return [
        *_same_node(seen),
        {"op": "add", "path": "/spec/taints", "value": [*nodes.taints(node), OWN_TAINT]},
        annotate,
    ]


def untaint_patch(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """JSON patch that takes our taint and what says whose it is from exactly this state of the node; empty: no need."""
    before = nodes.taints(node)
    others = [t for t in before if {key: t.get(key, "") for key in OWN_TAINT} != OWN_TAINT]
    edits: list[dict[str, Any]] = []
    if others != before:
        edits.append({"op": "add", "path": "/spec/taints", "value": others})
    if OWNER_ANNOTATION in (node["metadata"].get("annotations") or {}):
        edits.append({"op": "remove", "path": _ANNOTATION_PATH})
    return [*_same_node(node_seen(node)), *edits] if edits else []


def _same_node(node: NodeSeen) -> list[dict[str, Any]]:
    return [
        {"op": "test", "path": "/metadata/uid", "value": node.uid},
        {"op": "test", "path": "/metadata/resourceVersion", "value": node.revision},
    ]


def _release(kube: Kube, record: FenceRecord, act: Act, node: NodeSeen) -> tuple[str, list[dict[str, Any]]]:
    del kube
    return f"{NODE.path(record.target.node)}/status", release_patch(node, act.volumes)


def _mark(kube: Kube, record: FenceRecord, act: Act, node: NodeSeen) -> tuple[str, list[dict[str, Any]]]:
    del kube
    return f"{NODE.path(record.target.node)}/status", mark_patch(node, act.volumes)


def _taint(kube: Kube, record: FenceRecord, act: Act, node: NodeSeen) -> tuple[str, list[dict[str, Any]]]:
    del act
    path = NODE.path(record.target.node)
    return path, taint_patch(kube.get(path), node, record.id)


def _untaint(kube: Kube, record: FenceRecord, act: Act, node: NodeSeen) -> tuple[str, list[dict[str, Any]]]:
    del act, node
    path = NODE.path(record.target.node)
    return path, untaint_patch(kube.get(path))


_EFFECTS: Mapping[Effect, Callable[[Kube, Act, Seen], None]] = {
    Effect.CUT_CLIENTS: _cut_clients,
    Effect.UNPARK: _unpark,
    Effect.UNPARK_BY_FORCE: _unpark,
    Effect.STOP_POD: _stop_pods,
    Effect.DELETE_POD: _delete_pods,
    Effect.DELETE_ATTACHMENT: _delete_attachments,
}
_NodePatch: TypeAlias = Callable[[Kube, FenceRecord, Act, NodeSeen], tuple[str, list[dict[str, Any]]]]
_NODE_PATCHES: Mapping[Effect, _NodePatch] = {
    Effect.REMOVE_IN_USE: _release,
    Effect.MARK_IN_USE: _mark,
    Effect.TAINT: _taint,
    Effect.UNTAINT: _untaint,
}
