"""One term of leadership: everything the leader knows and does, from winning the key to losing it.

The loop gives a term its events and then lets it `advance`: judge the nodes, write down what is new, ask the scheduler
when something has changed, carry out what its graph allows. A term that ends is thrown away whole; nothing of it can
act later, because every effect goes through the executor, the fencer and the journal, which are closed or refuse.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import structlog

from hamgr.cib import history
from hamgr.cib.config import ClusterFile
from hamgr.cib.history import Result
from hamgr.cib.model import Agent, Cib, Node, NodeState
from hamgr.controller import standby
from hamgr.controller.chronicle import Chronicle
from hamgr.controller.course import Course, concluded, has_failed
from hamgr.controller.decisions import describe
from hamgr.controller.fences import Ended, Fences
from hamgr.controller.leaving import running_on
from hamgr.controller.membership import TEXTS, Limits, NodeView, Standing, judge_all
from hamgr.controller.priority_delay import priority_delay_s
from hamgr.controller.recorded import Recorded
from hamgr.controller.settings import ControllerSettings
from hamgr.controller.targets import PodTarget, claims, companions
from hamgr.controller.views import Views
from hamgr.executor.executor import Executor
from hamgr.executor.operations import Op, OpResult
from hamgr.fencer.reasons import Reason, reason
from hamgr.fencer.records import Confirmation, FenceRecord, Outcome, Target
from hamgr.fencer.telling import as_status
from hamgr.fencer.topology import Level, LevelConfig
from hamgr.kube.nodes import OUT_OF_SERVICE, has_taint
from hamgr.scheduler import schedule
from hamgr.scheduler.state import Options
from hamgr.scheduler.status import read_options
from hamgr.scheduler.transition import Action, Transition

log = structlog.get_logger(__name__)

_NOT_RUNNING = 7
_ASK_AGAIN_S = 1.0
_OURS = "hamgr"  # the provider of agents that the executor runs
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
        force_restart: Callable[[str], str | None],
    ) -> None:
        """Begin a term with what earlier leaders recorded.

        clock: monotonic seconds; now: seconds since the epoch.
        force_restart: of an agent, by its name: the parameters whose change needs a restart, None when each does.
        settled: whether our own view of etcd has been whole for long enough to believe that a missing member is silent.
        """
        self._settings = settings
        self.recorded = recorded
        self._chronicle = chronicle
        self.views = views
        self._executor = executor
        self.fences = fences
        self._leader_id = leader_id
        self._clock = clock
        self._now = now
        self._settled = settled
        self._force_restart = force_restart
        self._began = clock()
        self._course: Course | None = None
        self._held: dict[int, Reason] = {}  # fencing that may not begin yet: action and why
        self._reasons: list[str] = ["a new leader"]
        self._scheduled_at = float("-inf")
        self.last: Transition | None = None
        self.changes = 0  # how often something happened that the scheduler had to see
        self.standby_of: Callable[[str], str] = lambda _resource: ""  # where a parked pod waits; empty: nowhere
        self._down_since: dict[str, float] = {}  # node that is lost or fenced: monotonic seconds
        self._unwatched: set[str] = set()  # nodes whose monitors were ended, though the records still have them
        self._is_first = not recorded.transitions  # nobody has led this cluster to anything yet
        self._recurring: dict[tuple[str, str, int, str], Result] = {}  # operation's identity: its record when it began
        self.cluster: ClusterFile | None = None
        self.configuration: Cib | None = None
        self._forget_what_the_last_leader_ran()

    # --- inputs ------------------------------------------------------------------------------------------------------

    def configure(self, cluster: ClusterFile) -> None:
        """Take over an applied cluster file."""
        self.cluster = cluster
        self.configuration = cluster.to_live_cib()
        attributes = {node.name: _attributes(node) for node in self.configuration.nodes}
        attributes |= {node: {} for node in self.leaving}
        self.fences.configure(cluster.fencing, attributes, cluster.namespace)
        for node in self.leaving:
            text = f"node {node} is not in the cluster file any more: it is emptied, then forgotten"
            self._chronicle.tell("node_leaving", text, node=node)
        self._settle_fences()

    @property
    def nodes(self) -> tuple[str, ...]:
        """All nodes of the cluster: those that are configured, then those that leave it."""
        configured = () if self.configuration is None else tuple(node.name for node in self.configuration.nodes)
        return (*configured, *self.leaving)

    @property
    def leaving(self) -> tuple[str, ...]:
        """Nodes that are not configured any more and were not forgotten yet."""
        return () if self.configuration is None else self.recorded.leaving(self.configuration)

    def touch(self, why: str) -> None:
        """Something has changed that the scheduler must see: end the present course and ask again."""
        self._reasons.append(why)
        self.changes += 1
        if self._course is not None:
            self._course.walk.abort(why)

    def operation_ended(self, result: OpResult) -> None:
        """Record an action's result and go on with the graph, or leave it."""
        course, action = self._course, None
        if course is not None and result.op.key in course.keys:
            action = course.actions[course.keys[result.op.key]]
        fenced = self.recorded.standing(result.op.node) is Standing.FENCED  # and what it says is older than that
        if fenced or (action is None and result.op.interval_ms == 0):
            if result.op.key != PARK:
                log.info("late_result_dropped", resource=result.op.name, task=result.op.task, node=result.op.node)
            return
        executed = self._executed(result, action)
        fatal = self.options().start_failure_is_fatal
        self.recorded.update(result.op.node, lambda s: history.record_result(s, executed, start_failure_is_fatal=fatal))
        if result.attributes:
            self.recorded.update(result.op.node, lambda s: history.set_attributes(s, result.attributes))
            self.touch(f"{result.op.name} has new attributes on {result.op.node}")
        self._tell_result(result, executed)
        failed = has_failed(executed)
        in_flight = course is not None and action is not None and action.id in course.walk.in_flight
        if course is not None and action is not None and in_flight:
            (course.walk.fail if failed else course.walk.confirm)(action.id)
        if failed and result.op.interval_ms and executed.rc == _NOT_RUNNING:
            self._prefer_standby(result.op.name, result.op.node)
        if not failed and result.op.task == "start":
            self._forget_standbys(result.op.name)
        if failed:
            self.touch(f"{result.op.task} of {result.op.name} on {result.op.node} has failed")
        elif action is not None and in_flight and executed.rc != action.target_rc:
            self.touch(f"{result.op.name} was found on {result.op.node}")

    def _prefer_standby(self, resource: str, node: str) -> None:
        """An instance is gone: where a standby waits with everything but the disk, it is back sooner than in place.
        Unless it would be moved back from there, which costs a second outage."""
        waiting = self.standby_of(resource)
        if not waiting or waiting == node:
            return
        before = self.recorded.state(waiting)
        self.recorded.set_state(standby.mark(before, resource))
        try:
            stays = standby.would_stay(self.cib(), resource, waiting, datetime.fromtimestamp(self._now(), UTC))
        except Exception:  # as in _schedule; without the standby it takes longer, no more
            log.exception("scheduler_failed")
            stays = False
        if not stays:
            self.recorded.set_state(before)

    def _forget_standbys(self, resource: str = "") -> None:
        """The standby that drew a resource (or any has, without one) must not draw it a second time, later on."""
        for node in self.recorded.standings:
            if standby.is_marked(self.recorded.state(node), resource):
                self.recorded.update(node, partial(standby.unmark, resource=resource))

    def fence_node(self, node: str, why: Reason, by: str, levels: tuple[LevelConfig, ...] = ()) -> FenceRecord:
        """Fence a node because somebody asked for it. What runs for it is given up: it would work against the fence."""
        self._give_up(node)
        self.touch(f"{by} has node {node} fenced")
        return self.fences.fence_node(node, why, by, levels)

    def fence_pod(self, pod: PodTarget, why: Reason, by: str, levels: tuple[LevelConfig, ...] = ()) -> FenceRecord:
        """Fence one pod with its volumes; its resource is banned from that node until somebody cleans up."""
        assert self.configuration is not None
        together = companions(self.configuration, pod.resource)
        self.recorded.update(
            pod.node,
            lambda s: history.set_attributes(
                s,
                {
                    f"fail-count-{pod.resource}#monitor_0": "INFINITY",
                    f"last-failure-{pod.resource}#monitor_0": str(int(self._now())),
                },
            ),
        )
        self._give_up(pod.node, together)
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
        return replace(
            self.target(pod.node),
            pods=((pod.namespace, pod.name),),
            claims=claims(self.configuration, companions(self.configuration, pod.resource)),
            alive=self.recorded.standing(pod.node) in (Standing.MEMBER, Standing.KUBELET),
        )

    def target(self, node: str) -> Target:
        """A node as a target: all of our disks, since what is recorded of it may be behind."""
        assert self.configuration is not None
        promise = self.views.promise(node)
        return Target(
            node,
            claims=claims(self.configuration),
            self_fence_s=None if promise is None else promise.self_fence,
            member_ttl_s=0.0 if promise is None else promise.ttl_s,
            boot_id=self.views.boot_id(node),
            outdated_boot_id=self.views.outdated_boot_id(node),
        )

    def fence_changed(self, record: FenceRecord) -> None:
        """Take a fence's progress; a node that was fenced is down with nothing on it."""
        ended = self.fences.note(record)
        if ended is None:
            return
        self._tell_fence(record)
        course = self._course
        waiting = () if course is None else tuple(i for i in course.walk.in_flight if self._fences_of(course, i, ended))
        if ended.succeeded:
            self._apply_fence(ended, detached=record.level.level is not Level.STOP)
        for action_id in waiting:
            assert course is not None
            (course.walk.confirm if ended.succeeded else course.walk.fail)(action_id)
        if not waiting or not ended.succeeded:
            self.touch(f"fencing of {ended.target} has {'succeeded' if ended.succeeded else 'failed'}")

    def _tell_fence(self, record: FenceRecord) -> None:
        shown = as_status(record)
        if record.outcome is Outcome.SUCCEEDED:
            text = f"{shown.target} fenced by level {shown.level} in {shown.took_s:g} s: {shown.proof}"
        else:
            text = f"{shown.target} could not be fenced: {shown.error}"
        level = "warning" if record.outcome is Outcome.SUCCEEDED else "error"
        self._chronicle.tell("fence", text, level=level, node=record.target.node, fence=record.id)

    @staticmethod
    def _fences_of(course: Course, action_id: int, ended: Ended) -> bool:
        action = course.actions[action_id]
        return action.task == "stonith" and action.node == ended.node and ended.pods_of is None

    def _stopped(self, state: NodeState, resource: str, detached: bool) -> NodeState:
        """A node's state after one of a fenced pod's companions was stopped by the fence.

        A disk that the fence left attached (an orderly stop proves the pod gone, no more) is still on record, for the
        scheduler to detach it before it is attached elsewhere.
        """
        recorded = next((entry for entry in state.resources if entry.id == resource), None)
        if recorded is None or (recorded.agent.type == "volume" and not detached):
            return state
        stop = Result(
            resource,
            recorded.agent,
            "stop",
            state.name,
            call_id=self.recorded.next_call_id(),
            controller=self._leader_id,
            last_rc_change=int(self._now()),
        )
        return history.record_result(history.forget_recurring_of(state, resource), stop)

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
            self._apply_fence(Ended(node, node, None, succeeded=True), detached=True)

    def _apply_fence(self, ended: Ended, *, detached: bool) -> None:
        node = ended.node
        if ended.pods_of is not None:
            resources = tuple(dict.fromkeys(name for pod in ended.pods_of for name in self.companions(pod)))
            self._give_up(node, resources)
            for resource in resources:
                self.recorded.update(node, lambda s, r=resource: self._stopped(s, r, detached))  # type: ignore[misc]
            return
        self.recorded.update(node, history.member_fenced)
        self.recorded.set_standing(node, Standing.FENCED)
        last = self.fences.last_of(node)
        self.recorded.settle_fence(node, "" if last is None else last.id)
        self._down_since[node] = self._clock()
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
    def held(self) -> tuple[str, ...]:
        """Why fencing that is due has not begun."""
        return tuple(str(why) for why in self._held.values())

    # --- nodes -------------------------------------------------------------------------------------------------------

    def _judge_nodes(self) -> None:
        if self.configuration is None:
            return
        names = self.nodes
        fenced = [name for name in names if self.recorded.standing(name) is Standing.FENCED]
        returning = [name for name in fenced if self.shows_life(name)]
        self.fences.look_for_returns(returning)
        cleared = {name for name in returning if self.fences.cleared(name)}
        views = {name: self._view(name, cleared=name in cleared) for name in names}
        limits = Limits(self._settings.lease_age_s, settled=self._settled(), seen_for_s=self.views.seen_for_s())
        for node, (before, now) in judge_all(self.recorded.standings, views, limits).items():
            self._take_standing(node, before, now)

    def _view(self, node: str, *, cleared: bool) -> NodeView:
        """What is seen of a node; where its Lease is late, what runs there is asked for a sign of life."""
        heard_s = self._executor.heard_s(node)
        if self.views.late_s(node) is not None and (heard_s is None or heard_s > _ASK_AGAIN_S):
            self._executor.poke_node(node)
        renewed = self.shows_life(node) and not self._is_fencing(node)
        return self.views.of(node, cleared=cleared, heard_s=heard_s, renewed=renewed)

    def shows_life(self, node: str) -> bool:
        """Whether a node was heard of since it is down: a crashed one looks well in Kubernetes for most of a minute."""
        return node in self.views.members or self.views.renewed_within(node, self._down_for_s(node))

    def still_renews(self, node: str) -> bool:
        """Whether the kubelet of a node that is down has renewed its Lease since, and lately."""
        return self.views.renewed_within(node, min(self._down_for_s(node), self._settings.lease_age_s))

    def _down_for_s(self, node: str) -> float:
        return self._clock() - self._down_since.get(node, self._began)

    def _is_fencing(self, node: str) -> bool:
        return any(record.target.node == node for record in self.fences.running)

    def _take_standing(self, node: str, before: Standing, now: Standing) -> None:
        level = "warning" if now is Standing.LOST else "info"
        self._chronicle.tell("node", TEXTS[now].format(node=node), level=level, node=node, before=str(before))
        self.recorded.set_standing(node, now)
        if now is Standing.LOST:
            self._down_since[node] = self._clock()
            self.recorded.update(node, history.member_lost)
            self._give_up(node)
        elif now in (Standing.MEMBER, Standing.KUBELET):
            self.recorded.update(node, history.member_up)
        if {before, now} != {Standing.MEMBER, Standing.KUBELET}:
            self.touch(f"node {node} is {now}")

    def _give_up(self, node: str, resources: tuple[str, ...] | None = None) -> None:
        """End everything that runs for a node, or for some resources there: no result comes, so it has failed."""
        self._executor.abandon(node, resources)
        self._unwatched.add(node)
        if self._course is None:
            return
        for action_id in self._course.walk.in_flight:
            action = self._course.actions[action_id]
            if action.kind == "rsc" and action.node == node and (resources is None or action.resource in resources):
                self._course.walk.fail(action_id)

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

    def cib(self) -> Cib:
        """Configuration and recorded state together: what the scheduler is asked about."""
        assert self.configuration is not None
        return self.recorded.assemble(self.configuration, self._settings.node)

    def options(self) -> Options:
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

    def _schedule(self) -> None:
        why = "; ".join(dict.fromkeys(self._reasons)) or "the time has come to look again"
        self._reasons.clear()
        self._scheduled_at = self._clock()
        self._doubt_what_nobody_watched()
        try:
            transition = schedule(self.cib(), datetime.fromtimestamp(self._now(), UTC))
        except Exception:  # the next leader would fare no better: go on watching, ask again when something is new
            log.exception("scheduler_failed")
            self._chronicle.tell("scheduler_failed", "the scheduler has failed: nothing new is begun; the log says why",
                                 level="error")  # fmt: skip
            return
        self.last = transition
        if not any(action.kind != "pseudo" for action in transition.actions):
            self._forget_standbys()
            self._forget_emptied_nodes()
            log.debug("nothing_to_do", why=why)
            return
        number = self.recorded.next_transition()
        self._chronicle.tell("transition", f"transition {number}: {why}", number=number)
        for line in transition.summary:
            self._chronicle.tell("decision", describe(line), resource=line.resource, node=line.node or line.dest)
        self._held.clear()
        self._course = Course.of(number, transition, self._clock(), why, self._leader_id)
        self._go_on(self._course)

    def _forget_emptied_nodes(self) -> None:
        """Once nothing is under way or left to be done: drop the leaving nodes that nothing runs on."""
        for node in self.leaving:
            if not self.why_kept(node):
                self.recorded.forget_node(node)
                self._chronicle.tell("node_forgotten", f"node {node} is empty and forgotten", node=node)

    def why_kept(self, node: str) -> str:
        """Why a leaving node cannot be forgotten yet; empty: it can."""
        if runs := running_on(self.cib(), node, int(self._now())):
            return f"{', '.join(runs)} must be stopped there first"
        obj = self.views.node_object(node)
        if self.recorded.standing(node) is Standing.FENCED and obj is not None and has_taint(obj, OUT_OF_SERVICE):
            return (
                f"it was fenced and carries the taint {OUT_OF_SERVICE}: bring it back, delete the Node object, "
                f"or `hamgr unfence {node}`"
            )
        return ""

    # --- carrying out ------------------------------------------------------------------------------------------------

    def _go_on(self, course: Course) -> None:
        while ready := [i for i in course.walk.ready() if not self._hold(course.actions[i])]:
            batch = [course.actions[i] for i in ready]
            for action in batch:
                course.walk.fire(action.id)
                self._record_intent(course, action)
            if not self.recorded.flush():
                for action in batch:
                    course.walk.unfire(action.id)
                return
            for action in batch:
                self._carry_out(course, action)
        if course.ended:
            self._end(course)

    def _end(self, course: Course) -> None:
        took = round(self._clock() - course.began, 3)
        outcome = "complete" if course.walk.complete else f"ended: {course.walk.abort_reason or 'could not go on'}"
        self._chronicle.tell("transition_ended", f"transition {course.number} {outcome} after {took:g} s",
                             number=course.number, took_s=took)  # fmt: skip
        self._course = None
        if self._reasons:
            return
        if course.walk.complete:
            self._forget_emptied_nodes()
        elif course.walk.failed:
            self._reasons.append(f"transition {course.number} could not be completed")
        else:  # asked again at once, the scheduler would say the same for ever
            log.error("transition_cannot_be_walked", number=course.number, waiting=course.walk.waiting)

    def _hold(self, action: Action) -> bool:
        """Whether an action may not begin yet: fencing while in doubt."""
        if action.task != "stonith":
            return False
        why, told = self.fences.refusal(action.node), self._held.pop(action.id, None)
        if why is None:
            return False
        if told is None or told.code != why.code:  # the same with fewer seconds left is no news
            text = f"fencing of {action.node} has to wait: {why}"
            self._chronicle.tell("fencing_held", text, level="warning", node=action.node)
        self._held[action.id] = why
        return True

    def _record_intent(self, course: Course, action: Action) -> None:
        """An action on a resource is on record before it begins, so that the next leader knows to look."""
        if action.kind != "rsc" or action.interval_ms or action.task in ("cancel", "delete", "notify"):
            return
        if action.task == "monitor":
            return
        pending = self._record_of(course, action)
        self.recorded.update(action.node, lambda state: history.record_result(state, pending))

    def _carry_out(self, course: Course, action: Action) -> None:
        match action.kind, action.task:
            case "pseudo", _:
                course.walk.confirm(action.id)
            case "crm", "stonith":
                why = reason("scheduler", why=action.reason or course.why)
                delay_s = priority_delay_s(self.cib(), action.node, int(self._now()))
                self.fences.fence_node(action.node, why, self._settings.node, delay_s=delay_s)
            case "crm", "clear_failcount":
                self.recorded.update(action.node, lambda s: history.clear_failures(s, action.history_id))
                course.walk.confirm(action.id)
            case "crm", _:
                course.walk.confirm(action.id)
            case _, "cancel":
                self._executor.cancel_recurring(action.resource, action.cancel_task, action.interval_ms, action.node)
                forget = (action.history_id, action.cancel_task, action.interval_ms)
                self.recorded.update(action.node, lambda s: history.forget_operation(s, *forget))
                course.walk.confirm(action.id)
            case _, "delete":
                self.recorded.update(action.node, lambda s: history.forget_resource(s, action.history_id))
                course.walk.confirm(action.id)
            case _ if action.agent is not None and action.agent.standard == "stonith":
                self._device_action(course, action)
            case _:
                self._start_operation(course, action)

    def _device_action(self, course: Course, action: Action) -> None:
        """A fencing device is the fencer's; as a resource it has nothing to run. A probe finds what is on record."""
        rc = 7 if action.task == "monitor" and not action.interval_ms else 0
        done = replace(self._record_of(course, action), status=history.DONE, rc=rc)
        self.recorded.update(action.node, lambda state: history.record_result(state, done))
        course.walk.confirm(action.id)

    def _start_operation(self, course: Course, action: Action) -> None:
        assert action.agent is not None
        op = Op(
            resource=action.resource.split(":")[0],
            agent=action.agent.type if action.agent.provider in ("", _OURS) else _agent_name(action.agent),
            task=action.task,
            node=action.node,
            instance=action.resource,
            interval_ms=action.interval_ms,
            timeout_ms=action.timeout_ms or 20_000,
            params=action.params,
            meta={**action.meta, "history_id": action.history_id or action.resource},
            key=course.key_of(action),
        )
        if action.interval_ms:
            self._recurring[op.identity] = self._record_of(course, action)
            self._executor.schedule_recurring(op)
        else:
            self._executor.run(op)

    # --- records -----------------------------------------------------------------------------------------------------

    def _record_of(self, course: Course, action: Action) -> Result:
        """An action's record while it is under way."""
        ours = action.agent is not None and action.agent.provider in ("", _OURS)
        force_restart = self._force_restart(action.agent.type) if action.agent is not None and ours else None
        return course.record_of(action, self.recorded.next_call_id(), int(self._now()), force_restart)

    def _executed(self, result: OpResult, action: Action | None) -> Result:
        """An operation's record now that it has ended; a recurring one may be of an earlier transition."""
        if action is not None and self._course is not None:
            return concluded(self._record_of(self._course, action), result)
        # with its digests: a record without them is taken for one of another definition
        begun = replace(self._recurring[result.op.identity], call_id=self.recorded.next_call_id())
        return concluded(begun, result)

    def _tell_result(self, result: OpResult, executed: Result) -> None:
        """Tell what people want to know: whatever failed or changed something. Probes and quiet monitors are logged."""
        op = result.op
        failed = has_failed(executed)
        outcome = "failed" if failed else "ok"
        reason = f": {result.reason}" if result.reason else ""
        text = f"{op.task} of {op.name} on {op.node} {outcome} after {result.exec_ms / 1000:.2f} s{reason}"
        if failed or op.task != "monitor":
            self._chronicle.tell(
                "operation",
                text,
                level="warning" if failed else "info",
                node=op.node,
                resource=op.name,
                task=op.task,
                rc=int(result.rc),
                took_ms=result.exec_ms,
            )
        else:
            log.info("operation", text=text, rc=int(result.rc), interval_ms=op.interval_ms)

    def _forget_what_the_last_leader_ran(self) -> None:
        """Recurring operations ended with it, and how its operations in flight ended nobody knows: those are probed."""
        for node in self.recorded.standings:
            self.recorded.update(node, history.forget_recurring)
            self._forget_pending(node)

    def _doubt_what_nobody_watched(self) -> None:
        """Between two transitions nothing is in flight: what is recorded as under way ended without our hearing how.

        So it is with what ran on a node that was lost and came back, and with what was recorded and then not begun.
        Where monitors were ended they have to be started again. Of nodes that are away the records are all there is.
        """
        for node, standing in self.recorded.standings.items():
            if standing not in (Standing.MEMBER, Standing.KUBELET):
                continue
            if node in self._unwatched:
                self._unwatched.remove(node)
                self.recorded.update(node, history.forget_recurring)
            self._forget_pending(node)

    def _forget_pending(self, node: str) -> None:
        state, unsure = history.forget_pending(self.recorded.state(node))
        self.recorded.set_state(state)
        for resource in unsure:
            text = f"how the last operation on {resource} ended is not known: {node} is probed"
            self._chronicle.tell("operation_unknown", text, node=node, resource=resource)

    def _expire_overrides(self) -> None:
        kept = self.recorded.overrides.expire(self._now())
        if kept is not self.recorded.overrides:
            self.recorded.set_overrides(kept)
            self.touch("a move or ban has run out")


def _attributes(node: Node) -> dict[str, str]:
    return {name: value for nvset in reversed(node.attributes) for name, value in nvset.pairs}


def _agent_name(agent: Agent) -> str:
    return ":".join(part for part in (agent.provider, agent.type) if part)
