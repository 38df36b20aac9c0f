"""The pod agent: one pod, started with its reasons told, ended with the kubelet's confirmation, parked ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from fixtures.scripted_cluster import ScriptedCluster
from fixtures.waiting import wait_until
from hamgr_agents.observation import access
from hamgr_agents.pod import PodAgent
from hamgr_agents.rivals import Rival
from hamgr_agents.volume import VolumeAgent

from hamgr.executor.agent import ActionContext, ActionTimeout
from hamgr.executor.ocf import Ocf
from hamgr.kube.cache import Cache
from hamgr.kube.errors import Conflict, Forbidden, Invalid, KubeError
from hamgr.kube.gateway import Kube
from hamgr.kube.nodes import boot_id as boot_id_of
from hamgr.kube.objects import DEPLOYMENT, NODE, POD, PVC, SECRET, VOLUME_ATTACHMENT, Kind, Obj, annotations_of, uid_of
from hamgr.kube.pods import bind, find, is_parked
from hamgr.kube.volumes import attachments, in_use

Context = Callable[..., ActionContext]
PLAIN = {"containers": [{"name": "main", "image": "i"}]}
MOUNT = {"name": "v", "mountPath": "/data"}
WITH_DISK = PLAIN | {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}


def pod(kube: Kube, name: str) -> Obj:
    found = find(kube, name, "default")
    assert found is not None
    return found


def gone(kube: Kube, name: str) -> bool:
    return find(kube, name, "default") is None


@pytest.fixture
def agent() -> PodAgent:
    return PodAgent()


def test_from_start_to_stop(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    assert agent.perform("monitor", context("db", "n1", template=PLAIN)).rc is Ocf.NOT_RUNNING
    assert agent.perform("start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    made = pod(world.kube, "db-n1")
    assert made["spec"]["nodeName"] == "n1"
    assert made["metadata"]["labels"] == {
        "hamgr.io/cluster": "test",
        "hamgr.io/resource": "db",
        "hamgr.io/node": "n1",
    }
    wait_until(lambda: agent.perform("monitor", context("db", "n1", template=PLAIN)).rc is Ocf.OK)
    assert agent.perform("start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    assert uid_of(pod(world.kube, "db-n1")) == uid_of(made)
    assert agent.perform("stop", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    assert gone(world.kube, "db-n1")
    assert agent.perform("stop", context("db", "n1", template=PLAIN)).rc is Ocf.OK


def test_a_pod_that_was_never_bound_keeps_its_name_from_nobody(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    ctx = context("db", "n1", template=PLAIN)
    late = world.kube.post(POD.collection("default"), agent.wanted(ctx))  # of a leader that is no more
    wait_until(lambda: access(ctx).cache.get(POD, "db-n1", "default") is not None)
    assert agent.perform("monitor", ctx).rc is Ocf.NOT_RUNNING
    assert agent.perform("start", ctx).rc is Ocf.OK
    assert uid_of(pod(world.kube, "db-n1")) != uid_of(late)
    elsewhere = context("db", "n2", template=PLAIN)
    world.kube.post(POD.collection("default"), agent.wanted(elsewhere))
    assert agent.perform("stop", elsewhere).rc is Ocf.OK
    assert gone(world.kube, "db-n2")


def test_a_late_binding_is_void_once_the_pod_was_touched(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    made = world.kube.post(POD.collection("default"), agent.wanted(context("db", "n1", template=PLAIN)))
    for stale in ({"uid": "another"}, {"resourceVersion": "1"}):
        with pytest.raises(Conflict):
            bind(world.kube, made | {"metadata": made["metadata"] | stale}, "n1")
    stamped = world.kube.patch_merge(POD.path("db-n1", "default"), {"metadata": {"annotations": {"stamp": "1"}}})
    with pytest.raises(Conflict):
        bind(world.kube, made, "n1")
    assert "nodeName" not in pod(world.kube, "db-n1")["spec"]
    bind(world.kube, stamped, "n1")

    def is_refused_for_good() -> bool:
        """Not only because its kubelet wrote to it since it was read."""
        with pytest.raises(Conflict) as refused:
            bind(world.kube, pod(world.kube, "db-n1"), "n2")
        return "already assigned" in refused.value.message

    wait_until(is_refused_for_good)
    assert pod(world.kube, "db-n1")["spec"]["nodeName"] == "n1"


def test_a_template_of_an_idle_deployment(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    labels = {"app": "db", "pod-template-hash": "123"}
    spec = {
        "replicas": 1,
        "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": labels}, "spec": PLAIN},
    }
    world.kube.post(DEPLOYMENT.collection("default"), {"metadata": {"name": "db"}, "spec": spec})
    busy = agent.perform("start", context("db", "n1", template_from="deployment/db"))
    assert busy.waiting
    assert agent.perform("may-start", context("db", "n1", template_from="deployment/db")).waiting
    assert "Deployment db still asks for 1 replicas of its own: scale it to 0" in busy.reason
    world.kube.patch_merge(DEPLOYMENT.path("db", "default"), {"spec": {"replicas": 0}})
    assert agent.perform("start", context("db", "n1", template_from="deployment/db")).rc is Ocf.OK
    assert pod(world.kube, "db-n1")["metadata"]["labels"]["app"] == "db"
    assert "pod-template-hash" not in pod(world.kube, "db-n1")["metadata"]["labels"]
    missing = agent.perform("validate-all", context("db", "n1", template_from="deployment/nope"))
    assert missing.rc is Ocf.ERR_CONFIGURED
    assert '"nope" not found' in missing.reason


def test_a_missing_secret_is_named_and_nothing_is_created(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    env = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db-root", "key": "password"}}}
    template = {"containers": [{"name": "main", "image": "i", "env": [env]}]}
    result = agent.perform("start", context("db", "n1", template=template))
    assert result.waiting
    assert agent.perform("may-start", context("db", "n1", template=template)).waiting
    assert "Secret default/db-root, needed for environment variable PASSWORD of container main" in result.reason
    assert gone(world.kube, "db-n1")
    world.kube.post(SECRET.collection("default"), {"metadata": {"name": "db-root"}, "data": {"password": "eA=="}})
    assert agent.perform("may-start", context("db", "n1", template=template)).rc is Ocf.OK
    assert agent.perform("start", context("db", "n1", template=template)).rc is Ocf.OK


def test_a_missing_claim_is_named(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    result = agent.perform("start", context("db", "n1", template=WITH_DISK))
    assert result.waiting
    assert "PersistentVolumeClaim default/data, needed for a volume, does not exist" in result.reason


@pytest.mark.parametrize(
    ("waiting", "words"),
    [
        ({"reason": "ImagePullBackOff", "message": 'Back-off pulling image "i"'}, 'Back-off pulling image "i"'),
        ({"reason": "CreateContainerConfigError", "message": 'configmap "x" not found'}, 'configmap "x" not found'),
        ({"reason": "CrashLoopBackOff"}, "keeps crashing"),
    ],
)
def test_a_hopeless_start_ends_early(
    world: ScriptedCluster, context: Context, agent: PodAgent, waiting: Obj, words: str
) -> None:
    world.script.waiting["db-n1"] = waiting
    result = agent.perform("start", context("db", "n1", timeout_s=60, template=PLAIN))
    assert result.rc is Ocf.ERR_GENERIC
    assert words in result.reason
    assert "db-n1" in result.reason


def test_a_pod_that_never_gets_ready_is_explained(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    world.script.unready.add("db-n1")
    with pytest.raises(ActionTimeout, match="pod db-n1 is not ready"):
        agent.perform("start", context("db", "n1", timeout_s=0.7, template=PLAIN))


def test_not_beside_an_instance_elsewhere(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    assert agent.perform("start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    result = agent.perform("start", context("db", "n2", template=PLAIN))
    assert result.rc is Ocf.ERR_GENERIC
    assert "pod db-n1 of this resource exists on n1" in result.reason
    assert gone(world.kube, "db-n2")


def test_instances_of_a_clone_live_side_by_side(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    for number, node in enumerate(("n1", "n2")):
        instance = replace(context("db", node, template=PLAIN), instance=f"db:{number}")
        assert agent.perform("start", instance).rc is Ocf.OK


def test_a_volume_in_use_elsewhere_is_named(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    world.add_volume("data")
    world.kube.post(POD.collection("default"), {"metadata": {"name": "backup"}, "spec": WITH_DISK | {"nodeName": "n2"}})
    wait_until(lambda: pod(world.kube, "backup")["status"].get("phase") == "Running")
    result = agent.perform("start", context("db", "n1", timeout_s=60, template=WITH_DISK))
    assert result.rc is Ocf.ERR_GENERIC
    assert "pod db-n1 may not start beside another user of its disk: pod default/backup on n2 uses" in result.reason
    assert gone(world.kube, "db-n1")


def test_nothing_starts_beside_another_pod_of_the_node(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    """Kubernetes itself would let it: ReadWriteOnce is a promise for one node, not for one pod."""
    world.add_volume("data")
    world.kube.post(POD.collection("default"), {"metadata": {"name": "backup"}, "spec": WITH_DISK | {"nodeName": "n1"}})
    wait_until(lambda: pod(world.kube, "backup")["status"].get("phase") == "Running")
    result = agent.perform("start", context("db", "n1", timeout_s=60, template=WITH_DISK))
    assert result.rc is Ocf.ERR_GENERIC
    assert "pod default/backup on n1 uses claim default/data; end that one first" in result.reason
    assert gone(world.kube, "db-n1")


class HandInHand(PodAgent):
    """Two of them look for other users of the disk at the same time, if they can."""

    def __init__(self, together: threading.Barrier) -> None:
        super().__init__()
        self._together = together

    def _rival(self, ctx: ActionContext, pod: Obj) -> Rival | None:
        found = super()._rival(ctx, pod)
        with suppress(threading.BrokenBarrierError):
            self._together.wait(1.0)
        return found


def test_of_two_resources_of_one_claim_that_are_started_at_once_one_makes_a_pod(
    world: ScriptedCluster, context: Context
) -> None:
    world.add_volume("data")
    together = threading.Barrier(2)
    with ThreadPoolExecutor(2) as pool:
        started = [
            pool.submit(HandInHand(together).perform, "start", context(name, "n1", template=WITH_DISK))
            for name in ("a", "b")
        ]
        results = [each.result(60) for each in started]
    assert sorted(result.rc for result in results) == [Ocf.OK, Ocf.ERR_GENERIC]
    (why,) = (result.reason for result in results if result.rc is not Ocf.OK)
    assert "may not start beside another user of its disk" in why
    assert gone(world.kube, "a-n1") is not gone(world.kube, "b-n1"), "the other one was never there"


def test_a_claim_that_the_watch_does_not_show_yet_is_one_of_one_writer(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    world.add_volume("data")
    world.kube.post(POD.collection("default"), {"metadata": {"name": "backup"}, "spec": WITH_DISK | {"nodeName": "n1"}})
    wait_until(lambda: pod(world.kube, "backup")["status"].get("phase") == "Running")
    ctx = context("db", "n1", timeout_s=60, template=WITH_DISK)
    blind = Blind(access(ctx).cache)
    result = agent.perform("start", replace(ctx, cache=blind))  # type: ignore[arg-type]
    assert "uses claim default/data; end that one first" in result.reason


class Blind:
    """A cache that knows of no claim."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def get(self, kind: Kind, name: str, namespace: str = "") -> Obj | None:
        return None if kind is PVC else self._cache.get(kind, name, namespace)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def test_a_renamed_resource_waits_for_the_end_of_its_former_pod(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    world.add_volume("data")
    assert agent.perform("start", context("slow", "n1", template=WITH_DISK)).rc is Ocf.OK
    world.script.stubborn.add("slow-n1")
    world.kube.delete(POD.path("slow-n1", "default"), uid=uid_of(pod(world.kube, "slow-n1")), grace=30)
    with pytest.raises(ActionTimeout, match="pod default/slow-n1 on n1 is still being stopped, and uses claim"):
        agent.perform("start", context("slow2", "n1", timeout_s=0.5, template=WITH_DISK))
    assert gone(world.kube, "slow2-n1")
    world.script.stubborn.clear()
    world.nudge()
    assert agent.perform("start", context("slow2", "n1", template=WITH_DISK)).rc is Ocf.OK


def test_a_parked_pod_is_not_adopted_beside_another_user(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    world.add_volume("data")
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    assert agent.perform("park", context("db", "n2", template=WITH_DISK)).rc is Ocf.OK
    assert agent.perform("stop", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    world.kube.post(POD.collection("default"), {"metadata": {"name": "backup"}, "spec": WITH_DISK | {"nodeName": "n2"}})
    result = agent.perform("start", context("db", "n2", template=WITH_DISK))
    assert result.rc is Ocf.ERR_GENERIC
    assert "pod default/backup on n2 uses claim default/data" in result.reason


def test_somebody_elses_pod_of_that_name_is_left_alone(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    foreign = world.kube.post(POD.collection("default"), {"metadata": {"name": "db-n1"}, "spec": PLAIN})
    assert "is not this resource's" in agent.perform("start", context("db", "n1", template=PLAIN)).reason
    assert agent.perform("stop", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    assert agent.perform("monitor", context("db", "n1", template=PLAIN)).rc is Ocf.NOT_RUNNING
    assert uid_of(pod(world.kube, "db-n1")) == uid_of(foreign)


def test_the_next_pod_waits_for_the_end_of_the_last(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    assert agent.perform("start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    first = pod(world.kube, "db-n1")
    world.script.stubborn.add("db-n1")
    world.kube.delete(POD.path("db-n1", "default"), uid=uid_of(first), grace=30)
    with pytest.raises(ActionTimeout, match="an earlier pod db-n1 is still being stopped"):
        agent.perform("start", context("db", "n1", timeout_s=0.5, template=PLAIN))
    wait_until(lambda: agent.perform("monitor", context("db", "n1", template=PLAIN)).rc is Ocf.NOT_RUNNING)
    world.script.stubborn.clear()
    world.nudge()
    assert agent.perform("start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    assert uid_of(pod(world.kube, "db-n1")) != uid_of(first)


def test_stop_never_forces(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    assert agent.perform("start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    world.script.dead.add("n1")
    with pytest.raises(ActionTimeout, match="its kubelet on n1 has not confirmed that"):
        agent.perform("stop", context("db", "n1", timeout_s=0.5, template=PLAIN))
    assert pod(world.kube, "db-n1")["metadata"]["deletionGracePeriodSeconds"] == 30


def forced_off(world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache) -> Any:
    """The pod's object was removed by somebody's force while it ran."""
    volume = world.add_volume("data")
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    wait_until(lambda: volume.unique_name in in_use(world.kube.get(NODE.path("n1"))))
    world.script.silent.add("n1")
    world.kube.delete(POD.path("db-n1", "default"), uid=uid_of(pod(world.kube, "db-n1")), grace=0)
    wait_until(lambda: cache.get(POD, "db-n1", "default") is None)
    return volume


def test_a_pod_removed_by_force_is_not_proved_to_have_stopped(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache
) -> None:
    forced_off(world, context, agent, cache)
    with pytest.raises(ActionTimeout, match="removed without its kubelet's confirmation"):
        agent.perform("stop", context("db", "n1", timeout_s=0.5, template=WITH_DISK))
    with pytest.raises(ActionTimeout, match="an earlier pod db-n1 may still run"):
        agent.perform("start", context("db", "n1", timeout_s=0.5, template=WITH_DISK))
    assert gone(world.kube, "db-n1")
    proved = context("db", "n1", template=WITH_DISK, unmounted=lambda *_: True)
    assert agent.perform("stop", proved).rc is Ocf.OK
    world.script.silent.clear()
    world.nudge()
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK


NFS = PLAIN | {"volumes": [{"name": "v", "nfs": {"server": "files", "path": "/db"}}]}
UNCONFIRMED = "removed without its kubelet's confirmation: only the hamgrd on n1 can say"


def forced(world: ScriptedCluster, cache: Cache) -> str:
    """The UID of db-n1, whose object somebody removes by force while its kubelet lets it run on."""
    uid = uid_of(pod(world.kube, "db-n1"))
    world.kube.delete(POD.path("db-n1", "default"), uid=uid, grace=0)
    wait_until(lambda: cache.get(POD, "db-n1", "default") is None)
    return uid


@pytest.mark.parametrize("kind", ["inline nfs", "PersistentVolume", "hostPath"])
def test_a_pod_removed_by_force_whose_volumes_nobody_attaches_ends_with_the_word_of_its_nodes_hamgrd(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache, kind: str
) -> None:
    template = {"inline nfs": NFS, "PersistentVolume": WITH_DISK}.get(kind)
    template = template or PLAIN | {"volumes": [{"name": "v", "hostPath": {"path": "/srv/db"}}]}
    if kind == "PersistentVolume":
        world.add_plain_volume("data", {"nfs": {"server": "files", "path": "/db"}})
    template = template | {"containers": [{"name": "main", "image": "i", "volumeMounts": [MOUNT]}]}
    assert agent.perform("start", context("db", "n1", template=template)).rc is Ocf.OK
    uid = forced(world, cache)
    asked: list[tuple[str, str]] = []
    for said, why in ((None, UNCONFIRMED), (False, "still there, says the hamgrd on n1")):
        told = context("db", "n1", timeout_s=0.5, template=template, departed=lambda *q, s=said: asked.append(q) or s)
        with pytest.raises(ActionTimeout, match=why):
            agent.perform("stop", told)
    assert set(asked) == {("n1", uid)}
    with pytest.raises(ActionTimeout, match="an earlier pod db-n1 may still run"):
        agent.perform("start", context("db", "n1", timeout_s=0.5, template=template))
    proved = context("db", "n1", template=template, departed=lambda *_: True)
    assert agent.perform("stop", proved).rc is Ocf.OK
    assert agent.perform("start", proved).rc is Ocf.OK


def test_a_probe_does_not_overlook_what_may_be_left_of_a_pod_removed_by_force(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache
) -> None:
    """A leader that takes over while the last one's stop waits goes by probes: "not running" would free the start."""
    template = NFS | {"containers": [{"name": "main", "image": "i", "volumeMounts": [MOUNT]}]}
    assert agent.perform("start", context("db", "n1", template=template)).rc is Ocf.OK
    forced(world, cache)
    probed = agent.perform("monitor", context("db", "n1", template=template))
    assert (probed.rc, UNCONFIRMED in probed.reason) == (Ocf.ERR_GENERIC, True)
    recurring = replace(context("db", "n1", template=template), interval_ms=10_000)
    assert agent.perform("monitor", recurring).rc is Ocf.NOT_RUNNING  # a failure, which leads to a stop
    proved = context("db", "n1", template=template, departed=lambda *_: True)
    assert agent.perform("monitor", proved).rc is Ocf.NOT_RUNNING
    assert agent.perform("monitor", context("db", "n2", template=template)).rc is Ocf.NOT_RUNNING


def test_a_node_that_has_restarted_since_runs_nothing_of_a_pod_removed_by_force(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache
) -> None:
    def boot(boot_id: str) -> None:
        status = {"status": {"nodeInfo": {"bootID": boot_id}}}
        world.kube.patch_merge(f"{NODE.path('n1')}/status", status)
        wait_until(lambda: boot_id_of(cache.get(NODE, "n1") or {}) == boot_id)

    template = NFS | {"containers": [{"name": "main", "image": "i", "volumeMounts": [MOUNT]}]}
    boot("boot-1")
    assert agent.perform("start", context("db", "n1", template=template)).rc is Ocf.OK
    forced(world, cache)
    with pytest.raises(ActionTimeout, match=UNCONFIRMED):
        agent.perform("stop", context("db", "n1", timeout_s=0.5, template=template))
    boot("boot-2")
    assert agent.perform("stop", context("db", "n1", template=template)).rc is Ocf.OK


def test_another_pod_that_uses_the_claim_by_right_does_not_hide_one_removed_by_force(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache
) -> None:
    """The disk is mounted either way, so nothing but the pod itself is left to be asked for."""
    world.add_volume("data")
    template = WITH_DISK | {"containers": [{"name": "main", "image": "i", "volumeMounts": [MOUNT]}]}
    assert agent.perform("start", context("db", "n1", template=template)).rc is Ocf.OK
    world.kube.post(POD.collection("default"), {"metadata": {"name": "backup"}, "spec": template | {"nodeName": "n1"}})
    forced(world, cache)
    with pytest.raises(ActionTimeout, match=UNCONFIRMED):
        agent.perform("stop", context("db", "n1", timeout_s=0.5, template=template))
    assert agent.perform("stop", context("db", "n1", template=template, departed=lambda *_: True)).rc is Ocf.OK


def test_the_kubelets_own_confirmation_is_enough_whatever_the_volumes(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache
) -> None:
    template = NFS | {"containers": [{"name": "main", "image": "i", "volumeMounts": [MOUNT]}]}
    assert agent.perform("start", context("db", "n1", template=template)).rc is Ocf.OK
    assert agent.perform("stop", context("db", "n1", template=template)).rc is Ocf.OK


def test_a_pod_removed_by_force_that_writes_nothing_that_outlives_it_is_not_asked_about(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache
) -> None:
    mounts = [MOUNT | {"readOnly": True}, {"name": "scratch", "mountPath": "/tmp"}]
    volumes = [*NFS["volumes"], {"name": "scratch", "emptyDir": {}}]
    template = {"containers": [{"name": "main", "image": "i", "volumeMounts": mounts}], "volumes": volumes}
    assert agent.perform("start", context("db", "n1", template=template)).rc is Ocf.OK
    forced(world, cache)
    assert agent.perform("stop", context("db", "n1", template=template)).rc is Ocf.OK


def test_a_pod_that_the_garbage_collector_gave_up_is_not_proved_to_have_stopped(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache
) -> None:
    """It writes `Failed` into the pods of a node that is gone or out of service, then removes them by force."""
    world.add_volume("data")
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    world.script.silent.add("n1")
    path = POD.path("db-n1", "default")
    status = {"phase": "Failed", "containerStatuses": [{"name": "c", "state": {"running": {"startedAt": None}}}]}
    world.kube.patch_merge(f"{path}/status", {"status": status})
    elsewhere = agent.perform("start", context("db", "n2", template=WITH_DISK))
    assert (elsewhere.rc, "exists on n1: stop it there, or fence it" in elsewhere.reason) == (Ocf.ERR_GENERIC, True)
    world.kube.delete(path, uid=uid_of(pod(world.kube, "db-n1")), grace=0)
    wait_until(lambda: cache.get(POD, "db-n1", "default") is None)
    with pytest.raises(ActionTimeout, match="removed without its kubelet's confirmation"):
        agent.perform("stop", context("db", "n1", timeout_s=0.5, template=WITH_DISK))


def test_what_happened_while_nobody_watched_is_not_trusted(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache, kube: Kube
) -> None:
    forced_off(world, context, agent, cache)
    fresh = Cache(kube, probe_s=0.2)
    fresh.start()
    assert fresh.wait_synced(10)
    try:
        later = replace(context("db", "n1", timeout_s=0.5, template=WITH_DISK), cache=fresh)
        with pytest.raises(ActionTimeout, match="an earlier pod db-n1 may still run"):
            agent.perform("start", later)
    finally:
        fresh.stop()


def test_a_restart_in_place_is_left_to_the_kubelet(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache
) -> None:
    params = {"template": PLAIN, "restart_grace": "10s"}
    assert agent.perform("start", context("db", "n1", **params)).rc is Ocf.OK
    world.script.unready.add("db-n1")
    world.nudge()
    wait_until(lambda: (pod(world.kube, "db-n1")["status"]["conditions"][0]["status"]) == "False")
    now = [100.0]
    at = replace(context("db", "n1", **params), clock=lambda: now[0], deadline=1e9)
    wait_until(lambda: "is not ready" in agent.perform("monitor", at).reason)
    now[0] += 9.9
    assert agent.perform("monitor", at).rc is Ocf.OK
    now[0] += 0.2
    late = agent.perform("monitor", at)
    assert late.rc is Ocf.ERR_GENERIC
    assert "longer than 10 s" in late.reason
    world.script.unready.clear()
    world.nudge()
    wait_until(lambda: agent.perform("monitor", at).rc is Ocf.OK)
    assert agent.perform("monitor", at).reason == ""


def test_a_new_pod_has_a_grace_of_its_own(
    world: ScriptedCluster, context: Context, agent: PodAgent, cache: Cache
) -> None:
    params = {"template": PLAIN, "restart_grace": "10s"}
    world.script.unready.add("db-n1")
    now = [100.0]
    at = replace(context("db", "n1", **params), clock=lambda: now[0], deadline=1e9)
    seen = set()
    for _ in range(2):
        with pytest.raises(ActionTimeout):
            agent.perform("start", context("db", "n1", timeout_s=0.3, **params))
        uid = uid_of(pod(world.kube, "db-n1"))
        seen.add(uid)
        wait_until(lambda uid=uid: uid_of(cache.get(POD, "db-n1", "default") or {"metadata": {"uid": ""}}) == uid)
        wait_until(lambda: "is not ready" in agent.perform("monitor", at).reason)
        now[0] += 9.9
        assert agent.perform("monitor", at).rc is Ocf.OK
        world.kube.delete(POD.path("db-n1", "default"), uid=uid, grace=0)
        wait_until(lambda: cache.get(POD, "db-n1", "default") is None)
    assert len(seen) == 2


def test_what_the_parameters_say_is_validated_without_a_cluster(context: Context, agent: PodAgent) -> None:
    def offline(**params: Any) -> ActionContext:
        return replace(context("db", "n1", **params), kube=None, cache=None)

    assert agent.perform("validate-all", offline(template=WITH_DISK)).rc is Ocf.OK
    assert agent.perform("validate-all", offline(template_from="deployment/db")).rc is Ocf.OK
    assert agent.perform("validate-all", offline(template={"containers": []})).rc is Ocf.ERR_CONFIGURED
    assert agent.perform("validate-all", offline()).rc is Ocf.ERR_CONFIGURED


def test_validation_names_what_does_not_exist(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    missing = agent.perform("validate-all", context("db", "n1", template=WITH_DISK))
    assert missing.rc is Ocf.ERR_CONFIGURED
    assert "PersistentVolumeClaim default/data, needed for a volume, does not exist" in missing.reason
    world.add_volume("data")
    assert agent.perform("validate-all", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK


def test_only_a_parked_pod_is_unparked(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    assert agent.perform("unpark", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    assert agent.perform("start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    running = uid_of(pod(world.kube, "db-n1"))
    parked = {"metadata": {"name": "web-n1", "annotations": {"hamgr.io/parked": "true"}}, "spec": PLAIN}
    theirs = world.kube.post(POD.collection("default"), parked)  # not of this resource
    for resource in ("db", "web"):
        assert agent.perform("unpark", context(resource, "n1", template=PLAIN)).rc is Ocf.OK
    assert uid_of(pod(world.kube, "db-n1")) == running
    assert uid_of(pod(world.kube, "web-n1")) == uid_of(theirs)
    assert not pod(world.kube, "web-n1")["metadata"].get("deletionTimestamp")


def test_a_parked_pod_is_made_anew_from_another_template(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    world.add_volume("data")
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    assert agent.perform("park", context("db", "n2", template=WITH_DISK)).rc is Ocf.OK
    first = uid_of(pod(world.kube, "db-n2"))
    assert agent.perform("park", context("db", "n2", template=WITH_DISK)).rc is Ocf.OK
    assert uid_of(pod(world.kube, "db-n2")) == first
    newer = WITH_DISK | {"terminationGracePeriodSeconds": 60}
    assert agent.perform("park", context("db", "n2", template=newer)).rc is Ocf.OK
    wait_until(lambda: gone(world.kube, "db-n2"))
    assert agent.perform("park", context("db", "n2", template=newer)).rc is Ocf.OK
    assert pod(world.kube, "db-n2")["spec"]["terminationGracePeriodSeconds"] == 60


def test_what_writes_to_nfs_as_well_is_not_parked(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    world.add_volume("data")
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    mounts = [{"name": "share", "mountPath": "/s"}]
    template = {
        "containers": [{"name": "main", "image": "i", "volumeMounts": mounts}],
        "volumes": [*WITH_DISK["volumes"], {"name": "share", "nfs": {"server": "s", "path": "/"}}],
    }
    refused = agent.perform("park", context("db", "n2", template=template))
    assert refused.rc is Ocf.ERR_GENERIC
    assert "it also writes to volume share" in refused.reason


def test_a_claim_for_one_pod_at_a_time_is_not_parked_for(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    world.add_volume("data", modes=("ReadWriteOncePod",))
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    refused = agent.perform("park", context("db", "n2", template=WITH_DISK))
    assert refused.rc is Ocf.ERR_GENERIC
    assert "claim data is ReadWriteOncePod" in refused.reason
    assert gone(world.kube, "db-n2")


def test_a_parked_pod_waits_and_takes_over(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    volume = world.add_volume("data")
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    assert agent.perform("park", context("db", "n2", template=WITH_DISK)).rc is Ocf.OK
    standby = pod(world.kube, "db-n2")
    assert is_parked(standby)
    wait_until(lambda: volume.unique_name in in_use(world.kube.get(NODE.path("n2"))))
    wait_until(lambda: agent.perform("monitor", context("db", "n2", template=WITH_DISK)).reason.endswith("volume"))
    assert agent.perform("monitor", context("db", "n2", template=WITH_DISK)).rc is Ocf.NOT_RUNNING
    assert agent.perform("stop", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    assert agent.perform("start", context("db", "n2", template=WITH_DISK)).rc is Ocf.OK
    active = pod(world.kube, "db-n2")
    assert uid_of(active) == uid_of(standby)
    assert "hamgr.io/parked" not in annotations_of(active)
    assert [(a.node, a.attached) for a in attachments(world.kube, volume)] == [("n2", True)]


def test_a_parked_pod_that_got_the_volume_counts_as_running(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    world.add_volume("data")
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    assert agent.perform("park", context("db", "n2", template=WITH_DISK)).rc is Ocf.OK
    world.kube.delete(POD.path("db-n1", "default"), uid=uid_of(pod(world.kube, "db-n1")), grace=30)
    wait_until(lambda: agent.perform("monitor", context("db", "n2", template=WITH_DISK)).rc is Ocf.OK)
    assert agent.perform("unpark", context("db", "n2", template=WITH_DISK)).rc is Ocf.ERR_GENERIC
    assert agent.perform("start", context("db", "n2", template=WITH_DISK)).rc is Ocf.OK
    assert not is_parked(pod(world.kube, "db-n2"))


def test_parked_pods_on_other_nodes_give_way(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    world.add_volume("data")
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    for node in ("n2", "n3"):
        assert agent.perform("park", context("db", node, template=WITH_DISK)).rc is Ocf.OK

    def unparked(node: str) -> bool:
        """Asked again, as the controller does: its kubelet may have written to the pod since it was read."""
        assert agent.perform("unpark", context("db", node, template=WITH_DISK)).rc is Ocf.OK
        return gone(world.kube, f"db-{node}")

    wait_until(lambda: unparked("n3"))
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    wait_until(lambda: gone(world.kube, "db-n2"))


def test_nothing_is_parked_that_would_simply_start(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    assert agent.perform("park", context("db", "n2", template=PLAIN)).rc is Ocf.ERR_GENERIC
    world.add_volume("data")
    refused = agent.perform("park", context("db", "n2", template=WITH_DISK))
    assert refused.rc is Ocf.ERR_GENERIC
    assert "so it would start at once" in refused.reason
    assert gone(world.kube, "db-n2")
    assert world.kube.list(VOLUME_ATTACHMENT.collection()).items == []


def test_a_parked_pod_of_an_older_template_is_not_adopted(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    world.add_volume("data")
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    assert agent.perform("park", context("db", "n2", template=WITH_DISK)).rc is Ocf.OK
    old = pod(world.kube, "db-n2")
    assert agent.perform("stop", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    newer = WITH_DISK | {"terminationGracePeriodSeconds": 60}
    world.script.waiting["db-n2"] = {"reason": "ContainerCreating"}
    with pytest.raises(ActionTimeout):
        agent.perform("start", context("db", "n2", timeout_s=2, template=newer))
    assert uid_of(pod(world.kube, "db-n2")) != uid_of(old)
    assert pod(world.kube, "db-n2")["spec"]["terminationGracePeriodSeconds"] == 60


def test_a_stop_survives_an_outage_of_the_api_server(
    world: ScriptedCluster, context: Context, agent: PodAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hamgr.kube.errors import Unavailable

    assert agent.perform("start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    answers = iter([Unavailable(0, "Refused", "the API server refuses connections")] * 2)
    original = Kube.get

    def flaky(self: Kube, path: str, **params: Any) -> Obj:
        if path.endswith("/pods/db-n1") and (error := next(answers, None)):
            raise error
        return original(self, path, **params)

    monkeypatch.setattr(Kube, "get", flaky)
    assert agent.perform("stop", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    assert next(answers, None) is None


def test_what_nothing_is_known_of_is_stopped_where_its_labels_are_found(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    world.kube.post("/api/v1/namespaces", {"metadata": {"name": "shop"}})
    assert agent.perform("start", context("db", "n1", template=PLAIN, namespace="shop")).rc is Ocf.OK
    assert agent.perform("stop", context("db", "n1")).rc is Ocf.OK
    assert find(world.kube, "db-n1", "shop") is None
    assert agent.perform("stop", context("db", "n1")).rc is Ocf.OK


def test_what_is_on_record_of_a_start_is_enough_to_stop_it(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    world.add_volume("data")
    ctx = context("db", "n1", template=WITH_DISK, namespace="default")
    assert agent.perform("start", ctx).rc is Ocf.OK
    ctx = replace(ctx, params=agent.to_record(ctx.params))
    world.script.silent.add("n1")
    world.kube.delete(POD.path("db-n1", "default"), uid=uid_of(pod(world.kube, "db-n1")), grace=0)
    with pytest.raises(ActionTimeout, match=r"status\.volumesInUse"):
        agent.perform("stop", replace(ctx, deadline=ctx.clock() + 1))


def parked_beside(world: ScriptedCluster, context: Context, agent: PodAgent) -> ActionContext:
    """The database on n1, a parked pod on n2; the stop that is meant to leave nothing."""
    world.add_volume("data")
    assert agent.perform("start", context("db", "n1", template=WITH_DISK)).rc is Ocf.OK
    assert agent.perform("park", context("db", "n2", template=WITH_DISK)).rc is Ocf.OK
    wait_until(lambda: pod(world.kube, "db-n2")["status"].get("phase") == "Pending")
    return replace(context("db", "n1", template=WITH_DISK), meta={"parked_may_stay": ""})


def test_a_stop_ends_the_parked_pod_before_it_lets_go_of_the_disk(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    stop = parked_beside(world, context, agent)
    ran: list[str] = []

    def look(_kind: object, _change: str, obj: Obj, _old: object) -> None:
        statuses = (obj.get("status") or {}).get("containerStatuses") or []
        if any("running" in entry["state"] for entry in statuses):
            ran.append(obj["metadata"]["name"])

    world.cache.subscribe(look)
    assert agent.perform("stop", stop).rc is Ocf.OK
    assert gone(world.kube, "db-n2")
    assert "db-n2" not in ran


def test_a_stop_leaves_the_parked_pod_that_is_to_take_over(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    stop = parked_beside(world, context, agent)
    assert agent.perform("stop", replace(stop, meta={"parked_may_stay": "db-n2 web-n3"})).rc is Ocf.OK
    assert not gone(world.kube, "db-n2")


def test_a_parked_pod_on_a_silent_node_is_removed_by_force_before_the_disk_is_released(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    stop = parked_beside(world, context, agent)
    world.script.dead.add("n2")
    world.script.stubborn.add("db-n1")
    with pytest.raises(ActionTimeout, match="db-n1 has been told to stop"):
        agent.perform("stop", replace(stop, deadline=stop.clock() + 6))
    assert gone(world.kube, "db-n2")


def test_a_volumes_stop_ends_the_parked_pod_as_well(world: ScriptedCluster, context: Context, agent: PodAgent) -> None:
    stop = parked_beside(world, context, agent)
    assert agent.perform("stop", replace(stop, meta={"parked_may_stay": "db-n2"})).rc is Ocf.OK
    disk = replace(context("disk", "n1", claim="data"), meta=stop.meta)
    assert VolumeAgent().perform("stop", disk).rc is Ocf.OK
    assert gone(world.kube, "db-n2")


def test_a_pod_that_its_kubelet_rejects_is_a_failure_of_this_node_at_once(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    world.script.rejecting["n1"] = ("OutOfcpu", "Node didn't have enough resource: cpu")
    result = agent.perform("start", context("db", "n1", template=PLAIN))
    told = "pod db-n1 was rejected by its kubelet (OutOfcpu): Node didn't have enough resource: cpu"
    assert (result.rc, result.reason, result.waiting) == (Ocf.ERR_GENERIC, told, False)
    refused = uid_of(pod(world.kube, "db-n1"))
    assert agent.perform("start", context("db", "n2", template=PLAIN)).rc is Ocf.OK
    assert agent.perform("stop", context("db", "n2", template=PLAIN)).rc is Ocf.OK
    assert agent.perform("stop", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    assert gone(world.kube, "db-n1")
    world.script.rejecting.clear()
    assert agent.perform("start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    assert uid_of(pod(world.kube, "db-n1")) != refused


def test_a_refusal_by_the_api_server_is_waited_for_and_an_invalid_template_is_not(
    world: ScriptedCluster, context: Context, agent: PodAgent, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(error: KubeError) -> None:
        def post(path: str, body: Obj, **_: Any) -> Obj:
            raise error

        monkeypatch.setattr(kube, "post", post)

    refuses(Forbidden(403, "Forbidden", "exceeded quota: small"))
    result = agent.perform("start", context("db", "n1", template=PLAIN))
    assert (result.waiting, result.reason) == (True, "pod db-n1 cannot be created: exceeded quota: small")
    assert agent.perform("may-start", context("db", "n1", template=PLAIN)).rc is Ocf.OK
    refuses(Invalid(422, "Invalid", "spec.containers[0].image: Required value"))
    result = agent.perform("start", context("db", "n1", template=PLAIN))
    assert (result.waiting, result.rc) == (False, Ocf.ERR_CONFIGURED)


def test_what_went_missing_after_the_pod_was_made_is_waited_for_without_it(
    world: ScriptedCluster, context: Context, agent: PodAgent
) -> None:
    env = {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "db-root", "key": "password"}}}
    template = {"containers": [{"name": "main", "image": "i", "env": [env]}]}
    made = world.kube.post(
        SECRET.collection("default"), {"metadata": {"name": "db-root"}, "data": {"password": "eA=="}}
    )
    world.script.waiting["db-n1"] = {"reason": "ContainerCreating"}
    with pytest.raises(ActionTimeout):
        agent.perform("start", context("db", "n1", timeout_s=0.5, template=template))
    world.kube.delete(SECRET.path("db-root", "default"), uid=uid_of(made), grace=0)
    world.script.waiting["db-n1"] = {"reason": "CreateContainerConfigError", "message": 'secret "db-root" not found'}
    world.nudge()
    wait_until(lambda: "Config" in str(pod(world.kube, "db-n1")["status"]))
    result = agent.perform("start", context("db", "n1", template=template))
    assert result.waiting
    assert "Secret default/db-root" in result.reason
    assert gone(world.kube, "db-n1")
