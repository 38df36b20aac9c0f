"""What a fence steps over after the proof that the node is off is done later, for as long as the node is away."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from fixtures.fence_world import OTHER_IN_USE, MemoryRecords, World
from fixtures.waiting import wait_until

from hamgr.fencer import (
    Confirmation,
    FencerDeps,
    FenceRecord,
    FencingConfig,
    Level,
    LevelConfig,
    Outcome,
    Phase,
    Target,
    machine,
    reason,
)
from hamgr.fencer.leftovers import go_on, may_be_left
from hamgr.fencer.records import NotOurs, new_record
from hamgr.fencer.runner import Run
from hamgr.kube.errors import KubeError
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import POD, VOLUME_ATTACHMENT

LOST = reason("node-lost", node="n1")
WORD = Confirmation("root@n2", "I pulled the plug", 1.0)


@pytest.fixture(autouse=True)
def _crashed(world: World) -> None:
    world.attacher.allowed.clear()
    world.set_node("n1", ready="Unknown")


def fenced(kube: Kube) -> FenceRecord:
    record = new_record(Target("n1"), LOST, "hamgrd n2", (LevelConfig(Level.MANUAL),), confirmation=WORD)
    with pytest.MonkeyPatch.context() as impatient:
        impatient.setattr(machine, "RELEASE_PATIENCE_S", 0.0)
        return Run(FencerDeps(kube, MemoryRecords(), FencingConfig(), "t", "n2", {}), record).to_the_end()


class Refusing(Kube):
    """An API server that refuses some requests, as one does without the rights for them."""

    def __init__(self, kube: Kube, refused: Callable[[str, str], bool]) -> None:
        self.__dict__ = kube.__dict__.copy()
        self._refused = refused

    def delete(self, path: str, **options: object) -> object:  # type: ignore[override]
        self._judge("delete", path)
        return super().delete(path, **options)  # type: ignore[arg-type]

    def patch_json(self, path: str, *rest: object, **options: object) -> object:  # type: ignore[override]
        self._judge("patch", path)
        return super().patch_json(path, *rest, **options)  # type: ignore[arg-type]

    def _judge(self, verb: str, path: str) -> None:
        if self._refused(verb, path):
            raise KubeError(403, "Forbidden", f"hamgr may not {verb} {path.rpartition('/')[0]}")


def test_a_detach_that_hangs_is_named_until_it_is_done(world: World) -> None:
    record = fenced(world.kube)
    assert record.outcome is Outcome.SUCCEEDED
    assert may_be_left(record)
    left = go_on(world.kube, record, "t", lambda: True)
    assert str(left) == "the CSI driver has not confirmed the detach of pv-1 from n1"
    world.attacher.allowed.set()
    wait_until(lambda: world.attachments() == [])
    assert go_on(world.kube, record, "t", lambda: True) is None
    assert world.in_use() == [OTHER_IN_USE]


def test_what_the_api_server_refused_is_done_when_it_does_not_any_more(world: World) -> None:
    def attachments_and_nodes(verb: str, path: str) -> bool:
        del verb
        return "volumeattachments" in path or "/nodes/" in path

    record = fenced(Refusing(world.kube, attachments_and_nodes))
    assert record.outcome is Outcome.SUCCEEDED
    assert may_be_left(record)
    assert world.pods() == []
    assert len(world.attachments()) == 1
    assert world.volume.unique_name in world.in_use()
    world.attacher.allowed.set()
    go_on(world.kube, record, "t", lambda: True)
    wait_until(lambda: world.attachments() == [])
    assert go_on(world.kube, record, "t", lambda: True) is None
    assert world.in_use() == [OTHER_IN_USE]


def test_only_who_leads_does_it(world: World) -> None:
    record = fenced(Refusing(world.kube, lambda _verb, path: "volumeattachments" in path))
    with pytest.raises(NotOurs):
        go_on(world.kube, record, "t", lambda: False)
    (left,) = world.kube.list(VOLUME_ATTACHMENT.collection()).items
    assert "deletionTimestamp" not in left["metadata"]


def test_of_a_node_that_has_started_anew_nothing_is_taken(world: World) -> None:
    """The attachment may have been adopted: the same object, and a disk that is mounted there again."""
    record = fenced(Refusing(world.kube, lambda _verb, path: "volumeattachments" in path))
    world.set_node("n1", ready="True", boot="boot-2", in_use=(world.volume.unique_name,))
    assert go_on(world.kube, record, "t", lambda: True) is None
    (left,) = world.kube.list(VOLUME_ATTACHMENT.collection()).items
    assert "deletionTimestamp" not in left["metadata"]
    assert world.in_use() == [world.volume.unique_name]


def test_a_pod_that_a_finalizer_holds_is_named(world: World) -> None:
    body = {"metadata": {"finalizers": ["example.com/backup"]}}
    world.kube.patch_merge(POD.path("db-n1", "default"), body)
    record = fenced(world.kube)
    assert may_be_left(record)
    left = go_on(world.kube, record, "t", lambda: True)
    assert str(left) == "pod default/db-n1 is still there, held by finalizer example.com/backup"
    assert len(world.attachments()) == 1  # the controller would make it anew as long as the pod is there


def test_a_fence_that_has_stepped_over_nothing_or_proved_no_node_off_leaves_nothing(world: World) -> None:
    record = fenced(world.kube)
    clean = replace(record, steps=tuple(step for step in record.steps if step.code != "release-late"))
    by_volume = replace(record, levels=(LevelConfig(Level.VOLUME),))
    of_a_pod = replace(record, target=Target("n1", pods=(("default", "db-n1"),)))
    pending = replace(record, outcome=Outcome.PENDING, phase=Phase.RELEASE)
    assert [may_be_left(each) for each in (record, clean, by_volume, of_a_pod, pending)] == [True, *[False] * 4]
