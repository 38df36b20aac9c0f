"""What two schedulers are compared by: four gates, free of wording, numbering and order of output.

summary  the transition summary's lines, reasons left out
actions  the graph's real actions: operation key, node, fence action
revised  node states and active instances after the simulated transition
order    which real action comes before which, also through pseudo-actions

Instances of anonymous clones are interchangeable, so their numbers are dropped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree as ET

GATES = ("summary", "actions", "revised", "order")
_FLAGS = ("online", "standby", "maintenance", "pending", "unclean")
_LINE = ("action", "task", "resource", "role", "next-role", "source", "dest", "node")
_TRUE = frozenset({"true", "yes", "on", "1", "y"})

RealAction = tuple[str, str, str]  # operation key, node, fence action


@dataclass(frozen=True)
class Answer:
    """A scheduler's answer, one multiset a gate."""

    summary: Counter[Hashable]
    actions: Counter[Hashable]
    revised: Counter[Hashable]
    order: Counter[Hashable]

    def differences(self, other: Answer) -> dict[str, list[str]]:
        """By gate, what only one of the two answers has: "-" only this one, "+" only the other."""
        found = {}
        for gate in GATES:
            mine, theirs = getattr(self, gate), getattr(other, gate)
            if mine != theirs:
                found[gate] = [f"- {item}" for item in sorted(map(str, (mine - theirs).elements()))]
                found[gate] += [f"+ {item}" for item in sorted(map(str, (theirs - mine).elements()))]
        return found

    def to_json(self) -> dict[str, list[str]]:
        """Each gate's entries as sorted text: what a recorded answer is compared by."""
        return {gate: sorted(map(str, getattr(self, gate).elements())) for gate in GATES}

    @property
    def trivial(self) -> bool:
        """Nothing at all is to be done."""
        return not self.actions


class Names:
    """Drops the numbers of interchangeable instances."""

    def __init__(self, cib: ET.Element) -> None:
        self._anonymous: set[str] = set()
        for clone in cib.iterfind("configuration/resources/clone"):
            unique = [
                pair.get("value", "").lower() in _TRUE
                for pair in clone.iterfind("meta_attributes/nvpair")
                if pair.get("name") == "globally-unique"
            ]
            if not any(unique):
                self._anonymous.update(
                    inner.get("id", "") for inner in clone.iter() if inner.tag in ("primitive", "group")
                )

    def resource(self, name: str) -> str:
        base = name.split(":")[0]
        return base if base in self._anonymous else name

    def key(self, key: str) -> str:
        """An operation key: RESOURCE[:N]_TASK_INTERVAL."""
        base, colon, rest = key.partition(":")
        if not colon or base not in self._anonymous:
            return key
        return base + rest.lstrip("0123456789")


def from_oracle(output: str, graph: str, cib: ET.Element) -> Answer:
    """crm_simulate's XML output and transition graph."""
    names = Names(cib)
    root = ET.fromstring(output)
    actions: dict[str, RealAction | None] = {}
    edges: list[tuple[str, str]] = []
    for synapse in ET.fromstring(graph).iterfind("synapse"):
        action = synapse.find("action_set/*")
        assert action is not None
        identity = action.get("id", "")
        actions[identity] = _oracle_action(action, names)
        edges += [(trigger.get("id", ""), identity) for trigger in synapse.iterfind("inputs/trigger/*")]
    revised = root.find("revised_cluster_status")
    assert revised is not None
    nodes = [(n.get("name"), *(n.get(flag) == "true" for flag in _FLAGS)) for n in revised.iterfind("nodes/node")]
    running = [
        (names.resource(r.get("id", "")), r.get("role"), n.get("name"))
        for r in revised.iterfind("resources//resource")
        for n in r.iterfind("node")
    ]
    return Answer(
        summary=_summary((entry.attrib for entry in root.iterfind("actions/*")), names),
        actions=Counter(action for action in actions.values() if action),
        revised=Counter((*nodes, *running)),
        order=Counter(precedence(actions, edges)),
    )


def _oracle_action(action: ET.Element, names: Names) -> RealAction | None:
    if action.tag == "rsc_op":
        return names.key(action.get("operation_key", "")), action.get("on_node", ""), ""
    if action.tag == "crm_event":
        attributes = action.find("attributes")
        fence = "" if attributes is None else attributes.get("CRM_meta_stonith_action", "")
        return action.get("operation", ""), action.get("on_node", ""), fence
    return None


def from_document(document: Mapping[str, Any], cib: ET.Element) -> Answer:
    """What ``hamgr simulate --output json`` prints."""
    names = Names(cib)
    actions = {
        entry["id"]: None
        if entry.get("pseudo")
        else (names.key(entry["key"]), entry.get("node", ""), entry.get("fence", ""))
        for entry in document["graph"]["actions"]
    }
    revised = document["revised"]
    nodes = [(n["name"], *(bool(n[flag]) for flag in _FLAGS)) for n in revised["nodes"]]
    running = [(names.resource(r["id"]), r["role"], r["node"]) for r in revised["resources"]]
    return Answer(
        summary=_summary(document["actions"], names),
        actions=Counter(action for action in actions.values() if action),
        revised=Counter((*nodes, *running)),
        order=Counter(precedence(actions, [(a, b) for a, b in document["graph"]["edges"]])),
    )


def _summary(lines: Iterable[Mapping[str, Any]], names: Names) -> Counter[Hashable]:
    found: Counter[Hashable] = Counter()
    for line in lines:
        given = {name: line[name] for name in _LINE if line.get(name)}
        if "resource" in given:
            given["resource"] = names.resource(given["resource"])
        blocked = str(line.get("blocked", "")).lower() == "true"
        found[" ".join(f"{name}={value}" for name, value in given.items()) + (" blocked" if blocked else "")] += 1
    return found


def precedence(
    actions: Mapping[Any, RealAction | None], edges: Iterable[tuple[Any, Any]]
) -> set[tuple[RealAction, RealAction]]:
    """All pairs (earlier, later) of real actions: the transitive closure, as bit sets over the actions."""
    number = {identity: index for index, identity in enumerate(actions)}
    inputs: list[list[int]] = [[] for _ in number]
    for first, then in edges:
        if first in number and then in number:
            inputs[number[then]].append(number[first])
    before = [0] * len(inputs)
    changed = True
    while changed:  # graphs are short, and nearly in order: a few rounds, cycles included
        changed = False
        for index, firsts in enumerate(inputs):
            mask = before[index]
            for first in firsts:
                mask |= before[first] | 1 << first
            if mask != before[index]:
                before[index] = mask
                changed = True
    real = list(actions.values())
    found = set()
    for index, mask in enumerate(before):
        later = real[index]
        while later and mask:
            lowest = mask & -mask
            earlier = real[lowest.bit_length() - 1]
            if earlier:
                found.add((earlier, later))
            mask ^= lowest
    return found
