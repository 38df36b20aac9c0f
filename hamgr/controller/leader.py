"""The leader: everything it knows and does, from winning the key to losing it.

The loop gives a term its events and then lets it `advance`: judge the nodes, write down what is new, ask the scheduler
when something has changed, carry out what its graph allows. A term that ends is thrown away whole; nothing of it can
act later, because every effect goes through the executor, the fencer and the journal, which are closed or refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from hamgr.cib import history
from hamgr.cib.history import Result
from hamgr.cib.model import Cib, Node, NodeState
from hamgr.clusterfile.load import ClusterFile
from hamgr.controller.fencing.fences import Ended, Fences
from hamgr.controller.fencing.results import FenceResults
from hamgr.controller.fencing.targets import (
    PodTarget,
    claims,
    companions,
    homes,
    node_target,
    patterns,
    planned_claims,
    started_in,
)
from hamgr.controller.nodes.membership import BECAME, TEXTS, MembershipState
from hamgr.controller.nodes.monitor import NodeMonitor
from hamgr.controller.nodes.observations import NodeObservations
from hamgr.controller.nodes.removal import running_on, why_kept
from hamgr.controller.placement.node_constraints import NodeRule, node_rules, tolerations_of, while_another_can
from hamgr.controller.pods.auditor import Auditor
from hamgr.controller.settings import ControllerSettings
from hamgr.controller.stamping import Stamped
from hamgr.controller.standby.preference import StandbyPreference
from hamgr.controller.state.cluster_state import ClusterState
from hamgr.controller.state.event_recorder import EventRecorder
from hamgr.controller.state.history_repair import HistoryRepair
from hamgr.controller.state.homes import Homes
from hamgr.controller.transition.decisions import describe
from hamgr.controller.transition.disk_order import extra_edges, holder
from hamgr.controller.transition.last_start import completed, found, is_findable
from hamgr.controller.transition.limits import Limits
from hamgr.controller.transition.performer import ActionPerformer
from hamgr.controller.transition.probing import probes_first
from hamgr.controller.transition.run import TransitionRun, has_failed, pods_to_start
from hamgr.controller.transition.waiting import MAY_START, Waiting
from hamgr.controller.tree import Configured
from hamgr.executor.executor import Executor
from hamgr.executor.ocf import Ocf
from hamgr.executor.operations import OpResult
from hamgr.executor.registry import Registry
from hamgr.fencer.reasons import Reason
from hamgr.fencer.records import Confirmation, FenceRecord, Outcome, Target
from hamgr.fencer.topology import Level, LevelConfig
from hamgr.kube.objects import home_of, namespace_of
from hamgr.scheduler import schedule
from hamgr.scheduler.state.settings import ClusterOptions
from hamgr.scheduler.transition import GraphAction, Transition
from hamgr.scheduler.unpack.status import read_options

log = structlog.get_logger(__name__)

_NOT_RUNNING = 7
PARK = "park"  # the key of operations that belong to no transition


class Leader:
    """The leader at work. Used by the control thread alone."""

    def __init__(
        self,
        settings: ControllerSettings,
        cluster_state: ClusterState,
        recorder: EventRecorder,
        observations: NodeObservations,
        executor: Executor,
        fences: Fences,
        leader_id: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], float],
        settled: Callable[[], bool],
        agents: Registry,
    ) -> None:
        """Begin a term with what earlier leaders recorded.

        clock: monotonic seconds; now: seconds since the epoch.
        settled: whether our own view of etcd has been whole for long enough to believe that a missing member is silent.
        """
        self._settings = settings
        self.cluster_state = cluster_state
        self._recorder = recorder
        self.node_monitor = NodeMonitor(
            cluster_state,
            observations,
            executor,
            fences,
            lease_age_s=settings.lease_age_s,
            clock=clock,
            settled=settled,
        )
        self._executor = executor
        self.fences = fences
        self._leader_id = leader_id
        self._clock = clock
        self._now = now
        self._agents = agents
        self._performer = ActionPerformer(
            settings.node,
            cluster_state,
            executor,
            fences,
            cib=self.cib,
            now=now,
            agents=agents,
            configured=lambda: self.configured,
        )
        self._began = clock()
        self._transition_run: TransitionRun | None = None
        self._held: dict[str, Reason] = {}  # nodes whose fencing may not begin yet, and why
        self._sick: dict[str, str] = {}  # fence devices that do not work, as was told
        self._reasons: list[str] = ["a new leader"]
        self._scheduled_at = float("-inf")
        self._recheck_s = 0.0  # what the options said when the scheduler was asked last
        self.last: Transition | None = None
        self.changes = 0  # how often something happened that the scheduler had to see
        self.standby_preference = StandbyPreference(cluster_state, self.cib, now)
        self._history_repair = HistoryRepair(
            cluster_state, recorder, lambda entry: is_findable(self.configured, entry, agents)
        )
        self.auditor = Auditor(
            cluster_state, recorder, fences, settings.node, shows_life=self.node_monitor.shows_life, clock=clock
        )
        self._waiting = Waiting(executor, clock)
        self.second_users: Callable[[Cib], Iterable[NodeRule]] = lambda _cib: ()  # as `DiskCare.second_users` has it
        self._kept_off: object = None  # what Kubernetes' scheduler would not use, as it was last looked at
        self._fence_results = FenceResults(cluster_state, fences, leader_id, now)
        self._is_first = not cluster_state.transitions  # nobody has led this cluster to anything yet
        self.cluster: ClusterFile | None = None
        self.configuration: Cib | None = None
        self.configured = Configured.of(Cib())
        self._configured_homes: Homes = frozenset()
        self.fences.note_change(now())

    # --- inputs ------------------------------------------------------------------------------------------------------

    def configure(self, cluster: ClusterFile) -> None:
        """Take over an applied cluster file."""
        first = self.configuration is None
        if not first:
            self._complete_starts()
        self.cluster = cluster
        self.configuration = cluster.to_live_cib()
        self.configured = Configured.of(self.configuration)
        self._configured_homes = homes(self.configuration)
        self.cluster_state.set_homes(self.cluster_state.homes | self._configured_homes | self.homes)
        if first:  # what was in flight is looked for by the configuration
            self._complete_starts()
            self._history_repair.forget_what_the_last_leader_ran()
        self._waiting.forget()
        attributes: dict[str, Mapping[str, str]] = {n.name: _attributes(n) for n in self.configuration.nodes}
        for node, values in attributes.items():
            self.cluster_state.set_configured(node, values)
        attributes |= {node: self.cluster_state.configured(node) for node in self.leaving}
        self.fences.configure(cluster.fencing, attributes, cluster.namespace)
        self.fences.note_change(self._now())
        for node in self.leaving:
            text = f"node {node} is not in the cluster file any more: it is emptied, then forgotten"
            self._recorder.emit("node_leaving", text, node=node)
        self._settle_fences()

    def _complete_starts(self) -> None:
        """While the configuration is the one that it was started by: have on record with what each instance was."""
        for node in self.cluster_state.memberships:
            self.cluster_state.update(node, lambda state: completed(self.configured, state, self._agents))

    def forget(self, node: str, resource: str) -> None:
        """Do not believe what is on record of a resource any more; its failures are forgotten with it."""
        entry = next((h for h in self.cluster_state.state(node).resources if h.id == resource), None)
        findable = entry is None or is_findable(self.configured, entry, self._agents)
        cleared = history.clear_failures(self.cluster_state.state(node), resource)
        self.cluster_state.set_state(history.doubt(cleared, resource, findable=findable))

    @property
    def observations(self) -> NodeObservations:
        """What is seen of the nodes right now."""
        return self.node_monitor.observations

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes of the cluster: those that are configured, then those that leave it."""
        configured = () if self.configuration is None else tuple(node.name for node in self.configuration.nodes)
        return (*configured, *self.leaving)

    @property
    def leaving(self) -> tuple[str, ...]:
        """Nodes that are not configured any more and were not forgotten yet."""
        return () if self.configuration is None else self.cluster_state.leaving(self.configuration)

    def say_why_it_ends(self, why: str) -> None:
        """Leave behind why this term ends, for whoever asks while nobody leads. Raises Deposed."""
        node = self._settings.node
        self._recorder.emit("handing_over", f"{node} leads no more: {why}", level="warning", node=node)
        self.cluster_state.flush()

    def took_over(self, stamped: Stamped) -> None:
        """Late requests are void: tell what that took, and what could not be done for it."""
        for why in stamped.refused:
            self._recorder.emit("not_stamped", f"requests of a past leader may still take effect: {why}", level="error")
        text = f"late requests are void: {stamped.objects} objects stamped in {stamped.took_s:.2f} s"
        self._recorder.emit("took_over", text, objects=stamped.objects)

    def touch(self, why: str) -> None:
        """Something has changed that the scheduler must see: end the present course and ask again."""
        self._reasons.append(why)
        self.changes += 1
        if self._transition_run is not None:
            self._transition_run.graph.abort(why)

    def audit(self, pods: Iterable[Mapping[str, Any]], cluster: str) -> None:
        """Hold all pods of ours against the records; what should not run is ended, or adopted."""
        if self.configuration is None:
            return
        labelled, spaces = list(pods), self.namespaces
        ours = [pod for pod in labelled if namespace_of(pod) in spaces]
        if why := self.auditor.look(ours, self.configured, cluster, self._transition_run):
            self.touch(why)
        self._forget_homes(labelled)

    def operation_ended(self, result: OpResult) -> None:
        """Record an action's result and go on with the graph, or leave it."""
        run, action = self._transition_run, None
        if result.op.key == MAY_START:
            if self._waiting.answered(result):
                self.touch(f"what {result.op.name} has waited for may be there")
            return
        if run is not None and result.op.key in run.keys:
            action = run.actions[run.keys[result.op.key]]
        fenced = (
            self.cluster_state.membership(result.op.node) is MembershipState.FENCED
        )  # and what it says is older than that
        if fenced or (action is None and result.op.interval_ms == 0):
            if result.op.key != PARK:
                log.info("late_result_dropped", resource=result.op.name, task=result.op.task, node=result.op.node)
            return
        if action is not None and found(action, int(result.rc)):
            result = self._whose(action, result)
        executed = self._performer.executed(run, action, result)
        if result.waiting and run is not None and action is not None:
            self._note_waiting(run, action, executed, result)
            return
        fatal = self.options().start_failure_is_fatal
        self.cluster_state.update(
            result.op.node, lambda s: history.record_result(s, executed, start_failure_is_fatal=fatal)
        )
        if action is not None and (found(action, executed.rc) or _has_reloaded(action, executed)):
            self._performer.note_started(action)
        if result.attributes:
            self.cluster_state.update(result.op.node, lambda s: history.set_attributes(s, result.attributes))
            self.touch(f"{result.op.name} has new attributes on {result.op.node}")
        failed = has_failed(executed)
        self._recorder.emit_operation(result, failed=failed)
        in_flight = run is not None and action is not None and action.id in run.graph.in_flight
        if run is not None and action is not None and in_flight:
            (run.graph.fail if failed else run.graph.confirm)(action.id)
        if failed and result.op.interval_ms and executed.rc == _NOT_RUNNING:
            self.standby_preference.prefer_standby(result.op.name, result.op.node)
        if result.op.task == "start":
            self._waiting.end(result.op.resource)
        if not failed and result.op.task == "start":
            self.standby_preference.forget_standbys(result.op.name)
        if failed:
            self.touch(f"{result.op.task} of {result.op.name} on {result.op.node} has failed")
        elif action is not None and in_flight and executed.rc != action.target_rc:
            self.touch(f"{result.op.name} was found on {result.op.node}")

    def _whose(self, action: GraphAction, result: OpResult) -> OpResult:
        """A probe's find, or none where what was found is another resource's: the one that it was before it was
        renamed, say. Taken for its own it would be used, while the other one is still to be stopped."""
        if action.agent is None or action.agent.type != "volume":
            return result
        other = holder(self.cluster_state.state(action.node), action.resource, action.params)
        if not other:
            return result
        return replace(result, rc=Ocf.NOT_RUNNING, reason=f"what is there is {other}")

    def _note_waiting(self, run: TransitionRun, action: GraphAction, executed: Result, result: OpResult) -> None:
        """A start that has begun nothing is no failure: it was looked, and the resource is not there."""
        looked = replace(executed, operation="monitor", rc=_NOT_RUNNING, target_rc=_NOT_RUNNING, status=history.DONE)
        self.cluster_state.update(result.op.node, lambda state: history.record_result(state, looked))
        if action.id in run.graph.in_flight:
            run.graph.fail(action.id)
        if self._waiting.begin(result.op, result.reason):
            text = f"{result.op.resource} waits: {result.reason}"
            self._recorder.emit("waiting", text, level="warning", node=result.op.node, resource=result.op.resource)
        self.touch(f"{result.op.resource} waits")

    def try_again(self) -> None:
        """Whatever waits may be tried now: an operator has asked for it."""
        self._waiting.forget()

    def fence_node(self, node: str, why: Reason, by: str, levels: tuple[LevelConfig, ...] = ()) -> FenceRecord:
        """Fence a node because somebody asked for it. What runs for it is given up: it would work against the fence."""
        self._give_up(node)
        self._end_parking()
        self.touch(f"{by} has node {node} fenced")
        return self.fences.fence_node(node, why, by, levels)

    def fence_pod(self, pod: PodTarget, why: Reason, by: str, levels: tuple[LevelConfig, ...] = ()) -> FenceRecord:
        """Fence one pod with its volumes; its resource is banned from that node until somebody cleans up."""
        assert self.configuration is not None
        together = companions(self.configuration, pod.resource)
        self._fence_results.ban(pod.resource, pod.node)
        self._give_up(pod.node, together)
        self._end_parking()
        self.touch(f"{by} has pod {pod.name} fenced")
        return self.fences.fence_pod(self.pod_target(pod), why, by, levels)

    def confirm(self, node: str, why: Reason, word: Confirmation) -> FenceRecord:
        """Take an operator's word that a node is off. Of one that is down nothing runs, and its fence is waited for."""
        if self.cluster_state.membership(node) in (MembershipState.MEMBER, MembershipState.KUBELET):
            self._give_up(node)
            self.touch(f"{word.user} says that node {node} is off")
        return self.fences.confirm(node, why, word)

    def pod_target(self, pod: PodTarget) -> Target:
        """A pod as a target, with the disks of what lives and moves with it."""
        assert self.configuration is not None
        together = companions(self.configuration, pod.resource)
        return replace(
            self._target(pod.node),
            parked_may_stay=self._parked_may_stay(pod.node, together),
            pods=((pod.namespace, pod.name),),
            claims=claims(self.cib(), together),
            planned=planned_claims(self.cib(), together),
            patterns=patterns(self.cib(), pod.node, int(self._now()), together),
            alive=self.cluster_state.membership(pod.node) in (MembershipState.MEMBER, MembershipState.KUBELET),
        )

    def target(self, node: str) -> Target:
        """A node as a target: all of our disks, since what is recorded of it may be behind."""
        return replace(self._target(node), parked_may_stay=self._parked_may_stay(node))

    def _target(self, node: str) -> Target:
        cib = self.cib()
        may_run = patterns(cib, node, int(self._now()))
        return node_target(node, claims(cib), may_run, self.homes, self.observations, planned_claims(cib))

    def _parked_may_stay(self, node: str, only: tuple[str, ...] | None = None) -> tuple[str, ...] | None:
        """The parked pods that may have what a fence of the node (of some resources there) releases: where the
        transition that orders it starts something, or else the one that will follow. None: the scheduler has failed."""
        run = self._transition_run
        if run is not None and only is None and run.orders_fence_of(node):
            return run.pods_to_start()
        cib = self.cib()
        states = [_without(state, only) if state.name == node else state for state in cib.node_states]
        try:
            following = schedule(replace(cib, node_states=tuple(states)), datetime.fromtimestamp(self._now(), UTC))
        except Exception:
            log.exception("scheduler_failed")
            return None
        return pods_to_start(following)

    @property
    def homes(self) -> Homes:
        """(namespace, resource) of all instances that may be ours: those of this and of earlier configurations, those
        that were started with other parameters, and what is on record and not configured any more in each of these
        namespaces. Other pods may carry our labels: they are others'.
        """
        known = self.cluster_state.homes
        entries = [entry for state in self.cib().node_states for entry in state.resources]
        started = started_in(entries)
        spaces = {namespace for namespace, _ in known | started}
        orphans = {entry.id.partition(":")[0] for entry in entries} - {resource for _, resource in known}
        return known | started | {(namespace, orphan) for namespace in spaces for orphan in orphans}

    def _forget_homes(self, pods: Iterable[Mapping[str, Any]]) -> None:
        """Once nothing is under way: forget the places of earlier configurations where no pod is left, and nothing that
        may run was started. pods: all that carry the cluster's label."""
        earlier = self.cluster_state.homes - self._configured_homes
        if not earlier or not self.idle or self.fences.running:
            return
        entries = [entry for state in self.cib().node_states for entry in state.resources if history.is_active(entry)]
        used = {home_of(pod) for pod in pods} | started_in(entries)
        self.cluster_state.set_homes(self.cluster_state.homes - (earlier - used))

    @property
    def namespaces(self) -> frozenset[str]:
        """The namespaces in which hamgr makes pods: what carries its labels elsewhere is somebody else's."""
        own = {self.cluster.namespace} if self.cluster is not None else set()
        return frozenset(own | {namespace for namespace, _ in self.homes})

    def fence_changed(self, record: FenceRecord) -> None:
        """Take a fence's progress; a node that was fenced is down with nothing on it."""
        ended = self.fences.note(record)
        if ended is None:
            return
        self._recorder.emit_fence(record)
        if ended.outcome is Outcome.SUPERSEDED:
            return  # who waits for it waits for the fence that has taken its place
        run = self._transition_run
        waiting = () if run is None or ended.pods_of is not None else run.fences_of(ended.node)
        if ended.succeeded:
            self._apply_fence(ended, detached=record.level.level is not Level.STOP)
        for action_id in waiting:
            assert run is not None
            (run.graph.confirm if ended.succeeded else run.graph.fail)(action_id)
        if not waiting or not ended.succeeded:
            self.touch(f"fencing of {ended.target} has {'succeeded' if ended.succeeded else 'failed'}")

    def _settle_fences(self) -> None:
        """Put on record what fences mean that the last leader ended, and died before it could.

        A fence from before a node came on record means nothing for it: it may have been forgotten since and added
        again, and run things by now.
        """
        for node in self.nodes:
            last, settled = self.fences.last_of(node), self.cluster_state.settled_fence(node)
            if last is None or last.id == settled:
                continue
            if settled is None:
                self.cluster_state.settle_fence(node, last.id)
                continue
            log.info("fence_settled", fence=last.id, node=node)
            self._apply_fence(Ended(node, node, None, Outcome.SUCCEEDED), detached=True)

    def _apply_fence(self, ended: Ended, *, detached: bool) -> None:
        node = ended.node
        if ended.pods_of is not None:
            resources = tuple(dict.fromkeys(name for pod in ended.pods_of for name in self.companions(pod)))
            self._give_up(node, resources)
            self._fence_results.stopped(node, resources, detached=detached)
            return
        self._fence_results.fenced(node)
        self.node_monitor.note_down(node)
        self._give_up(node)

    # --- the round ---------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """One round: nodes, records, scheduler, actions. Raises Deposed."""
        self._judge_nodes()
        self._expire_overrides()
        if not self.cluster_state.flush():
            return
        if self.configuration is None:
            return
        self.fences.look_at_devices()
        self._tell_devices()
        self._waiting.ask()
        self._look_at_cordons()
        if self._transition_run is not None:
            self._go_on(self._transition_run)
        if self._transition_run is None and self._should_schedule():
            self._schedule()

    @property
    def transition_run(self) -> TransitionRun | None:
        """The transition under way, None when there is none."""
        return self._transition_run

    @property
    def idle(self) -> bool:
        """Nothing under way and nothing to ask the scheduler about."""
        return self._transition_run is None and not self._reasons

    @property
    def held(self) -> Mapping[str, Reason]:
        """The nodes whose fencing is due and has not begun, and why."""
        return self._held

    # --- nodes -------------------------------------------------------------------------------------------------------

    def _judge_nodes(self) -> None:
        if self.configuration is None:
            return
        for node, (before, now) in self.node_monitor.judge(self.nodes).items():
            self._take_membership(node, before, now)

    def _take_membership(self, node: str, before: MembershipState, now: MembershipState) -> None:
        level = "warning" if now is MembershipState.LOST else "info"
        self._recorder.emit("node", TEXTS[now].format(node=node), level=level, node=node, before=str(before))
        self.cluster_state.set_membership(node, now)
        self.fences.note_change(self._now(), node)
        if now is MembershipState.LOST:
            self.node_monitor.note_down(node)
            self.cluster_state.update(node, history.member_lost)
            self._give_up(node)
        elif now in (MembershipState.MEMBER, MembershipState.KUBELET):
            self.cluster_state.update(node, history.member_up)
        if {before, now} != {MembershipState.MEMBER, MembershipState.KUBELET}:
            self.touch(f"node {node} is {BECAME.get(now, now)}")

    def _give_up(self, node: str, resources: tuple[str, ...] | None = None) -> None:
        """End everything that runs for a node, or for some resources there: no result comes, so it has failed."""
        self._executor.abandon(node, resources)
        self._history_repair.note_unwatched(node)
        if self._transition_run is not None:
            self._transition_run.give_up(node, resources)

    def _waiting_for_first_members(self) -> bool:
        if not self._is_first or self._clock() - self._began >= self._settings.join_wait_s:
            return False
        return any(self.cluster_state.membership(node) is MembershipState.UNSEEN for node in self.nodes)

    # --- scheduling --------------------------------------------------------------------------------------------------

    def _should_schedule(self) -> bool:
        if self._waiting_for_first_members() or self._is_fencing_what_is_here():
            return False
        waited_s = self._clock() - self._scheduled_at
        return bool(self._reasons) or (self._recheck_s > 0 and waited_s >= self._recheck_s)

    def _is_fencing_what_is_here(self) -> bool:
        """Whether a pod, or a node that is not down, is being fenced: what is taken from it must not be started anew
        behind the fence's back. The fence of a lost node is part of a transition, which waits for it; on a node that is
        fenced already, nothing is started."""
        down = (MembershipState.LOST, MembershipState.UNSEEN, MembershipState.FENCED)
        return any(
            record.target.pods is not None or self.cluster_state.membership(record.target.node) not in down
            for record in self.fences.running
        )

    def cib(self, *, ruled: bool = True) -> Cib:
        """Configuration and recorded state together: what the scheduler is asked about. ruled: as in `assemble`."""
        assert self.configuration is not None
        return self.cluster_state.assemble(self.configuration, self._settings.node, ruled=ruled)

    def options(self) -> ClusterOptions:
        """The cluster options in force."""
        return read_options(self.cib(), int(self._now()))

    def node_attributes(self, node: str) -> dict[str, str]:
        """A node's permanent attributes, overrides included."""
        for entry in self.cib().nodes:
            if entry.name == node:
                return _attributes(entry)
        return {}

    def companions(self, resource: str) -> tuple[str, ...]:
        """The resources that live and move with one, itself included."""
        return (resource,) if self.configuration is None else companions(self.configuration, resource)

    def _look_at_cordons(self) -> None:
        """Ask again when somebody has cordoned, uncordoned or tainted a node, or deleted its Node object."""
        seen = {name: (obj.get("spec") or {}) for name, obj in self._node_objects().items()}
        kept_off = {name: (bool(spec.get("unschedulable")), spec.get("taints")) for name, spec in seen.items()}
        if self._kept_off is not None and kept_off != self._kept_off:
            self.touch("nodes were cordoned, tainted or deleted in Kubernetes, or are not any more")
        self._kept_off = kept_off

    def _node_objects(self) -> dict[str, Mapping[str, Any]]:
        found = ((name, self.observations.node_object(name)) for name in self.nodes)
        return {name: obj for name, obj in found if obj is not None}

    def _settle_rules(self) -> None:
        """Put on record where resources are not started for the time being."""
        cib = self.cib(ruled=False)
        kept_off = node_rules(cib, self._node_objects(), tolerations_of(cib))
        rules = (*self._waiting.rules(), *self.second_users(cib), *kept_off)
        self.cluster_state.set_rules(while_another_can(cib, rules, int(self._now())))

    def _schedule(self) -> None:
        why = "; ".join(dict.fromkeys(self._reasons)) or "the time has come to look again"
        self._reasons.clear()
        self._scheduled_at = self._clock()
        self._history_repair.settle()
        try:
            self._settle_rules()
            cib = self.cib()
            options = read_options(cib, int(self._now()))
            self._recheck_s = options.duration_ms("cluster-recheck-interval") / 1000
            transition = schedule(cib, datetime.fromtimestamp(self._now(), UTC))
        except Exception:  # the next leader would fare no better: go on watching, ask again when something is new
            log.exception("scheduler_failed")
            self._recorder.emit("scheduler_failed", "the scheduler has failed: nothing new is begun; the log says why",
                                 level="error")  # fmt: skip
            return
        self.last = transition
        if not any(action.kind != "pseudo" for action in transition.actions):
            self.standby_preference.forget_standbys()
            self._forget_emptied_nodes()
            log.debug("nothing_to_do", why=why)
            return
        walked = probes_first(transition)
        if walked is not transition:
            self._reasons.append("what runs where is known")
        number = self.cluster_state.next_transition()
        self._recorder.emit("transition", f"transition {number}: {why}", number=number)
        for line in walked.summary:
            self._recorder.emit("decision", describe(line), resource=line.resource, node=line.node or line.dest)
        self._held.clear()
        self._end_parking()
        limits = Limits.of(options)
        self._transition_run = TransitionRun.of(
            number, self._ordered(walked), self._clock(), why, self._leader_id, limits
        )
        self._go_on(self._transition_run)

    def _end_parking(self) -> None:
        """Before anything is released: no parked pod appears any more after it was looked for them."""
        for op in self._executor.busy():
            if op.key == PARK and op.task == "park":
                self._executor.abandon(op.node, (op.name,))

    def _ordered(self, transition: Transition) -> Transition:
        """The transition with what else has to wait in it."""
        states = [self.cluster_state.state(node) for node in self.cluster_state.memberships]
        return replace(transition, edges=(*transition.edges, *extra_edges(transition, states, self.configured)))

    def _forget_emptied_nodes(self) -> None:
        """Once nothing is under way or left to be done: drop the leaving nodes that nothing runs on."""
        for node in self.leaving:
            if not self.why_kept(node):
                self.cluster_state.forget_node(node)
                self._recorder.emit("node_forgotten", f"node {node} is empty and forgotten", node=node)

    def why_kept(self, node: str) -> str:
        """Why a leaving node cannot be forgotten yet; empty: it can."""
        fenced = self.cluster_state.membership(node) is MembershipState.FENCED and not self.fences.cleared(node)
        away = fenced and self.observations.node_object(node) is not None
        return why_kept(node, running_on(self.cib(), node, int(self._now())), away=away)

    # --- carrying out ------------------------------------------------------------------------------------------------

    def _go_on(self, run: TransitionRun) -> None:
        while batch := run.admitted([run.actions[i] for i in run.graph.ready() if not self._hold(run.actions[i])]):
            for action in batch:
                run.graph.fire(action.id)
                self._performer.record_intent(run, action)
            if not self.cluster_state.flush():
                for action in batch:
                    run.graph.unfire(action.id)
                return
            for action in batch:
                self._performer.carry_out(run, action)
        if run.ended:
            self._end(run)

    def _end(self, run: TransitionRun) -> None:
        took = round(self._clock() - run.began, 3)
        if run.graph.complete:
            text = f"transition {run.number} complete after {took:g} s"
        else:
            why = run.graph.abort_reason or "it could not go on"
            text = f"transition {run.number} left off after {took:g} s: {why}"
        self._recorder.emit("transition_ended", text, number=run.number, took_s=took)
        self._transition_run = None
        self._held.clear()
        if self._reasons:
            return
        if run.graph.complete:
            self._forget_emptied_nodes()
        elif run.graph.failed:
            self._reasons.append(f"transition {run.number} could not be completed")
        else:  # asked again at once, the scheduler would say the same for ever
            log.error("transition_cannot_be_walked", number=run.number, waiting=run.graph.waiting)

    def _hold(self, action: GraphAction) -> bool:
        """Whether an action may not begin yet: fencing while in doubt."""
        if action.task != "stonith":
            return False
        why, told = self.fences.refusal(action.node), self._held.pop(action.node, None)
        if why is None:
            return False
        if told is None or told.code != why.code:  # the same with fewer seconds left is no news
            text = f"fencing of {action.node} has to wait: {why}"
            self._recorder.emit("fencing_held", text, level="warning", node=action.node)
        self._held[action.node] = why
        return True

    def _tell_devices(self) -> None:
        sick = self.fences.sick_devices()
        for name in sick.keys() - self._sick.keys():
            self._recorder.emit("fence_device", sick[name], level="error", device=name)
        for name in self._sick.keys() - sick.keys():
            self._recorder.emit("fence_device", f"fence device {name} works again", device=name)
        if sick.keys() != self._sick.keys():
            self.fences.note_change(self._now())
        self._sick = sick

    def _expire_overrides(self) -> None:
        kept = self.cluster_state.overrides.expire(self._now())
        if kept is not self.cluster_state.overrides:
            self.cluster_state.set_overrides(kept)
            self.touch("a move or ban has run out")


def _without(state: NodeState, only: tuple[str, ...] | None) -> NodeState:
    """A node's state once it is fenced, as a whole or some of its resources."""
    if only is None:
        return history.member_fenced(state)
    kept = tuple(entry for entry in state.resources if entry.id.partition(":")[0] not in only)
    return replace(state, resources=kept)


def _has_reloaded(action: GraphAction, executed: Result) -> bool:
    return action.task == "reload-agent" and not executed.failed


def _attributes(node: Node) -> dict[str, str]:
    return {name: value for nvset in reversed(node.attributes) for name, value in nvset.pairs}
