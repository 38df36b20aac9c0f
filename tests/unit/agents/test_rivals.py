"""Beside which pods nothing may be started: values in, pods out."""

from __future__ import annotations

from typing import Any

import pytest
from hamgr_agents.rivals import claims_of_disk, instances_on, rivals, twins

from hamgr.kube.objects import Obj
from hamgr.kube.volumes import Volume, attachments_among

OURS = {"hamgr.io/cluster": "test", "hamgr.io/resource": "db"}


def user(name: str, node: str, claim: str = "data", *, labels: dict[str, str] | None = None, **more: Any) -> Obj:
    return {
        "metadata": {"name": name, "namespace": "shop", "labels": labels or {}, **more.pop("metadata", {})},
        "spec": {"nodeName": node, "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}]},
        "status": more,
    }


PARKED = {"annotations": {"hamgr.io/parked": "true"}}
LEAVING = {"deletionTimestamp": "2026-01-01T00:00:00Z"}


def beside(*pods: Obj, attached: tuple[str, ...] = ()) -> list[str]:
    found = rivals(pods, [("shop", "data")], cluster="test", node="n1", own=[("shop", "db-n1")], attached=attached)
    return [rival.pod for rival in found]


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_another_user_counts_on_this_node_and_elsewhere_ours_or_not(node: str) -> None:
    assert beside(user("backup", node)) == ["shop/backup"]
    assert beside(user("old-n1", node, labels=OURS)) == ["shop/old-n1"]


def test_what_uses_nothing_is_no_rival() -> None:
    ended = user("done", "n1", phase="Succeeded")
    assert beside(user("db-n1", "n1"), user("other", "n1", "logs"), user("unbound", ""), ended) == []
    elsewhere = user("same-name", "n1")
    elsewhere["metadata"]["namespace"] = "other"
    assert beside(elsewhere) == []


def test_a_parked_pod_of_ours_is_no_rival_where_the_disk_is_not() -> None:
    assert beside(user("db-n2", "n2", labels=OURS, metadata=PARKED)) == []
    assert beside(user("db-n2", "n2", labels=OURS, metadata=PARKED), attached=("n2",)) == ["shop/db-n2"]
    assert beside(user("old-n1", "n1", labels=OURS, metadata=PARKED)) == ["shop/old-n1"]
    assert beside(user("db-n2", "n2", labels={"hamgr.io/cluster": "theirs"}, metadata=PARKED)) == ["shop/db-n2"]


def test_who_stays_is_told_before_who_is_leaving() -> None:
    pods = [user("a", "n1", metadata=LEAVING), user("b", "n2")]
    found = rivals(pods, [("shop", "data")], cluster="test", node="n1", own=[], attached=())
    assert [(rival.pod, rival.leaving) for rival in found] == [("shop/b", False), ("shop/a", True)]
    assert str(found[1]) == "pod shop/a on n1 is still being stopped, and uses claim shop/data"


def test_only_labeled_pods_are_instances() -> None:
    assert instances_on(
        [user("a", "n1", labels=OURS), user("b", "n1"), user("c", "n2", labels=OURS)], "test", "n1"
    ) == [("shop", "a")]


def pv(name: str, handle: str, driver: str = "d", claim: str = "") -> Obj:
    spec: Obj = {"csi": {"driver": driver, "volumeHandle": handle}}
    if claim:
        spec["claimRef"] = {"namespace": "shop", "name": claim}
    return {"metadata": {"name": name}, "spec": spec}


def test_one_disk_under_two_persistent_volumes_is_found() -> None:
    volume = Volume("pv-1", "d", "h")
    nfs: Obj = {"metadata": {"name": "pv-4"}, "spec": {"nfs": {}}}
    pvs = [pv("pv-1", "h"), pv("pv-2", "h", claim="copy"), pv("pv-3", "h", "other"), nfs]
    assert [other["metadata"]["name"] for other in twins(volume, pvs)] == ["pv-2"]
    assert claims_of_disk(("shop", "data"), volume, pvs) == [("shop", "data"), ("shop", "copy")]
    assert claims_of_disk(("shop", "data"), None, pvs) == [("shop", "data")]


def test_an_attachment_of_the_other_persistent_volume_is_one_of_this_disk() -> None:
    volume = Volume("pv-1", "d", "h")
    name = volume.attachment_name("n2")
    va = {
        "metadata": {"name": name, "uid": "u"},
        "spec": {"nodeName": "n2", "attacher": "d", "source": {"persistentVolumeName": "pv-2"}},
    }
    assert [found.node for found in attachments_among([va], volume)] == ["n2"]
    assert attachments_among([va | {"metadata": {"name": "csi-x"}}], volume) == []
