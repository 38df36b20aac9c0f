"""Which parked pods would take a disk that is not meant for them."""

from __future__ import annotations

from typing import Any

from hamgr.kube.parked import rivals


def pod(name: str, resource: str, node: str, *claims: str, cluster: str = "c", **other: Any) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": name,
            "labels": {"hamgr.io/cluster": cluster, "hamgr.io/resource": resource},
            "annotations": {"hamgr.io/parked": "true"},
        },
        "spec": {
            "nodeName": node,
            "volumes": [{"name": claim, "persistentVolumeClaim": {"claimName": claim}} for claim in claims],
        },
        **other,
    }


RUNS = {"status": {"containerStatuses": [{"state": {"running": {}}}]}}


def test_all_go_but_the_one_that_is_to_start() -> None:
    pods = [pod("db-n2", "db", "n2", "data"), pod("db-n3", "db", "n3", "data")]
    assert [p["metadata"]["name"] for p in rivals(pods, "c", [("shop", "data")], "", {"db-n2"})] == ["db-n3"]
    assert len(rivals(pods, "c", [("shop", "data")], "", ())) == 2
    assert len(rivals(pods, "c", (), "db", ())) == 2


def test_only_what_waits_for_that_disk_does() -> None:
    pods = [
        pod("db-n2", "db", "n2", "other"),
        pod("db-n4", "db", "n4", "data", cluster="another"),
        pod("db-n5", "db", "n5", "data", **RUNS),
        pod("db-n6", "db", "n6", "data") | {"metadata": {"name": "db-n6", "namespace": "shop"}},
    ]
    assert rivals(pods, "c", [("shop", "data")], "", ()) == []
    assert rivals([pod("db-n2", "db", "n2", "data")], "c", [("elsewhere", "data")], "", ()) == []
