"""Who is a member: the judgement, with values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hamgr.controller.nodes.membership import TEXTS, Limits, MembershipState, NodeView, judge, judge_all

ALIVE = NodeView(ready=True, lease_age_s=3.0)
SILENT = NodeView(ready=True, lease_age_s=30.0)
GOODBYE = NodeView(left=True, ready=True, lease_age_s=3.0)
LIMITS = Limits(lease_age_s=25.0)


@pytest.mark.parametrize(
    "before", [membership for membership in MembershipState if membership is not MembershipState.FENCED]
)
def test_a_member_lease_makes_a_member(before: MembershipState) -> None:
    assert judge(before, NodeView(member=True), LIMITS) is MembershipState.MEMBER


def test_a_member_whose_lease_is_gone_is_lost_even_when_kubernetes_still_calls_the_node_ready() -> None:
    assert judge(MembershipState.MEMBER, ALIVE, LIMITS) is MembershipState.LOST


def test_a_missing_lease_means_nothing_while_our_own_view_of_etcd_is_not_settled() -> None:
    assert judge(MembershipState.MEMBER, ALIVE, Limits(settled=False)) is MembershipState.MEMBER


def test_a_hamgrd_that_was_stopped_cleanly_leaves_its_node_to_the_kubelets_lease() -> None:
    assert judge(MembershipState.MEMBER, GOODBYE, LIMITS) is MembershipState.KUBELET


def test_a_goodbye_from_a_node_whose_kubelet_is_silent_is_a_loss() -> None:
    assert (
        judge(MembershipState.MEMBER, NodeView(left=True, ready=True, lease_age_s=60.0), LIMITS) is MembershipState.LOST
    )


@pytest.mark.parametrize(
    "view", [SILENT, NodeView(ready=False, lease_age_s=3.0), NodeView(ready=True, lease_age_s=None)]
)
def test_a_node_without_hamgrd_is_lost_when_its_kubelet_falls_silent_or_is_not_ready(view: NodeView) -> None:
    assert judge(MembershipState.KUBELET, view, LIMITS) is MembershipState.LOST


def test_a_node_of_which_nothing_at_all_is_known_is_not_declared_lost() -> None:
    assert judge(MembershipState.KUBELET, NodeView(), LIMITS) is MembershipState.KUBELET


def test_a_node_never_seen_alive_stays_unseen() -> None:
    assert judge(MembershipState.UNSEEN, SILENT, LIMITS) is MembershipState.UNSEEN
    assert judge(MembershipState.UNSEEN, ALIVE, LIMITS) is MembershipState.KUBELET


def test_a_lost_node_comes_back_as_a_member_or_when_its_kubelet_was_heard_of_since() -> None:
    """That of a node which has just crashed looks well, too, for some seconds."""
    assert judge(MembershipState.LOST, ALIVE, LIMITS) is MembershipState.LOST
    assert judge(MembershipState.LOST, replace(ALIVE, renewed=True), LIMITS) is MembershipState.KUBELET
    assert judge(MembershipState.LOST, replace(ALIVE, renewed=True, ready=False), LIMITS) is MembershipState.LOST


@pytest.mark.parametrize(
    ("view", "seen_for_s", "membership"),
    [
        (SILENT, 24.0, MembershipState.KUBELET),  # when the API server is back after an outage, all Leases are old
        (SILENT, 25.0, MembershipState.LOST),
        (NodeView(ready=True, lease_age_s=30.0, silent_s=9.0), 11.0, MembershipState.KUBELET),
        (NodeView(ready=True, lease_age_s=30.0, silent_s=9.0), 12.0, MembershipState.LOST),
        (NodeView(ready=False, lease_age_s=30.0), 1.0, MembershipState.LOST),  # Kubernetes' own verdict counts
    ],
)
def test_a_lease_that_we_could_not_have_seen_renewed_is_not_held_against_a_node(
    view: NodeView, seen_for_s: float, membership: MembershipState
) -> None:
    assert judge(MembershipState.KUBELET, view, Limits(seen_for_s=seen_for_s)) is membership
    assert judge(MembershipState.MEMBER, replace(view, left=True), Limits(seen_for_s=seen_for_s)) is membership


def test_what_we_could_not_see_is_no_sign_of_life() -> None:
    for before in (MembershipState.UNSEEN, MembershipState.LOST, MembershipState.FENCED):
        assert judge(before, replace(SILENT, cleared=True), Limits(seen_for_s=0.0)) is before


def test_a_fenced_node_comes_back_only_when_the_fencer_has_cleared_it() -> None:
    assert judge(MembershipState.FENCED, ALIVE, LIMITS) is MembershipState.FENCED
    assert judge(MembershipState.FENCED, NodeView(member=True), LIMITS) is MembershipState.FENCED
    assert judge(MembershipState.FENCED, NodeView(member=True, cleared=True), LIMITS) is MembershipState.MEMBER
    cleared = NodeView(cleared=True, ready=True, lease_age_s=1.0)
    assert judge(MembershipState.FENCED, cleared, LIMITS) is MembershipState.KUBELET


@pytest.mark.parametrize("membership", MembershipState)
def test_each_standing_can_be_told(membership: MembershipState) -> None:
    assert "n1" in TEXTS[membership].format(node="n1")


def test_only_changes_are_given() -> None:
    before = {"n1": MembershipState.MEMBER, "n2": MembershipState.MEMBER}
    observations = {"n1": NodeView(member=True), "n2": NodeView(), "n3": NodeView(member=True)}
    assert judge_all(before, observations, LIMITS) == {
        "n2": (MembershipState.MEMBER, MembershipState.LOST),
        "n3": (MembershipState.UNSEEN, MembershipState.MEMBER),
    }


def quiet(age_s: float, **more: object) -> NodeView:
    return NodeView(ready=True, lease_age_s=age_s, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("view", "membership"),
    [
        (quiet(13.0), MembershipState.KUBELET),  # late, and nobody has looked yet
        (quiet(13.0, silent_s=2.0), MembershipState.KUBELET),
        (quiet(11.0, silent_s=9.0), MembershipState.KUBELET),  # a port alone proves nothing: it may be filtered
        (quiet(13.0, silent_s=3.0), MembershipState.LOST),  # both paths are silent: sooner than by the Lease alone
        (quiet(13.0, answers=True), MembershipState.KUBELET),
        (quiet(30.0, answers=True), MembershipState.KUBELET),  # cut off from the API server alone
        (quiet(30.0), MembershipState.LOST),  # refused, or not to be dialed: the Lease decides
        (NodeView(ready=None, lease_age_s=60.0, answers=True), MembershipState.LOST),  # Kubernetes' own verdict counts
        (quiet(13.0, silent_s=3.0, heard=True), MembershipState.KUBELET),  # its kubelet is dead, its database is not
        (quiet(30.0, heard=True), MembershipState.KUBELET),
        (NodeView(ready=None, lease_age_s=60.0, heard=True), MembershipState.LOST),
    ],
)
def test_a_late_lease_is_held_against_the_kubelets_own_port(view: NodeView, membership: MembershipState) -> None:
    assert judge(MembershipState.KUBELET, view, LIMITS) is membership
