"""Which pods a node kills when it fences itself: those on the leader's record, and what nobody has judged yet."""

from __future__ import annotations

from typing import Any

import pytest

from hamgr.controller.state.homes import HOMES, from_json, to_json
from hamgr.daemon.selffence.client import PodList
from hamgr.daemon.selffence.instances import Instances
from hamgr.store.errors import StoreUnavailable
from hamgr.store.values import Entry


def pod(uid: str, namespace: str, resource: str = "db", cluster: str = "shop") -> dict[str, Any]:
    labels = {"hamgr.io/cluster": cluster, "hamgr.io/resource": resource}
    return {"metadata": {"uid": uid, "namespace": namespace, "name": f"{resource}-n1", "labels": labels}}


class ScriptedStore:
    def __init__(self, homes: Any = None) -> None:
        self.homes = homes
        self.silent = False
        self.asked = 0

    def get(self, key: str) -> Entry | None:
        assert key == HOMES
        self.asked += 1
        if self.silent:
            raise StoreUnavailable("no member of etcd answers")
        return None if self.homes is None else Entry(self.homes, 1, 1)


OURS, TENANTS = pod("ours", "shop"), pod("tenants", "tenant")


def world(homes: Any = (("shop", "db"),)) -> tuple[Instances, ScriptedStore, list[dict[str, Any]]]:
    pods = [OURS, TENANTS]
    store = ScriptedStore(to_json(homes) if isinstance(homes, tuple) else homes)
    return Instances(lambda: list(pods), "shop", store), store, pods  # type: ignore[arg-type]


def test_a_tenants_pod_with_our_label_is_none_of_ours() -> None:
    instances, _, pods = world()
    pods += [pod("another", "shop", "web"), pod("other-clusters", "shop", cluster="other")]
    instances.judge()
    assert instances.uids() == {"ours"}
    assert instances.others() == {"tenants", "another"}


def test_what_was_not_judged_yet_counts_as_ours() -> None:
    instances, store, pods = world()
    assert instances.uids() == {"ours", "tenants"}
    store.silent = True
    with pytest.raises(StoreUnavailable):
        instances.judge()
    assert instances.uids() == {"ours", "tenants"}
    store.silent = False
    instances.judge()
    assert instances.uids() == {"ours"}
    store.silent = True
    pods.append(pod("new", "tenant"))
    with pytest.raises(StoreUnavailable):
        instances.judge()
    assert instances.uids() == {"ours", "new"}, "the judgement of before stands, and no more than that"


def test_a_namespace_that_has_come_to_be_ours_is_ours() -> None:
    instances, store, _ = world()
    instances.judge()
    store.homes = to_json([("shop", "db"), ("tenant", "db")])
    instances.judge()
    assert instances.uids() == {"ours", "tenants"}


def test_etcd_is_asked_only_about_pods_that_are_not_known_to_be_ours() -> None:
    instances, store, pods = world()
    instances.judge()
    pods.remove(TENANTS)
    asked = store.asked
    instances.judge()
    assert store.asked == asked


@pytest.mark.parametrize("record", [None, "text", [["shop"]], [["shop", 1]], {"shop": "db"}])
def test_without_a_record_that_can_be_read_the_label_decides(record: Any) -> None:
    instances, _, _ = world(record)
    instances.judge()
    assert (instances.uids(), instances.others()) == ({"ours", "tenants"}, set())


def test_the_record_is_read_as_it_was_written() -> None:
    homes = frozenset({("shop", "db"), ("default", "web")})
    assert from_json(to_json(homes)) == homes


def test_what_is_judged_to_be_anothers_leaves_the_guards_list_at_once() -> None:
    listed = PodList((), clock=lambda: 0.0)
    listed.remember({"earlier"})
    assert listed.update({"ours", "tenants"}) == ["earlier", "ours", "tenants"]
    assert listed.update({"ours"}, others={"tenants", "earlier"}) == ["ours"]
    assert listed.update({"ours"}) == ["ours"]
