"""The roll call of each round: what is seen of every node is gathered, and `membership` judges who takes part."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from hamgr.controller.fencing.fences import Fences
from hamgr.controller.nodes.membership import Limits, MembershipState, NodeView, judge_all
from hamgr.controller.nodes.observations import NodeObservations
from hamgr.controller.state.cluster_state import ClusterState
from hamgr.executor.executor import Executor
from hamgr.fencer.records import POWER_LEVELS

_ASK_AGAIN_S = 1.0


class NodeMonitor:
    """Who is there, and since when not. Used by the control thread alone."""

    def __init__(
        self,
        cluster_state: ClusterState,
        observations: NodeObservations,
        executor: Executor,
        fences: Fences,
        *,
        lease_age_s: float,
        clock: Callable[[], float],
        settled: Callable[[], bool],
    ) -> None:
        """lease_age_s: as in `Limits`; clock, settled: as in `Leader`."""
        self._cluster_state = cluster_state
        self.observations = observations
        self._executor = executor
        self._fences = fences
        self._lease_age_s = lease_age_s
        self._clock = clock
        self._settled = settled
        self._began = clock()
        self._down_since: dict[str, float] = {}  # node that is lost or fenced: monotonic seconds

    def judge(self, names: Sequence[str]) -> dict[str, tuple[MembershipState, MembershipState]]:
        """The nodes whose standing changes, as name -> (before, now). Whether fenced ones are back is asked here."""
        fenced = [name for name in names if self._cluster_state.membership(name) is MembershipState.FENCED]
        returning = [name for name in fenced if self.shows_life(name)]
        self._fences.look_for_returns(returning)
        self._fences.go_on_with_leftovers(fenced)
        cleared = {name for name in returning if self._fences.cleared(name)}
        observations = {name: self._view(name, cleared=name in cleared) for name in names}
        limits = Limits(self._lease_age_s, settled=self._settled(), seen_for_s=self.observations.seen_for_s())
        return judge_all(self._cluster_state.memberships, observations, limits)

    def note_down(self, node: str) -> None:
        """The node is lost or fenced from now on."""
        self._down_since[node] = self._clock()

    def _view(self, node: str, *, cleared: bool) -> NodeView:
        """What is seen of a node; where its Lease is late, what runs there is asked for a sign of life."""
        heard_s = self._executor.heard_s(node)
        if self.observations.late_s(node) is not None and (heard_s is None or heard_s > _ASK_AGAIN_S):
            self._executor.poke_node(node)
        renewed = self.shows_life(node) and not self._is_fencing(node)
        view = self.observations.of(node, cleared=cleared, heard_s=heard_s, renewed=renewed)
        return replace(view, member=view.member and not self._is_of_a_fenced_boot(node))

    def _is_of_a_fenced_boot(self, node: str) -> bool:
        """Whether the member key of a node that was switched off is the one of that boot, though its kubelet reports
        the next: the key stays until its lease runs out, and the node's new hamgrd waits for that. Taken for a member,
        the node would be lost at that moment, and fenced again."""
        member, fence = self.observations.members.get(node), self._fences.last_of(node)
        if member is None or fence is None or fence.level.level not in POWER_LEVELS:
            return False
        if self._cluster_state.membership(node) not in (MembershipState.FENCED, MembershipState.KUBELET):
            return False
        reported = self.observations.reported_boot_id(node)
        return reported != "" and fence.covers_boot(member.boot_id) and not fence.covers_boot(reported)

    def shows_life(self, node: str) -> bool:
        """Whether a node was heard of since it is down: a crashed one looks well in Kubernetes for most of a minute."""
        return node in self.observations.members or self.observations.renewed_within(node, self._down_for_s(node))

    def still_renews(self, node: str) -> bool:
        """Whether the kubelet of a node that is down has renewed its Lease since, and lately."""
        return self.observations.renewed_within(node, min(self._down_for_s(node), self._lease_age_s))

    def _down_for_s(self, node: str) -> float:
        return self._clock() - self._down_since.get(node, self._began)

    def _is_fencing(self, node: str) -> bool:
        return any(record.target.node == node for record in self._fences.running)
