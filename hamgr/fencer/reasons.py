"""Why a fence was asked for, refused or failed: codes with data in what is recorded, sentences only for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TEXTS = {
    # why a fence was asked for
    "node-lost": "node {node} fell silent",
    "stop-failed": "{resource} could not be stopped on {node}",
    "operator": "asked for by {user}",
    "operator-anyway": "asked for by {user}, who was told that {doubt}",
    "late-pod": "pod {pod} has appeared on node {node} after that was fenced",
    "scheduler": "the scheduler asked for it: {why}",
    # why a level cannot prove anything here
    "driver-not-listed": "CSI driver {driver} of volume {pv} is not known to detach at the storage: if it does, add "
    "it to fencing.drivers; if not, use level node, watchdog or manual",
    "driver-does-not-attach": "CSI driver {driver} of volume {pv} has attachRequired: false, so there is no detach "
    "that could prove anything: use level node, watchdog or manual",
    "volume-unprovable": "volume {volume} of pod {pod} is no CSI volume ({kind}), and nothing tells when a node can "
    "no longer write to it: use level node, watchdog or manual",
    "foreign-pod": "pod {pod}, which is not managed by hamgr, uses the same volume {pv} on {node}: stop it, or use "
    "level node",
    "attachment-unguarded": "VolumeAttachment {name} says attached but carries no finalizer of the CSI attacher, so "
    "its disappearance would prove nothing: use level node or manual",
    "no-device": "no fence device is configured for node {node}",
    "unknown-device": "fence device {device} is not configured",
    "device-not-for-node": "fence device {device} is configured for {nodes}, not for {node}",
    "device-failed": "fence device {device} failed for node {node}: {error}",
    "device-unproved": "fence device {device} does not confirm that node {node} is off (it says {state})",
    "no-self-fence": "node {node} has not promised to fence itself: set self-fencing in its hamgrd's settings",
    "promise-gone": "node {node} was back while it was being fenced, and does not promise any more what it did before: "
    "to fence itself in time",
    "not-confirmed": "nobody has confirmed that node {node} is off: `hamgr fence --confirm {node}`",
    "node-alive": "node {node} still holds its member lease",
    "node-renews": "node {node} keeps renewing its member lease, so it has no reason to fence itself",
    "node-restarted": "node {node} has started again (boot id {boot_id}) after it was proved off, and may run its "
    "pods again",
    "no-pod": "there is no pod to stop on node {node}, so nothing shows how it ended",
    "stop-unproved": "pod {pod} is gone, but its kubelet never reported its containers ended",
    # what did not happen in time
    "timeout": "level {level} was not over after {seconds:g} s: {waiting}",
    "kube-unavailable": "the Kubernetes API server could not be asked: {error}",
    "kube-refused": "the Kubernetes API server refused: {error}",
    "internal": "unexpected error: {error}",
    # what is being waited for
    "waiting-pod-gone": "pod {pod} is still there{why}",
    "waiting-unpark": "parked pod {pod} has to go first, or it would get the disk",
    "waiting-detach": "the CSI driver has not confirmed the detach of {pv} from {node}{why}",
    "waiting-unmount": "the kubelet of {node} still reports {pv} in use",
    "waiting-device": "fence device {device} is at work",
    "waiting-self-fence": "{seconds:.1f} s until node {node} must have fenced itself",
    "waiting-delay": "fencing delay of {seconds:g} s",
    # what was noticed on the way
    "pod-came-back": "a new pod {pod} (UID {uid}) had taken the name; it is fenced as well",
    "attachment-came-back": "a new VolumeAttachment of {pv} (UID {uid}) had appeared; it is deleted as well",
    "taint-not-needed": "node {node} still counts as Ready, where no out-of-service taint may be put: its volumes are "
    "detached one by one",
    "comes-back": "what is taken from node {node} comes back again and again",
    "release-late": "not released in time: {waiting}",
    "superseded": "fence {fence} has taken its place: somebody has confirmed that {node} is off",
    # the guard
    "etcd-stale": "our view of etcd is {seconds:.1f} s old: we are the suspect",
    "api-stale": "our view of the Kubernetes API is {seconds:.1f} s old: we are the suspect",
    "most-nodes-bad": "{bad} of {total} nodes look bad: we are the suspect",
    "storm": "{count} nodes were fenced within {interval:g} s, as many as fencing.max-fences allows: next one in "
    "{retry_in:.0f} s",
    "disk-doomed": "{why}",
    "maintenance": "the cluster is in maintenance mode",
    "node-maintenance": "node {node} is in maintenance mode",
    "fence-loop": "node {node} was fenced {count} times within {interval:g} s: next attempt in {retry_in:.0f} s",
    "fences-failed": "the last fences of node {node} have failed ({count} in a row): next attempt in {retry_in:.0f} s, "
    "or as soon as something changes",
    # unfence
    "not-ready": "node {node} is not Ready: look at its kubelet",
    "same-boot": "node {node} has not restarted since it was fenced: reboot it, or `hamgr unfence {node}` if nothing "
    "of before runs there any more",
    "pod-still-there": "pod {pod} is still on node {node}: `kubectl describe pod` says what holds it",
    "volume-still-used": "node {node} still reports {pv} in use: its kubelet has to let it go; if it does not, reboot "
    "it",
    "not-reported": "node {node} has not reported what it has mounted since {pv} was taken from it: its kubelet does "
    "so within ten seconds; if it does not, look at it, or reboot {node}",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """A code with its data."""

    code: str
    data: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return render(self.code, self.data)


def reason(code: str, **data: Any) -> Reason:
    """A reason, checked against the table of codes: raises KeyError for an unknown code."""
    if code not in _TEXTS:
        raise KeyError(code)
    return Reason(code, data)


def render(code: str, data: Mapping[str, Any]) -> str:
    """The sentence for a code; never fails, since records of other versions are rendered too."""
    try:
        return _TEXTS[code].format(**data)
    except (KeyError, ValueError, IndexError, TypeError):
        told = ", ".join(f"{key}={value}" for key, value in data.items())
        return f"{code} ({told})" if told else code
