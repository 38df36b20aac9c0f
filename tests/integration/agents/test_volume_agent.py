"""The volume agent: one node at a time, and no detach without proof."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from fixtures.scripted_cluster import ScriptedCluster
from fixtures.waiting import wait_until
from hamgr_agents.volume import VolumeAgent

from hamgr.executor.agent import ActionContext, ActionTimeout
from hamgr.executor.ocf import Ocf
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import (
    CSI_DRIVER,
    NODE,
    POD,
    PV,
    PVC,
    STORAGE_CLASS,
    VOLUME_ATTACHMENT,
    Obj,
    annotations_of,
    is_terminating,
    uid_of,
)
from hamgr.kube.pods import find
from hamgr.kube.volumes import attachments, in_use

Context = Callable[..., ActionContext]
AGENT = VolumeAgent()


def user_pod(name: str, node: str, claim: str = "data") -> Obj:
    return {
        "metadata": {"name": name},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "main", "image": "i"}],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }


def run_pod(world: ScriptedCluster, name: str, node: str) -> Obj:
    world.kube.post(POD.collection("default"), user_pod(name, node))
    wait_until(lambda: world.kube.get(POD.path(name, "default"))["status"].get("phase") == "Running")
    return world.kube.get(POD.path(name, "default"))


def where(kube: Kube, volume: Any) -> list[tuple[str, bool]]:
    return [(a.node, a.attached) for a in attachments(kube, volume)]


def test_attaches_ahead_and_detaches(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    assert AGENT.perform("monitor", context("disk", "n1", claim="data")).rc is Ocf.NOT_RUNNING
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    assert where(world.kube, volume) == [("n1", True)]
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    wait_until(lambda: AGENT.perform("monitor", context("disk", "n1", claim="data")).rc is Ocf.OK)
    assert AGENT.perform("monitor", context("disk", "n2", claim="data")).rc is Ocf.NOT_RUNNING
    assert AGENT.perform("stop", context("disk", "n1", claim="data")).rc is Ocf.OK
    assert where(world.kube, volume) == []
    assert AGENT.perform("stop", context("disk", "n1", claim="data")).rc is Ocf.OK


def test_an_attachment_that_just_went_is_not_made_again_before_its_controller_has_looked(
    world: ScriptedCluster, context: Context
) -> None:
    """Who waits for the end of an attachment looks at its name alone, every half second."""
    volume = world.add_volume("data")
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    seen, over = [], threading.Event()

    def look() -> None:
        while not over.wait(0.5):
            seen.append(next((each.uid for each in attachments(world.kube, volume)), ""))

    controller = threading.Thread(target=look)
    controller.start()
    try:
        assert AGENT.perform("stop", context("disk", "n1", claim="data")).rc is Ocf.OK
        assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    finally:
        over.set()
        controller.join()
    assert where(world.kube, volume) == [("n1", True)]
    assert "" in seen


def test_never_takes_the_disk_from_a_running_pod(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    run_pod(world, "busy", "n1")
    result = AGENT.perform("start", context("disk", "n2", claim="data"))
    assert result.rc is Ocf.ERR_GENERIC
    assert "pod busy uses it on n1" in result.reason
    assert where(world.kube, volume) == [("n1", True)]


@pytest.mark.parametrize("node", ["n1", "n2"])
def test_not_beside_a_foreign_user_even_of_the_same_node(world: ScriptedCluster, context: Context, node: str) -> None:
    volume = world.add_volume("data")
    world.script.not_attaching = True  # the pod waits for its volume: nothing is attached yet
    world.kube.post(POD.collection("default"), user_pod("backup", node))
    result = AGENT.perform("start", context("disk", "n1", claim="data"))
    assert result.rc is Ocf.ERR_GENERIC
    assert "backup" in result.reason  # by its claim, or by the attachment that its node may have by now
    assert f"on {node}" in result.reason
    assert ("n1", True) not in where(world.kube, volume)


def unbound_claim(world: ScriptedCluster, provisioner: str) -> None:
    storage_class = {"provisioner": provisioner, "volumeBindingMode": "WaitForFirstConsumer"}
    world.kube.post(STORAGE_CLASS.collection(), {"metadata": {"name": "later"}} | storage_class)
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "later",
        "resources": {"requests": {"storage": "1Gi"}},
    }
    world.kube.post(PVC.collection("default"), {"metadata": {"name": "fresh"}, "spec": spec})


def test_a_claim_that_waits_for_its_first_consumer_is_bound_for_this_node(
    world: ScriptedCluster, context: Context
) -> None:
    unbound_claim(world, "disk.x")
    with pytest.raises(ActionTimeout, match=r"provisioner disk\.x has not made its volume yet, for node n2"):
        AGENT.perform("start", context("disk", "n2", timeout_s=0.5, claim="fresh"))
    claim = world.kube.get(PVC.path("fresh", "default"))
    assert annotations_of(claim)["volume.kubernetes.io/selected-node"] == "n2"
    csi = {"driver": "disk.x", "volumeHandle": "h"}
    pv = {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "csi": csi}
    world.kube.post(PV.collection(), {"metadata": {"name": "pv-fresh"}, "spec": pv})
    world.kube.patch_merge(PVC.path("fresh", "default"), {"spec": {"volumeName": "pv-fresh"}})
    world.kube.patch_merge(f"{PVC.path('fresh', 'default')}/status", {"status": {"phase": "Bound"}})
    assert AGENT.perform("start", context("disk", "n2", claim="fresh")).rc is Ocf.OK


def test_a_class_that_makes_no_volumes_is_refused_with_the_reason(world: ScriptedCluster, context: Context) -> None:
    unbound_claim(world, "kubernetes.io/no-provisioner")
    result = AGENT.perform("start", context("disk", "n2", claim="fresh"))
    assert result.rc is Ocf.ERR_CONFIGURED
    assert "StorageClass later makes no volumes (kubernetes.io/no-provisioner)" in result.reason


def test_a_disk_of_another_zone_bars_this_node_alone(world: ScriptedCluster, context: Context) -> None:
    csi = {"csi": {"driver": "disk.testbed", "volumeHandle": "h"}}
    zone = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    world.add_plain_volume("data", csi | {"nodeAffinity": {"required": {"nodeSelectorTerms": [zone]}}})
    sees = context("disk", "n1", claim="data")
    assert sees.cache is not None
    cache = sees.cache
    wait_until(lambda: cache.get(PV, "pv-data") is not None)
    result = AGENT.perform("start", sees)
    assert result.rc is Ocf.ERR_INSTALLED
    assert "pv-data cannot be attached to n1: PersistentVolume pv-data is for nodes with zone=a" in result.reason


def test_a_claim_is_kept_from_deletion_while_it_is_managed(world: ScriptedCluster, context: Context) -> None:
    world.add_volume("data")
    path = PVC.path("data", "default")
    assert AGENT.perform("protect", context("disk", "n1", claim="data")).rc is Ocf.OK
    assert AGENT.perform("protect", context("disk", "n1", claim="data")).rc is Ocf.OK
    claim = world.kube.get(path)
    assert claim["metadata"]["finalizers"].count("hamgr.io/in-use") == 1
    assert annotations_of(claim)["hamgr.io/kept-by"] == "test"
    world.kube.delete(path, uid=uid_of(claim), grace=0)
    sees = context("disk", "n1", claim="data")
    assert sees.cache is not None
    cache = sees.cache
    wait_until(lambda: is_terminating(cache.get(PVC, "data", "default") or claim))
    result = AGENT.perform("start", sees)
    assert result.rc is Ocf.ERR_CONFIGURED
    assert "claim default/data is being deleted, and kubelets refuse new pods on it" in result.reason
    stranger = replace(context("disk", "n1", claim="data"), cluster="another")
    assert AGENT.perform("release", stranger).rc is Ocf.OK
    assert "hamgr.io/in-use" in world.kube.get(path)["metadata"]["finalizers"]
    assert AGENT.perform("release", context("disk", "n1", claim="data")).rc is Ocf.OK
    wait_until(lambda: cache.get(PVC, "data", "default") is None)
    assert AGENT.perform("release", context("disk", "n1", claim="data")).rc is Ocf.OK


def test_one_disk_under_two_persistent_volumes_is_refused(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    csi = {"driver": volume.driver, "volumeHandle": volume.handle}
    world.add_plain_volume("copy", {"csi": csi})
    agent_sees = context("disk", "n1", claim="data")
    assert agent_sees.cache is not None
    cache = agent_sees.cache
    wait_until(lambda: len(cache.list(PV)) == 2)
    result = AGENT.perform("start", agent_sees)
    assert result.rc is Ocf.ERR_CONFIGURED
    assert "pv-data is the same disk as PersistentVolume pv-copy" in result.reason
    assert where(world.kube, volume) == []


def test_waits_for_a_detachment_under_way(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    world.script.not_detaching = True
    (here,) = attachments(world.kube, volume)
    world.kube.delete(f"/apis/storage.k8s.io/v1/volumeattachments/{here.name}", uid=here.uid, grace=0)
    with pytest.raises(ActionTimeout, match="is being detached at n1"):
        AGENT.perform("start", context("disk", "n2", timeout_s=0.5, claim="data"))
    world.script.not_detaching = False
    world.nudge()
    assert AGENT.perform("start", context("disk", "n2", claim="data")).rc is Ocf.OK
    assert where(world.kube, volume) == [("n2", True)]


def test_a_parked_pod_that_won_the_disk_by_chance_is_sent_away(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    world.script.waiting["db-n3"] = {"reason": "ContainerCreating"}
    pod = user_pod("db-n3", "n3")
    pod["metadata"]["annotations"] = {"hamgr.io/parked": "true"}
    world.kube.post(POD.collection("default"), pod)
    wait_until(lambda: where(world.kube, volume) == [("n3", True)])
    assert AGENT.perform("start", context("disk", "n2", claim="data")).rc is Ocf.OK
    assert where(world.kube, volume) == [("n2", True)]


def test_a_disk_that_does_not_attach_is_explained(world: ScriptedCluster, context: Context) -> None:
    world.add_volume("data")
    world.script.not_attaching = True
    with pytest.raises(ActionTimeout, match="has not attached pv-data to n1 yet"):
        AGENT.perform("start", context("disk", "n1", timeout_s=0.5, claim="data"))


def test_stop_refuses_while_a_pod_uses_the_disk(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    run_pod(world, "busy", "n1")
    with pytest.raises(ActionTimeout, match="pod busy still uses it"):
        AGENT.perform("stop", context("disk", "n1", timeout_s=0.5, claim="data"))
    assert where(world.kube, volume) == [("n1", True)]


def held_after_force_delete(world: ScriptedCluster) -> Any:
    """A pod whose object was removed by force: its kubelet still reports the volume."""
    volume = world.add_volume("data")
    pod = run_pod(world, "busy", "n1")
    wait_until(lambda: volume.unique_name in in_use(world.kube.get(NODE.path("n1"))))
    world.script.silent.add("n1")
    world.kube.delete(POD.path("busy", "default"), uid=uid_of(pod), grace=0)
    return volume


def test_no_detach_while_the_kubelet_may_have_it_mounted(world: ScriptedCluster, context: Context) -> None:
    volume = held_after_force_delete(world)
    for said in (None, False):
        with pytest.raises(ActionTimeout, match="is not proved to be off n1"):
            AGENT.perform("stop", context("disk", "n1", timeout_s=0.5, claim="data", unmounted=lambda *_, s=said: s))
        assert where(world.kube, volume) == [("n1", True)]


def test_the_nodes_own_word_is_proof(world: ScriptedCluster, context: Context) -> None:
    volume = held_after_force_delete(world)
    world.kube.patch_json(
        f"{NODE.path('n1')}/status",
        [{"op": "add", "path": "/status/volumesInUse/0", "value": "kubernetes.io/csi/other^disk"}],
    )
    asked: list[tuple[str, str]] = []

    def unmounted(node: str, about: Any) -> bool:
        asked.append((node, about.pv))
        return True

    assert AGENT.perform("stop", context("disk", "n1", claim="data", unmounted=unmounted)).rc is Ocf.OK
    assert asked[0] == ("n1", "pv-data")
    assert where(world.kube, volume) == []
    assert in_use(world.kube.get(NODE.path("n1"))) == ("kubernetes.io/csi/other^disk",)


def test_a_node_that_was_deleted_in_kubernetes_lets_go_of_the_disk_by_its_own_word_alone(
    world: ScriptedCluster, context: Context
) -> None:
    volume = held_after_force_delete(world)
    world.kube.delete(NODE.path("n1"), uid=uid_of(world.kube.get(NODE.path("n1"))), grace=None)
    with pytest.raises(ActionTimeout, match="node n1 is unknown to Kubernetes, so nobody can say"):
        AGENT.perform("stop", context("disk", "n1", timeout_s=0.5, claim="data"))
    assert where(world.kube, volume) == [("n1", True)]
    assert AGENT.perform("stop", context("disk", "n1", claim="data", unmounted=lambda *_: True)).rc is Ocf.OK
    assert where(world.kube, volume) == []


def test_the_kubelets_report_is_proof(world: ScriptedCluster, context: Context) -> None:
    volume = held_after_force_delete(world)
    world.script.silent.clear()
    world.nudge()
    assert AGENT.perform("stop", context("disk", "n1", claim="data")).rc is Ocf.OK
    assert where(world.kube, volume) == []


def test_a_detach_that_does_not_end_fails_the_stop(world: ScriptedCluster, context: Context) -> None:
    world.add_volume("data")
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    world.script.not_detaching = True
    with pytest.raises(ActionTimeout, match="the driver has not confirmed the detachment"):
        AGENT.perform("stop", context("disk", "n1", timeout_s=0.5, claim="data"))


def detach(kube: Kube, volume: Any) -> None:
    (here,) = attachments(kube, volume)
    kube.delete(VOLUME_ATTACHMENT.path(here.name), uid=here.uid, grace=0)


def report(kube: Kube, volume: Any, **error: str) -> None:
    """What the driver says of its work, in the attachment's status."""
    (here,) = attachments(kube, volume)
    status = {name: {"message": message} for name, message in error.items()}
    kube.patch_merge(f"{VOLUME_ATTACHMENT.path(here.name)}/status", {"status": status})


def test_stop_leaves_what_is_attached_to_another_node(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    assert AGENT.perform("start", context("disk", "n2", claim="data")).rc is Ocf.OK
    assert AGENT.perform("stop", context("disk", "n1", claim="data")).rc is Ocf.OK
    assert where(world.kube, volume) == [("n2", True)]


def test_what_is_detached_is_stopped_whatever_a_dead_kubelet_reported_last(
    world: ScriptedCluster, context: Context
) -> None:
    volume = held_after_force_delete(world)
    world.script.dead.add("n1")
    detach(world.kube, volume)
    wait_until(lambda: where(world.kube, volume) == [])
    assert volume.unique_name in in_use(world.kube.get(NODE.path("n1")))
    assert AGENT.perform("stop", context("disk", "n1", timeout_s=2, claim="data")).rc is Ocf.OK


def monitored(context: Context, node: str, told: str, **params: Any) -> None:
    """The disk does not run there, and why is told."""

    def says_so() -> bool:
        result = AGENT.perform("monitor", context("disk", node, **params))
        return result.rc is Ocf.NOT_RUNNING and told in result.reason

    wait_until(says_so)


def test_a_monitor_tells_how_far_the_attachment_is(world: ScriptedCluster, context: Context) -> None:
    monitored(context, "n1", '"data" not found', claim="data")
    volume = world.add_volume("data")
    monitored(context, "n1", "pv-data is not attached to n1", claim="data")
    world.script.not_attaching = world.script.not_detaching = True
    with pytest.raises(ActionTimeout):
        AGENT.perform("start", context("disk", "n1", timeout_s=0.5, claim="data"))
    monitored(context, "n1", "not attached to n1 yet: its driver has not confirmed the attachment", claim="data")
    report(world.kube, volume, attachError="no such disk")
    monitored(context, "n1", "not attached to n1 yet: no such disk", claim="data")
    with pytest.raises(ActionTimeout, match="has not attached pv-data to n1 yet: no such disk"):
        AGENT.perform("start", context("disk", "n1", timeout_s=0.5, claim="data"))
    world.script.not_attaching = False
    world.nudge()
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    detach(world.kube, volume)
    monitored(context, "n1", "pv-data is being detached from n1", claim="data")
    report(world.kube, volume, detachError="the disk is busy")
    with pytest.raises(ActionTimeout, match="has not confirmed the detachment: the disk is busy"):
        AGENT.perform("stop", context("disk", "n1", timeout_s=0.5, claim="data"))


def test_a_pod_alone_does_not_show_that_its_disk_is_there(world: ScriptedCluster, context: Context) -> None:
    world.add_volume("data")
    assert AGENT.perform("start", context("disk", "n2", claim="data")).rc is Ocf.OK
    world.kube.post(POD.collection("default"), user_pod("waits", "n1"))
    monitored(context, "n1", "pv-data is not attached to n1", claim="data")


def test_a_disk_that_kubernetes_detaches_because_no_pod_uses_it_has_not_failed(
    world: ScriptedCluster, context: Context
) -> None:
    """So it is with a group's disk while a member behind it is disabled."""
    volume = world.add_volume("data")
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    pod = run_pod(world, "db-n1", "n1")
    watched = {"claim": "data", "interval_ms": 10_000}
    world.script.not_detaching = True
    world.kube.delete(POD.path("db-n1", "default"), uid=uid_of(pod), grace=1)
    wait_until(lambda: any(attachment.leaving for attachment in attachments(world.kube, volume)))
    assert find(world.kube, "db-n1", "default") is None
    result = AGENT.perform("monitor", context("disk", "n1", **watched))
    assert result.rc is Ocf.OK
    assert result.reason == "pv-data is being detached from n1, which no pod there needs just now"
    world.script.not_detaching = False
    world.nudge()
    wait_until(lambda: where(world.kube, volume) == [])
    result = AGENT.perform("monitor", context("disk", "n1", **watched))
    assert (result.rc, result.reason) == (Ocf.OK, "pv-data is not attached to n1, which no pod there needs just now")


def test_a_disk_that_is_missed_or_held_elsewhere_has_failed(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    watched = {"claim": "data", "interval_ms": 10_000}
    assert AGENT.perform("start", context("disk", "n2", claim="data")).rc is Ocf.OK
    monitored(context, "n1", "pv-data is not attached to n1", **watched)
    run_pod(world, "db-n2", "n2")
    world.script.not_attaching = True
    detach(world.kube, volume)
    wait_until(lambda: not any(attached for _, attached in where(world.kube, volume)))
    monitored(context, "n2", "pv-data is", **watched)


def test_what_the_parameters_say_is_validated_without_a_cluster(context: Context) -> None:
    offline = replace(context("disk", "n1", claim="data"), kube=None, cache=None)
    assert AGENT.perform("validate-all", offline).rc is Ocf.OK


def test_a_claim_that_is_missing_or_not_bound_is_waited_for(world: ScriptedCluster, context: Context) -> None:
    missing = AGENT.perform("start", context("disk", "n1", claim="nope"))
    assert missing.waiting
    assert AGENT.perform("may-start", context("disk", "n1", claim="nope")).waiting
    assert '"nope" not found' in missing.reason
    unbound = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    world.kube.post(
        "/api/v1/namespaces/default/persistentvolumeclaims", {"metadata": {"name": "unbound"}, "spec": unbound}
    )
    assert AGENT.perform("start", context("disk", "n1", claim="unbound")).waiting
    result = AGENT.perform("validate-all", context("disk", "n1", claim="unbound"))
    assert result.rc is Ocf.ERR_CONFIGURED
    assert "no PersistentVolume is bound to it" in result.reason
    assert AGENT.perform("validate-all", context("disk", "n1")).rc is Ocf.ERR_CONFIGURED


def test_a_driver_that_attaches_nothing(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    world.kube.post(CSI_DRIVER.collection(), {"metadata": {"name": "disk.test"}, "spec": {"attachRequired": False}})
    assert "configure node level fencing" in AGENT.perform("validate-all", context("disk", "n1", claim="data")).reason
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    assert where(world.kube, volume) == []
    monitored(context, "n1", "pv-data is not attached to n1", claim="data")
    world.kube.post(POD.collection("default"), user_pod("busy", "n1"))
    assert AGENT.perform("monitor", context("disk", "n1", claim="data")).rc is Ocf.OK
    monitored(context, "n2", "pv-data is not attached to n2", claim="data")


def test_of_a_driver_that_attaches_nothing_only_the_nodes_own_word_counts(
    world: ScriptedCluster, context: Context
) -> None:
    """The kubelet's volumesInUse never lists such a volume, so that it is not there proves nothing."""
    world.add_volume("data")
    world.kube.post(CSI_DRIVER.collection(), {"metadata": {"name": "disk.test"}, "spec": {"attachRequired": False}})
    with pytest.raises(ActionTimeout, match="only the hamgrd on n1 can say"):
        AGENT.perform("stop", context("disk", "n1", timeout_s=0.5, claim="data"))
    told = context("disk", "n1", claim="data", unmounted=lambda *_: True)
    assert AGENT.perform("stop", told).rc is Ocf.OK


def test_a_disk_that_a_late_request_left_on_a_node_where_nothing_uses_it_is_taken_back(
    world: ScriptedCluster, context: Context
) -> None:
    """Nobody else would ever detach it: the resource could start nowhere."""
    volume = world.add_volume("data")
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    assert AGENT.perform("start", context("disk", "n2", claim="data")).rc is Ocf.OK
    assert where(world.kube, volume) == [("n2", True)]


def test_a_pod_that_waits_where_the_disk_is_wanted_does_not_hold_it_elsewhere(
    world: ScriptedCluster, context: Context
) -> None:
    volume = world.add_volume("data")
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    ours = user_pod("waits", "n2")
    ours["metadata"]["labels"] = {"hamgr.io/cluster": "test", "hamgr.io/resource": "db"}
    world.kube.post(POD.collection("default"), ours)
    assert AGENT.perform("start", context("disk", "n2", claim="data")).rc is Ocf.OK
    assert where(world.kube, volume) == [("n2", True)]


def test_a_pod_that_is_on_its_way_out_is_waited_for(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    pod = run_pod(world, "busy", "n1")
    world.script.stubborn.add("busy")
    world.kube.delete(POD.path("busy", "default"), uid=uid_of(pod), grace=30)
    with pytest.raises(ActionTimeout, match="is still attached"):
        AGENT.perform("start", context("disk", "n2", timeout_s=0.5, claim="data"))
    assert where(world.kube, volume) == [("n1", True)]
    world.script.stubborn.clear()
    world.nudge()
    assert AGENT.perform("start", context("disk", "n2", claim="data")).rc is Ocf.OK


def test_a_disk_that_may_still_be_mounted_where_no_pod_uses_it_is_waited_for(
    world: ScriptedCluster, context: Context
) -> None:
    volume = world.add_volume("data")
    world.script.silent.add("n1")
    pod = run_pod(world, "busy", "n1")
    wait_until(lambda: volume.unique_name in in_use(world.kube.get(NODE.path("n1"))))
    world.script.dead.add("n1")
    world.kube.delete(POD.path("busy", "default"), uid=uid_of(pod), grace=0)
    with pytest.raises(ActionTimeout, match="is still attached"):
        AGENT.perform("start", context("disk", "n2", timeout_s=0.7, claim="data"))
    assert where(world.kube, volume) == [("n1", True)]


def test_a_stop_that_does_not_know_its_claim_fails(world: ScriptedCluster, context: Context) -> None:
    stopped = AGENT.perform("stop", context("disk", "n1"))
    assert stopped.rc is Ocf.ERR_ARGS
    assert "claim is not known" in stopped.reason
    assert "hamgr cleanup disk" in stopped.reason


def test_the_disk_of_a_claim_that_was_deleted_is_detached(world: ScriptedCluster, context: Context) -> None:
    volume = world.add_volume("data")
    world.kube.patch_merge(PV.path(volume.pv), {"spec": {"claimRef": {"namespace": "default", "name": "data"}}})
    assert AGENT.perform("start", context("disk", "n1", claim="data")).rc is Ocf.OK
    claim = world.kube.get(PVC.path("data", "default"))
    world.kube.patch_merge(PVC.path("data", "default"), {"metadata": {"finalizers": None}})
    world.kube.delete(PVC.path("data", "default"), uid=uid_of(claim), grace=0)
    ctx = context("disk", "n1", claim="data")
    wait_until(lambda: ctx.cache is not None and ctx.cache.get(PVC, "data", "default") is None)
    assert AGENT.perform("stop", ctx).rc is Ocf.OK
    assert where(world.kube, volume) == []
