"""One term of leadership: everything the leader knows and does, from winning the key to losing it.

The loop gives a term its events and then lets it `advance`: judge the nodes, write down what is new, ask the scheduler
when something has changed, carry out what its graph allows. A term that ends is thrown away whole; nothing of it can
act later, because every effect goes through the executor, the fencer and the journal, which are closed or refuse.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import structlog

from hamgr.cib import history
from hamgr.cib.config import ClusterFile
from hamgr.cib.model import Cib, Node
from hamgr.controller.aftermath import Aftermath
from hamgr.controller.chronicle import Chronicle
from hamgr.controller.course import Course, has_failed
from hamgr.controller.decisions import describe
from hamgr.controller.doubts import Doubts
from hamgr.controller.fences import Ended, Fences
from hamgr.controller.leaving import running_on, why_kept
from hamgr.controller.membership import BECAME, TEXTS, Standing
from hamgr.controller.performing import Performer
from hamgr.controller.recorded import Recorded
from hamgr.controller.roster import Roster
from hamgr.controller.settings import ControllerSettings
from hamgr.controller.takeover import Takeover
from hamgr.controller.targets import PodTarget, claims, companions, node_target, patterns
from hamgr.controller.views import Views
from hamgr.executor.executor import Executor
from hamgr.executor.operations import OpResult
from hamgr.fencer.reasons import Reason
from hamgr.fencer.records import Confirmation, FenceRecord, Outcome, Target
from hamgr.fencer.topology import Level, LevelConfig
from hamgr.kube.objects import name_of
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
        self.roster = Roster(
            recorded, views, executor, fences, lease_age_s=settings.lease_age_s, clock=clock, settled=settled
        )
        self._executor = executor
        self.fences = fences
        self._leader_id = leader_id
        self._clock = clock
        self._now = now
        self._performer = Performer(
            settings.node, recorded, executor, fences, cib=self.cib, now=now, force_restart=force_restart
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
        self._doubts = Doubts(recorded, chronicle)
        self._aftermath = Aftermath(recorded, fences, leader_id, now)
        self._is_first = not recorded.transitions  # nobody has led this cluster to anything yet
        self.cluster: ClusterFile | None = None
        self.configuration: Cib | None = None
        self._doubts.forget_what_the_last_leader_ran()

    # --- inputs ------------------------------------------------------------------------------------------------------

    def configure(self, cluster: ClusterFile) -> None:
        """Take over an applied cluster file."""
        self.cluster = cluster
        self.configuration = cluster.to_live_cib()
        attributes: dict[str, Mapping[str, str]] = {n.name: _attributes(n) for n in self.configuration.nodes}
        for node, values in attributes.items():
            self.recorded.set_configured(node, values)
        attributes |= {node: self.recorded.configured(node) for node in self.leaving}
        self.fences.configure(cluster.fencing, attributes, cluster.namespace)
        for node in self.leaving:
            text = f"node {node} is not in the cluster file any more: it is emptied, then forgotten"
            self._chronicle.tell("node_leaving", text, node=node)
        self._settle_fences()

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

    def touch(self, why: str) -> None:
        """Something has changed that the scheduler must see: end the present course and ask again."""
        self._reasons.append(why)
        self.changes += 1
        if self._course is not None:
            self._course.walk.abort(why)

    def pod_seen(self, pod: Mapping[str, Any]) -> None:
        """Compare a pod of this cluster's, as it is now, with the records."""
        if self._doubts.note_pod(pod):
            self.touch(f"pod {name_of(pod)} runs where nobody has started it")

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
        executed = self._performer.executed(course, action, result)
        fatal = self.options().start_failure_is_fatal
        self.recorded.update(result.op.node, lambda s: history.record_result(s, executed, start_failure_is_fatal=fatal))
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
        if not failed and result.op.task == "start":
            self.takeover.forget_standbys(result.op.name)
        if failed:
            self.touch(f"{result.op.task} of {result.op.name} on {result.op.node} has failed")
        elif action is not None and in_flight and executed.rc != action.target_rc:
            self.touch(f"{result.op.name} was found on {result.op.node}")

    def fence_node(self, node: str, why: Reason, by: str, levels: tuple[LevelConfig, ...] = ()) -> FenceRecord:
        """Fence a node because somebody asked for it. What runs for it is given up: it would work against the fence."""
        self._give_up(node)
        self.touch(f"{by} has node {node} fenced")
        return self.fences.fence_node(node, why, by, levels)

    def fence_pod(self, pod: PodTarget, why: Reason, by: str, levels: tuple[LevelConfig, ...] = ()) -> FenceRecord:
        """Fence one pod with its volumes; its resource is banned from that node until somebody cleans up."""
        assert self.configuration is not None
        together = companions(self.configuration, pod.resource)
        self._aftermath.ban(pod.resource, pod.node)
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
        together = companions(self.configuration, pod.resource)
        return replace(
            self.target(pod.node),
            pods=((pod.namespace, pod.name),),
            claims=claims(self.configuration, together),
            patterns=patterns(self.cib(), pod.node, int(self._now()), together),
            alive=self.recorded.standing(pod.node) in (Standing.MEMBER, Standing.KUBELET),
        )

    def target(self, node: str) -> Target:
        """A node as a target: all of our disks, since what is recorded of it may be behind."""
        assert self.configuration is not None
        may_run = patterns(self.cib(), node, int(self._now()))
        return node_target(node, claims(self.configuration), may_run, self.views)

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

    def cib(self) -> Cib:
        """Configuration and recorded state together: what the scheduler is asked about."""
        assert self.configuration is not None
        return self.recorded.assemble(self.configuration, self._settings.node)

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

    def _schedule(self) -> None:
        why = "; ".join(dict.fromkeys(self._reasons)) or "the time has come to look again"
        self._reasons.clear()
        self._scheduled_at = self._clock()
        self._doubts.settle()
        try:
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
        self._sick = sick

    def _expire_overrides(self) -> None:
        kept = self.recorded.overrides.expire(self._now())
        if kept is not self.recorded.overrides:
            self.recorded.set_overrides(kept)
            self.touch("a move or ban has run out")


def _attributes(node: Node) -> dict[str, str]:
    return {name: value for nvset in reversed(node.attributes) for name, value in nvset.pairs}
