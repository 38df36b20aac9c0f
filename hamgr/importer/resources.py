"""Imported resources: primitives, groups, clones and bundles in a cluster file's words."""

from __future__ import annotations

import re
from collections.abc import Mapping

from hamgr.cib import model
from hamgr.clusterfile.agents import name_of
from hamgr.clusterfile.options import CLONE_META, GROUP_META, OPERATION_META, PRIMITIVE_META
from hamgr.importer.ledger import Ledger, Raw, add, plain_sets

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

_IDENTITY = frozenset({"id", "name", "interval", "description"})  # of an operation: what is no property of it


def imported_resource(ledger: Ledger, resource: model.Resource) -> Raw:
    """A resource with all that it consists of; empty where nothing of it comes along as a resource."""
    if isinstance(resource, model.Primitive):
        return {} if resource.agent.standard == "stonith" else _primitive(ledger, resource)
    if isinstance(resource, model.Group):
        return _group(ledger, resource)
    if isinstance(resource, model.Clone):
        return _clone(ledger, resource)
    return _bundle(ledger, resource)


def _primitive(ledger: Ledger, primitive: model.Primitive) -> Raw:
    ledger.resources.add(primitive.id)
    agent = name_of(primitive.agent)
    if ":" in agent:
        instead = COUNTERPARTS.get(primitive.agent.type)
        advice = f"its counterpart is the agent {instead}" if instead else "write an agent, or run it as a pod"
        ledger.notes.append(f"resource {primitive.id}: hamgr cannot run {agent}; {advice} (docs/migration.md)")
    if primitive.template:
        ledger.notes.append(f"resource {primitive.id}: what template {primitive.template} says is now part of it")
    raw: Raw = {"id": primitive.id, "agent": agent}
    add(raw, "params", plain_sets(primitive.params))
    add(raw, "meta", ledger.known(primitive.meta, PRIMITIVE_META, "meta-attribute", f"resource {primitive.id}"))
    add(raw, "operations", imported_operations(ledger, primitive))
    add(raw, "utilization", plain_sets(primitive.utilization))
    return raw


def imported_operations(ledger: Ledger, primitive: model.Primitive) -> Raw:
    """The configured operations of a resource or device, by their names."""
    found: dict[str, list[Raw]] = {}
    for op in primitive.ops:
        if not re.match(r"[A-Za-z_][\w.-]*\Z", op.name):
            ledger.notes.append(
                f"resource {primitive.id}: operation {op.id or op.name!r}: not imported; it has no name"
            )
            continue
        raw: Raw = {"interval": _duration_text(op.interval_ms)} if op.interval_ms else {}
        owner = f"resource {primitive.id}: operation {op.name}"
        written = ((name, _present_role(value)) for name, value in op.attributes.items() if name not in _IDENTITY)
        raw.update({n: text for n, text in written if ledger.keeps(n, text, OPERATION_META, "property", owner)})
        add(raw, "params", plain_sets(op.params))
        add(raw, "meta", ledger.known(op.meta, OPERATION_META, "property", owner))
        found.setdefault(op.name, []).append(raw)
    return found


def _group(ledger: Ledger, group: model.Group) -> Raw:
    devices = [member.id for member in group.members if member.agent.standard == "stonith"]
    if len(devices) == len(group.members):
        ledger.notes.append(f"group {group.id}: not imported; {_not_resources(devices)}")
        return {}
    if devices:
        ledger.notes.append(f"group {group.id}: imported without {', '.join(devices)}; {_not_resources(devices)}")
    ledger.resources.add(group.id)
    members = [_primitive(ledger, member) for member in group.members if member.id not in devices]
    raw: Raw = {"group": group.id, "members": members}
    add(raw, "params", plain_sets(group.params))
    add(raw, "meta", ledger.known(group.meta, GROUP_META, "meta-attribute", f"group {group.id}"))
    return raw


def _clone(ledger: Ledger, clone: model.Clone) -> Raw:
    of = imported_resource(ledger, clone.member)
    if not of:
        if isinstance(clone.member, model.Primitive):
            ledger.notes.append(f"clone {clone.id}: not imported; {_not_resources([clone.member.id])}")
        else:
            ledger.notes.append(f"clone {clone.id}: not imported; nothing is left of {clone.member.id}")
        return {}
    ledger.resources.add(clone.id)
    raw: Raw = {"clone": clone.id, "of": of}
    if clone.master:
        raw["promotable"] = True
    add(raw, "params", plain_sets(clone.params))
    add(raw, "meta", ledger.known(clone.meta, CLONE_META, "meta-attribute", f"clone {clone.id}"))
    return raw


def _not_resources(devices: list[str]) -> str:
    verb = "is a fence device" if len(devices) == 1 else "are fence devices"
    return f"{', '.join(devices)} {verb}, which hamgr does not place on nodes: see the section fencing"


def _bundle(ledger: Ledger, bundle: model.Bundle) -> Raw:
    if not bundle.technology:
        ledger.notes.append(f"bundle {bundle.id}: it has no docker, podman or rkt element, so it says nothing to run")
        return {}
    ledger.resources.add(bundle.id)
    ledger.notes.append(
        f"bundle {bundle.id}: hamgr starts no containers by {bundle.technology}, so a running cluster leaves "
        "it out; its counterpart is the agent pod (docs/migration.md)"
    )
    raw: Raw = {"bundle": bundle.id, "technology": bundle.technology}
    add(raw, "container", dict(bundle.container))
    add(raw, "network", dict(bundle.network))
    usable = [s for s in bundle.storage if s.target_dir and (s.source_dir or s.source_dir_root)]
    ledger.notes += [
        f"bundle {bundle.id}: storage mapping {s.id} needs a target-dir and a source-dir"
        for s in bundle.storage
        if s not in usable
    ]
    ports = ({"id": p.id, "port": p.port, "internal-port": p.internal_port, "range": p.range} for p in bundle.ports)
    add(raw, "ports", [{name: text for name, text in port.items() if text} for port in ports])
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
    add(raw, "storage", [{name: text for name, text in one.items() if text} for one in mappings])
    if bundle.primitive:
        raw["primitive"] = _primitive(ledger, bundle.primitive)
    add(raw, "meta", ledger.known(bundle.meta, CLONE_META, "meta-attribute", f"bundle {bundle.id}"))
    return raw


def _present_role(text: str) -> str:
    return {"Master": "Promoted", "Slave": "Unpromoted"}.get(text, text)


def _duration_text(milliseconds: int) -> str:
    """A duration in the largest unit that says it exactly."""
    for size, unit in ((3_600_000, "h"), (60_000, "min"), (1000, "s")):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
