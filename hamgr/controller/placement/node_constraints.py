"""Where resources are not started for the time being: what the leader has seen in Kubernetes, as locations of its own.

A resource that waits for an object is started nowhere before that is there; a cordoned node is not started on while
another can. They are recorded, so that the next leader and `hamgr simulate --live` see the same, and they hold for
starts alone: an instance that runs well stays where it is. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any

import yaml

from hamgr.cib import history
from hamgr.cib.model import Cib, Location, NodeState, OpRecord, Primitive, Resource
from hamgr.cib.scores import INFINITY
from hamgr.controller.tree import tree
from hamgr.scheduler.engine import run
from hamgr.scheduler.state import entities

WAITS = "waits"
SHARED = "shared"  # its disk is another resource's
CORDONED = "cordoned"
TAINTED = "tainted"
ABSENT = "absent"
_SOFT = (CORDONED, TAINTED, ABSENT)
_UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
_KEEPS_OFF = ("NoSchedule", "NoExecute")
_NOT_ASKED = (
    _UNSCHEDULABLE,
    "node.kubernetes.io/not-ready",
    "node.kubernetes.io/unreachable",
)  # those hamgr judges itself
_UP = ("start", "monitor", "promote", "demote", "migrate_from", "reload-agent", "notify")


@dataclass(frozen=True, slots=True)
class NodeRule:
    """A resource is not started on a node (empty: on any), and why: for people a phrase, for programs a code."""

    code: str
    resource: str
    node: str
    why: str

    def to_json(self) -> list[str]:
        return [self.code, self.resource, self.node, self.why]

    @classmethod
    def from_json(cls, raw: Any) -> NodeRule:
        """Read `to_json`'s answer. Raises ValueError."""
        if not isinstance(raw, list) or len(raw) != 4 or not all(isinstance(part, str) for part in raw):
            raise ValueError(f"{raw!r} is no rule about a resource and a node")
        return cls(*raw)

    @property
    def id(self) -> str:
        return f"{self.code}-{self.resource}-on-{self.node}"


def located(cib: Cib, rules: Iterable[NodeRule]) -> Cib:
    """The configuration with a location of score -INFINITY for each rule, save where the resource runs well."""
    nodes = [node.name for node in cib.nodes]
    states = {state.name: state for state in cib.node_states}
    leaves = {resource.id: tuple(_leaves(resource)) for top in cib.resources for resource in tree(top)}
    added = [
        Location(one.id, one.resource, node=one.node, score=-INFINITY)
        for rule in rules
        if rule.resource in leaves
        for one in ([replace(rule, node=node) for node in nodes] if not rule.node else [rule])
        if not _runs_well(states.get(one.node), leaves[one.resource])
    ]
    return replace(cib, constraints=(*cib.constraints, *added)) if added else cib


def is_ours(constraint_id: str) -> bool:
    """Whether a constraint is one that `located` has made."""
    return constraint_id.startswith(tuple(f"{code}-" for code in (WAITS, SHARED, *_SOFT))) and "-on-" in constraint_id


def node_rules(
    cib: Cib, nodes: Mapping[str, Mapping[str, Any]], tolerations: Mapping[str, Sequence[Any]]
) -> tuple[NodeRule, ...]:
    """A rule for each resource and each node that Kubernetes' own scheduler would not use for its pods.

    nodes: the Node objects by name; a configured node without one is unknown to Kubernetes, as long as others are
    known. tolerations: those of a primitive's pod template, by the primitive's id.
    """
    found = []
    for name in dict.fromkeys([*nodes, *(node.name for node in cib.nodes if nodes and node.type == "member")]):
        for top in cib.resources:
            for leaf in _leaves(top):
                if leaf.id in tolerations and (kept := _keeps_off(name, nodes.get(name), tolerations[leaf.id])):
                    found.append(NodeRule(kept[0], top.id, name, kept[1]))
                    break
    return tuple(sorted(found, key=lambda rule: rule.id))


def tolerations_of(cib: Cib) -> dict[str, tuple[Any, ...]]:
    """What the pod template of each primitive that has one tolerates; one that Kubernetes holds is taken to tolerate
    nothing, which costs no more than a place on a tainted node."""
    found = {}
    for primitive in (leaf for top in cib.resources for leaf in _leaves(top)):
        params = dict(pair for nvset in reversed(primitive.params) for pair in nvset.pairs)
        if any(params.get(name) for name in ("template", "template_from", "image")):
            found[primitive.id] = _written_tolerations(params.get("template", ""))
    return found


@lru_cache(maxsize=1024)
def _written_tolerations(template: str) -> tuple[Any, ...]:
    try:
        parsed = yaml.safe_load(template) if template else None
    except yaml.YAMLError:
        return ()  # the agent will say what is wrong with it
    spec = parsed.get("spec", parsed) if isinstance(parsed, dict) else None
    written = spec.get("tolerations") if isinstance(spec, dict) else None
    return tuple(written) if isinstance(written, list) else ()


def while_another_can(cib: Cib, rules: Sequence[NodeRule], now: datetime | int) -> tuple[NodeRule, ...]:
    """Of the rules those in force: a resource that could run nowhere else may use a cordoned node. Asks the scheduler.

    cib: without any of the rules.
    """
    soft = {rule.resource for rule in rules if rule.code in _SOFT}
    if not soft:
        return tuple(rules)
    starved = soft & _without_node(located(cib, rules), now)
    if not starved:
        return tuple(rules)
    fewer = tuple(rule for rule in rules if rule.code not in _SOFT or rule.resource not in starved)
    freed = starved - _without_node(located(cib, fewer), now)
    return tuple(rule for rule in rules if rule.code not in _SOFT or rule.resource not in freed)


def _without_node(cib: Cib, now: datetime | int) -> set[str]:
    """The top resources of which some primitive is given no node; of a clone all of them, since each is for a node."""
    return {rsc.id for rsc in run(cib, now).resources if _is_left_out(rsc)}


def _is_left_out(rsc: entities.Resource) -> bool:
    unassigned = (leaf.assigned_to is None for leaf in rsc.leaves())
    return all(unassigned) if rsc.is_clone() else any(unassigned)


def _keeps_off(name: str, node: Mapping[str, Any] | None, tolerations: Sequence[Any]) -> tuple[str, str] | None:
    """Why Kubernetes' scheduler would put no pod with these tolerations on a node: code and phrase; None: it would."""
    if node is None:
        return ABSENT, f"node {name} has no Node object in Kubernetes"
    spec = node.get("spec") or {}
    unschedulable = {"key": _UNSCHEDULABLE, "effect": "NoSchedule"}
    if spec.get("unschedulable") and not _tolerated(unschedulable, tolerations):
        return CORDONED, f"node {name} is cordoned"
    for taint in spec.get("taints") or []:
        if taint.get("key") in _NOT_ASKED or taint.get("effect") not in _KEEPS_OFF:
            continue
        if not _tolerated(taint, tolerations):
            return TAINTED, f"node {name} has the taint {taint.get('key')}:{taint['effect']}"
    return None


def _tolerated(taint: Mapping[str, Any], tolerations: Sequence[Any]) -> bool:
    return any(isinstance(one, Mapping) and _tolerates(one, taint) for one in tolerations)


def _tolerates(toleration: Mapping[str, Any], taint: Mapping[str, Any]) -> bool:
    """As Kubernetes matches them (Toleration.ToleratesTaint): empty key and effect match every one."""
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if toleration.get("key") and toleration["key"] != taint.get("key"):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == (taint.get("value") or "")


def _runs_well(state: NodeState | None, leaves: Sequence[Primitive]) -> bool:
    """Whether something of a resource is up on a node, by its history, and nothing of it has failed there."""
    if state is None:
        return False
    ids = {leaf.id for leaf in leaves}
    last = [_newest(entry.ops) for entry in state.resources if entry.id.partition(":")[0] in ids]
    up = [op for op in last if op is not None and op.operation in _UP]
    return any(_is_fine(op) for op in up) and not any(_is_failure(op) for op in up)


def _newest(ops: Sequence[OpRecord]) -> OpRecord | None:
    return max(ops, key=lambda op: op.call_id, default=None)


def _is_fine(op: OpRecord) -> bool:
    return op.op_status == history.PENDING or (op.op_status == history.DONE and op.rc in (0, 8))


def _is_failure(op: OpRecord) -> bool:
    """A probe that found nothing is none."""
    found_nothing = op.operation == "monitor" and not op.interval_ms and op.op_status == history.DONE and op.rc == 7
    return not found_nothing and not _is_fine(op)


def _leaves(resource: Resource) -> Iterator[Primitive]:
    return (one for one in tree(resource) if isinstance(one, Primitive))
