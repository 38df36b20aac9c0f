"""From a Pacemaker configuration to the sections of a cluster file, with a note on everything that stays behind.

The inverse of `hamgr.cib.config_build`, as far as there is one. What Pacemaker means and hamgr has no word for is left
out, and named; what hamgr keeps but cannot run (agents that it does not have) is kept, and named.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from hamgr.cib import model
from hamgr.cib.booleans import is_true
from hamgr.cib.config_build import name_of
from hamgr.cib.config_options import CLONE_META, CLUSTER_OPTIONS, GROUP_META, OPERATION_META, PRIMITIVE_META, Kind
from hamgr.cib.config_rules import render_rule
from hamgr.cib.config_values import DNS_NAME
from hamgr.cib.scores import INFINITY

Raw = dict[str, Any]

# What hamgr has in the place of well-known agents.
COUNTERPARTS: Mapping[str, str] = {
    "Filesystem": "volume",
    "LVM": "volume",
    "LVM-activate": "volume",
    "drbd": "volume",
    "IPaddr": "service",
    "IPaddr2": "service",
    "mysql": "mariadb",
    "mariadb": "mariadb",
    "Dummy": "dummy",
    "Stateful": "dummy",
}
# Facts that Pacemaker's daemons write among the options; nobody has configured them.
_FACTS = frozenset({"dc-version", "cluster-infrastructure", "have-watchdog", "last-lrm-refresh"})
_FLAGS = ("standby", "maintenance")


class Translation:
    """One configuration's way into a cluster file: `section` in the file's words, `notes` for a person."""

    def __init__(self, cib: model.Cib, cluster: str) -> None:
        self.notes: list[str] = []
        self._nodes: dict[str, str] = {}
        self._resources: set[str] = set()
        self._devices: set[str] = set()
        self.section: Raw = {"cluster": cluster}
        self._put("options", self._known(cib.options, CLUSTER_OPTIONS, "cluster option", ""))
        self.section["nodes"] = [raw for node in cib.nodes if (raw := self._node(node))]
        defaults = {
            "resources": self._known(cib.rsc_defaults, CLONE_META, "meta-attribute", "resource defaults"),
            "operations": self._known(cib.op_defaults, OPERATION_META, "property", "operation defaults"),
        }
        resources = [raw for resource in cib.resources if (raw := self._resource(resource))]
        self._put("fencing", self._fencing(cib))
        self._put("defaults", {name: sets for name, sets in defaults.items() if sets})
        self._put("resources", resources)
        self._put("tags", self._tags(cib))
        self._put("constraints", [raw for entry in cib.constraints if (raw := self._constraint(entry))])
        self.notes += [
            f"alert {alert.id}: not imported; hamgr's events are in etcd: see hamgr events" for alert in cib.alerts
        ]

    def _put(self, key: str, value: Any) -> None:
        if value:
            self.section[key] = value

    # --- values ---------------------------------------------------------------------------------------

    def _sets(
        self, sets: Iterable[model.NvSet], keep: Callable[[str, str], bool] = lambda name, value: True
    ) -> list[Raw]:
        found = []
        for one in sets:
            values = {name: value for name, value in one.pairs if keep(name, value)}
            if values:
                rule = {"rule": render_rule(one.rule)} if one.rule else {}
                score = {"score": score_text(one.score)} if one.score else {}
                found.append(
                    {"id": one.id, **score, **rule, "values": values} if one.id else {**score, **rule, "values": values}
                )
        return self._plain(found)

    @staticmethod
    def _plain(found: list[Raw]) -> list[Raw]:
        """A single set that always holds needs neither id nor score."""
        if len(found) == 1 and "rule" not in found[0]:
            return [{"values": found[0]["values"]}]
        return found

    def _known(self, sets: Iterable[model.NvSet], table: Mapping[str, Kind], what: str, owner: str) -> list[Raw]:
        def keep(name: str, value: str) -> bool:
            if name in _FACTS:
                return False
            where = f"{owner}: " if owner else ""
            if name not in table:
                self.notes.append(f"{where}{what} {name}: not imported; hamgr has none of that name")
                return False
            try:
                table[name].check(value)
            except ValueError as error:
                self.notes.append(f"{where}{what} {name}: not imported; {error}")
                return False
            return True

        return self._sets(sets, keep)

    # --- nodes ------------------------------------------------------------------------------------------

    def _node(self, node: model.Node) -> Raw:
        if node.type != "member":
            self.notes.append(f"node {node.name}: not imported; hamgr has no nodes of type {node.type}")
            return {}
        name = node.name
        if not DNS_NAME.match(name):
            name = re.sub(r"[^-.a-z0-9]+", "-", name.lower()).strip("-.") or "node"
            self.notes.append(f"node {node.name}: imported as {name}; nodes are called as in Kubernetes")
        self._nodes[node.name] = name
        raw: Raw = {"name": name}
        for flag in _FLAGS:
            for one in node.attributes:
                for key, value in one.pairs:
                    if key == flag:
                        raw[flag] = "true" if is_true(value) else "false"
        attributes = self._sets(node.attributes, lambda key, _: key not in _FLAGS)
        utilization = self._sets(node.utilization)
        return {
            **raw,
            **({"attributes": attributes} if attributes else {}),
            **({"utilization": utilization} if utilization else {}),
        }

    # --- resources ----------------------------------------------------------------------------------------

    def _resource(self, resource: model.Resource) -> Raw:
        if isinstance(resource, model.Primitive):
            return {} if resource.agent.standard == "stonith" else self._primitive(resource)
        if isinstance(resource, model.Group):
            return self._group(resource)
        if isinstance(resource, model.Clone):
            return self._clone(resource)
        return self._bundle(resource)

    def _primitive(self, primitive: model.Primitive) -> Raw:
        self._resources.add(primitive.id)
        agent = name_of(primitive.agent)
        if ":" in agent:
            instead = COUNTERPARTS.get(primitive.agent.type)
            advice = f"its counterpart is the agent {instead}" if instead else "write an agent, or run it as a pod"
            self.notes.append(f"resource {primitive.id}: hamgr cannot run {agent}; {advice} (docs/migration.md)")
        if primitive.template:
            self.notes.append(f"resource {primitive.id}: what template {primitive.template} says is now part of it")
        raw: Raw = {"id": primitive.id, "agent": agent}
        self._add(raw, "params", self._sets(primitive.params))
        self._add(
            raw, "meta", self._known(primitive.meta, PRIMITIVE_META, "meta-attribute", f"resource {primitive.id}")
        )
        self._add(raw, "operations", self._operations(primitive))
        self._add(raw, "utilization", self._sets(primitive.utilization))
        return raw

    @staticmethod
    def _add(raw: Raw, key: str, value: Any) -> None:
        if value:
            raw[key] = value

    def _operations(self, primitive: model.Primitive) -> Raw:
        found: dict[str, list[Raw]] = {}
        for op in primitive.ops:
            if not re.match(r"[A-Za-z_][\w.-]*\Z", op.name):
                self.notes.append(
                    f"resource {primitive.id}: operation {op.id or op.name!r}: not imported; it has no name"
                )
                continue
            raw: Raw = {"interval": duration_text(op.interval_ms)} if op.interval_ms else {}
            wanted = ("timeout", "on-fail", "role", "enabled", "start-delay", "interval-origin", "record-pending")
            raw.update({name: _present_role(op.attributes[name]) for name in wanted if name in op.attributes})
            owner = f"resource {primitive.id}: operation {op.name}"
            self._add(raw, "params", self._sets(op.params))
            self._add(raw, "meta", self._known(op.meta, OPERATION_META, "property", owner))
            found.setdefault(op.name, []).append(raw)
        return found

    def _group(self, group: model.Group) -> Raw:
        self._resources.add(group.id)
        members = [self._primitive(member) for member in group.members if self._runs_here(member, group.id)]
        if not members:
            self._resources.discard(group.id)
            return {}
        raw: Raw = {"group": group.id, "members": members}
        self._add(raw, "params", self._sets(group.params))
        self._add(raw, "meta", self._known(group.meta, GROUP_META, "meta-attribute", f"group {group.id}"))
        return raw

    def _runs_here(self, member: model.Primitive, owner: str) -> bool:
        return member.agent.standard != "stonith"  # became a device, see _fencing

    def _clone(self, clone: model.Clone) -> Raw:
        of = self._resource(clone.member)
        if not of:
            return {}
        self._resources.add(clone.id)
        raw: Raw = {"clone": clone.id, "of": of}
        if clone.master:
            raw["promotable"] = True
        self._add(raw, "params", self._sets(clone.params))
        self._add(raw, "meta", self._known(clone.meta, CLONE_META, "meta-attribute", f"clone {clone.id}"))
        return raw

    def _bundle(self, bundle: model.Bundle) -> Raw:
        if not bundle.technology:
            self.notes.append(f"bundle {bundle.id}: it has no docker, podman or rkt element, so it says nothing to run")
            return {}
        self._resources.add(bundle.id)
        self.notes.append(
            f"bundle {bundle.id}: hamgr starts no containers by {bundle.technology}, so a running cluster leaves "
            "it out; its counterpart is the agent pod (docs/migration.md)"
        )
        raw: Raw = {"bundle": bundle.id, "technology": bundle.technology}
        self._add(raw, "container", dict(bundle.container))
        self._add(raw, "network", dict(bundle.network))
        usable = [s for s in bundle.storage if s.target_dir and (s.source_dir or s.source_dir_root)]
        self.notes += [
            f"bundle {bundle.id}: storage mapping {s.id} needs a target-dir and a source-dir"
            for s in bundle.storage
            if s not in usable
        ]
        ports = ({"id": p.id, "port": p.port, "internal-port": p.internal_port, "range": p.range} for p in bundle.ports)
        self._add(raw, "ports", [{name: text for name, text in port.items() if text} for port in ports])
        mappings = (
            {
                "id": s.id,
                "source-dir": s.source_dir,
                "source-dir-root": s.source_dir_root,
                "target-dir": s.target_dir,
                "options": s.options,
            }
            for s in usable
        )
        self._add(raw, "storage", [{name: text for name, text in one.items() if text} for one in mappings])
        if bundle.primitive:
            raw["primitive"] = self._primitive(bundle.primitive)
        self._add(raw, "meta", self._known(bundle.meta, CLONE_META, "meta-attribute", f"bundle {bundle.id}"))
        return raw

    # --- fencing -----------------------------------------------------------------------------------------------

    def _fencing(self, cib: model.Cib) -> Raw:
        raw: Raw = {}
        self._add(raw, "devices", [self._device(device) for device in _stonith(cib.resources)])
        targets: dict[tuple[str, str, str, str], list[model.FencingLevel]] = {}
        for level in cib.fencing_levels:
            key = (level.target, level.target_pattern, level.target_attribute, level.target_value)
            targets.setdefault(key, []).append(level)
        self._add(raw, "topology", [entry for key, levels in targets.items() if (entry := self._topology(key, levels))])
        if raw.get("devices"):
            self.notes.append(
                "fencing: the devices are imported, but no level uses them unless the topology does; "
                "choose levels (volume, node, watchdog, manual): docs/fencing.md"
            )
        return raw

    def _device(self, device: model.Primitive) -> Raw:
        self._devices.add(device.id)
        self._resources.add(device.id)
        raw: Raw = {"id": device.id, "agent": device.agent.type}
        pairs = {name: value for one in device.params for name, value in one.pairs}
        hosts = [
            self._nodes[name] for name in re.split(r"[\s,;]+", pairs.get("pcmk_host_list", "")) if name in self._nodes
        ]
        special = {"pcmk_host_list"} if hosts else set()
        if pairs.get("pcmk_reboot_action") in ("off", "reboot"):
            raw["action"] = pairs["pcmk_reboot_action"]
            special.add("pcmk_reboot_action")
        self._add(raw, "params", self._sets(device.params, lambda name, _: name not in special))
        self._add(raw, "nodes", hosts)
        self._add(raw, "meta", self._known(device.meta, PRIMITIVE_META, "meta-attribute", f"device {device.id}"))
        self._add(raw, "operations", self._operations(device))
        return raw

    def _topology(self, key: tuple[str, str, str, str], levels: list[model.FencingLevel]) -> Raw:
        target, pattern, attribute, value = key
        if target and target not in self._nodes:
            self.notes.append(f"fencing level for {target}: not imported; there is no node of that name")
            return {}
        usable = []
        for level in sorted(levels, key=lambda one: one.index):
            missing = [device for device in level.devices if device not in self._devices]
            if missing or not level.devices:
                self.notes.append(f"fencing level {level.id}: not imported; there is no device {', '.join(missing)}")
            else:
                usable.append({"level": "node", "devices": list(level.devices)})
        if not usable:
            return {}
        if target:
            return {"node": self._nodes[target], "levels": usable}
        if pattern:
            return {"pattern": pattern, "levels": usable}
        return {"attribute": attribute, "value": value, "levels": usable}

    def _tags(self, cib: model.Cib) -> Raw:
        found = {}
        for name, members in cib.tags.items():
            there = [member for member in members if member in self._resources]
            if there:
                found[name] = there
            else:
                self.notes.append(f"tag {name}: not imported; it names no resource")
        self._resources.update(found)
        return found

    # --- constraints ----------------------------------------------------------------------------------------------

    def _constraint(self, entry: model.Constraint) -> Raw:
        reason = self._obstacle(entry)
        if reason:
            self.notes.append(f"constraint {entry.id}: not imported; {reason}")
            return {}
        lifetime = {"lifetime": render_rule(entry.lifetime)} if entry.lifetime else {}
        sets = {"sets": [self._set(one) for one in entry.sets]} if entry.sets else {}
        common = {"id": entry.id, **sets, **lifetime}
        if isinstance(entry, model.Location):
            return {"location": {**common, **self._location(entry)}}
        if isinstance(entry, model.Colocation):
            return {"colocation": {**common, **_colocation(entry)}}
        if isinstance(entry, model.Order):
            return {"order": {**common, **_order(entry)}}
        return {"ticket": {**common, **_ticket(entry)}}

    def _obstacle(self, entry: model.Constraint) -> str:
        """Why a constraint cannot come along; empty when it can."""
        missing = [name for name in _named(entry) if name not in self._resources]
        if missing:
            return f"there is no resource {', '.join(missing)} in the cluster file"
        if isinstance(entry, model.Location):
            if entry.node and entry.node not in self._nodes:
                return f"there is no node {entry.node}"
            if not (entry.rsc or entry.rsc_pattern or entry.sets) or not (entry.node or entry.rules):
                return "it names no resource, or no place"
        elif isinstance(entry, model.TicketConstraint):
            if not entry.rsc and not entry.sets:
                return "it names no resource"
        elif not entry.sets and len(list(_named(entry))) < 2:
            return "it names fewer than two resources"
        return ""

    @staticmethod
    def _set(one: model.ResourceSet) -> Raw:
        raw: Raw = {"resources": list(one.members), "id": one.id}
        if one.sequential is False:
            raw["sequential"] = False
        if not one.require_all:
            raw["require-all"] = False
        texts = {"role": one.role, "action": one.action, "kind": one.kind, "ordering": one.ordering}
        raw.update({name: text for name, text in texts.items() if text})
        if one.score is not None:
            raw["score"] = score_text(one.score)
        return raw

    def _location(self, entry: model.Location) -> Raw:
        raw: Raw = {}
        texts = {
            "resource": entry.rsc,
            "pattern": entry.rsc_pattern,
            "role": entry.role,
            "resource-discovery": entry.discovery,
        }
        raw.update({name: text for name, text in texts.items() if text})
        if entry.node:
            return {**raw, "node": self._nodes[entry.node], "score": score_text(entry.score)}
        raw["rules"] = [_scored_rule(rule) for rule in entry.rules]
        return raw


def _scored_rule(rule: model.Rule) -> Raw:
    raw: Raw = {"rule": render_rule(rule)}
    if rule.score_attribute:
        raw["score-attribute"] = rule.score_attribute
    else:
        raw["score"] = score_text(rule.score)
    return {**raw, **({"role": rule.role} if rule.role else {}), **({"id": rule.id} if rule.id else {})}


def _colocation(entry: model.Colocation) -> Raw:
    texts = {
        "resource": entry.rsc,
        "with": entry.with_rsc,
        "role": entry.rsc_role,
        "with-role": entry.with_rsc_role,
        "node-attribute": entry.node_attribute,
    }
    raw: Raw = {name: text for name, text in texts.items() if text}
    if entry.influence:
        raw["influence"] = entry.influence
    return {**raw, "score": score_text(entry.score)}


def _order(entry: model.Order) -> Raw:
    texts = {
        "first": entry.first,
        "then": entry.then,
        "first-action": entry.first_action,
        "then-action": entry.then_action,
        "kind": entry.kind,
    }
    raw: Raw = {name: text for name, text in texts.items() if text}
    if entry.score is not None:
        raw["score"] = score_text(entry.score)
    if entry.symmetrical is not None:
        raw["symmetrical"] = entry.symmetrical
    if not entry.require_all:
        raw["require-all"] = False
    return raw


def _ticket(entry: model.TicketConstraint) -> Raw:
    texts = {"ticket": entry.ticket, "resource": entry.rsc, "role": entry.rsc_role, "loss-policy": entry.loss_policy}
    return {name: text for name, text in texts.items() if text}


def _named(entry: model.Constraint) -> Iterator[str]:
    if isinstance(entry, model.Location | model.TicketConstraint):
        names: tuple[str, ...] = (entry.rsc,)
    elif isinstance(entry, model.Colocation):
        names = (entry.rsc, entry.with_rsc)
    else:
        names = (entry.first, entry.then)
    yield from (name for name in names if name)
    for one in entry.sets:
        yield from one.members


def _stonith(resources: Iterable[model.Resource]) -> Iterator[model.Primitive]:
    for resource in resources:
        if isinstance(resource, model.Primitive):
            if resource.agent.standard == "stonith":
                yield resource
        elif isinstance(resource, model.Group):
            yield from _stonith(resource.members)
        elif isinstance(resource, model.Clone):
            yield from _stonith((resource.member,))


def _present_role(text: str) -> str:
    return {"Master": "Promoted", "Slave": "Unpromoted"}.get(text, text)


def score_text(score: int) -> str:
    """A score as people write it."""
    if abs(score) >= INFINITY:
        return "INFINITY" if score > 0 else "-INFINITY"
    return str(score)


def duration_text(milliseconds: int) -> str:
    """A duration in the largest unit that says it exactly."""
    for size, unit in ((3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
