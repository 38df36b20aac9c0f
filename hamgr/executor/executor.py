"""Run agents' actions: many at once, each with its timeout, and monitors again and again.

As Pacemaker's executor does: actions of one instance on one node run one after another; a recurring monitor runs at
once, then an interval after each run, and is reported when its outcome differs from what was reported last; a stop,
promotion, demotion or migration ends the monitors of that instance first. Unlike there, a monitor also runs when
`Executor.poke` says that a watch has seen something, and never holds up the action that follows it.

A Python thread cannot be killed. An action that outlives its timeout is reported as timed out, told to stop through
`ActionContext.cancelled`, and no longer counted; whatever it returns later is dropped.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from hamgr.executor.agent import ActionContext, ActionResult, ActionTimeout, _unknown_mounts, _unknown_pods
from hamgr.executor.ocf import ExecStatus, Ocf
from hamgr.executor.operations import Op, OpResult
from hamgr.executor.registry import Registry, UnknownAgent
from hamgr.kube.errors import KubeError, Unavailable
from hamgr.kube.gate import unless_called_off

if TYPE_CHECKING:
    from hamgr.kube.cache import Cache
    from hamgr.kube.gateway import Kube
    from hamgr.kube.volumes import Volume

ENDS_MONITORS = frozenset({"stop", "promote", "demote", "migrate_to", "migrate_from"})
_DEBOUNCE_S = 0.05
_RETRY_S = 0.25
_LONGEST_WAIT_S = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ExecutorDeps:
    """What every action gets besides its own parameters; see `ActionContext`."""

    kube: Kube | None = None
    cache: Cache | None = None
    cluster: str = "hamgr"
    options: Mapping[str, str] = field(default_factory=dict)
    unmounted: Callable[[str, Volume], bool | None] = _unknown_mounts
    departed: Callable[[str, str], bool | None] = _unknown_pods


@dataclass(slots=True, eq=False)
class _Run:
    """One execution. ``ops`` are all that wait for it: an identical one that came meanwhile has joined."""

    ops: list[Op]
    queued_at: float
    started_at: float = 0.0
    deadline: float = float("inf")
    over: bool = False  # its result was delivered or given up
    cancelled: threading.Event = field(default_factory=threading.Event)

    @property
    def op(self) -> Op:
        return self.ops[0]


@dataclass(slots=True, eq=False)
class _Recurring:
    """One recurring monitor."""

    op: Op
    next_at: float
    run: _Run | None = None
    stuck: _Run | None = None  # a timed out run whose thread has not come back
    again: bool = False  # poked while running
    reported: tuple[object, ...] | None = None


class Executor:
    """Runs operations; results come through ``on_result``, from threads of the executor, never with its lock held.

    ``workers`` bounds how many actions run at once, ``clock`` is monotonic seconds. Thread-safe.
    """

    def __init__(
        self,
        registry: Registry,
        on_result: Callable[[OpResult], None],
        surroundings: ExecutorDeps,
        *,
        workers: int,
        clock: Callable[[], float] = time.monotonic,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        """may_act: whether the world may still be changed from here; once it says no, actions count as cancelled."""
        self._registry = registry
        self._may_act = may_act
        self._on_result = on_result
        self._surroundings = surroundings
        self._clock = clock
        self._free = workers
        self._wakeup = threading.Condition()
        self._closed = False
        self._lanes: dict[tuple[str, str], deque[_Run]] = {}
        self._recurring: dict[tuple[str, str, int, str], _Recurring] = {}
        self._running: set[_Run] = set()
        self._heard: dict[str, float] = {}  # node: when the last action began in which something there has answered
        self._ready: deque[_Run] = deque()
        self._thread = threading.Thread(target=self._serve, name="executor", daemon=True)
        self._thread.start()

    def run(self, op: Op) -> None:
        """Run one action, after those of its instance and node that were asked for before.

        The same action asked for again while it waits or runs is not run twice: both get its result.
        """
        with self._wakeup:
            if op.task in ENDS_MONITORS:
                self._end_monitors(op.lane)
            lane = self._lanes.setdefault(op.lane, deque())
            for run in lane:
                if run.op.identity == op.identity and run.op.params == op.params:
                    run.ops.append(op)
                    return
            run = _Run([op], self._clock())
            lane.append(run)
            if len(lane) == 1:
                self._ready.append(run)
            self._wakeup.notify_all()

    def schedule_recurring(self, op: Op) -> None:
        """Begin a recurring operation: its first run is now, or after its delay, and is always reported.

        One that runs already with the same parameters goes on, but reports its next outcome again, because somebody
        asks for it.
        """
        if op.interval_ms <= 0:
            raise ValueError(f"{op.task} of {op.name} has no interval")
        with self._wakeup:
            known = self._recurring.get(op.identity)
            if known is not None:
                known.op = op
                known.reported = None
                known.next_at = min(known.next_at, self._clock() + op.start_delay_ms / 1000)
                known.again = known.run is not None
            else:
                self._recurring[op.identity] = _Recurring(op, self._clock() + op.start_delay_ms / 1000)
            self._wakeup.notify_all()

    def cancel_recurring(self, resource: str, task: str, interval_ms: int, node: str) -> bool:
        """End a recurring operation; a run under way is told so and its result dropped. False: there was none.

        ``resource`` is the instance's id where it has one.
        """
        with self._wakeup:
            return self._end(self._recurring.pop((resource, task, interval_ms, node), None))

    def abandon(self, node: str, names: Collection[str] | None = None) -> None:
        """End everything on a node, or what concerns some instances there: what runs is told so, and no result comes.

        For a node that is gone or is being fenced: whatever an action there would still say is of no interest.
        """
        with self._wakeup:
            for lane in [lane for lane in self._lanes if lane[1] == node and (names is None or lane[0] in names)]:
                runs = list(self._lanes[lane])
                for run in runs[1:]:
                    run.over = True
                if runs[0] in self._running:
                    self._lanes[lane] = deque(runs[:1])
                    self._retire(runs[0])
                else:
                    runs[0].over = True
                    del self._lanes[lane]
                self._end_monitors(lane)
            for lane in {r.op.lane for r in self._recurring.values()}:
                if lane[1] == node and (names is None or lane[0] in names):
                    self._end_monitors(lane)
            self._wakeup.notify_all()

    def recurring(self) -> tuple[Op, ...]:
        """The recurring operations there are."""
        with self._wakeup:
            return tuple(recurring.op for recurring in self._recurring.values())

    def busy(self) -> tuple[Op, ...]:
        """The actions, monitors apart, that run or wait."""
        with self._wakeup:
            return tuple(op for lane in self._lanes.values() for run in lane for op in run.ops)

    def poke(self, resource: str) -> None:
        """Something about this resource has changed: run its monitors now, on all nodes that have any."""
        with self._wakeup:
            self._hasten(r for r in self._recurring.values() if resource in (r.op.resource, r.op.instance))

    def poke_node(self, node: str) -> None:
        """Something is odd about this node: run the monitors of all that is there now."""
        with self._wakeup:
            self._hasten(r for r in self._recurring.values() if r.op.node == node)

    def _hasten(self, chosen: Iterable[_Recurring]) -> None:
        now = self._clock()
        for recurring in chosen:
            recurring.again = recurring.run is not None
            recurring.next_at = min(recurring.next_at, now + _DEBOUNCE_S)
        self._wakeup.notify_all()

    def heard_s(self, node: str) -> float | None:
        """Seconds since the last action began in which something on that node has itself answered; None: none has."""
        with self._wakeup:
            began = self._heard.get(node)
        return None if began is None else self._clock() - began

    def close(self, timeout_s: float) -> bool:
        """Cancel everything and wait for what runs; no result is delivered any more. False: something still runs."""
        deadline = self._clock() + timeout_s
        with self._wakeup:
            self._closed = True
            self._recurring.clear()
            self._lanes.clear()
            self._ready.clear()
            for run in self._running:
                run.cancelled.set()
            self._wakeup.notify_all()
            while self._running and (left := deadline - self._clock()) > 0:
                self._wakeup.wait(left)
            idle = not self._running
        self._thread.join(timeout=1.0)
        return idle

    def _serve(self) -> None:
        while True:
            try:
                if not self._round():
                    return
            except Exception:  # without this thread nothing would ever run or time out again
                log.exception("executor_round_failed")
                time.sleep(_RETRY_S)

    def _round(self) -> bool:
        """Report what is over time, begin what is due, wait for the next; False once the executor is closed."""
        with self._wakeup:
            if self._closed:
                return False
            now = self._clock()
            expired = [run for run in self._running if not run.over and now >= run.deadline]
            for run in expired:
                self._retire(run)
            self._queue_due(now)
            self._dispatch(now)
            if not expired:
                self._wakeup.wait(self._until_next(now))
        for run in expired:
            self._report_timeout(run)
        return True

    def _queue_due(self, now: float) -> None:
        for recurring in self._recurring.values():
            idle = recurring.run is None and not self._lanes.get(recurring.op.lane)
            if not idle or now < recurring.next_at:
                continue
            if recurring.stuck is not None:  # its thread has not come back: no second one beside it
                recurring.next_at = now + recurring.op.interval_ms / 1000
                continue
            recurring.run = _Run([recurring.op], now)
            recurring.again = False
            self._ready.append(recurring.run)

    def _dispatch(self, now: float) -> None:
        while self._ready and self._free > 0 and self._may_act():
            run = self._ready.popleft()
            if run.over:
                continue
            run.started_at = now
            run.deadline = now + run.op.timeout_ms / 1000
            name = f"{run.op.name}-{run.op.task}-{run.op.node}"
            try:
                threading.Thread(target=self._perform, args=(run,), name=name, daemon=True).start()
            except RuntimeError as error:  # the system gives us no more threads: later, perhaps
                log.error("no_thread_for_action", resource=run.op.name, task=run.op.task, error=str(error))
                self._ready.appendleft(run)
                return
            self._free -= 1
            self._running.add(run)

    def _until_next(self, now: float) -> float:
        due = [run.deadline for run in self._running if not run.over]
        if self._ready and self._free > 0:
            due.append(now + _RETRY_S)
        due += [r.next_at for r in self._recurring.values() if r.run is None and not self._lanes.get(r.op.lane)]
        return max(min(due, default=now + _LONGEST_WAIT_S) - now, 0.0)

    def _perform(self, run: _Run) -> None:
        """In a thread of its own: one action from beginning to end."""
        began = time.time()
        status, result = self._outcome(run)
        with self._wakeup:
            self._running.discard(run)
            if result.heard:
                self._heard[run.op.node] = max(run.started_at, self._heard.get(run.op.node, run.started_at))
            given_up = run.over
            if not given_up:
                self._retire(run)
            self._come_back(run)
            self._wakeup.notify_all()
            report = not given_up and not self._closed
        if report:
            self._report(run, status, result, began)

    def _outcome(self, run: _Run) -> tuple[ExecStatus, ActionResult]:
        """An API server that does not answer says nothing about the resource: actions are tried again until their
        time is up, as they are safe to repeat; a recurring monitor waits for its next turn and reports nothing."""
        op = run.op
        try:
            agent = self._registry.get(op.agent)
        except UnknownAgent as error:
            return ExecStatus.NOT_INSTALLED, ActionResult(Ocf.ERR_INSTALLED, str(error))
        ctx = self._context(run)
        while True:
            try:
                return ExecStatus.DONE, agent.perform(op.task, ctx)
            except ActionTimeout as error:
                return ExecStatus.TIMEOUT, ActionResult(Ocf.ERR_GENERIC, str(error))
            except Unavailable as error:
                if op.interval_ms:
                    return ExecStatus.NOT_CONNECTED, ActionResult(Ocf.ERR_GENERIC, error.message)
                if run.cancelled.wait(min(_RETRY_S, ctx.left_s())) or ctx.over():
                    return ExecStatus.TIMEOUT, ActionResult(Ocf.ERR_GENERIC, error.message)
            except KubeError as error:
                return ExecStatus.DONE, ActionResult(Ocf.ERR_GENERIC, error.message)
            except Exception as error:
                log.exception("agent_failed", agent=op.agent, task=op.task, resource=op.name, node=op.node)
                what = f"agent {op.agent} failed in {op.task} of {op.name}: {type(error).__name__}: {error}"
                return ExecStatus.ERROR, ActionResult(Ocf.ERR_GENERIC, what)

    def _context(self, run: _Run) -> ActionContext:
        """The deadline that an agent sees comes a little before ours, so that its own explanation is heard."""
        op, around = run.op, self._surroundings

        def cancelled() -> bool:
            return run.cancelled.is_set() or not self._may_act()

        margin = min(0.5, op.timeout_ms / 20_000)
        return ActionContext(
            resource=op.resource,
            node=op.node,
            params=op.params,
            instance=op.name,
            meta=op.meta,
            interval_ms=op.interval_ms,
            deadline=run.deadline - margin,
            kube=around.kube.behind(unless_called_off(lambda: not cancelled())) if around.kube else None,
            cache=around.cache,
            cancelled=cancelled,
            cluster=around.cluster,
            log=log.bind(resource=op.name, task=op.task, node=op.node),
            options=around.options,
            unmounted=around.unmounted,
            departed=around.departed,
            clock=self._clock,
        )

    def _retire(self, run: _Run) -> None:
        """The run is over for us, whether its thread has come back or not: give way to the next."""
        run.over = True
        run.cancelled.set()
        self._free += 1
        lane = self._lanes.get(run.op.lane)
        if lane and lane[0] is run:
            lane.popleft()
            if lane:
                self._ready.append(lane[0])
            else:
                del self._lanes[run.op.lane]
        recurring = self._recurring.get(run.op.identity)
        if recurring is not None and recurring.run is run:
            recurring.run = None
            recurring.stuck = run if run in self._running else None
            pause = _DEBOUNCE_S if recurring.again else recurring.op.interval_ms / 1000
            recurring.next_at = self._clock() + pause

    def _come_back(self, run: _Run) -> None:
        for recurring in self._recurring.values():
            if recurring.stuck is run:
                recurring.stuck = None

    def _end_monitors(self, lane: tuple[str, str]) -> None:
        for identity in [key for key, recurring in self._recurring.items() if recurring.op.lane == lane]:
            self._end(self._recurring.pop(identity))

    def _end(self, recurring: _Recurring | None) -> bool:
        if recurring is None:
            return False
        if recurring.run is not None and not recurring.run.over:
            if recurring.run in self._running:
                self._retire(recurring.run)
            recurring.run.over = True
        self._wakeup.notify_all()
        return True

    def _report_timeout(self, run: _Run) -> None:
        waited = run.op.timeout_ms / 1000
        reason = f"{run.op.task} of {run.op.name} on {run.op.node} did not end within {waited:g} s"
        began = time.time() - (self._clock() - run.started_at)
        self._report(run, ExecStatus.TIMEOUT, ActionResult(Ocf.ERR_GENERIC, reason), began)

    def _report(self, run: _Run, status: ExecStatus, result: ActionResult, began: float) -> None:
        now = self._clock()
        if status is ExecStatus.NOT_CONNECTED:
            log.info("monitor_without_answer", resource=run.op.name, node=run.op.node, reason=result.reason)
            return
        if run.op.interval_ms and not self._is_news(run, status, result):
            return
        for op in run.ops:
            outcome = OpResult(
                op=op,
                rc=result.rc,
                exec_status=status,
                reason=result.reason,
                started_at=began,
                finished_at=time.time(),
                exec_ms=round((now - run.started_at) * 1000),
                queue_ms=round((run.started_at - run.queued_at) * 1000),
                attributes=result.attributes,
                waiting=result.waiting,
            )
            try:
                self._on_result(outcome)
            except Exception:
                log.exception("result_not_taken", resource=op.name, task=op.task, node=op.node)

    def _is_news(self, run: _Run, status: ExecStatus, result: ActionResult) -> bool:
        """Whether a recurring run says something that was not reported yet; remembers that it now is."""
        said = (status, result.rc, tuple(sorted(result.attributes.items())))
        with self._wakeup:
            recurring = self._recurring.get(run.op.identity)
            if recurring is None or recurring.reported == said:
                return False
            recurring.reported = said
            run.ops = [recurring.op]
            return True
