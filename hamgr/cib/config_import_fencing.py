"""Imported fencing: devices and topology in a cluster file's words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from hamgr.cib import model
from hamgr.cib.config_import_ledger import Ledger, Raw, add, plain_sets
from hamgr.cib.config_import_resources import imported_operations
from hamgr.cib.config_options import PRIMITIVE_META


def imported_fencing(ledger: Ledger, cib: model.Cib) -> Raw:
    """The fencing section; the nodes have to be known already, as devices name them."""
    raw: Raw = {}
    add(raw, "devices", [_device(ledger, device) for device in _stonith(cib.resources)])
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
