"""The attach-detach decision, by values."""

from __future__ import annotations

import pytest
from hamgr_sandbox.controllers.attachments import (
    Attach,
    Attached,
    Detach,
    NodeHealth,
    RefuseMultiAttach,
    StartWaiting,
    StopWaiting,
    Volume,
    Wanted,
    csi_volume,
    desired,
    reconcile,
)

VOLUME = Volume("pv1", "disk.testbed", "vol1")
NAME = VOLUME.unique_name
N1, N2 = (NAME, "n1"), (NAME, "n2")
READY, LOST = NodeHealth(ready=True), NodeHealth(ready=False)
ALL_READY = {"n1": READY, "n2": READY}
P1, P2 = ("default", "p1"), ("default", "p2")
ON_N1, ON_N2 = Wanted(VOLUME, "n1", (P1,)), Wanted(VOLUME, "n2", (P2,))


def test_names_are_those_of_kubernetes() -> None:
    # As recorded on a real cluster for volume vol1 of driver disk.testbed.
    assert NAME == "kubernetes.io/csi/disk.testbed^vol1"
    assert VOLUME.attachment_name("n1") == "csi-36c4b93499ff2331174837470455f3ceaad8974d8f36aab49c2253bfe7bdb48d"


def test_attaches_what_is_wanted() -> None:
    assert reconcile({N1: ON_N1}, {}, ALL_READY, 0.0).operations == (Attach(ON_N1),)


def test_leaves_what_is_attached_and_wanted() -> None:
    assert reconcile({N1: ON_N1}, {N1: Attached(VOLUME, "n1")}, ALL_READY, 0.0).operations == ()


def test_attaches_again_what_is_uncertain() -> None:
    uncertain = Attached(VOLUME, "n1", confirmed=False)
    assert reconcile({N1: ON_N1}, {N1: uncertain}, ALL_READY, 0.0).operations == (Attach(ON_N1),)


def test_detaches_what_nobody_wants_and_the_node_does_not_use() -> None:
    idle = Attached(VOLUME, "n1", in_use=False, unwanted_since=0.0)
    assert reconcile({}, {N1: idle}, ALL_READY, 1.0).operations == (Detach(idle, verify=True),)


def test_waits_while_the_node_uses_it_however_long_the_node_is_ready() -> None:
    used = Attached(VOLUME, "n1", unwanted_since=0.0)
    assert reconcile({}, {N1: used}, ALL_READY, 100_000.0).operations == ()


def test_forces_a_silent_node_after_six_minutes_and_says_when() -> None:
    used = Attached(VOLUME, "n1", unwanted_since=10.0)
    early = reconcile({}, {N1: used}, {"n1": LOST}, 369.9)
    assert early.operations == ()
    assert early.look_again_at == 370.0
    assert reconcile({}, {N1: used}, {"n1": LOST}, 370.0).operations == (Detach(used, verify=False),)


def test_a_node_without_an_object_is_waited_for_like_a_silent_one() -> None:
    used = Attached(VOLUME, "n1", unwanted_since=0.0)
    assert reconcile({}, {N1: used}, {}, 359.0).operations == ()
    assert reconcile({}, {N1: used}, {}, 360.0).operations == (Detach(used, verify=False),)


@pytest.mark.parametrize("ready", [True, False])
def test_out_of_service_taint_needs_no_waiting_even_on_a_ready_node(ready: bool) -> None:
    used = Attached(VOLUME, "n1", unwanted_since=0.0)
    health = {"n1": NodeHealth(ready, out_of_service=True)}
    assert reconcile({}, {N1: used}, health, 0.1).operations == (Detach(used, verify=False),)


def test_the_clock_starts_when_the_last_pod_goes_and_stops_when_one_comes() -> None:
    used = Attached(VOLUME, "n1")
    assert reconcile({}, {N1: used}, ALL_READY, 5.0).operations == (StartWaiting(N1),)
    waiting = Attached(VOLUME, "n1", unwanted_since=5.0)
    assert reconcile({N1: ON_N1}, {N1: waiting}, ALL_READY, 6.0).operations == (StopWaiting(N1),)


def test_refuses_a_second_node_once_and_names_the_holder() -> None:
    actual = {N1: Attached(VOLUME, "n1")}
    wanted = {N1: ON_N1, N2: ON_N2}
    (refusal,) = reconcile(wanted, actual, ALL_READY, 0.0).operations
    assert refusal == RefuseMultiAttach(
        ON_N2, ((P2, 'Multi-Attach error for volume "pv1" Volume is already used by pod(s) p1'),)
    )
    assert reconcile(wanted, actual, ALL_READY, 0.0, refused=[N2]).operations == ()


def test_a_holder_without_a_pod_is_not_named() -> None:
    (_, refusal) = reconcile({N2: ON_N2}, {N1: Attached(VOLUME, "n1")}, ALL_READY, 0.0).operations
    assert isinstance(refusal, RefuseMultiAttach)
    assert refusal.messages[0][1].endswith("already exclusively attached to one node and can't be attached to another")


def test_pods_of_other_namespaces_are_only_counted() -> None:
    holders = Wanted(VOLUME, "n1", (("default", "a"), ("other", "b"), ("other", "c")))
    stranger = Wanted(VOLUME, "n2", (("third", "x"), P2))
    (refusal,) = reconcile({N1: holders, N2: stranger}, {N1: Attached(VOLUME, "n1")}, ALL_READY, 0.0).operations
    assert isinstance(refusal, RefuseMultiAttach)
    texts = [text.partition("already ")[2] for _, text in refusal.messages]
    assert texts == [
        "used by 3 pod(s) in different namespaces",
        "used by pod(s) a and 2 pod(s) in different namespaces",
    ]


def test_does_not_attach_elsewhere_in_the_pass_that_detaches() -> None:
    idle = Attached(VOLUME, "n1", confirmed=False, in_use=False, unwanted_since=0.0)
    assert reconcile({N2: ON_N2}, {N1: idle}, ALL_READY, 1.0).operations == (Detach(idle, verify=True),)
    assert reconcile({N2: ON_N2}, {N1: idle}, ALL_READY, 1.0, busy=[N1]).operations == ()


def test_attaches_to_one_of_two_nodes_only() -> None:
    assert reconcile({N1: ON_N1, N2: ON_N2}, {}, ALL_READY, 0.0).operations == (Attach(ON_N1),)


def test_a_shared_volume_goes_to_every_node() -> None:
    shared = Volume("pv1", "disk.testbed", "vol1", shared=True)
    first, second = Wanted(shared, "n1", (P1,)), Wanted(shared, "n2", (P2,))
    plan = reconcile({N1: first, N2: second}, {N1: Attached(shared, "n1")}, ALL_READY, 0.0)
    assert plan.operations == (Attach(second),)


def pod(name: str, node: str, **status: object) -> dict[str, object]:
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]
    spec = {"volumes": volumes} | ({"nodeName": node} if node else {})
    return {"metadata": {"namespace": "default", "name": name}, "spec": spec, "status": status}


CLAIMS = {("default", "data"): {"spec": {"volumeName": "pv1"}, "status": {"phase": "Bound"}}}
VOLUMES = {
    ("", "pv1"): {
        "metadata": {"name": "pv1"},
        "spec": {"accessModes": ["ReadWriteOnce"], "csi": {"driver": "disk.testbed", "volumeHandle": "vol1"}},
    }
}


def test_scheduled_pods_want_their_volumes() -> None:
    pods = [pod("p1", "n1"), pod("p0", "n1"), pod("homeless", "")]
    assert desired(pods, CLAIMS, VOLUMES, set()) == {N1: Wanted(VOLUME, "n1", (P1, ("default", "p0")))}


def test_a_terminating_pod_wants_its_volume_until_its_containers_have_stopped() -> None:
    stopping = pod("p1", "n1", containerStatuses=[{"state": {"running": {}}}])
    stopping["metadata"] |= {"deletionTimestamp": "now"}  # type: ignore[operator]
    assert desired([stopping], CLAIMS, VOLUMES, set()).keys() == {N1}
    stopping["status"] = {"containerStatuses": [{"state": {"terminated": {"exitCode": 0}}}]}
    assert desired([stopping], CLAIMS, VOLUMES, set()) == {}


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_finished_pods_want_nothing(phase: str) -> None:
    assert desired([pod("p1", "n1", phase=phase)], CLAIMS, VOLUMES, set()) == {}


def test_unbound_claims_and_drivers_without_attachment_want_nothing() -> None:
    assert desired([pod("p1", "n1")], {}, VOLUMES, set()) == {}
    assert desired([pod("p1", "n1")], CLAIMS, VOLUMES, {"disk.testbed"}) == {}


@pytest.mark.parametrize(
    ("modes", "shared"),
    [(["ReadWriteOnce"], False), (["ReadWriteOncePod"], False), (["ReadWriteOnce", "ReadOnlyMany"], True), ([], True)],
)
def test_access_modes_say_whether_nodes_may_share(modes: list[str], shared: bool) -> None:
    volume = csi_volume(
        {"metadata": {"name": "pv1"}, "spec": {"accessModes": modes, "csi": VOLUMES["", "pv1"]["spec"]["csi"]}}
    )  # type: ignore[index]
    assert volume is not None
    assert volume.shared is shared
