"""Pretends to carry out a transition: every action succeeds, except those that are told to fail.

Fires each action once all of its inputs are confirmed, records the result as the controller would, and gives the
cluster's state afterwards. What crm_simulate does; also what "what if this node failed?" is answered with.
"""

from __future__ import annotations

from hamgr.cib import history
from hamgr.cib.model import Cib, NodeState
from hamgr.cib.records import dataclass, replace
from hamgr.scheduler.actions import resource_actions
from hamgr.scheduler.engine import effective_time
from hamgr.scheduler.state.constants import ROLE_NAMES, STARTED, STOPPED, UNKNOWN, UNPROMOTED
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.transition import GraphAction, Transition
from hamgr.scheduler.unpack import status

TYPE_CHECKING = False  # as typing has it; neither that nor datetime is cheap enough to import for an annotation
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

# What Pacemaker's simulator signs its results with.
FAKE_CONTROLLER = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as status output shows it."""

    name: str
    online: bool
    standby: bool
    maintenance: bool
    pending: bool
    unclean: bool


@dataclass(frozen=True, slots=True)
class ResourceView:
    """An active instance of a resource on a node."""

    id: str
    role: str
    node: str


@dataclass(frozen=True, slots=True)
class StatusView:
    """A cluster's state."""

    nodes: tuple[NodeView, ...]
    resources: tuple[ResourceView, ...]


@dataclass(frozen=True, slots=True)
class Simulation:
    """The outcome of a simulated transition."""

    cib: Cib
    executed: tuple[GraphAction, ...]  # in the order of execution
    complete: bool  # False when an injected failure stopped it


def view(cib: Cib, now: datetime | int) -> StatusView:
    """The state that a CIB records."""
    return view_of(status.unpack(cib, effective_time(cib, now)))


def view_of(work: WorkingSet) -> StatusView:
    """The state that an unpacked CIB records."""
    nodes = tuple(_node_view(node) for node in work.nodes)
    found: list[ResourceView] = []
    for leaf in _shown(work.resources):
        if leaf.role in (STOPPED, UNKNOWN) and not leaf.running_on:
            continue
        # An active instance of a promotable clone is Unpromoted at least.
        role = UNPROMOTED if leaf.role == STARTED and leaf.top().settings.promotable else leaf.role
        found.extend(ResourceView(_printable(leaf), ROLE_NAMES[role], node.name) for node in leaf.running_on)
    return StatusView(nodes, tuple(found))


def _shown(resources: list[Resource]) -> Iterator[Resource]:
    """The primitives that Pacemaker's status shows: nothing of what is active on no node that could be asked.

    What is no longer configured is shown while it is active.
    """
    for rsc in resources:
        if rsc.orphan and rsc.parent is None and not resource_actions.is_active(rsc, True):
            continue
        if rsc.running_on or not resource_actions.is_active(rsc, False):
            yield from _shown(rsc.children) if rsc.is_clone() else rsc.leaves()


def _printable(rsc: Resource) -> str:
    """Instances of anonymous clones are all the same to people."""
    return rsc.id if rsc.settings.unique or rsc.primitive is None else rsc.primitive.id


def _node_view(node: Node) -> NodeView:
    return NodeView(node.name, node.online, node.standby, node.maintenance, node.pending, node.unclean)


def inject(cib: Cib, up: Sequence[str] = (), down: Sequence[str] = (), fail: Sequence[str] = ()) -> Cib:
    """Pretend that nodes came up, went down cleanly or failed."""
    for name in up:
        cib = history.with_node_state(cib, history.member_up(_fresh(cib, name)))
    for name in down:
        cib = history.with_node_state(cib, history.member_left(_fresh(cib, name)))
    for name in fail:
        cib = history.with_node_state(cib, replace(_fresh(cib, name), in_ccm=False, crmd=False, expected="member"))
    return cib


def _fresh(cib: Cib, name: str) -> NodeState:
    return history.node_state(cib, name)


class _Run:
    def __init__(self, cib: Cib, now: int, failing: Mapping[str, int]) -> None:
        self.cib = cib
        self.now = now
        self.failing = failing
        self.states = {state.name: state for state in cib.node_states}
        self.order = [state.name for state in cib.node_states]
        self.call_ids: dict[str, int] = {}
        self.executed: list[GraphAction] = []
        self.failed = False
        self.names: set[str] | None = None  # unpacked only where it is asked for

    def state(self, node: str) -> NodeState:
        if node not in self.states:
            self.states[node] = history.node_state(self.cib, node)
            self.order.append(node)
        return self.states[node]

    def fire(self, action: GraphAction) -> bool:
        """Pretend to execute an action; False when it was told to fail."""
        self.executed.append(action)
        if action.kind == "pseudo":
            return True
        if action.kind == "crm":
            if action.task == "stonith" and action.fence != "on":
                self.states[action.node] = history.member_fenced(self.state(action.node))
            return True
        return self._operation(action)

    def _operation(self, action: GraphAction) -> bool:
        state = self.state(action.node)
        name = self._recorded_as(state, action)
        # As in crm_simulate, what is deleted or cancelled stays recorded: it may be all that tells what runs.
        if action.task in ("delete", "notify") or action.agent is None:
            return True
        rc = self._injected(action)
        call_id = self._next_call_id(state)
        result = history.Result(
            resource=name,
            agent=action.agent,
            operation=action.task,
            node=action.node,
            interval_ms=action.interval_ms,
            rc=action.target_rc if rc is None else rc,
            target_rc=action.target_rc,
            call_id=call_id,
            action=call_id,
            controller=FAKE_CONTROLLER,
            last_rc_change=self.now,
            op_digest=action.op_digest,
            migrate_source=action.migrate_source,
            migrate_target=action.migrate_target,
        )
        if action.task == "cancel":
            # The scheduler takes any operation that it does not know for a sign of life, as Pacemaker's does.
            self.states[action.node] = history.with_entry(state, result)
        else:
            self.states[action.node] = history.record_result(state, result, start_failure_is_fatal=True)
        return rc is None

    def _next_call_id(self, state: NodeState) -> int:
        call_id = self.call_ids.get(state.name) or history.next_call_id(state)
        self.call_ids[state.name] = call_id + 1
        return call_id

    def _recorded_as(self, state: NodeState, action: GraphAction) -> str:
        """The name under which a node already keeps this resource's history."""
        known = {h.id for h in state.resources}
        if action.history_id == action.instance_id or action.instance_id not in known:
            return action.history_id
        if action.history_id not in known or action.history_id not in self._names():
            return action.instance_id
        return action.history_id

    def _names(self) -> set[str]:
        """What resources are called, by their configuration or by a history. A history that no resource is called after
        (of an instance of old, beside that of another number) is left alone, as crm_simulate leaves it."""
        if self.names is None:
            found = status.unpack(self.cib, self.now).by_id.values()
            self.names = {rsc.id for rsc in found} | {rsc.clone_name for rsc in found}
        return self.names

    def _injected(self, action: GraphAction) -> int | None:
        for name in (action.resource, action.history_id):
            rc = self.failing.get(f"{name}_{action.task}_{action.interval_ms}@{action.node}")
            if rc is not None:
                return rc
        return None


def execute(
    cib: Cib, transition: Transition, now: datetime | int, failing: Mapping[str, int] | None = None
) -> Simulation:
    """Carry out a transition on a CIB; ``failing`` maps "RESOURCE_OPERATION_INTERVAL@NODE" to an exit code."""
    run = _Run(cib, effective_time(cib, now), failing or {})
    # What waits for an action that is not part of the transition waits for ever.
    waiting = {action.id: 0 for action in transition.actions}
    followers: dict[int, list[int]] = {}
    for first, then in transition.edges:
        waiting[then] += 1
        followers.setdefault(first, []).append(then)
    left = list(transition.actions)
    progress = True
    # Pass by pass over the graph, as Pacemaker does: what an action releases may happen in the same pass.
    while progress and not run.failed:
        progress = False
        remaining = []
        for action in left:
            if waiting[action.id]:
                remaining.append(action)
                continue
            progress = True
            if not run.fire(action):
                run.failed = True
                continue
            for then in followers.get(action.id, ()):
                waiting[then] -= 1
        left = remaining
    states = tuple(run.states[name] for name in run.order)
    return Simulation(replace(cib, node_states=states), tuple(run.executed), not run.failed and not left)
