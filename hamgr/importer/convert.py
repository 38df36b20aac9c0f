"""From a Pacemaker configuration to the sections of a cluster file, with a note on everything that stays behind.

The inverse of `hamgr.clusterfile.build.build`, as far as there is one. What Pacemaker means and hamgr has no word for
is left out, and named; what hamgr keeps but cannot run (agents that it does not have) is kept, and named.
"""

from __future__ import annotations

import re

from hamgr.cib import booleans, model
from hamgr.clusterfile.options import CLONE_META, CLUSTER_OPTIONS, OPERATION_META
from hamgr.clusterfile.values import DNS_NAME
from hamgr.importer.constraints import imported_constraint
from hamgr.importer.fencing import imported_fencing
from hamgr.importer.ledger import Ledger, Raw, add, plain_sets
from hamgr.importer.resources import imported_resource

_FLAGS = ("standby", "maintenance")


class Translation:
    """One configuration's way into a cluster file: `section` in the file's words, `notes` for a person."""

    def __init__(self, cib: model.Cib, cluster: str) -> None:
        ledger = Ledger()
        self.section: Raw = {"cluster": cluster}
        add(self.section, "options", ledger.known(cib.options, CLUSTER_OPTIONS, "cluster option", ""))
        self.section["nodes"] = [raw for node in cib.nodes if (raw := _node(ledger, node))]
        defaults = {
            "resources": ledger.known(cib.rsc_defaults, CLONE_META, "meta-attribute", "resource defaults"),
            "operations": ledger.known(cib.op_defaults, OPERATION_META, "property", "operation defaults"),
        }
        resources = [raw for resource in cib.resources if (raw := imported_resource(ledger, resource))]
        add(self.section, "fencing", imported_fencing(ledger, cib))
        add(self.section, "defaults", {name: sets for name, sets in defaults.items() if sets})
        add(self.section, "resources", resources)
        add(self.section, "tags", _tags(ledger, cib))
        add(
            self.section,
            "constraints",
            [raw for entry in cib.constraints if (raw := imported_constraint(ledger, entry))],
        )
        ledger.notes += [
            f"alert {alert.id}: not imported; hamgr's events are in etcd: see hamgr events" for alert in cib.alerts
        ]
        self.notes = ledger.notes


def _node(ledger: Ledger, node: model.Node) -> Raw:
    if node.type != "member":
        ledger.notes.append(f"node {node.name}: not imported; hamgr has no nodes of type {node.type}")
        return {}
    name = node.name
    if not DNS_NAME.match(name):
        name = re.sub(r"[^-.a-z0-9]+", "-", name.lower()).strip("-.") or "node"
        ledger.notes.append(f"node {node.name}: imported as {name}; nodes are called as in Kubernetes")
    ledger.nodes[node.name] = name
    raw: Raw = {"name": name}
    for flag in _FLAGS:
        for one in node.attributes:
            for key, value in one.pairs:
                if key == flag:
                    raw[flag] = booleans.text(booleans.is_true(value))
    attributes = plain_sets(node.attributes, lambda key, _: key not in _FLAGS)
    utilization = plain_sets(node.utilization)
    return {
        **raw,
        **({"attributes": attributes} if attributes else {}),
        **({"utilization": utilization} if utilization else {}),
    }


def _tags(ledger: Ledger, cib: model.Cib) -> Raw:
    found = {}
    for name, members in cib.tags.items():
        there = [member for member in members if member in ledger.resources]
        if there:
            found[name] = there
        else:
            ledger.notes.append(f"tag {name}: not imported; it names no resource")
    ledger.resources.update(found)
    return found
