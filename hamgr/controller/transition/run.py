"""A transition on its way: its actions by id and key, how far the walk is, and how its operations are put on record."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

from hamgr.cib import history
from hamgr.cib.digest import restart_digest
from hamgr.cib.history import Result
from hamgr.controller.transition.graph import TransitionGraph
from hamgr.controller.transition.limits import Limits
from hamgr.executor.operations import OpResult
from hamgr.scheduler.transition import GraphAction, Transition

_UNKNOWN = 193  # the exit code that Pacemaker writes for an operation under way
_FOUND = (0, 7, 8)  # a probe that says so has not failed, whatever was expected


@dataclass(slots=True)
class TransitionRun:
    """The transition that is being carried out. `began` is monotonic seconds, `leader_id` whose it is."""

    number: int
    transition: Transition
    graph: TransitionGraph
    began: float
    why: str
    leader_id: str
    limits: Limits
    actions: dict[int, GraphAction] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)  # transition key: action

    @classmethod
    def of(
        cls, number: int, transition: Transition, began: float, why: str, leader_id: str, limits: Limits
    ) -> TransitionRun:
        """Begin to walk a transition."""
        graph = TransitionGraph(transition.actions, transition.edges)
        run = cls(number, transition, graph, began, why, leader_id, limits)
        for action in transition.actions:
            run.actions[action.id] = action
            run.keys[run.key_of(action)] = action.id
        return run

    @property
    def ended(self) -> bool:
        """Whether nothing more can come of it. A course that is left does not wait for first answers of monitors: they
        are recorded whenever they come, and may be long in coming while the API server is away."""
        if self.graph.abort_reason is None:
            return self.graph.finished
        return all(self.actions[i].interval_ms for i in self.graph.in_flight)

    def admitted(self, ready: Sequence[GraphAction]) -> list[GraphAction]:
        """Which of these may begin, by the configured limits."""
        return self.limits.admit(ready, [self.actions[i] for i in self.graph.in_flight])

    def pods_to_start(self) -> tuple[str, ...]:
        """The names that the pods have, or would have, of all that it starts."""
        return pods_to_start(self.transition)

    def key_of(self, action: GraphAction) -> str:
        """Pacemaker's transition key, by which a result finds its action again."""
        return f"{action.id}:{self.number}:{action.target_rc}:{self.leader_id}"

    def fences_of(self, node: str) -> tuple[int, ...]:
        """The actions in flight that wait for a fence of that node as a whole."""
        chosen = ((i, self.actions[i]) for i in self.graph.in_flight)
        return tuple(i for i, action in chosen if action.task == "stonith" and action.node == node)

    def resources_to_move(self) -> frozenset[str]:
        """What it starts or stops."""
        chosen = (action for action in self.transition.actions if action.task in ("start", "stop"))
        return frozenset(action.resource.partition(":")[0] for action in chosen)

    def being_started(self) -> frozenset[tuple[str, str]]:
        """(resource, node) of what it starts, or has started, unless that has failed or will not come any more."""
        open_ids = self.graph.waiting if self.graph.abort_reason is None else frozenset[int]()
        chosen = (a for a in self.transition.actions if a.task == "start" and a.id not in self.graph.failed)
        return frozenset(
            (action.resource.partition(":")[0], action.node)
            for action in chosen
            if action.id in open_ids or action.id not in self.graph.waiting
        )

    def orders_fence_of(self, node: str) -> bool:
        """Whether a fence of that node is part of it, and has not failed."""
        chosen = (action for action in self.transition.actions if action.task == "stonith" and action.node == node)
        return any(action.id not in self.graph.failed for action in chosen) and self.graph.abort_reason is None

    def give_up(self, node: str, resources: Collection[str] | None = None) -> None:
        """No result will come of what is in flight for a node, or for some resources there: it has failed."""
        for action_id in self.graph.in_flight:
            action = self.actions[action_id]
            if action.kind == "rsc" and action.node == node and (resources is None or action.resource in resources):
                self.graph.fail(action_id)

    def record_of(self, action: GraphAction, call_id: int, now: int, force_restart: str | None) -> Result:
        """An action's record while it is under way.

        now: seconds since the epoch. force_restart: of the agent's parameters those whose change needs a restart, None
        when it cannot reload. Like Pacemaker's controller (append_restart_list in 2.1.5), what they were is recorded
        with what tells that the resource is up with these parameters, which a recurring operation does not.
        """
        assert action.agent is not None
        reloads = force_restart is not None and not action.interval_ms and action.task != "stop"
        return Result(
            resource=action.history_id or action.resource,
            agent=action.agent,
            operation=action.task,
            node=action.node,
            interval_ms=action.interval_ms,
            rc=_UNKNOWN,
            target_rc=action.target_rc,
            status=history.PENDING,
            call_id=call_id,
            transition=self.number,
            action=action.id,
            controller=self.leader_id,
            last_rc_change=now,
            op_digest=action.op_digest,
            op_restart_digest=restart_digest(action.params, force_restart or "") if reloads else "",
            op_force_restart=force_restart if reloads else None,
            migrate_source=action.migrate_source,
            migrate_target=action.migrate_target,
            notify_type=action.meta.get("notify_key_type", ""),
            notify_operation=action.meta.get("notify_key_operation", ""),
        )


def pods_to_start(transition: Transition) -> tuple[str, ...]:
    """As `TransitionRun.pods_to_start`."""
    starts = (
        (action.resource.partition(":")[0], action.node) for action in transition.actions if action.task == "start"
    )
    return tuple(sorted({f"{resource}-{node}" for resource, node in starts}))


def concluded(begun: Result, result: OpResult) -> Result:
    """An operation's record now that it has ended."""
    return replace(
        begun,
        rc=int(result.rc),
        status=int(result.exec_status),
        exit_reason=result.reason,
        last_rc_change=int(result.started_at),
        exec_time=result.exec_ms,
        queue_time=result.queue_ms,
    )


def has_failed(executed: Result) -> bool:
    """Whether people and the graph should call it a failure: unlike on record, a probe's surprising find is none."""
    probe = executed.operation == "monitor" and not executed.interval_ms
    found = probe and executed.status == history.DONE and executed.rc in _FOUND
    return executed.failed and not found
