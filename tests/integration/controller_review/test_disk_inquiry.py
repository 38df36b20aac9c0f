"""What a cluster file that was not applied yet comes to on a cluster: asked of a real API server."""

from __future__ import annotations

from typing import Any

from fixtures.fence_world import World, api_server, world
from fixtures.leader_world import cluster_file

from hamgr.cib.model import Cib
from hamgr.controller.disks.inquiry import look
from hamgr.kube.objects import PV, STATEFUL_SET
from hamgr.kube.volumes import Volume

__all__ = ["api_server", "world"]

FILE = """\
cluster: shop
nodes: [n1, n2]
resources:
  - {id: db, agent: mariadb, params: {template_from: statefulset/shared}}
  - {id: dump, agent: pod, params: {image: i, claim: disk-shared-0, mount_path: /d}}
  - {id: late, agent: pod, params: {image: i, claim: missing, mount_path: /d}}
  - {id: gone, agent: pod, params: {template_from: deployment/gone}}
"""


def cib() -> Cib:
    return cluster_file(FILE).to_live_cib()


def test_two_users_of_one_disk_are_found_by_what_the_workloads_template_names(world: World) -> None:
    world.disk(Volume("pv-shared", "disk.sandbox.hamgr.io", "shared"), "disk-shared-0")
    world.kube.patch_merge(PV.path("pv-shared"), {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})
    spec: dict[str, Any] = {
        "serviceName": "shared",
        "replicas": 1,
        "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "disk"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
    }
    world.kube.post(STATEFUL_SET.collection("default"), {"metadata": {"name": "shared"}, "spec": spec})
    found = look(world.kube, cib())
    (problem,) = found.problems
    assert problem.startswith("the pods of db and dump all write to claim default/disk-shared-0 (ReadWriteOnce)")
    told = "\n".join(found.notes)
    assert "claim default/missing does not exist: late waits for it" in told
    assert "deployment/gone in namespace default does not exist: what its template mounts is not known" in told
    assert "statefulset/shared in namespace default, whose template db uses, asks for 1 replicas of its own" in told
    assert "PersistentVolume pv-shared has reclaim policy Delete" in told
