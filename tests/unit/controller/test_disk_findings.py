"""Who else has our disks, and which are about to be destroyed: objects in, findings out."""

from __future__ import annotations

import textwrap
from typing import Any

import pytest
from fixtures.leader_world import REGISTRY

from hamgr.api.status import CRITICAL, WARNING
from hamgr.cib.model import Cib
from hamgr.clusterfile.load import load_yaml
from hamgr.controller.disks.care import finalizer_orders, freed_claims, kept_claims, unmanaged
from hamgr.controller.disks.findings import (
    busy_workloads,
    doomed_disk,
    doomed_disks,
    doubled_disks,
    foreign_users,
    reclaim_policies,
    shared_disk_findings,
    shared_disks,
)

DATA = ("default", "data")
LEAVING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def pod(name: str, node: str = "n1", claim: str = "data", phase: str = "Running", **labels: str) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {k.replace("_", "/"): v for k, v in labels.items()},
        },
        "spec": {"nodeName": node, "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]},
        "status": {"phase": phase},
    }


def pvc(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "data", "namespace": "default", **metadata}, "spec": {"volumeName": "pv-1"}}


def pv(name: str = "pv-1", handle: str = "h", policy: str = "Delete", **metadata: Any) -> dict[str, Any]:
    csi = {"driver": "d", "volumeHandle": handle}
    return {"metadata": {"name": name, **metadata}, "spec": {"csi": csi, "persistentVolumeReclaimPolicy": policy}}


def test_a_foreign_pod_on_our_claim_is_a_warning_by_daylight() -> None:
    ours = pod("db-n1") | {"metadata": {"name": "db-n1", "namespace": "default", "labels": {"hamgr.io/cluster": "c"}}}
    pods = [ours, pod("backup"), pod("waits", node=""), pod("done", phase="Succeeded"), pod("other", claim="logs")]
    (found,) = foreign_users(pods, [DATA], "c")
    assert (found.code, found.severity, found.node) == ("foreign-user", WARNING, "n1")
    assert found.text.startswith("pod default/backup on n1 uses claim default/data and is not hamgr's: two writers")


@pytest.mark.parametrize(("replicas", "asked"), [(1, 1), (3, 3), (None, 1)])
def test_a_workload_that_makes_pods_of_its_own_is_a_warning(replicas: int | None, asked: int) -> None:
    source = ("default", "deployment/db")
    spec = {} if replicas is None else {"replicas": replicas}
    (found,) = busy_workloads({"db": source}, {source: {"spec": spec}})
    assert f"asks for {asked} replicas of its own" in found.text
    assert "`kubectl -n default scale deployment/db --replicas=0`" in found.text
    assert list(busy_workloads({"db": source}, {source: {"spec": {"replicas": 0}}})) == []
    assert list(busy_workloads({"db": source}, {})) == []


def test_a_disk_that_is_being_deleted_is_critical_with_the_way_out() -> None:
    (found,) = doomed_disks({DATA: (pvc(**LEAVING), pv())})
    assert found.severity == CRITICAL
    assert "claim default/data is being deleted" in found.text
    assert "kubectl patch pv pv-1" in found.text
    assert "a new claim with volumeName pv-1" in found.text
    (found,) = doomed_disks({DATA: (pvc(), pv(**LEAVING))})
    assert "PersistentVolume pv-1 of claim default/data is being deleted" in found.text
    assert doomed_disk(DATA, pvc(), pv()) == ""
    assert doomed_disk(DATA, None, None) == ""


def test_one_disk_under_two_persistent_volumes_is_told() -> None:
    (found,) = doubled_disks({DATA: (pvc(), pv())}, [pv(), pv("pv-2"), pv("pv-3", "other")])
    assert "PersistentVolumes pv-1 (claim default/data) and pv-2 are the same disk" in found.text


def test_the_reclaim_policy_that_deletes_is_named() -> None:
    (found,) = reclaim_policies({DATA: (pvc(), pv())})
    assert found.text.startswith("PersistentVolume pv-1 has reclaim policy Delete: the data of claim default/data go")
    assert list(reclaim_policies({DATA: (pvc(), pv(policy="Retain"))})) == []


def cib(resources: str) -> Cib:
    head = "cluster: c\nnodes: [n1, n2]\nfencing: {levels: [volume]}\nresources:\n"
    text = head + textwrap.indent(textwrap.dedent(resources).strip(), "  ")
    return load_yaml(text, "c.yaml", REGISTRY.specs()).to_live_cib()


def test_only_claims_of_managed_volumes_are_kept() -> None:
    disk = "{id: disk, agent: volume, params: {claim: data}%s}"
    assert kept_claims(cib("- " + disk % ""), {}) == {DATA}
    assert kept_claims(cib("- " + disk % ", meta: {is-managed: false}"), {}) == set()
    group = "- {group: g, meta: {is-managed: false}, members: [%s]}" % (disk % "")
    assert unmanaged(cib(group)) == {"g", "disk"}
    assert kept_claims(cib(group), {}) == set()
    assert freed_claims(cib(group), {}) == {DATA}


MOUNTS = "spec: {containers: [{name: c, image: i}], volumes: [{name: v, persistentVolumeClaim: {claimName: data}}]}"


@pytest.mark.parametrize(
    "params",
    [
        "{image: i, claim: data, mount_path: /d}",
        f"{{template: {{{MOUNTS}}}}}",
        f"{{template: '{{{MOUNTS}}}'}}",
    ],
    ids=["image", "template", "template as text"],
)
def test_a_claim_that_a_managed_pod_mounts_is_kept_without_a_volume_resource(params: str) -> None:
    assert kept_claims(cib(f"- {{id: db, agent: pod, params: {params}}}"), {}) == {DATA}
    free = cib(f"- {{id: db, agent: pod, params: {params}, meta: {{is-managed: false}}}}")
    assert (kept_claims(free, {}), freed_claims(free, {})) == (set(), {DATA})


def test_so_is_one_that_a_workloads_template_names() -> None:
    lent = cib("- {id: db, agent: mariadb, params: {template_from: statefulset/db}}")
    made = {"metadata": {"name": "data"}, "spec": {}}
    workload = {"metadata": {"name": "db"}, "spec": {"volumeClaimTemplates": [made], "ordinals": {"start": 3}}}
    known = {("default", "statefulset/db"): workload}
    assert kept_claims(lent, known) == {("default", "data-db-3")}
    assert kept_claims(lent, {}) == set()


def test_the_finalizer_comes_with_the_resource_and_goes_after_its_pods() -> None:
    bare, kept = pvc(), pvc(finalizers=["hamgr.io/in-use"], annotations={"hamgr.io/kept-by": "c"})
    assert list(finalizer_orders([bare], [DATA], [], "c")) == [("protect", DATA)]
    assert list(finalizer_orders([kept], [DATA], [], "c")) == []
    assert list(finalizer_orders([kept], [], [], "c")) == [("release", DATA)]
    assert list(finalizer_orders([kept], [], [DATA], "c")) == []
    assert list(finalizer_orders([kept], [], [], "another")) == []
    assert list(finalizer_orders([kept], [], [DATA], "c", [DATA])) == [("release", DATA)], "though it is used"
    assert list(finalizer_orders([kept], [], [], "c", all_known=False)) == [], "a workload may name it"
    assert list(finalizer_orders([pvc(**LEAVING)], [DATA], [], "c")) == []


# --- two resources of one disk ----------------------------------------------------------------------------------------

LENT = cib("""
    - {id: db, agent: mariadb, params: {template_from: statefulset/db}}
    - {id: dump, agent: pod, params: {image: i, claim: data-db-0, mount_path: /d}}
    - {id: web, agent: dummy}
""")
SET = {("default", "statefulset/db"): {"metadata": {"name": "db"}, "spec": {"volumeClaimTemplates": [pvc()]}}}
CLAIM = ("default", "data-db-0")


def with_modes(*modes: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {CLAIM: {"metadata": {}, "spec": {"accessModes": list(modes)}}}


@pytest.mark.parametrize(
    ("active", "first", "others"),
    [([], "db", ("dump",)), (["dump"], "dump", ("db",)), (["db", "web"], "db", ("dump",))],
)
def test_of_two_resources_whose_templates_really_name_one_disk_one_is_not_started(
    active: list[str], first: str, others: tuple[str, ...]
) -> None:
    (shared,) = shared_disks(LENT, SET, with_modes("ReadWriteOnce"), active)
    assert (shared.claim, shared.first, shared.others, shared.both) == (CLAIM, first, others, False)
    (found,) = shared_disk_findings([shared])
    assert (found.severity, found.resource) == (WARNING, others[0])
    assert f"{others[0]} is not started beside {first}" in found.text


def test_two_that_run_are_critical() -> None:
    (found,) = shared_disk_findings(shared_disks(LENT, SET, with_modes("ReadWriteOnce"), ["db", "dump"]))
    assert found.severity == CRITICAL
    assert "both run: stop one" in found.text


def test_a_disk_of_many_writers_may_be_shared() -> None:
    assert list(shared_disks(LENT, SET, with_modes("ReadWriteMany"), [])) == []
    assert list(shared_disks(LENT, SET, {}, [])) == [], "a claim that does not exist"
    assert list(shared_disks(LENT, {}, with_modes("ReadWriteOnce"), [])) == [], "the workload was not read yet"
