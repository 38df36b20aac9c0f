"""What a cluster file comes to on this cluster: asked of Kubernetes, for a file that was not applied yet."""

from __future__ import annotations

from hamgr.api.requests import DiskFindings
from hamgr.cib.model import Cib
from hamgr.controller.disks.claims import Claim
from hamgr.controller.disks.findings import (
    busy_workloads,
    doomed_disks,
    reclaim_policies,
    shared_disk_findings,
    shared_disks,
)
from hamgr.controller.disks.workloads import KINDS, Source
from hamgr.controller.placement.bars import claims_used, source_of
from hamgr.controller.tree import primitives
from hamgr.kube.errors import NotFound
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import PV, PVC, Obj


def look(kube: Kube, cib: Cib) -> DiskFindings:
    """Problems (a second user of a disk) and notes. Raises KubeError."""
    notes: list[str] = []
    lenders = {p.id: source for p in primitives(cib) if (source := source_of(p)) is not None}
    workloads = {source: found for source in set(lenders.values()) if (found := _workload(kube, source, notes))}
    disks: dict[Claim, tuple[Obj | None, Obj | None]] = {}
    for primitive in primitives(cib):
        for claim in claims_used(primitive, workloads):
            if claim not in disks:
                disks[claim] = _disk(kube, claim, primitive.id, notes)
    claims = {claim: pvc for claim, (pvc, _) in disks.items() if pvc is not None}
    problems = shared_disk_findings(shared_disks(cib, workloads, claims, ()))
    told = (*busy_workloads(lenders, workloads), *doomed_disks(disks), *reclaim_policies(disks))
    return DiskFindings(tuple(found.text for found in problems), (*notes, *(found.text for found in told)))


def _workload(kube: Kube, source: Source, notes: list[str]) -> Obj | None:
    namespace, told = source
    kind, _, name = told.partition("/")
    try:
        return kube.get(KINDS[kind].path(name, namespace)) if kind in KINDS and name else None
    except NotFound:
        notes.append(f"{told} in namespace {namespace} does not exist: what its template mounts is not known")
        return None


def _disk(kube: Kube, claim: Claim, resource: str, notes: list[str]) -> tuple[Obj | None, Obj | None]:
    namespace, name = claim
    try:
        pvc = kube.get(PVC.path(name, namespace))
    except NotFound:
        notes.append(f"claim {namespace}/{name} does not exist: {resource} waits for it")
        return None, None
    volume = str((pvc.get("spec") or {}).get("volumeName") or "")
    try:
        return pvc, kube.get(PV.path(volume)) if volume else None
    except NotFound:
        return pvc, None
