"""One term of leadership: everything the leader knows and does, from winning the key to losing it.

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
from hamgr.cib.config import ClusterFile
from hamgr.cib.history import Result
from hamgr.cib.model import Cib, Node, NodeState
from hamgr.controller.aftermath import Aftermath
from hamgr.controller.auditor import Auditor
from hamgr.controller.chronicle import Chronicle
from hamgr.controller.course import Course, has_failed, pods_to_start
from hamgr.controller.decisions import describe
from hamgr.controller.disk_order import extra_edges, holder
from hamgr.controller.doubts import Doubts
from hamgr.controller.fences import Ended, Fences
from hamgr.controller.last_start import completed, found, is_findable
from hamgr.controller.leaving import running_on, why_kept
from hamgr.controller.membership import BECAME, TEXTS, Standing
from hamgr.controller.node_constraints import node_rules, tolerations_of, while_another_can
from hamgr.controller.performing import Performer
from hamgr.controller.probing import probes_first
from hamgr.controller.recorded import Recorded
from hamgr.controller.roster import Roster
from hamgr.controller.settings import ControllerSettings
from hamgr.controller.stamping import Stamped
from hamgr.controller.takeover import Takeover
from hamgr.controller.targets import PodTarget, claims, companions, homes, node_target, patterns
from hamgr.controller.tree import Configured
from hamgr.controller.views import Views
from hamgr.controller.waiting import MAY_START, Waiting
from hamgr.executor.executor import Executor
from hamgr.executor.ocf import Ocf
from hamgr.executor.operations import OpResult
from hamgr.executor.registry import Registry
from hamgr.fencer.reasons import Reason
from hamgr.fencer.records import Confirmation, FenceRecord, Outcome, Target
from hamgr.fencer.topology import Level, LevelConfig
from hamgr.kube.objects import namespace_of
from hamgr.scheduler import schedule
from hamgr.scheduler.state.settings import ClusterOptions
from hamgr.scheduler.transition import GraphAction, Transition
from hamgr.scheduler.unpack.status import read_options

log = structlog.get_logger(__name__)

_NOT_RUNNING = 7
PARK = "park"  # the key of operations that belong to no transition


class Term:
    """The leader at work. Used by the control thread alone."""

    def __init__(
        self,
        settings: ControllerSettings,
        recorded: Recorded,
        chronicle: Chronicle,
        views: Views,
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
        self.recorded = recorded
        self._chronicle = chronicle
        self.roster = Roster(
            recorded, views, executor, fences, lease_age_s=settings.lease_age_s, clock=clock, settled=settled
        )
        self._executor = executor
        self.fences = fences
        self._leader_id = leader_id
        self._clock = clock
        self._now = now
        self._agents = agents
        self._performer = Performer(
            settings.node,
            recorded,
            executor,
            fences,
            cib=self.cib,
            now=now,
            agents=agents,
            configured=lambda: self.configured,
        )
        self._began = clock()
        self._course: Course | None = None
        self._held: dict[str, Reason] = {}  # nodes whose fencing may not begin yet, and why
        self._sick: dict[str, str] = {}  # fence devices that do not work, as was told
        self._reasons: list[str] = ["a new leader"]
        self._scheduled_at = float("-inf")
        self.last: Transition | None = None
        self.changes = 0  # how often something happened that the scheduler had to see
        self.takeover = Takeover(recorded, self.cib, now)
        self._doubts = Doubts(recorded, chronicle, lambda entry: is_findable(self.configured, entry, agents))
        self.auditor = Auditor(
            recorded, chronicle, fences, settings.node, shows_life=self.roster.shows_life, clock=clock
        )
        self._waiting = Waiting(executor, clock)
        self._kept_off: object = None  # what Kubernetes' scheduler would not use, as it was last looked at
        self._aftermath = Aftermath(recorded, fences, leader_id, now)
        self._is_first = not recorded.transitions  # nobody has led this cluster to anything yet
        self.cluster: ClusterFile | None = None
        self.configuration: Cib | None = None
        self.configured = Configured.of(Cib())
        self._homes: frozenset[tuple[str, str]] = frozenset()  # of all configurations of this term
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
        self._homes |= homes(self.configuration)
        if first:  # what was in flight is looked for by the configuration
            self._complete_starts()
            self._doubts.forget_what_the_last_leader_ran()
        self._waiting.forget()
        attributes: dict[str, Mapping[str, str]] = {n.name: _attributes(n) for n in self.configuration.nodes}
        for node, values in attributes.items():
            self.recorded.set_configured(node, values)
        attributes |= {node: self.recorded.configured(node) for node in self.leaving}
        self.fences.configure(cluster.fencing, attributes, cluster.namespace)
        self.fences.note_change(self._now())
        for node in self.leaving:
            text = f"node {node} is not in the cluster file any more: it is emptied, then forgotten"
            self._chronicle.tell("node_leaving", text, node=node)
        self._settle_fences()

    def _complete_starts(self) -> None:
        """While the configuration is the one that it was started by: have on record with what each instance was."""
        for node in self.recorded.standings:
            self.recorded.update(node, lambda state: completed(self.configured, state, self._agents))

    def forget(self, node: str, resource: str) -> None:
        """Do not believe what is on record of a resource any more; its failures are forgotten with it."""
        entry = next((h for h in self.recorded.state(node).resources if h.id == resource), None)
        findable = entry is None or is_findable(self.configured, entry, self._agents)
        cleared = history.clear_failures(self.recorded.state(node), resource)
        self.recorded.set_state(history.doubt(cleared, resource, findable=findable))

    @property
    def views(self) -> Views:
        """What is seen of the nodes right now."""
        return self.roster.views

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes of the cluster: those that are configured, then those that leave it."""
        configured = () if self.configuration is None else tuple(node.name for node in self.configuration.nodes)
        return (*configured, *self.leaving)

    @property
    def leaving(self) -> tuple[str, ...]:
        """Nodes that are not configured any more and were not forgotten yet."""
        return () if self.configuration is None else self.recorded.leaving(self.configuration)

    def say_why_it_ends(self, why: str) -> None:
        """Leave behind why this term ends, for whoever asks while nobody leads. Raises Deposed."""
        node = self._settings.node
        self._chronicle.tell("handing_over", f"{node} leads no more: {why}", level="warning", node=node)
        self.recorded.flush()

    def took_over(self, stamped: Stamped) -> None:
        """Late requests are void: tell what that took, and what could not be done for it."""
        for why in stamped.refused:
            self._chronicle.tell(
                "not_stamped", f"requests of a past leader may still take effect: {why}", level="error"
            )
        text = f"late requests are void: {stamped.objects} objects stamped in {stamped.took_s:.2f} s"
        self._chronicle.tell("took_over", text, objects=stamped.objects)

    def touch(self, why: str) -> None:
        """Something has changed that the scheduler must see: end the present course and ask again."""
        self._reasons.append(why)
        self.changes += 1
        if self._course is not None:
            self._course.walk.abort(why)

    def audit(self, pods: Iterable[Mapping[str, Any]], cluster: str) -> None:
        """Hold all pods of ours against the records; what should not run is ended, or adopted."""
        if self.configuration is None:
            return
        spaces = self.namespaces
        ours = [pod for pod in pods if namespace_of(pod) in spaces]
        if why := self.auditor.look(ours, self.configured, cluster, self._course):
            self.touch(why)

    def operation_ended(self, result: OpResult) -> None:
        """Record an action's result and go on with the graph, or leave it."""
        course, action = self._course, None
        if result.op.key == MAY_START:
            if self._waiting.answered(result):
                self.touch(f"what {result.op.name} has waited for may be there")
            return
        if course is not None and result.op.key in course.keys:
            action = course.actions[course.keys[result.op.key]]
        fenced = self.recorded.standing(result.op.node) is Standing.FENCED  # and what it says is older than that
        if fenced or (action is None and result.op.interval_ms == 0):
            if result.op.key != PARK:
                log.info("late_result_dropped", resource=result.op.name, task=result.op.task, node=result.op.node)
            return
        if action is not None and found(action, int(result.rc)):
            result = self._whose(action, result)
        executed = self._performer.executed(course, action, result)
        if result.waiting and course is not None and action is not None:
            self._note_waiting(course, action, executed, result)
            return
        fatal = self.options().start_failure_is_fatal
        self.recorded.update(result.op.node, lambda s: history.record_result(s, executed, start_failure_is_fatal=fatal))
        if action is not None and (found(action, executed.rc) or _has_reloaded(action, executed)):
            self._performer.note_started(action)
        if result.attributes:
            self.recorded.update(result.op.node, lambda s: history.set_attributes(s, result.attributes))
            self.touch(f"{result.op.name} has new attributes on {result.op.node}")
        failed = has_failed(executed)
        self._chronicle.tell_operation(result, failed=failed)
        in_flight = course is not None and action is not None and action.id in course.walk.in_flight
        if course is not None and action is not None and in_flight:
            (course.walk.fail if failed else course.walk.confirm)(action.id)
        if failed and result.op.interval_ms and executed.rc == _NOT_RUNNING:
            self.takeover.prefer_standby(result.op.name, result.op.node)
        if result.op.task == "start":
            self._waiting.end(result.op.resource)
        if not failed and result.op.task == "start":
            self.takeover.forget_standbys(result.op.name)
        if failed:
            self.touch(f"{result.op.task} of {result.op.name} on {result.op.node} has failed")
        elif action is not None and in_flight and executed.rc != action.target_rc:
            self.touch(f"{result.op.name} was found on {result.op.node}")

    def _whose(self, action: GraphAction, result: OpResult) -> OpResult:
        """A probe's find, or none where what was found is another resource's: the one that it was before it was
        renamed, say. Taken for its own it would be used, while the other one is still to be stopped."""
        if action.agent is None or action.agent.type != "volume":
            return result
        other = holder(self.recorded.state(action.node), action.resource, action.params)
        if not other:
            return result
        return replace(result, rc=Ocf.NOT_RUNNING, reason=f"what is there is {other}")

    def _note_waiting(self, course: Course, action: GraphAction, executed: Result, result: OpResult) -> None:
        """A start that has begun nothing is no failure: it was looked, and the resource is not there."""
        looked = replace(executed, operation="monitor", rc=_NOT_RUNNING, target_rc=_NOT_RUNNING, status=history.DONE)
        self.recorded.update(result.op.node, lambda state: history.record_result(state, looked))
        if action.id in course.walk.in_flight:
            course.walk.fail(action.id)
        if self._waiting.begin(result.op, result.reason):
            text = f"{result.op.resource} waits: {result.reason}"
            self._chronicle.tell("waiting", text, level="warning", node=result.op.node, resource=result.op.resource)
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
        self._aftermath.ban(pod.resource, pod.node)
        self._give_up(pod.node, together)
        self._end_parking()
        self.touch(f"{by} has pod {pod.name} fenced")
        return self.fences.fence_pod(self.pod_target(pod), why, by, levels)

    def confirm(self, node: str, why: Reason, word: Confirmation) -> FenceRecord:
        """Take an operator's word that a node is off. Of one that is down nothing runs, and its fence is waited for."""
        if self.recorded.standing(node) in (Standing.MEMBER, Standing.KUBELET):
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
            patterns=patterns(self.cib(), pod.node, int(self._now()), together),
            alive=self.recorded.standing(pod.node) in (Standing.MEMBER, Standing.KUBELET),
        )

    def target(self, node: str) -> Target:
        """A node as a target: all of our disks, since what is recorded of it may be behind."""
        return replace(self._target(node), parked_may_stay=self._parked_may_stay(node))

    def _target(self, node: str) -> Target:
        cib = self.cib()
        return node_target(node, claims(cib), patterns(cib, node, int(self._now())), self.homes, self.views)

    def _parked_may_stay(self, node: str, only: tuple[str, ...] | None = None) -> tuple[str, ...] | None:
        """The parked pods that may have what a fence of the node (of some resources there) releases: where the
        transition that orders it starts something, or else the one that will follow. None: the scheduler has failed."""
        course = self._course
        if course is not None and only is None and course.orders_fence_of(node):
            return course.pods_to_start()
        cib = self.cib()
        states = [_without(state, only) if state.name == node else state for state in cib.node_states]
        try:
            following = schedule(replace(cib, node_states=tuple(states)), datetime.fromtimestamp(self._now(), UTC))
        except Exception:
            log.exception("scheduler_failed")
            return None
        return pods_to_start(following)

    @property
    def configured_homes(self) -> frozenset[tuple[str, str]]:
        """(namespace, resource) of the instances of the configurations of this term."""
        return self._homes

    @property
    def homes(self) -> frozenset[tuple[str, str]]:
        """(namespace, resource) of all instances that may be ours: those of the configuration, those that were started
        with other parameters, and what is on record and not configured any more in each of these namespaces. Other pods
        may carry our labels: they are others'.
        """
        entries = [entry for state in self.cib().node_states for entry in state.resources]
        started = {
            (entry.started.params.get("namespace") or "default", entry.id.partition(":")[0])
            for entry in entries
            if entry.started is not None
        }
        spaces = {namespace for namespace, _ in self._homes | started}
        orphans = {entry.id.partition(":")[0] for entry in entries} - {resource for _, resource in self._homes}
        return self._homes | started | {(namespace, orphan) for namespace in spaces for orphan in orphans}

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
        self._chronicle.tell_fence(record)
        if ended.outcome is Outcome.SUPERSEDED:
            return  # who waits for it waits for the fence that has taken its place
        course = self._course
        waiting = () if course is None or ended.pods_of is not None else course.fences_of(ended.node)
        if ended.succeeded:
            self._apply_fence(ended, detached=record.level.level is not Level.STOP)
        for action_id in waiting:
            assert course is not None
            (course.walk.confirm if ended.succeeded else course.walk.fail)(action_id)
        if not waiting or not ended.succeeded:
            self.touch(f"fencing of {ended.target} has {'succeeded' if ended.succeeded else 'failed'}")

    def _settle_fences(self) -> None:
        """Put on record what fences mean that the last leader ended, and died before it could.

        A fence from before a node came on record means nothing for it: it may have been forgotten since and added
        again, and run things by now.
        """
        for node in self.nodes:
            last, settled = self.fences.last_of(node), self.recorded.settled_fence(node)
            if last is None or last.id == settled:
                continue
            if settled is None:
                self.recorded.settle_fence(node, last.id)
                continue
            log.info("fence_settled", fence=last.id, node=node)
            self._apply_fence(Ended(node, node, None, Outcome.SUCCEEDED), detached=True)

    def _apply_fence(self, ended: Ended, *, detached: bool) -> None:
        node = ended.node
        if ended.pods_of is not None:
            resources = tuple(dict.fromkeys(name for pod in ended.pods_of for name in self.companions(pod)))
            self._give_up(node, resources)
            self._aftermath.stopped(node, resources, detached=detached)
            return
        self._aftermath.fenced(node)
        self.roster.note_down(node)
        self._give_up(node)

    # --- the round ---------------------------------------------------------------------------------------------------

    def advance(self) -> None:
        """One round: nodes, records, scheduler, actions. Raises Deposed."""
        self._judge_nodes()
        self._expire_overrides()
        if not self.recorded.flush():
            return
        if self.configuration is None:
            return
        self.fences.look_at_devices()
        self._tell_devices()
        self._waiting.ask()
        self._look_at_cordons()
        if self._course is not None:
            self._go_on(self._course)
        if self._course is None and self._should_schedule():
            self._schedule()

    @property
    def course(self) -> Course | None:
        """The transition under way, None when there is none."""
        return self._course

    @property
    def idle(self) -> bool:
        """Nothing under way and nothing to ask the scheduler about."""
        return self._course is None and not self._reasons

    @property
    def held(self) -> Mapping[str, Reason]:
        """The nodes whose fencing is due and has not begun, and why."""
        return self._held

    # --- nodes -------------------------------------------------------------------------------------------------------

    def _judge_nodes(self) -> None:
        if self.configuration is None:
            return
        for node, (before, now) in self.roster.judge(self.nodes).items():
            self._take_standing(node, before, now)

    def _take_standing(self, node: str, before: Standing, now: Standing) -> None:
        level = "warning" if now is Standing.LOST else "info"
        self._chronicle.tell("node", TEXTS[now].format(node=node), level=level, node=node, before=str(before))
        self.recorded.set_standing(node, now)
        self.fences.note_change(self._now(), node)
        if now is Standing.LOST:
            self.roster.note_down(node)
            self.recorded.update(node, history.member_lost)
            self._give_up(node)
        elif now in (Standing.MEMBER, Standing.KUBELET):
            self.recorded.update(node, history.member_up)
        if {before, now} != {Standing.MEMBER, Standing.KUBELET}:
            self.touch(f"node {node} is {BECAME.get(now, now)}")

    def _give_up(self, node: str, resources: tuple[str, ...] | None = None) -> None:
        """End everything that runs for a node, or for some resources there: no result comes, so it has failed."""
        self._executor.abandon(node, resources)
        self._doubts.note_unwatched(node)
        if self._course is not None:
            self._course.give_up(node, resources)

    def _waiting_for_first_members(self) -> bool:
        if not self._is_first or self._clock() - self._began >= self._settings.join_wait_s:
            return False
        return any(self.recorded.standing(node) is Standing.UNSEEN for node in self.nodes)

    # --- scheduling --------------------------------------------------------------------------------------------------

    def _should_schedule(self) -> bool:
        if self._waiting_for_first_members() or self._is_fencing_what_is_here():
            return False
        return bool(self._reasons) or self._clock() - self._scheduled_at >= self._settings.recheck_s

    def _is_fencing_what_is_here(self) -> bool:
        """Whether a pod, or a node that is not down, is being fenced: what is taken from it must not be started anew
        behind the fence's back. The fence of a lost node is part of a transition, which waits for it; on a node that is
        fenced already, nothing is started."""
        down = (Standing.LOST, Standing.UNSEEN, Standing.FENCED)
        return any(
            record.target.pods is not None or self.recorded.standing(record.target.node) not in down
            for record in self.fences.running
        )

    def cib(self, *, ruled: bool = True) -> Cib:
        """Configuration and recorded state together: what the scheduler is asked about. ruled: as in `assemble`."""
        assert self.configuration is not None
        return self.recorded.assemble(self.configuration, self._settings.node, ruled=ruled)

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
        """Ask again when somebody has cordoned, uncordoned or tainted a node."""
        seen = {name: (obj.get("spec") or {}) for name, obj in self._node_objects().items()}
        kept_off = {name: (bool(spec.get("unschedulable")), spec.get("taints")) for name, spec in seen.items()}
        if self._kept_off is not None and kept_off != self._kept_off:
            self.touch("nodes were cordoned or tainted, or are not any more")
        self._kept_off = kept_off

    def _node_objects(self) -> dict[str, Mapping[str, Any]]:
        found = ((name, self.views.node_object(name)) for name in self.nodes)
        return {name: obj for name, obj in found if obj is not None}

    def _settle_rules(self) -> None:
        """Put on record where resources are not started for the time being."""
        cib = self.cib(ruled=False)
        kept_off = node_rules(cib, self._node_objects(), tolerations_of(cib))
        rules = (*self._waiting.rules(), *kept_off)
        self.recorded.set_rules(while_another_can(cib, rules, int(self._now())))

    def _schedule(self) -> None:
        why = "; ".join(dict.fromkeys(self._reasons)) or "the time has come to look again"
        self._reasons.clear()
        self._scheduled_at = self._clock()
        self._doubts.settle()
        try:
            self._settle_rules()
            transition = schedule(self.cib(), datetime.fromtimestamp(self._now(), UTC))
        except Exception:  # the next leader would fare no better: go on watching, ask again when something is new
            log.exception("scheduler_failed")
            self._chronicle.tell("scheduler_failed", "the scheduler has failed: nothing new is begun; the log says why",
                                 level="error")  # fmt: skip
            return
        self.last = transition
        if not any(action.kind != "pseudo" for action in transition.actions):
            self.takeover.forget_standbys()
            self._forget_emptied_nodes()
            log.debug("nothing_to_do", why=why)
            return
        walked = probes_first(transition)
        if walked is not transition:
            self._reasons.append("what runs where is known")
        number = self.recorded.next_transition()
        self._chronicle.tell("transition", f"transition {number}: {why}", number=number)
        for line in walked.summary:
            self._chronicle.tell("decision", describe(line), resource=line.resource, node=line.node or line.dest)
        self._held.clear()
        self._end_parking()
        self._course = Course.of(number, self._ordered(walked), self._clock(), why, self._leader_id)
        self._go_on(self._course)

    def _end_parking(self) -> None:
        """Before anything is released: no parked pod appears any more after it was looked for them."""
        for op in self._executor.busy():
            if op.key == PARK and op.task == "park":
                self._executor.abandon(op.node, (op.name,))

    def _ordered(self, transition: Transition) -> Transition:
        """The transition with what else has to wait in it."""
        states = [self.recorded.state(node) for node in self.recorded.standings]
        return replace(transition, edges=(*transition.edges, *extra_edges(transition, states, self.configured)))

    def _forget_emptied_nodes(self) -> None:
        """Once nothing is under way or left to be done: drop the leaving nodes that nothing runs on."""
        for node in self.leaving:
            if not self.why_kept(node):
                self.recorded.forget_node(node)
                self._chronicle.tell("node_forgotten", f"node {node} is empty and forgotten", node=node)

    def why_kept(self, node: str) -> str:
        """Why a leaving node cannot be forgotten yet; empty: it can."""
        fenced = self.recorded.standing(node) is Standing.FENCED and not self.fences.cleared(node)
        away = fenced and self.views.node_object(node) is not None
        return why_kept(node, running_on(self.cib(), node, int(self._now())), away=away)

    # --- carrying out ------------------------------------------------------------------------------------------------

    def _go_on(self, course: Course) -> None:
        while ready := [i for i in course.walk.ready() if not self._hold(course.actions[i])]:
            batch = [course.actions[i] for i in ready]
            for action in batch:
                course.walk.fire(action.id)
                self._performer.record_intent(course, action)
            if not self.recorded.flush():
                for action in batch:
                    course.walk.unfire(action.id)
                return
            for action in batch:
                self._performer.carry_out(course, action)
        if course.ended:
            self._end(course)

    def _end(self, course: Course) -> None:
        took = round(self._clock() - course.began, 3)
        if course.walk.complete:
            text = f"transition {course.number} complete after {took:g} s"
        else:
            why = course.walk.abort_reason or "it could not go on"
            text = f"transition {course.number} left off after {took:g} s: {why}"
        self._chronicle.tell("transition_ended", text, number=course.number, took_s=took)
        self._course = None
        self._held.clear()
        if self._reasons:
            return
        if course.walk.complete:
            self._forget_emptied_nodes()
        elif course.walk.failed:
            self._reasons.append(f"transition {course.number} could not be completed")
        else:  # asked again at once, the scheduler would say the same for ever
            log.error("transition_cannot_be_walked", number=course.number, waiting=course.walk.waiting)

    def _hold(self, action: GraphAction) -> bool:
        """Whether an action may not begin yet: fencing while in doubt."""
        if action.task != "stonith":
            return False
        why, told = self.fences.refusal(action.node), self._held.pop(action.node, None)
        if why is None:
            return False
        if told is None or told.code != why.code:  # the same with fewer seconds left is no news
            text = f"fencing of {action.node} has to wait: {why}"
            self._chronicle.tell("fencing_held", text, level="warning", node=action.node)
        self._held[action.node] = why
        return True

    def _tell_devices(self) -> None:
        sick = self.fences.sick_devices()
        for name in sick.keys() - self._sick.keys():
            self._chronicle.tell("fence_device", sick[name], level="error", device=name)
        for name in self._sick.keys() - sick.keys():
            self._chronicle.tell("fence_device", f"fence device {name} works again", device=name)
        if sick.keys() != self._sick.keys():
            self.fences.note_change(self._now())
        self._sick = sick

    def _expire_overrides(self) -> None:
        kept = self.recorded.overrides.expire(self._now())
        if kept is not self.recorded.overrides:
            self.recorded.set_overrides(kept)
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
