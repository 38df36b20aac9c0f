"""What people should know about the disks of a cluster's resources, by the objects of Kubernetes. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from hamgr.api.status import CRITICAL, WARNING, Finding
from hamgr.cib.model import Cib
from hamgr.controller.disks.claims import Claim, listed, shared_claims
from hamgr.controller.disks.workloads import Source
from hamgr.kube.objects import LABEL_CLUSTER, Obj, is_terminating, labels_of, name_of, namespace_of
from hamgr.kube.pods import has_ended, node_of
from hamgr.kube.volumes import SINGLE_WRITER, UnusableVolume, Volume, claims_of, volume_of

RETAIN = """`kubectl patch pv {pv} -p '{{"spec":{{"persistentVolumeReclaimPolicy":"Retain"}}}}'`"""


def foreign_users(pods: Iterable[Obj], claims: Iterable[Claim], cluster: str) -> Iterator[Finding]:
    """Pods that are not hamgr's and use its claims: by day a second writer, at a failover what keeps it from ending."""
    wanted = set(claims)
    for pod in pods:
        used = next(((namespace_of(pod), c) for c in claims_of(pod) if (namespace_of(pod), c) in wanted), None)
        if used is None or labels_of(pod).get(LABEL_CLUSTER) == cluster or not node_of(pod) or has_ended(pod):
            continue
        text = (
            f"pod {namespace_of(pod)}/{name_of(pod)} on {node_of(pod)} uses claim {'/'.join(used)} and is not hamgr's: "
            "two writers on one node, and neither a start nor a fence by volume beside it; end it, and whatever "
            "makes it"
        )
        yield Finding("foreign-user", text, node=node_of(pod))


def busy_workloads(lenders: Mapping[str, Source], workloads: Mapping[Source, Obj]) -> Iterator[Finding]:
    """Workloads that lend their template and make pods of their own. lenders: by resource."""
    for resource, source in lenders.items():
        found = workloads.get(source)
        if found is None:
            continue
        asked = (found.get("spec") or {}).get("replicas")
        asked = 1 if asked is None else asked
        if asked:
            text = (
                f"{source[1]} in namespace {source[0]}, whose template {resource} uses, asks for {asked} replicas of "
                f"its own: `kubectl -n {source[0]} scale {source[1]} --replicas=0`, and keep autoscalers off it"
            )
            yield Finding("busy-workload", text, resource=resource)


@dataclass(frozen=True, slots=True)
class Sharing:
    """A disk that the pods of several resources write to. first: who may have it; others: who is not started."""

    claim: Claim
    first: str
    others: tuple[str, ...]
    both: bool  # more than one is on record as running
    why: str


def shared_disks(
    cib: Cib, workloads: Mapping[Source, Obj], claims: Mapping[Claim, Obj], active: Collection[str]
) -> Iterator[Sharing]:
    """Disks of one writer that several resources would write to, by what their templates really name.

    claims: the claims that exist, by name. active: the resources that are on record as running: the first of them keeps
    the disk, else the first in the file has it.
    """
    for claim, ids in shared_claims(cib, workloads):
        modes = ((claims.get(claim) or {}).get("spec") or {}).get("accessModes") or []
        if not SINGLE_WRITER & set(modes):
            continue
        running = [name for name in ids if name in active]
        first = (running or ids)[0]
        others = tuple(name for name in ids if name != first)
        why = f"the pods of {listed(ids)} all write to claim {'/'.join(claim)} ({', '.join(modes)}), which one may have"
        yield Sharing(claim, first, others, len(running) > 1, why)


def shared_disk_findings(shared: Iterable[Sharing]) -> Iterator[Finding]:
    """A second user of a disk: a warning, since it is not started; critical where both run."""
    for entry in shared:
        then = "both run: stop one" if entry.both else f"{listed(entry.others)} is not started beside {entry.first}"
        text = f"{entry.why}: {then}. Give each a claim of its own, or make one pod of them"
        severity = CRITICAL if entry.both else WARNING
        yield Finding("disk-shared", text, severity, entry.others[0])


def doomed_disk(claim: Claim, pvc: Obj | None, pv: Obj | None) -> str:
    """Why the disk of a claim is about to be destroyed, and the way out; empty: it is not."""
    told = "/".join(claim)
    named = name_of(pv) if pv is not None else "its PersistentVolume"
    if pvc is not None and is_terminating(pvc):
        return (
            f"claim {told} is being deleted: its last pod keeps it, kubelets refuse new ones, so nothing can fail "
            f"over. Keep the data: {RETAIN.format(pv=named)}, then a new claim with volumeName {named} (clear the "
            "PersistentVolume's spec.claimRef.uid first), and name that one in the cluster file"
        )
    if pv is not None and is_terminating(pv):
        return (
            f"PersistentVolume {named} of claim {told} is being deleted: it cannot be attached anew, so nothing can "
            f"fail over. Keep the data: {RETAIN.format(pv=named)}, then back them up, and a new PersistentVolume "
            "of the same driver and handle"
        )
    return ""


def doomed_disks(claims: Mapping[Claim, tuple[Obj | None, Obj | None]]) -> Iterator[Finding]:
    """A claim or PersistentVolume that is being deleted: critical at once."""
    for claim, (pvc, pv) in claims.items():
        if why := doomed_disk(claim, pvc, pv):
            yield Finding("disk-doomed", why, CRITICAL)


def doubled_disks(claims: Mapping[Claim, tuple[Obj | None, Obj | None]], pvs: Iterable[Obj]) -> Iterator[Finding]:
    """One disk under two PersistentVolumes: Kubernetes takes them for two."""
    volumes = [(name_of(pv), volume) for pv in pvs if (volume := _volume(pv)) is not None]
    for claim, (_, pv) in claims.items():
        own = None if pv is None else _volume(pv)
        for name, other in volumes:
            if own is not None and name != own.pv and (other.driver, other.handle) == (own.driver, own.handle):
                text = (
                    f"PersistentVolumes {own.pv} (claim {'/'.join(claim)}) and {name} are the same disk (driver "
                    f"{own.driver}, handle {own.handle}): delete all but one"
                )
                yield Finding("disk-doubled", text)


def reclaim_policies(claims: Mapping[Claim, tuple[Obj | None, Obj | None]]) -> Iterator[Finding]:
    """PersistentVolumes whose data go with their claim."""
    for claim, (_, pv) in claims.items():
        if pv is not None and (pv.get("spec") or {}).get("persistentVolumeReclaimPolicy") == "Delete":
            text = (
                f"PersistentVolume {name_of(pv)} has reclaim policy Delete: the data of claim {'/'.join(claim)} go "
                f"with the claim. Better: {RETAIN.format(pv=name_of(pv))}"
            )
            yield Finding("reclaim-policy-delete", text)


def _volume(pv: Obj) -> Volume | None:
    try:
        return volume_of(pv)
    except UnusableVolume:
        return None
