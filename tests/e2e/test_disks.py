"""A StatefulSet's template with a claim that waits for its first consumer: bound in a zone, kept there, let go."""

from __future__ import annotations

import pytest
from fixtures.live_cluster import CLUSTER, ZONES

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.timeout(300)]
_CORE, _CLAIMS = "/api/v1/namespaces/default", "/api/v1/namespaces/default/persistentvolumeclaims"
WEB = """
  - group: web-group
    members:
      - {id: webdisk, agent: volume, params: {claim: www-web-0}}
      - {id: web, agent: pod, params: {template_from: statefulset/web}}
"""
NEARBY = """  - location: {resource: web-group, node: n1, score: 20}
  - location: {resource: web-group, node: n2, score: 10}
"""
ZONE = "topology.kubernetes.io/zone"


def lend(live):
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    wanted["storageClassName"] = "sandbox-zonal"
    mount = {"name": "www", "mountPath": "/srv"}
    container = {"name": "main", "image": "hamgr/kvapp", "command": ["sleep", "1000"], "volumeMounts": [mount]}
    labels = {"app": "web"}
    spec = {
        "replicas": 0,
        "serviceName": "peers",
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
        },
        "volumeClaimTemplates": [{"metadata": {"name": "www"}, "spec": wanted}],
    }
    live.request("post", "/apis/apps/v1/namespaces/default/statefulsets", {"metadata": {"name": "web"}, "spec": spec})
    live.request("post", _CLAIMS, {"metadata": {"name": "www-web-0"}, "spec": wanted})


def claim(live):
    found = [item for item in live.request("get", _CLAIMS)["items"] if item["metadata"]["name"] == "www-web-0"]
    return found[0] if found else None


def bound_to(live):
    """The nodes on which hamgr has ever let a pod of web start, parked ones included."""
    asked = [each for each in live.requests_of_hamgr() if each.get("subresource") == "binding"]
    return {each["name"].removeprefix("web-") for each in asked if each["name"].startswith("web-")}


def codes(live):
    return {finding.code: finding for finding in live.status().findings}


def test_a_stateful_sets_first_pod_with_a_claim_that_waits_for_it(live):
    lend(live)
    assert claim(live)["status"]["phase"] == "Pending"
    live.apply(CLUSTER.replace("\nconstraints:", WEB + "constraints:") + NEARBY)
    live.wait(lambda: live.resource("web").nodes)
    (node,) = live.resource("web").nodes
    other = {"n1": "n2", "n2": "n1"}[node]  # the only other one in zone a
    pod = live.request("get", f"{_CORE}/pods/web-{node}")
    assert (pod["spec"]["hostname"], pod["spec"]["subdomain"]) == ("web-0", "peers")
    found = claim(live)
    assert found["metadata"]["annotations"]["volume.kubernetes.io/selected-node"] == node
    assert found["status"]["phase"] == "Bound"
    live.wait(lambda: "hamgr.io/in-use" in claim(live)["metadata"]["finalizers"])
    name = found["spec"]["volumeName"]
    volume = live.request("get", f"/api/v1/persistentvolumes/{name}")
    (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term == {"matchExpressions": [{"key": ZONE, "operator": "In", "values": [ZONES[0]]}]}

    live.wait(lambda: live.resource("web").note == f"parked on {other}")
    live.sandbox.crash(node)
    live.wait(lambda: live.resource("web").nodes == (other,) and live.resource("web").role == "Started")
    live.sandbox.start(node)
    why = f"PersistentVolume {name} is for nodes with {ZONE}=a"
    assert f"prevents webdisk from running on n3 ({why})" in live.hamgr("status").stdout
    node = other

    applied = live.directory / "cluster.yaml"
    done = live.hamgr("verify", str(applied), "--ask-cluster")
    assert done.returncode == 0
    assert f"PersistentVolume {name} has reclaim policy Delete" in done.stderr
    assert [notice.code for notice in live.status().notices].count("reclaim-policy-delete") == 2
    second = "  - {id: second, agent: pod, params: {image: hamgr/kvapp, claim: www-web-0, mount_path: /srv}}\n"
    doubled = live.directory / "doubled.yaml"
    doubled.write_text(applied.read_text().replace("constraints:", second + "constraints:"))
    done = live.hamgr("verify", str(doubled), "--ask-cluster")
    assert done.returncode == 78
    assert "the pods of web and second all write to claim default/www-web-0 (ReadWriteOnce)" in done.stderr

    volume = {"name": "v", "persistentVolumeClaim": {"claimName": "www-web-0"}}
    container = {"name": "c", "image": "hamgr/kvapp", "command": ["sleep", "1000"]}
    spec = {"nodeName": node, "containers": [container], "volumes": [volume], "terminationGracePeriodSeconds": 1}
    live.request("post", f"{_CORE}/pods", {"metadata": {"name": "backup"}, "spec": spec})
    live.wait(lambda: "foreign-user" in codes(live))
    assert live.hamgr("status", "-s").returncode == 1
    live.request("delete", f"{_CORE}/pods/backup")
    live.wait(lambda: "foreign-user" not in codes(live))

    live.request("delete", f"{_CLAIMS}/www-web-0")
    live.wait(lambda: "disk-doomed" in codes(live))
    assert live.hamgr("status", "-s").returncode == 2
    assert "a new claim with volumeName" in codes(live)["disk-doomed"].text

    live.apply()
    live.wait(lambda: claim(live) is None)
    live.await_whole()
    assert bound_to(live) == {"n1", "n2"}
