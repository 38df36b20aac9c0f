"""The official Python client works against the stand-in: typed objects, its own watch, its own error bodies."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hamgr_sandbox.apiserver import in_thread
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException


@pytest.fixture
def api() -> Iterator[client.ApiClient]:
    with in_thread() as url:
        configuration = client.Configuration()
        configuration.host = url
        with client.ApiClient(configuration) as api_client:
            yield api_client


def pod(name: str, node: str = "n1") -> client.V1Pod:
    container = client.V1Container(name="c", image="x:1")
    spec = client.V1PodSpec(containers=[container], node_name=node)
    return client.V1Pod(metadata=client.V1ObjectMeta(name=name, labels={"app": "x"}), spec=spec)


def test_pods_live_and_die(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    made = core.create_namespaced_pod("default", pod("a"))
    assert made.status.phase == "Pending"
    assert made.spec.tolerations[0].toleration_seconds == 300
    listed = core.list_pod_for_all_namespaces(field_selector="spec.nodeName=n1", label_selector="app in (x,y)")
    assert [one.metadata.name for one in listed.items] == ["a"]
    conditions = [{"type": "Ready", "status": "True"}]
    core.patch_namespaced_pod_status("a", "default", {"status": {"phase": "Running", "conditions": conditions}})
    other = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid="another"), grace_period_seconds=0)
    with pytest.raises(ApiException) as failure:
        core.delete_namespaced_pod("a", "default", body=other)
    assert failure.value.status == 409
    core.delete_namespaced_pod("a", "default", grace_period_seconds=7)
    assert core.read_namespaced_pod("a", "default").metadata.deletion_grace_period_seconds == 7
    mine = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=made.metadata.uid), grace_period_seconds=0)
    core.delete_namespaced_pod("a", "default", body=mine)
    with pytest.raises(ApiException) as failure:
        core.read_namespaced_pod("a", "default")
    assert failure.value.status == 404


def test_its_watch_sees_changes_from_a_revision(api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    start = core.list_namespaced_pod("default").metadata.resource_version
    later = threading.Timer(0.1, lambda: core.delete_namespaced_pod("a", "default", grace_period_seconds=0))
    core.create_namespaced_pod("default", pod("a"))
    later.start()
    stream = watch.Watch().stream(
        core.list_namespaced_pod, "default", resource_version=start, timeout_seconds=20, _request_timeout=30
    )
    seen = []
    for event in stream:
        seen.append((event["type"], event["object"].metadata.name))
        if event["type"] == "DELETED":
            break
    later.join()
    assert seen == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_the_kinds_of_a_cluster_manager(api: client.ApiClient) -> None:
    core, storage, apps = client.CoreV1Api(api), client.StorageV1Api(api), client.AppsV1Api(api)
    node = core.create_node(client.V1Node(metadata=client.V1ObjectMeta(name="n1")))
    assert node.spec.taints[0].key == "node.kubernetes.io/not-ready"
    core.patch_node_status("n1", {"status": {"volumesInUse": ["kubernetes.io/csi/d^v"]}})
    assert core.read_node("n1").status.volumes_in_use == ["kubernetes.io/csi/d^v"]
    csi = client.V1CSIPersistentVolumeSource(driver="disk.sandbox.hamgr.io", volume_handle="v")
    spec = client.V1PersistentVolumeSpec(access_modes=["ReadWriteOnce"], capacity={"storage": "10Gi"}, csi=csi)
    core.create_persistent_volume(client.V1PersistentVolume(metadata=client.V1ObjectMeta(name="pv"), spec=spec))
    source = client.V1VolumeAttachmentSource(persistent_volume_name="pv")
    attachment = client.V1VolumeAttachment(
        metadata=client.V1ObjectMeta(name="va"),
        spec=client.V1VolumeAttachmentSpec(attacher="disk.sandbox.hamgr.io", node_name="n1", source=source),
    )
    assert storage.create_volume_attachment(attachment).status.attached is False
    storage.patch_volume_attachment_status("va", {"status": {"attached": True}})
    assert storage.read_volume_attachment("va").status.attached is True
    storage.delete_volume_attachment("va")
    assert storage.list_volume_attachment().items == []
    labels = {"app": "db"}
    template = client.V1PodTemplateSpec(metadata=client.V1ObjectMeta(labels=labels), spec=pod("x", "").spec)
    deployment = client.V1Deployment(
        metadata=client.V1ObjectMeta(name="db"),
        spec=client.V1DeploymentSpec(
            replicas=0, selector=client.V1LabelSelector(match_labels=labels), template=template
        ),
    )
    apps.create_namespaced_deployment("default", deployment)
    scaled = apps.patch_namespaced_deployment_scale("db", "default", {"spec": {"replicas": 2}})
    assert (scaled.spec.replicas, scaled.status.selector) == (2, "app=db")
    secret = client.V1Secret(metadata=client.V1ObjectMeta(name="s"), string_data={"password": "x"})
    assert core.create_namespaced_secret("default", secret).data == {"password": "eA=="}
