"""A new leader makes void what a past one may still send, before it decides or changes anything."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from fixtures.fence_world import World, api_server, world
from fixtures.waiting import wait_until
from hamgr_agents.pod_template import render, simple_template

from hamgr.controller.stamping import Stamped, Stamping
from hamgr.kube.cache import Cache
from hamgr.kube.errors import Barred, Conflict, KubeError, Unavailable
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import ANNOTATION_LEADER, POD, VOLUME_ATTACHMENT, Obj, annotations_of, name_of, revision_of
from hamgr.kube.pods import bind, delete_gracefully, find
from hamgr.kube.services import activate, deactivate
from hamgr.kube.volumes import attachment_of, delete_attachment

__all__ = ["api_server", "world"]


@pytest.fixture
def cache(world: World) -> Iterator[Cache]:
    opened = Cache(world.kube, probe_s=0.2)
    opened.start()
    assert opened.wait_synced(10)
    yield opened
    opened.stop()


class Takeovers:
    """Leaders, one after another, each with a token of its own."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._token = 100

    def next(self, kube: Kube, *claims: tuple[str, str]) -> Stamped:
        done, told = threading.Event(), list[Stamped]()

        def on_done(stamped: Stamped) -> None:
            told.append(stamped)
            done.set()

        self._token += 1
        stamping = Stamping(kube, self._cache, "t", on_done)
        assert stamping.why_closed()
        stamping.begin(claims, self._token)
        assert done.wait(10)
        assert not stamping.why_closed()
        return told[0]


@pytest.fixture
def takeovers(cache: Cache) -> Takeovers:
    return Takeovers(cache)


def pod(world: World) -> Obj:
    return world.kube.get(POD.path("db-n1", "default"))


def attachment(world: World) -> Obj:
    return world.kube.get(VOLUME_ATTACHMENT.path(world.volume.attachment_name("n1")))


LATE: dict[str, Callable[[World, Obj, Obj], object]] = {
    "graceful deletion": lambda world, old, _: delete_gracefully(world.kube, old),
    "forced deletion": lambda world, old, _: world.kube.delete(
        POD.path("db-n1", "default"), uid=old["metadata"]["uid"], resource_version=revision_of(old), grace=0
    ),
    "clients": lambda world, old, _: activate(world.kube, "db-n1", "default", old["metadata"]["uid"], revision_of(old)),
    "no clients": lambda world, old, _: deactivate(
        world.kube, "db-n1", "default", old["metadata"]["uid"], revision_of(old)
    ),
    "detach": lambda world, _, va: delete_attachment(
        world.kube, name_of(va), va["metadata"]["uid"], attachment_of(va).revision
    ),
}


@pytest.mark.parametrize("request_of_old", LATE)
def test_what_a_frozen_leader_still_sends_changes_nothing(
    world: World, takeovers: Takeovers, request_of_old: str
) -> None:
    old_pod, old_attachment = pod(world), attachment(world)
    stamped = takeovers.next(world.kube)
    assert (stamped.objects, stamped.refused) == (2, ())
    now = pod(world), attachment(world)
    with pytest.raises(Conflict):
        LATE[request_of_old](world, old_pod, old_attachment)
    assert (pod(world), attachment(world)) == now
    LATE[request_of_old](world, *now)


def test_a_pod_that_was_never_bound_goes_and_its_late_binding_is_void(world: World, takeovers: Takeovers) -> None:
    wanted = render(simple_template("i", None, "", ""), cluster="t", resource="x", node="n2", namespace="default")
    made = world.kube.post(POD.collection("default"), wanted)
    takeovers.next(world.kube)
    assert find(world.kube, name_of(made), "default") is None
    with pytest.raises(KubeError):
        bind(world.kube, made, "n2")


def test_what_is_not_ours_is_left_alone(world: World, takeovers: Takeovers) -> None:
    spec = {"containers": [{"name": "c", "image": "i"}], "schedulerName": "hamgr"}
    foreign = world.kube.post(POD.collection("default"), {"metadata": {"name": "foreign"}, "spec": spec})
    takeovers.next(world.kube)
    assert world.kube.get(POD.path("foreign", "default")) == foreign


def test_an_attachment_without_a_pod_is_known_by_the_file_or_by_an_earlier_stamp(
    world: World, takeovers: Takeovers
) -> None:
    old = pod(world)
    world.kube.delete(POD.path("db-n1", "default"), uid=old["metadata"]["uid"], grace=0)
    assert takeovers.next(world.kube).objects == 0
    assert takeovers.next(world.kube, ("default", "data")).objects == 1
    assert takeovers.next(world.kube).objects == 1
    assert annotations_of(attachment(world))[ANNOTATION_LEADER] == "103"


def test_it_goes_on_until_the_api_server_answers(world: World, takeovers: Takeovers) -> None:
    refusals = [Unavailable(503, "x", "not now"), Barred("not sure that we lead")]

    def gate(_asked: str, wanted_s: float) -> float:
        if refusals:
            raise refusals.pop()
        return wanted_s

    assert takeovers.next(world.kube.behind(gate)).objects == 2
    assert ANNOTATION_LEADER in annotations_of(pod(world))


def test_what_kubernetes_does_not_let_us_stamp_is_told_and_holds_up_nothing(world: World, takeovers: Takeovers) -> None:
    def gate(asked: str, wanted_s: float) -> float:
        if "volumeattachments" in asked:
            raise KubeError(403, "Forbidden", "no right to patch volumeattachments")
        return wanted_s

    stamped = takeovers.next(world.kube.behind(gate))
    assert len(stamped.refused) == 1
    assert "no right to patch" in stamped.refused[0]
    wait_until(lambda: ANNOTATION_LEADER in annotations_of(pod(world)))
