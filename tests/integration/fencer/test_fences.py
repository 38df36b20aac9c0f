"""Whole fences against an API server: what they do, in which order, what they prove, and what they leave alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from fixtures.fence_world import DRIVER, OTHER_IN_USE, SECOND_DISK, MemoryRecords, World
from fixtures.waiting import wait_until

from hamgr.fencer import (
    Confirmation,
    Fencer,
    FencerDeps,
    FenceRecord,
    FencingConfig,
    Level,
    LevelConfig,
    Outcome,
    Phase,
    Target,
    reason,
    runner,
    unfence,
    unfence_by_order,
)
from hamgr.fencer.records import Pattern
from hamgr.fencer.topology import Delay
from hamgr.kube.objects import LABEL_ROLE, NODE, POD, PVC, STATEFUL_SET, VOLUME_ATTACHMENT

LOST = reason("node-lost", node="n1")
N1 = Target("n1")
RunFence = Callable[..., FenceRecord]


@pytest.fixture
def records() -> MemoryRecords:
    return MemoryRecords()


@pytest.fixture
def make_fencer(world: World, records: MemoryRecords) -> Iterator[Callable[..., Fencer]]:
    made: list[Fencer] = []

    def maker(config: FencingConfig | None = None, **around: Any) -> Fencer:
        settings = {"records": records, "cluster": "t", "me": "n2", "devices": {}} | around
        made.append(Fencer(FencerDeps(kube=world.kube, config=config or FencingConfig(), **settings)))
        return made[-1]

    yield maker
    for fencer in made:
        fencer.close()


@pytest.fixture
def fence(make_fencer: Callable[..., Fencer], records: MemoryRecords) -> RunFence:
    """Fence n1 (by default) and wait for the end."""

    def run(*levels: LevelConfig | Level, target: Target = N1, **options: Any) -> FenceRecord:
        config = options.pop("config", None)
        confirmation = options.pop("confirmation", None)
        fencer = make_fencer(config, **options)
        chosen = [level if isinstance(level, LevelConfig) else LevelConfig(level, timeout_s=5.0) for level in levels]
        record = fencer.fence(target, LOST, "hamgrd n2", chosen or None, confirmation)
        wait_until(lambda: records.saved.get(record.id, record).outcome is not Outcome.PENDING)
        return records.saved[record.id]

    return run


def codes(record: FenceRecord) -> list[str]:
    return [tried.code for tried in record.tried]


def test_by_volume(world: World, fence: RunFence, records: MemoryRecords) -> None:
    uid = world.kube.get(POD.path("db-n1", "default"))["metadata"]["uid"]
    record = fence()
    assert record.outcome is Outcome.SUCCEEDED
    assert world.pods() == []
    assert world.attachments() == []
    assert world.attacher.detached == [("pv-1", "n1")]
    assert world.in_use() == [OTHER_IN_USE, world.volume.released_mark]
    (proof,) = record.proofs
    assert (proof.kind, proof.subject, proof.by, proof.token) == ("detached", "pv-1", "n2", 7)
    assert [step.phase for step in record.steps] == ["cut", "delete", "detach", "proved", "release", "done"]
    assert [pod.uid for pod in record.pods] == [uid]
    assert not world.get_node("n1")["spec"].get("taints")


def test_the_intent_with_all_uids_is_saved_before_the_first_effect(
    world: World, fence: RunFence, records: MemoryRecords
) -> None:
    seen: list[tuple[Phase, bool, list[str]]] = []
    fence(on_change=lambda record: seen.append((record.phase, bool(record.pods), world.pods())))
    before_deletion = [entry for entry in seen if entry[2] == ["db-n1"]]
    assert (Phase.CUT, True, ["db-n1"]) in before_deletion
    assert (Phase.DELETE, True, ["db-n1"]) in before_deletion


def test_clients_are_cut_off_before_the_pod_goes(world: World, fence: RunFence) -> None:
    labels: dict[Phase, Any] = {}

    def on_change(record: FenceRecord) -> None:
        if record.phase in (Phase.CUT, Phase.DELETE):
            labels[record.phase] = world.kube.get(POD.path("db-n1", "default"))["metadata"]["labels"].get(LABEL_ROLE)

    fence(on_change=on_change)
    assert labels == {Phase.CUT: "active", Phase.DELETE: None}


def test_the_volume_stays_in_use_until_the_detach_is_proved(
    world: World, make_fencer: Callable[..., Fencer], records: MemoryRecords
) -> None:
    world.attacher.allowed.clear()
    record = make_fencer().fence(Target("n1"), LOST, "x")
    wait_until(lambda: records.saved.get(record.id, record).phase is Phase.DETACH and world.pods() == [])
    wait_until(lambda: world.kube.list(VOLUME_ATTACHMENT.collection()).items[0]["metadata"].get("deletionTimestamp"))
    assert world.volume.unique_name in world.in_use()
    assert records.saved[record.id].proofs == ()
    world.attacher.allowed.set()
    wait_until(lambda: records.saved[record.id].outcome is Outcome.SUCCEEDED)
    assert world.in_use() == [OTHER_IN_USE, world.volume.released_mark]


def test_a_detach_that_never_ends_is_no_proof(world: World, fence: RunFence) -> None:
    world.attacher.allowed.clear()
    record = fence(LevelConfig(Level.VOLUME, timeout_s=0.5))
    assert record.outcome is Outcome.FAILED
    assert codes(record) == ["timeout"]
    assert record.proofs == ()
    assert world.volume.unique_name in world.in_use()
    finalizers = world.kube.list(VOLUME_ATTACHMENT.collection()).items[0]["metadata"]["finalizers"]
    assert finalizers  # never stripped by us


def test_a_node_that_starts_again_between_proof_and_deletion_keeps_its_pod(world: World, fence: RunFence) -> None:
    """Its kubelet has started the database again, and whoever starts another one beside it destroys the data."""
    world.set_node("n1", ready="Unknown")

    def start_again(record: FenceRecord) -> None:
        if record.phase is Phase.DELETE:
            world.set_node("n1", ready="True", boot="boot-2")

    record = fence(Level.MANUAL, confirmation=Confirmation("root", "off", 1.0), on_change=start_again)
    assert record.outcome is Outcome.FAILED
    assert codes(record) == ["node-restarted"]
    assert record.proofs == ()
    assert world.pods() == ["db-n1"]
    assert len(world.attachments()) == 1
    node = world.get_node("n1")
    assert not node["spec"].get("taints")
    assert "hamgr.io/out-of-service" not in (node["metadata"].get("annotations") or {})


def test_a_delay_is_on_record_and_comes_before_everything_else(fence: RunFence) -> None:
    seen: list[tuple[list[str], Phase, bool]] = []

    def look(record: FenceRecord) -> None:
        seen.append(([step.code for step in record.steps], record.phase, record.discovered))

    delay = Delay(base_s=0.05, random_s=0.05, priority_s=0.05)
    record = fence(LevelConfig(Level.VOLUME, delay=delay), on_change=look)
    assert (["waiting-delay"], Phase.INTENT, False) in seen
    (told,) = [step.data["seconds"] for step in record.steps if step.code == "waiting-delay"]
    assert 0.1 <= told <= 0.15


def test_a_volume_that_other_nodes_use_by_right_is_taken_from_the_fenced_one_alone(
    world: World, fence: RunFence
) -> None:
    """ReadWriteMany on a driver that attaches: the same disk has an attachment a node."""
    pv = "/api/v1/persistentvolumes/pv-1"
    world.kube.patch_merge(pv, {"spec": {"accessModes": ["ReadWriteMany"]}})
    world.set_node("n2", ready="True", in_use=(world.volume.unique_name,))
    world.pod("db-n2", node="n2")
    world.attach("n2")
    record = fence()
    assert record.outcome is Outcome.SUCCEEDED
    assert world.attacher.detached == [("pv-1", "n1")]
    assert world.attachments() == [world.volume.attachment_name("n2")]
    assert world.pods() == ["db-n2"]
    assert world.in_use("n2") == [world.volume.unique_name]
    assert world.in_use("n1") == [OTHER_IN_USE, world.volume.released_mark]


def test_what_a_fence_waits_for_is_on_record_while_it_waits(
    world: World, make_fencer: Callable[..., Fencer], records: MemoryRecords, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "LONG_WAIT_S", 0.05)
    world.attacher.allowed.clear()
    record = make_fencer().fence(Target("n1"), LOST, "hamgrd n2")

    def waits() -> list[str]:
        return [step.code for step in records.saved[record.id].steps if step.code]

    wait_until(lambda: record.id in records.saved and "waiting-detach" in waits())
    assert records.saved[record.id].outcome is Outcome.PENDING
    world.attacher.allowed.set()
    wait_until(lambda: records.saved[record.id].outcome is Outcome.SUCCEEDED)
    assert waits().count("waiting-detach") == 1  # however long it took


WITH_CLAIM = json.dumps([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}])
MISSING = json.dumps([{"name": "data", "persistentVolumeClaim": {"claimName": "missing"}}])
WITH_SHARE = json.dumps([{"name": "share", "nfs": {"server": "nas", "path": "/"}}])


def without_object(world: World, pattern: Pattern) -> Target:
    """Somebody has removed the pod of a dead node by force: nothing in the API tells any more what it writes to."""
    pod = world.kube.get(POD.path("db-n1", "default"))
    world.kube.delete(POD.path("db-n1", "default"), uid=pod["metadata"]["uid"], grace=0)
    return Target("n1", patterns=(pattern,))


def test_the_volumes_of_a_pod_that_somebody_removed_by_force_are_taken_from_the_node_as_well(
    world: World, fence: RunFence
) -> None:
    record = fence(target=without_object(world, Pattern("default", "db-n1", WITH_CLAIM)))
    assert record.outcome is Outcome.SUCCEEDED
    assert [(proof.kind, proof.subject) for proof in record.proofs] == [("detached", "pv-1")]
    assert world.attachments() == []
    assert FenceRecord.from_json(record.to_json()) == record


def test_so_are_those_that_a_workloads_template_names(world: World, fence: RunFence) -> None:
    world.disk(SECOND_DISK, "disk-db-0")
    world.attach(volume=SECOND_DISK)
    statefulset(world, "db")
    record = fence(target=without_object(world, Pattern("default", "db-n1", "[]", "statefulset/db")))
    assert [(proof.kind, proof.subject) for proof in record.proofs] == [("detached", "pv-2")]


@pytest.mark.parametrize(
    ("pattern", "code"),
    [
        (Pattern("default", "db-n1", WITH_CLAIM), "driver-not-listed"),
        (Pattern("default", "db-n1", WITH_SHARE), "volume-unprovable"),
        (Pattern("default", "db-n1", "[]", "deployment/gone"), "volume-unprovable"),
    ],
)
def test_a_volume_that_cannot_be_proved_free_stays_so_when_the_pods_object_is_removed(
    world: World, fence: RunFence, pattern: Pattern, code: str
) -> None:
    record = fence(target=without_object(world, pattern), config=FencingConfig(drivers=frozenset()))
    assert (record.outcome, codes(record)) == (Outcome.FAILED, [code])


def statefulset(world: World, name: str, **more: Any) -> None:
    spec = {
        "replicas": 0,
        "serviceName": "db",
        "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "disk"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
    }
    world.kube.post(STATEFUL_SET.collection("default"), {"metadata": {"name": name}, "spec": spec | more})


def test_the_claims_of_a_stateful_set_are_those_of_its_first_ordinal(world: World, fence: RunFence) -> None:
    world.disk(SECOND_DISK, "disk-late-5")
    world.attach(volume=SECOND_DISK)
    statefulset(world, "late", ordinals={"start": 5})
    record = fence(target=without_object(world, Pattern("default", "db-n1", "[]", "statefulset/late")))
    assert [(proof.kind, proof.subject) for proof in record.proofs] == [("detached", "pv-2")]


@pytest.mark.parametrize(
    "planned",
    [
        {"patterns": (Pattern("default", "db-n1", MISSING, planned=True),)},
        {"patterns": (Pattern("default", "db-n1", "[]", "deployment/gone", planned=True),)},
        {"claims": (("default", "missing"),), "planned": (("default", "missing"),)},
    ],
    ids=["a pod's claim", "a workload", "a volume's claim"],
)
def test_what_the_file_names_and_nothing_was_started_with_keeps_no_node_from_being_fenced(
    world: World, fence: RunFence, planned: dict[str, Any]
) -> None:
    target = Target("n1", **planned)
    record = fence(target=target)
    assert record.outcome is Outcome.SUCCEEDED
    assert [(proof.kind, proof.subject) for proof in record.proofs] == [("detached", "pv-1")]
    assert FenceRecord.from_json(record.to_json()) == record


@pytest.mark.parametrize(
    "started",
    [
        {"patterns": (Pattern("default", "db-n1", MISSING),)},  # whatever the pod of that name mounts by now
        {"claims": (("default", "missing"),), "planned": (("default", "other"),)},
        {
            "patterns": (Pattern("default", "db-n1", MISSING),),
            "claims": (("default", "missing"),),
            "planned": (("default", "missing"),),
        },
    ],
    ids=["a pod's claim", "a volume's claim", "started as a pod, planned as a volume"],
)
def test_a_claim_that_something_was_started_with_and_that_is_gone_leaves_its_disk_unproved(
    world: World, fence: RunFence, started: dict[str, Any]
) -> None:
    record = fence(target=Target("n1", **started))
    assert (record.outcome, codes(record)) == (Outcome.FAILED, ["volume-unprovable"])


def test_a_disk_that_a_planned_claim_had_before_somebody_deleted_it_is_taken_from_the_node(
    world: World, fence: RunFence
) -> None:
    world.disk(SECOND_DISK, "missing")
    world.attach(volume=SECOND_DISK)
    path = PVC.path("missing", "default")
    world.kube.patch_merge(path, {"metadata": {"finalizers": None}})
    world.kube.delete(path, uid=world.kube.get(path)["metadata"]["uid"], grace=0)
    record = fence(target=Target("n1", claims=(("default", "missing"),), planned=(("default", "missing"),)))
    assert {(proof.kind, proof.subject) for proof in record.proofs} == {("detached", "pv-1"), ("detached", "pv-2")}
    assert world.attachments() == []


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda world: set(), "driver-not-listed"),
        (
            lambda world: world.kube.patch_merge(
                f"/apis/storage.k8s.io/v1/csidrivers/{DRIVER}", {"spec": {"attachRequired": False}}
            ),
            "driver-does-not-attach",
        ),
        (lambda world: world.pod("other", labels={"app": "other"}), "foreign-pod"),
        (
            lambda world: world.pod("db2-n1", volumes=[{"name": "share", "nfs": {"server": "nas", "path": "/"}}]),
            "volume-unprovable",
        ),
    ],
)
def test_what_the_storages_word_would_not_prove_is_refused_before_any_effect(
    world: World, fence: RunFence, spoil: Callable[[World], Any], code: str
) -> None:
    drivers = frozenset({"x.example.com"}) if code == "driver-not-listed" else frozenset({DRIVER})
    if code == "driver-does-not-attach":
        replace_driver(world)
    else:
        spoil(world)
    record = fence(Level.VOLUME, config=FencingConfig(drivers=drivers))
    assert record.outcome is Outcome.FAILED
    assert codes(record) == [code]
    assert "db-n1" in world.pods()
    assert len(world.attachments()) == 1
    assert world.kube.get(POD.path("db-n1", "default"))["metadata"]["labels"][LABEL_ROLE] == "active"


def replace_driver(world: World) -> None:
    path = f"/apis/storage.k8s.io/v1/csidrivers/{DRIVER}"
    world.kube.delete(path, uid=world.kube.get(path)["metadata"]["uid"], grace=0)
    driver = {"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver", "metadata": {"name": DRIVER}}
    world.kube.post("/apis/storage.k8s.io/v1/csidrivers", driver | {"spec": {"attachRequired": False}})


def test_one_pod_of_several(world: World, fence: RunFence) -> None:
    world.pod("web-n1", volumes=[])
    record = fence(target=Target("n1", pods=(("default", "db-n1"),)))
    assert record.outcome is Outcome.SUCCEEDED
    assert world.pods() == ["web-n1"]


def test_another_pod_of_ours_with_the_same_volume_is_fenced_along(world: World, fence: RunFence) -> None:
    world.pod("backup-n1")
    record = fence(target=Target("n1", pods=(("default", "db-n1"),)))
    assert record.outcome is Outcome.SUCCEEDED
    assert world.pods() == []


def test_a_volume_whose_pod_object_is_gone_is_still_taken_away(world: World, fence: RunFence) -> None:
    pod = world.kube.get(POD.path("db-n1", "default"))
    world.kube.delete(POD.path("db-n1", "default"), uid=pod["metadata"]["uid"], grace=0)
    record = fence(target=Target("n1", claims=(("default", "data"),)))
    assert [proof.kind for proof in record.proofs] == ["detached"]
    assert world.attacher.detached == [("pv-1", "n1")]


def test_pods_of_others_and_of_other_nodes_are_left_alone(world: World, fence: RunFence) -> None:
    world.pod("stranger", labels={"app": "x"}, volumes=[])
    world.pod("db-n2", node="n2", volumes=[])
    assert fence().outcome is Outcome.SUCCEEDED
    assert sorted(world.pods()) == ["db-n2", "stranger"]


def test_a_pod_that_comes_back_under_its_name_is_noticed_and_fenced(
    world: World, make_fencer: Callable[..., Fencer], records: MemoryRecords
) -> None:
    world.attacher.allowed.clear()
    record = make_fencer().fence(Target("n1"), LOST, "x")
    wait_until(lambda: records.saved.get(record.id, record).phase is Phase.DETACH and world.pods() == [])
    world.pod()
    wait_until(lambda: len(records.saved[record.id].pods) == 2 and world.pods() == [])
    world.attacher.allowed.set()
    wait_until(lambda: records.saved[record.id].outcome is Outcome.SUCCEEDED)
    assert "pod-came-back" in [step.code for step in records.saved[record.id].steps]


def test_a_living_kubelet_is_left_to_report_the_unmount_itself(
    world: World, make_fencer: Callable[..., Fencer], records: MemoryRecords
) -> None:
    record = make_fencer().fence(Target("n1", alive=True), LOST, "x")
    wait_until(lambda: records.saved[record.id].phase is Phase.RELEASE)
    assert world.volume.unique_name in world.in_use()
    world.set_node("n1", ready="True", in_use=(OTHER_IN_USE,))
    wait_until(lambda: records.saved[record.id].outcome is Outcome.SUCCEEDED)


def test_a_lost_nodes_kubelet_is_left_to_report_the_unmount_for_as_long_as_it_lives(
    world: World, make_fencer: Callable[..., Fencer], records: MemoryRecords
) -> None:
    living = {"n1"}
    asked: list[float] = []

    def lives(node: str, within_s: float) -> bool:
        asked.append(within_s)
        return node in living

    record = make_fencer(kubelet_lives=lives).fence(N1, LOST, "x")
    wait_until(lambda: records.saved[record.id].phase is Phase.RELEASE)
    count = len(asked)
    wait_until(lambda: len(asked) > count + 3)
    assert world.volume.unique_name in world.in_use()
    assert asked == sorted(asked)  # always since the fence began
    living.clear()
    wait_until(lambda: records.saved[record.id].outcome is Outcome.SUCCEEDED)
    assert world.in_use() == [OTHER_IN_USE, world.volume.released_mark]


def test_a_node_is_back_only_after_its_kubelet_has_reported_what_it_has_mounted(world: World, fence: RunFence) -> None:
    """It may still have the dead mount, when nobody but the fence itself took the disk off its list."""
    record = fence()
    assert record.outcome is Outcome.SUCCEEDED
    why = unfence(world.kube, record)
    assert why is not None
    assert why.code == "not-reported"
    world.set_node("n1", ready="True", in_use=(OTHER_IN_USE, world.volume.unique_name))
    why = unfence(world.kube, record)
    assert why is not None
    assert why.code == "volume-still-used"
    world.set_node("n1", ready="True", in_use=(OTHER_IN_USE,))
    assert unfence(world.kube, record) is None


def test_a_hamgrds_proof_of_the_unmount_is_taken(world: World, fence: RunFence) -> None:
    record = fence(target=Target("n1", alive=True), unmounted=lambda node, pv: (node, pv) == ("n1", "pv-1"))
    assert record.outcome is Outcome.SUCCEEDED
    assert world.in_use() == [OTHER_IN_USE]


def test_manual_without_a_word_fails_and_with_one_goes_on(world: World, fence: RunFence) -> None:
    refused = fence(Level.MANUAL)
    assert codes(refused) == ["not-confirmed"]
    assert world.kube.get(POD.path("db-n1", "default"))["metadata"]["labels"][LABEL_ROLE] == "active"
    world.set_node("n1", ready="Unknown")
    record = fence(Level.MANUAL, confirmation=Confirmation("root", "pulled the plug", 1.0))
    assert record.outcome is Outcome.SUCCEEDED
    (proof,) = record.proofs
    assert (proof.kind, proof.observed) == ("confirmed", "root confirmed that n1 is off: pulled the plug")
    node = world.get_node("n1")
    assert [(t["key"], t["effect"]) for t in node["spec"]["taints"]] == [
        ("node.kubernetes.io/out-of-service", "NoSchedule")
    ]
    assert node["metadata"]["annotations"]["hamgr.io/out-of-service"] == record.id
    assert world.attachments() == []


def test_no_taint_on_a_node_that_counts_as_ready(world: World, fence: RunFence) -> None:
    record = fence(Level.MANUAL, confirmation=Confirmation("root", "off", 1.0))
    assert record.outcome is Outcome.SUCCEEDED
    assert "taint-not-needed" in [step.code for step in record.steps]
    assert not world.get_node("n1")["spec"].get("taints")
    assert world.in_use() == [OTHER_IN_USE]


def test_watchdog_waits_for_the_nodes_own_bound(world: World, fence: RunFence) -> None:
    config = FencingConfig(watchdog_margin_s=0.5)
    lost_for = iter([None, 0.0, 0.2, 1.4, *[1.6] * 100])
    target = Target("n1", self_fence_s=6.0, member_ttl_s=5.0)
    record = fence(Level.WATCHDOG, target=target, config=config, lost_for_s=lambda _node: next(lost_for))
    assert record.outcome is Outcome.SUCCEEDED
    assert [proof.kind for proof in record.proofs] == ["self-fenced"]
    assert next(lost_for) == 1.6
    unknown = fence(Level.WATCHDOG, lost_for_s=lambda _node: 1000.0)
    assert codes(unknown) == ["no-self-fence"]


def test_stop_of_a_pod_that_ends_cleanly(
    world: World, make_fencer: Callable[..., Fencer], records: MemoryRecords
) -> None:
    target = Target("n1", pods=(("default", "db-n1"),), alive=True)
    last: dict[str, Any] = {}  # what the watch cache keeps of a deleted pod
    fencer = make_fencer(last_seen=lambda name, _namespace: last.get(name))
    record = fencer.fence(target, LOST, "x", [LevelConfig(Level.STOP)])
    wait_until(lambda: world.kube.get(POD.path("db-n1", "default"))["metadata"].get("deletionGracePeriodSeconds") == 30)
    pod = world.kube.get(POD.path("db-n1", "default"))
    path = f"{POD.path('db-n1', 'default')}/status"
    last["db-n1"] = world.kube.patch_merge(path, {"status": {"phase": "Succeeded"}})
    world.kube.delete(POD.path("db-n1", "default"), uid=pod["metadata"]["uid"], grace=0)
    wait_until(lambda: records.saved[record.id].outcome is Outcome.SUCCEEDED)
    assert [proof.kind for proof in records.saved[record.id].proofs] == ["stopped"]


def test_stop_of_a_pod_that_was_removed_by_force_falls_to_the_next_level(
    world: World, make_fencer: Callable[..., Fencer], records: MemoryRecords
) -> None:
    target = Target("n1", pods=(("default", "db-n1"),))
    record = make_fencer().fence(target, LOST, "x", [LevelConfig(Level.STOP), LevelConfig(Level.VOLUME)])
    wait_until(lambda: records.saved[record.id].phase is Phase.STOP)
    pod = world.kube.get(POD.path("db-n1", "default"))
    world.kube.delete(POD.path("db-n1", "default"), uid=pod["metadata"]["uid"], grace=0)
    wait_until(lambda: records.saved[record.id].outcome is Outcome.SUCCEEDED)
    ended = records.saved[record.id]
    assert codes(ended) == ["stop-unproved"]
    assert [proof.kind for proof in ended.proofs] == ["detached"]


def test_a_second_request_for_the_same_joins_the_first(
    world: World, make_fencer: Callable[..., Fencer], records: MemoryRecords
) -> None:
    world.attacher.allowed.clear()
    fencer = make_fencer()
    first = fencer.fence(Target("n1"), LOST, "x")
    second = fencer.fence(Target("n1", pods=(("default", "db-n1"),)), LOST, "y")
    assert second.id == first.id
    assert [record.id for record in fencer.active()] == [first.id]
    world.attacher.allowed.set()
    wait_until(lambda: not fencer.active())
    assert records.saved[first.id].outcome is Outcome.SUCCEEDED


def test_events_tell_of_the_fence(world: World, fence: RunFence) -> None:
    fence()

    def told() -> set[tuple[str, str]]:
        events = world.kube.list("/api/v1/events").items
        return {(event["involvedObject"]["kind"], event["reason"]) for event in events}

    wait_until(lambda: {("Node", "Fencing"), ("Pod", "Fencing"), ("Node", "Fenced"), ("Pod", "Fenced")} <= told())


def test_plan_names_everything_and_changes_nothing(world: World, make_fencer: Callable[..., Fencer]) -> None:
    uid = world.kube.get(POD.path("db-n1", "default"))["metadata"]["uid"]
    plan = make_fencer().plan(Target("n1"), [LevelConfig(Level.VOLUME), LevelConfig(Level.MANUAL)])
    volume, manual = plan.levels
    assert volume.unfit is None
    assert f"delete pod default/db-n1 (UID {uid}) by force" in volume.steps
    assert any("VolumeAttachment csi-" in step for step in volume.steps)
    assert "operator's word" in manual.proves
    assert world.pods() == ["db-n1"]


def test_unfence_takes_only_our_taint_and_only_when_the_node_is_back(world: World, fence: RunFence) -> None:
    world.set_node("n1", ready="Unknown")
    record = fence(Level.MANUAL, confirmation=Confirmation("root", "off", 1.0))
    foreign = {"key": "example.com/theirs", "effect": "NoSchedule"}
    taints = world.get_node("n1")["spec"]["taints"]
    world.kube.patch_merge(NODE.path("n1"), {"spec": {"taints": [*taints, foreign]}})
    why = unfence(world.kube, record)
    assert why is not None
    assert why.code == "not-ready"
    world.set_node("n1", ready="True", boot="boot-1")
    same = unfence(world.kube, record)
    assert same is not None
    assert same.code == "same-boot"
    world.set_node("n1", ready="True", boot="boot-2")
    assert unfence(world.kube, record) is None
    assert unfence(world.kube, record) is None
    node = world.get_node("n1")
    assert [taint["key"] for taint in node["spec"]["taints"]] == ["example.com/theirs"]
    assert "hamgr.io/out-of-service" not in (node["metadata"].get("annotations") or {})


def test_an_operator_may_unfence_by_order(world: World, fence: RunFence) -> None:
    world.set_node("n1", ready="Unknown")
    fence(Level.MANUAL, confirmation=Confirmation("root", "off", 1.0))
    assert unfence_by_order(world.kube, "n1")
    assert not unfence_by_order(world.kube, "n1")


def test_an_ended_fence_is_not_resumed(make_fencer: Callable[..., Fencer], fence: RunFence) -> None:
    ended = fence()
    assert not make_fencer().resume(ended)
    assert make_fencer().resume(replace(ended, outcome=Outcome.PENDING))


def test_a_pod_of_somebody_elses_with_our_labels_matters_to_no_fence(fence, world):
    """Labels are free for all in their own namespaces: such a pod must not hold the database back, nor be deleted."""
    world.set_node("n1", ready="Unknown")
    world.kube.post("/api/v1/namespaces", {"metadata": {"name": "tenant"}})
    labels = {"hamgr.io/cluster": "t", "hamgr.io/resource": "db", "hamgr.io/role": "active"}
    for namespace, name, resource in (("tenant", "db-n1", "db"), ("default", "mine-n1", "mine")):
        volumes = [{"name": "share", "nfs": {"server": "10.0.0.1", "path": "/x"}}]  # which no detach proves gone
        spec = {"nodeName": "n1", "containers": [{"name": "c", "image": "i"}], "volumes": volumes}
        metadata = {"name": name, "labels": labels | {"hamgr.io/resource": resource}}
        world.kube.post(f"/api/v1/namespaces/{namespace}/pods", {"metadata": metadata, "spec": spec})
    record = fence(target=Target("n1", claims=(("default", "data"),), homes=(("default", "db"),)))
    assert record.outcome is Outcome.SUCCEEDED, record.tried
    assert [(pod.namespace, pod.name) for pod in record.pods] == [("default", "db-n1")]
    left = world.kube.list("/api/v1/pods").items
    assert sorted(pod["metadata"]["name"] for pod in left) == ["db-n1", "mine-n1"]
