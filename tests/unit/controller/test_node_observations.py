"""What is seen of nodes, with values."""

from __future__ import annotations

from types import MappingProxyType, SimpleNamespace
from typing import Any

from hamgr.controller.nodes.observations import NodeObservations
from hamgr.kube.kubelets import Contact
from hamgr.kube.nodes import LeaseAges
from hamgr.kube.objects import LEASE
from hamgr.store.values import Change, Entry, Snapshot

NOBODY = Snapshot("members/", 1, MappingProxyType({}))


def test_a_daemon_that_said_goodbye_before_we_led_has_left() -> None:
    goodbyes = Snapshot("goodbyes/", 1, MappingProxyType({"goodbyes/n1": Entry({"node": "n1"}, 1, 1)}))
    observations = NodeObservations(NOBODY, None, None, goodbyes=goodbyes)
    assert observations.of("n1").left
    assert not observations.of("n2").left


def test_who_joins_again_has_not_left() -> None:
    goodbyes = Snapshot("goodbyes/", 1, MappingProxyType({"goodbyes/n1": Entry({"node": "n1"}, 1, 1)}))
    observations = NodeObservations(NOBODY, None, None, goodbyes=goodbyes)
    observations.note([Change("members/n1", Entry({"node": "n1", "boot_id": "b"}, 2, 2))])
    assert (observations.of("n1").member, observations.of("n1").left) == (True, False)


def test_kubelets_are_dialed_only_where_no_hamgrd_runs_and_the_lease_is_late() -> None:
    asked: list[str] = []
    now = [100.0]
    ages = LeaseAges(clock=lambda: now[0])
    for name in ("n1", "n2"):
        lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": "a"}}
        ages.observe(LEASE, "ADDED", lease, None)
    member = Snapshot("members/", 1, MappingProxyType({"members/n1": Entry({"node": "n1", "boot_id": "b"}, 1, 1)}))
    cache: Any = SimpleNamespace(get=lambda _kind, name: {"metadata": {"name": name}})
    kubelets: Any = SimpleNamespace(
        look=lambda node: asked.append(node["metadata"]["name"]) or Contact(False, 4.0), get_to_know=lambda _node: None
    )
    observations = NodeObservations(member, cache, ages, lambda: now[0], kubelets=kubelets)
    assert observations.of("n2").silent_s is None
    now[0] += 11.0
    assert observations.of("n1").silent_s is None
    assert observations.of("n2").silent_s == 4.0
    assert asked == ["n2"]


def test_what_an_instance_answers_counts_from_when_the_lease_was_late() -> None:
    now = [100.0]
    ages = LeaseAges(clock=lambda: now[0])
    lease = {"metadata": {"name": "n1", "namespace": "kube-node-lease"}, "spec": {"renewTime": "a"}}
    ages.observe(LEASE, "ADDED", lease, None)
    observations = NodeObservations(NOBODY, None, ages, lambda: now[0])
    now[0] += 10.0
    assert observations.late_s("n1") is None
    assert not observations.of("n1", heard_s=0.1).heard
    now[0] += 2.5
    assert observations.late_s("n1") == 2.0
    assert observations.of("n1", heard_s=1.9).heard
    assert not observations.of("n1", heard_s=2.1).heard  # it was asked before
    assert not observations.of("n1").heard
    now[0] += 10.0
    assert observations.of("n1", heard_s=4.9).heard
    assert not observations.of("n1", heard_s=5.1).heard  # and then no more
    observations.note([Change("members/n1", Entry({"node": "n1", "boot_id": "b"}, 2, 2))])
    assert observations.late_s("n1") is None


def test_a_kubelet_lives_when_it_answers_or_has_renewed_its_lease_lately() -> None:
    now = [100.0]
    contacts = {"n1": Contact(True), "n2": Contact(False, 4.0)}
    seen = {"for_s": 60.0}
    cache: Any = SimpleNamespace(
        get=lambda _kind, name: {"metadata": {"name": name}}, seen_for_s=lambda _kind: seen["for_s"]
    )
    kubelets: Any = SimpleNamespace(look=lambda node: contacts.get(node["metadata"]["name"]))
    ages = LeaseAges(clock=lambda: now[0])
    for name in ("n1", "n2", "n3"):
        lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": "a"}}
        ages.observe(LEASE, "ADDED", lease, None)
    observations = NodeObservations(NOBODY, cache, ages, lambda: now[0], kubelets=kubelets)
    now[0] += 6.0
    assert observations.kubelet_lives("n1", 1.0)
    assert not observations.kubelet_lives("n2", 1.0)
    assert not observations.kubelet_lives("n3", 1.0)  # not known yet
    assert observations.kubelet_lives("n2", 7.0)
    seen["for_s"] = 6.0  # when it was renewed is not known: it was not seen
    assert not observations.kubelet_lives("n2", 7.0)
    assert not observations.kubelet_lives("n4", 7.0)  # without a Lease
    now[0] += 5.0
    assert not observations.kubelet_lives("n1", 60.0)  # it does not get through to the API server: it reports nothing
