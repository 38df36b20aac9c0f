"""What the leader knows and has written down: node states with their histories, the nodes' standing, overrides.

Memory and etcd hold the same. Every change here is queued for etcd at once, and the controller carries out no action
before that queue is empty: *recorded before acted upon* is what lets the next leader go on from any point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import structlog

from hamgr.cib import history
from hamgr.cib.model import Cib, NodeState
from hamgr.cib.typed import checked
from hamgr.controller.nodes.membership import MembershipState
from hamgr.controller.nodes.removal import in_standby, kept, leaving
from hamgr.controller.placement.bars import Bars, with_bars
from hamgr.controller.placement.node_constraints import NodeRule, located
from hamgr.controller.requests.overrides import Overrides
from hamgr.controller.standby import preference_rule
from hamgr.controller.state import homes
from hamgr.controller.state.homes import HOMES, Homes
from hamgr.store.errors import StoreUnavailable
from hamgr.store.leadership import Leadership
from hamgr.store.values import Json, Snapshot

STATE = "state/"
NODES = "state/nodes/"
HISTORY = "state/history/"
META = "state/meta"
OVERRIDES = "state/overrides"
NODE_RULES = "state/node-rules"
BARS = "state/bars"

_BATCH = 100  # keys a transaction, below etcd's limit

log = structlog.get_logger(__name__)


class WriteQueue:
    """Writes that wait for etcd, the last one of a key counting. Used by the control thread alone."""

    def __init__(self, leadership: Leadership) -> None:
        self._leadership = leadership
        self._waiting: dict[str, Json | None] = {}

    def put(self, key: str, value: Json) -> None:
        self._waiting[key] = value

    def delete(self, key: str) -> None:
        self._waiting[key] = None

    @property
    def empty(self) -> bool:
        return not self._waiting

    def flush(self) -> bool:
        """Write everything; False when etcd does not answer now (nothing is lost: call again). Raises Deposed."""
        while self._waiting:
            batch = dict(list(self._waiting.items())[:_BATCH])
            puts = {key: value for key, value in batch.items() if value is not None}
            deletes = [key for key, value in batch.items() if value is None]
            try:
                self._leadership.fenced_txn(puts=puts, deletes=deletes)
            except StoreUnavailable as error:
                log.warning("state_not_written_yet", waiting=len(self._waiting), error=str(error))
                return False
            for key, value in batch.items():
                if self._waiting.get(key, ...) is value:
                    del self._waiting[key]
        return True


class ClusterState:
    """The recorded part of the cluster information base. Used by the control thread alone."""

    def __init__(self, journal: WriteQueue) -> None:
        self._journal = journal
        self._states: dict[str, NodeState] = {}
        self._standing: dict[str, MembershipState] = {}
        self._settled_fence: dict[str, str | None] = {}
        self._configured: dict[str, dict[str, str]] = {}
        self._overrides = Overrides()
        self.unusable: dict[str, str] = {}  # keys that could not be read, and why
        self._rules: tuple[NodeRule, ...] = ()
        self._bars: Bars = {}
        self._homes: Homes = frozenset()
        self._call_id = 0
        self._transition = 0

    def load(self, snapshot: Snapshot) -> None:
        """Take over what earlier leaders wrote; unreadable entries are named in the log and count as absent."""
        self._states, self._standing, self._settled_fence, self._configured = {}, {}, {}, {}
        self.unusable = {}
        for key, value in sorted(snapshot.values.items()):
            try:
                if key == META:
                    self._load_meta(value["call_id"], value["transition"])
                elif key == OVERRIDES:
                    self._overrides = Overrides.from_json(value)
                elif key == NODE_RULES:
                    self._rules = tuple(NodeRule.from_json(entry) for entry in value)
                elif key == BARS:
                    self._bars = {str(rsc): dict(nodes) for rsc, nodes in value.items()}
                elif key == HOMES:
                    self._homes = homes.from_json(value)
                elif key.startswith(NODES):
                    self._load_node(key.removeprefix(NODES), value)
                elif key.startswith(HISTORY):
                    self._load_history(key.removeprefix(HISTORY).split("/")[0], value)
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                log.error("recorded_state_unreadable", key=key, error=str(error))
                self.unusable[key] = str(error)

    def _load_meta(self, call_id: object, transition: object) -> None:
        if not (isinstance(call_id, int) and isinstance(transition, int) and min(call_id, transition) >= 0):
            raise ValueError("call_id and transition are no counters")
        self._call_id, self._transition = call_id, transition

    def _load_node(self, node: str, value: Mapping[str, Any]) -> None:
        cluster_state = checked(history.from_json({**value, "name": node}))
        membership, fence = MembershipState(value.get("standing", MembershipState.UNSEEN)), value.get("fence")
        configured = dict(value.get("configured") or {})
        if not (fence is None or isinstance(fence, str)) or not all(isinstance(v, str) for v in configured.values()):
            raise ValueError("its fence or its configured attributes are no text")
        self._standing[node], self._settled_fence[node], self._configured[node] = membership, fence, configured
        self._states[node] = replace(cluster_state, name=node, resources=self.state(node).resources)

    def _load_history(self, node: str, value: Mapping[str, Any]) -> None:
        state = self.state(node)
        read = checked(history.history_from_json(value))
        self._states[node] = replace(state, resources=(*state.resources, read))

    def flush(self) -> bool:
        """Write down all that is new; False when etcd does not answer now. Raises Deposed."""
        return self._journal.flush()

    # --- reading ---------------------------------------------------------------------------------------------------

    def state(self, node: str) -> NodeState:
        """A node's state; one that was never seen has an empty one."""
        return self._states.get(node) or NodeState(node)

    def membership(self, node: str) -> MembershipState:
        return self._standing.get(node, MembershipState.UNSEEN)

    def settled_fence(self, node: str) -> str | None:
        """The last successful fence of the node whose meaning for it is on record: its id, empty when there is none.

        None: nothing is on record of the node, or by a version that did not write this down. What fences there were
        are of an earlier life of it.
        """
        return self._settled_fence.get(node)

    def configured(self, node: str) -> Mapping[str, str]:
        """The node's permanent attributes as the cluster file had them when it last named the node."""
        return self._configured.get(node, {})

    @property
    def memberships(self) -> dict[str, MembershipState]:
        return dict(self._standing)

    @property
    def transitions(self) -> int:
        """How many transitions leaders of this cluster have begun."""
        return self._transition

    @property
    def bars(self) -> Bars:
        """The nodes that resources cannot be on, by the objects of Kubernetes."""
        return self._bars

    @property
    def homes(self) -> Homes:
        """Where pods of ours can be, by this configuration and by earlier ones."""
        return self._homes

    @property
    def overrides(self) -> Overrides:
        return self._overrides

    @property
    def rules(self) -> tuple[NodeRule, ...]:
        """Where resources are not started for the time being."""
        return self._rules

    def assemble(self, configuration: Cib, dc: str, *, ruled: bool = True) -> Cib:
        """The whole Cib for the scheduler: configuration, overrides, standbys, rules, and the state of all nodes.

        ruled: False: without the rules about nodes. Having quorum is what being able to write to etcd means, so a
        leader always has it.
        """
        names = self.leaving(configuration)
        cib = in_standby(self._overrides.apply(kept(configuration, {n: self.configured(n) for n in names})), names)
        states = tuple(self._states[node.name] for node in cib.nodes if node.name in self._states)
        cib = with_bars(cib, self._bars)
        whole = preference_rule.drawn(
            replace(cib, node_states=states, have_quorum=True, no_quorum_panic=True, dc_uuid=dc)
        )
        return located(whole, self._rules) if ruled else whole

    def leaving(self, configuration: Cib) -> tuple[str, ...]:
        """The nodes on record that the configuration does not name any more."""
        return leaving(configuration, self._states.keys() | self._standing.keys())

    # --- writing ---------------------------------------------------------------------------------------------------

    def next_call_id(self) -> int:
        self._call_id += 1
        self._write_meta()
        return self._call_id

    def next_transition(self) -> int:
        self._transition += 1
        self._write_meta()
        return self._transition

    def update(self, node: str, change: Callable[[NodeState], NodeState]) -> None:
        """Replace a node's state by what `change` makes of it."""
        self.set_state(change(self.state(node)))

    def set_state(self, state: NodeState) -> None:
        before = self.state(state.name)
        self._states[state.name] = state
        if replace(before, resources=()) != replace(state, resources=()):
            self._write_node(state.name)
        old = {entry.id: entry for entry in before.resources}
        new = {entry.id: entry for entry in state.resources}
        for gone in old.keys() - new.keys():
            self._journal.delete(_history_key(state.name, gone))
        for entry_id, entry in new.items():
            if old.get(entry_id) != entry:
                self._journal.put(_history_key(state.name, entry_id), history.history_to_json(entry))

    def set_membership(self, node: str, membership: MembershipState) -> None:
        self._standing[node] = membership
        self._write_node(node)

    def set_configured(self, node: str, attributes: Mapping[str, str]) -> None:
        """Remember the permanent attributes of a node that the cluster file names: a leaving node keeps them."""
        if self.configured(node) == attributes:
            return
        self._configured[node] = dict(attributes)
        if node in self._states or node in self._standing:  # the others are not on record yet
            self._write_node(node)

    def settle_fence(self, node: str, fence_id: str) -> None:
        """Note that what a fence means for the node is on record: to be written together with it."""
        self._settled_fence[node] = fence_id
        self._write_node(node)

    def set_overrides(self, overrides: Overrides) -> None:
        self._overrides = overrides
        self._journal.put(OVERRIDES, overrides.to_json())

    def set_rules(self, rules: tuple[NodeRule, ...]) -> None:
        """Replace where resources are not started for the time being."""
        if rules != self._rules:
            self._rules = rules
            self._journal.put(NODE_RULES, [rule.to_json() for rule in rules])

    def set_bars(self, bars: Bars) -> None:
        """Take over which nodes resources cannot be on."""
        self._bars = bars
        self._journal.put(BARS, {resource: dict(nodes) for resource, nodes in bars.items()})

    def set_homes(self, known: Homes) -> None:
        """Take over where pods of ours can be; to be written before any is made there."""
        if known != self._homes:
            self._homes = known
            self._journal.put(HOMES, homes.to_json(known))

    def forget_node(self, node: str) -> None:
        """Drop what is recorded of a node, and what operators have said about it."""
        self.set_state(NodeState(node))
        self._states.pop(node, None)
        self._standing.pop(node, None)
        self._configured.pop(node, None)
        self._journal.delete(NODES + node)
        kept = self._overrides.without_node(node)
        if kept != self._overrides:
            self.set_overrides(kept)

    def _write_node(self, node: str) -> None:
        plain = history.to_json(replace(self.state(node), resources=()))
        beside = {"standing": str(self.membership(node)), "fence": self._settled_fence.setdefault(node, "")}
        self._journal.put(NODES + node, {**plain, **beside, "configured": dict(self.configured(node))})

    def _write_meta(self) -> None:
        self._journal.put(META, {"call_id": self._call_id, "transition": self._transition})


def _history_key(node: str, resource: str) -> str:
    return f"{HISTORY}{node}/{resource}"
