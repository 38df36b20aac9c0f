"""Imported fencing: devices and topology in a cluster file's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hamgr.cib import model
from hamgr.clusterfile.options import PRIMITIVE_META
from hamgr.importer.ledger import Ledger, Raw, add, plain_sets
from hamgr.importer.resources import imported_operations

# What to use instead of cluster-glue's plugins: what hamgr runs is called as a program of fence-agents is.
_INSTEAD = {
    "apcmaster": "fence_apc",
    "apcmastersnmp": "fence_apc_snmp",
    "bladehpi": "fence_bladecenter",
    "external/drac5": "fence_drac5",
    "external/ec2": "fence_aws",
    "external/gce": "fence_gce",
    "external/ipmi": "fence_ipmilan",
    "external/libvirt": "fence_virsh",
    "external/rackpdu": "fence_apc_snmp",
    "external/riloe": "fence_ilo",
    "external/vcenter": "fence_vmware_rest",
    "external/vmware": "fence_vmware_soap",
    "ipmilan": "fence_ipmilan",
    "wti_nps": "fence_wti",
}
_SHARED_DISK = "let each node fence itself: self-fencing in hamgrd.yaml and level watchdog (docs/fencing.md)"
_ADVICE = {
    "external/sbd": _SHARED_DISK,
    "meatware": "level manual asks a person (docs/fencing.md)",
    **dict.fromkeys(
        ("external/ssh", "ssh", "suicide", "null"),
        "it asks the node that is to be fenced, and a node that hangs does not answer: choose what proves it off "
        "(docs/fencing.md)",
    ),
}
_FENCE_AGENT = re.compile(r"fence_[a-z0-9_]+\Z")


def imported_fencing(ledger: Ledger, cib: model.Cib) -> Raw:
    """The fencing section; the nodes have to be known already, as devices name them."""
    raw: Raw = {}
    add(raw, "devices", [one for device in _stonith(cib.resources) if (one := _device(ledger, device))])
    targets: dict[tuple[str, str, str, str], list[model.FencingLevel]] = {}
    for level in cib.fencing_levels:
        key = (level.target, level.target_pattern, level.target_attribute, level.target_value)
        targets.setdefault(key, []).append(level)
    add(raw, "topology", [entry for key, levels in targets.items() if (entry := _topology(ledger, key, levels))])
    if raw.get("devices"):
        ledger.notes.append(
            "fencing: the devices are imported, but no level uses them unless the topology does; "
            "choose levels (volume, node, watchdog, manual): docs/fencing.md"
        )
    return raw


def _device(ledger: Ledger, device: model.Primitive) -> Raw:
    """A device in the file's words; empty for what hamgr cannot run, which is a plugin of cluster-glue."""
    if not _FENCE_AGENT.match(device.agent.type):
        ledger.notes.append(f"fence device {device.id}: not imported; {_what_instead(device.agent.type)}")
        return {}
    ledger.devices.add(device.id)
    ledger.resources.add(device.id)
    raw: Raw = {"id": device.id, "agent": device.agent.type}
    pairs = {name: value for one in device.params for name, value in one.pairs}
    hosts = [
        ledger.nodes[name] for name in re.split(r"[\s,;]+", pairs.get("pcmk_host_list", "")) if name in ledger.nodes
    ]
    special = {"pcmk_host_list"} if hosts else set()
    if pairs.get("pcmk_reboot_action") in ("off", "reboot"):
        raw["action"] = pairs["pcmk_reboot_action"]
        special.add("pcmk_reboot_action")
    add(raw, "params", plain_sets(device.params, lambda name, _: name not in special))
    add(raw, "nodes", hosts)
    add(raw, "meta", ledger.known(device.meta, PRIMITIVE_META, "meta-attribute", f"device {device.id}"))
    add(raw, "operations", imported_operations(ledger, device))
    return raw


def _what_instead(plugin: str) -> str:
    if plugin in _ADVICE:
        return f"hamgr cannot run {plugin} (cluster-glue); {_ADVICE[plugin]}"
    program = _INSTEAD.get(plugin, "one that switches the same device (`apt-cache search fence-agents`)")
    return f"hamgr cannot run {plugin} (cluster-glue); write a device with a program of fence-agents: {program}"


def _topology(ledger: Ledger, key: tuple[str, str, str, str], levels: list[model.FencingLevel]) -> Raw:
    target, pattern, attribute, value = key
    if target and target not in ledger.nodes:
        ledger.notes.append(f"fencing level for {target}: not imported; there is no node of that name")
        return {}
    usable = []
    for level in sorted(levels, key=lambda one: one.index):
        missing = [device for device in level.devices if device not in ledger.devices]
        if missing or not level.devices:
            ledger.notes.append(f"fencing level {level.id}: not imported; there is no device {', '.join(missing)}")
        else:
            usable.append({"level": "node", "devices": list(level.devices)})
    if not usable:
        return {}
    if target:
        return {"node": ledger.nodes[target], "levels": usable}
    if pattern:
        return {"pattern": pattern, "levels": usable}
    return {"attribute": attribute, "value": value, "levels": usable}


def _stonith(resources: Iterable[model.Resource]) -> Iterator[model.Primitive]:
    for resource in resources:
        if isinstance(resource, model.Primitive):
            if resource.agent.standard == "stonith":
                yield resource
        elif isinstance(resource, model.Group):
            yield from _stonith(resource.members)
        elif isinstance(resource, model.Clone):
            yield from _stonith((resource.member,))
