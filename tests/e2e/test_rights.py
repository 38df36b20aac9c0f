"""config/rbac.yaml grants what hamgrd needs and nothing that it does not use: all is used here, under enforcement."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import yaml
from fixtures.live_cluster import CLUSTER, RIGHTS

from hamgr.fencer.records import Outcome

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.timeout(300)]


class Right(NamedTuple):
    """One verb on one resource, in one namespace or (empty) everywhere."""

    namespace: str
    group: str
    resource: str
    verb: str


def granted() -> set[Right]:
    """Every single right of the manifest."""
    return set(_rights_of(yaml.safe_load_all(RIGHTS.read_text())))


def _rights_of(manifests: Iterator[Mapping[str, Any]]) -> Iterator[Right]:
    for item in manifests:
        if item["kind"] not in ("ClusterRole", "Role"):
            continue
        for rule in item["rules"]:
            assert "*" not in (*rule["apiGroups"], *rule["resources"], *rule["verbs"])
            for group in rule["apiGroups"]:
                for resource in rule["resources"]:
                    for verb in rule["verbs"]:
                        yield Right(item["metadata"].get("namespace", ""), group, resource, verb)


def used(request: Mapping[str, Any]) -> set[Right]:
    """The rights that would cover a request."""
    resource = "/".join(filter(None, (request["resource"], request["subresource"])))
    return {Right(place, request["group"], resource, request["verb"]) for place in ("", request["namespace"])}


EVERYTHING = """
  - group: lent
    members:
      - {id: borrowed, agent: pod, params: {template_from: deployment/borrowed, park: false}}
      - {id: door, agent: service, params: {service: door, resource: borrowed, manage: true, port: 6380}}
  - {id: later, agent: volume, params: {claim: later}}
  - {id: stateful, agent: pod, params: {template_from: statefulset/stateful, park: false}}
"""
_SOURCES = [
    {"name": "A", "valueFrom": {"secretKeyRef": {"name": "borrowed", "key": "a"}}},
    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "borrowed", "key": "b"}}},
]


def lend(live) -> None:
    """Two workloads whose templates are borrowed, what one of them refers to, and a claim that waits for a node."""
    binding = {"provisioner": "disk.sandbox.hamgr.io", "volumeBindingMode": "WaitForFirstConsumer"}
    live.request("post", "/apis/storage.k8s.io/v1/storageclasses", {"metadata": {"name": "later"}} | binding)
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}}
    claim = {"metadata": {"name": "later"}, "spec": wanted | {"storageClassName": "later"}}
    live.request("post", "/api/v1/namespaces/default/persistentvolumeclaims", claim)
    live.request(
        "post", "/api/v1/namespaces/default/secrets", {"metadata": {"name": "borrowed"}, "stringData": {"a": "x"}}
    )
    live.request(
        "post", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "borrowed"}, "data": {"b": "y"}}
    )
    for plural, name, env in (("deployments", "borrowed", _SOURCES), ("statefulsets", "stateful", [])):
        labels = {"app": name}
        container = {"name": "main", "image": "hamgr/kvapp", "env": env}
        template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
        spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
        if plural == "statefulsets":
            spec["serviceName"] = name
        live.request("post", f"/apis/apps/v1/namespaces/default/{plural}", {"metadata": {"name": name}, "spec": spec})


def test_nothing_that_is_needed_is_forbidden_and_nothing_that_is_granted_is_unused(live):
    lend(live)
    agent = live.sandbox.layout.fence_agent
    switch = f"devices: [{{id: switch, agent: {agent}, action: reboot}}], levels: [switch, volume], max-fences: 100"
    live.apply(
        CLUSTER.replace("levels: [volume], max-fences: 100", switch).replace(
            "\nconstraints:", EVERYTHING + "constraints:"
        )
    )
    live.wait(lambda: all(live.resource(name).role == "Started" for name in ("borrowed", "stateful", "door")))
    live.await_whole()

    crash_and_come_back(live)
    pod = live.active_pod()["metadata"]["name"]
    assert live.hamgr("fence", pod, "--level", "volume", "--yes").returncode == 0
    live.await_whole()
    live.hamgr("cleanup")
    live.apply()
    live.wait(lambda: "lent" not in {resource.id for resource in live.status().resources})
    live.await_whole()

    another_leads(live)

    asked = live.requests_of_hamgr()
    assert [request for request in asked if not request["allowed"]] == []
    assert granted() - set().union(*map(used, asked)) == set()


def another_leads(live) -> None:
    """Whoever takes over puts its stamp on what there is."""
    token = live.store.get("leader").create_revision
    live.sandbox.kill_hamgrd(live.leader())
    live.wait(lambda: (key := live.store.get("leader")) and key.create_revision > token)
    live.await_whole()


def crash_and_come_back(live) -> None:
    """The host crashes, is switched off for certain, tainted, switched on again, and let in."""
    host, fences = live.host(), len(live.fences())
    with live.writing("rights"):
        live.sandbox.host(host).crash()
        unknown = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "silent"}
        # What the node lifecycle controller would say after 50 s.
        live.request("patch", f"/api/v1/nodes/{host}/status", {"status": {"conditions": [unknown]}})
        live.wait(lambda: live.moved_from(host))
    record = live.fences()[fences]
    assert (record.outcome, record.level.devices) == (Outcome.SUCCEEDED, ("switch",))
    live.await_whole()
    assert not any(
        "out-of-service" in taint["key"]
        for taint in live.request("get", f"/api/v1/nodes/{host}")["spec"].get("taints", [])
    )
