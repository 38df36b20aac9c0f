"""When a fenced node is back, and taking away what a fence has left on it. The decision is a pure function.

After a fence of the node as a whole it must have restarted: another boot id. After a fence of its volumes it may be the
same boot, when its kubelet works again and has reported since the fence that our volumes are not in use any more. In
either case none of the fenced pods may be left.
"""

from __future__ import annotations

from collections.abc import Collection

from hamgr.fencer import effects, observe
from hamgr.fencer.machine import NodeSeen
from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import POWER_LEVELS, FenceRecord
from hamgr.kube.errors import Conflict, Invalid, NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import NODE

_ATTEMPTS = 5


def not_back(record: FenceRecord, node: NodeSeen, pod_uids: Collection[str]) -> Reason | None:
    """Why the fenced node does not count as back; None: it is. `pod_uids`: of all pods that exist."""
    name = record.target.node
    if not node.exists or not node.ready:
        return reason("not-ready", node=name)
    if record.level.level in POWER_LEVELS and record.boot_id and record.covers_boot(node.boot_id):
        return reason("same-boot", node=name)
    for pod in record.pods:
        if pod.uid in pod_uids:
            return reason("pod-still-there", pod=str(pod), node=name)
    if not record.boot_id or record.covers_boot(node.boot_id):
        for volume in record.volumes:
            if volume.volume.unique_name in node.in_use:
                return reason("volume-still-used", pv=volume.pv, node=name)
            if volume.volume.released_mark in node.in_use:
                return reason("not-reported", pv=volume.pv, node=name)
    return None


def unfence(kube: Kube, record: FenceRecord) -> Reason | None:
    """Remove our out-of-service taint if the node is back; else say why not. Safe to repeat, and safe when late: it is
    removed from the very state of the node that was judged. Raises KubeError.
    """
    try:
        node = kube.get(NODE.path(record.target.node))
    except NotFound:
        return not_back(record, NodeSeen(exists=False), ())
    seen, _ = observe.see_pods(kube, record, "")
    why_not = not_back(record, observe.node_seen(node), {uid for uid, pod in seen.items() if pod.present})
    if why_not is None:
        effects.remove_own_taint(kube, node)
    return why_not


def unfence_by_order(kube: Kube, node: str) -> bool:
    """Remove our out-of-service taint because an operator says so; False: there was none. Raises KubeError."""
    for _ in range(_ATTEMPTS):
        try:
            return effects.remove_own_taint(kube, kube.get(NODE.path(node)))
        except NotFound:
            return False
        except (Conflict, Invalid):  # somebody wrote to the node in between
            continue
    raise Conflict(409, "Conflict", f"node {node} is written to so often that its taint could not be removed")
