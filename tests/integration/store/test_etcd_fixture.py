"""The etcd fixture itself: everything else stands on it."""

import json
import urllib.request

import pytest
from fixtures.etcd import EtcdServer

pytestmark = pytest.mark.etcd


def put(server: EtcdServer, key: str) -> None:
    body = json.dumps({"key": key, "value": "eA=="}).encode()
    urllib.request.urlopen(f"{server.endpoint}/v3/kv/put", data=body, timeout=5).read()


def test_data_survives_a_kill(etcd_server: EtcdServer) -> None:
    put(etcd_server, "a2V5")
    etcd_server.kill()
    etcd_server.start()
    body = json.dumps({"key": "a2V5"}).encode()
    answer = json.load(urllib.request.urlopen(f"{etcd_server.endpoint}/v3/kv/range", data=body, timeout=5))
    assert answer["kvs"][0]["value"] == "eA=="


def test_three_members_are_one_cluster(etcd_cluster: list[EtcdServer]) -> None:
    put(etcd_cluster[0], "a2V5")
    answer = json.load(
        urllib.request.urlopen(f"{etcd_cluster[2].endpoint}/v3/cluster/member/list", data=b"{}", timeout=5)
    )
    assert len(answer["members"]) == 3
