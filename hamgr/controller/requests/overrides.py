"""What operators change at run time, kept apart from the cluster file: standby, maintenance, moves, bans, roles.

Pacemaker's tools write these into the CIB beside the configuration (`crm_standby`, `crm_resource --ban`, ...). Here
they are a document of their own, so that applying the cluster file again neither undoes nor repeats them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from hamgr.cib.model import Bundle, Cib, Clone, Group, Location, Node, NvSet, Primitive, Resource
from hamgr.cib.scores import INFINITY
from hamgr.cib.typed import checked

_FIRST = INFINITY  # an override's set is looked at before every configured one


@dataclass(frozen=True, slots=True)
class Override:
    """One location that an operator asked for. `until` is seconds since the epoch, None for good."""

    id: str
    resource: str
    node: str
    score: int
    role: str = ""
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Overrides:
    """All overrides in force."""

    locations: Mapping[str, Override] = field(default_factory=dict)
    nodes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # node: attribute: value
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # resource: meta-attribute: value
    options: Mapping[str, str] = field(default_factory=dict)

    # --- changing ----------------------------------------------------------------------------------------------------

    def prefer(self, resource: str, node: str, role: str = "", until: float | None = None) -> Overrides:
        """As `crm_resource --move`: a location cli-prefer-RESOURCE with INFINITY."""
        return self._with_location(Override(f"cli-prefer-{resource}", resource, node, INFINITY, role, until))

    def ban(self, resource: str, node: str, role: str = "", until: float | None = None) -> Overrides:
        """As `crm_resource --ban`: a location cli-ban-RESOURCE-on-NODE with -INFINITY."""
        return self._with_location(Override(f"cli-ban-{resource}-on-{node}", resource, node, -INFINITY, role, until))

    def clear(self, resource: str, node: str = "") -> Overrides:
        """Without the moves and bans of a resource, or those of it that name `node`."""
        kept = {
            key: entry
            for key, entry in self.locations.items()
            if entry.resource != resource or (node and entry.node != node)
        }
        return replace(self, locations=kept)

    def expire(self, now: float) -> Overrides:
        """Without what has run out; the same object when nothing has."""
        kept = {key: entry for key, entry in self.locations.items() if entry.until is None or entry.until > now}
        return self if len(kept) == len(self.locations) else replace(self, locations=kept)

    def without_node(self, node: str) -> Overrides:
        """Without what names a node that is gone."""
        locations = {key: entry for key, entry in self.locations.items() if entry.node != node}
        nodes = {name: values for name, values in self.nodes.items() if name != node}
        return replace(self, locations=locations, nodes=nodes)

    def node_attribute(self, node: str, name: str, value: str | None) -> Overrides:
        """With a permanent node attribute set, or removed (None)."""
        return replace(self, nodes=_set(self.nodes, node, name, value))

    def resource_meta(self, resource: str, name: str, value: str | None) -> Overrides:
        """With a meta-attribute of a resource set, or removed (None)."""
        return replace(self, resources=_set(self.resources, resource, name, value))

    def option(self, name: str, value: str | None) -> Overrides:
        """With a cluster option set, or removed (None)."""
        return replace(self, options=_set({"": self.options}, "", name, value).get("", {}))

    def _with_location(self, entry: Override) -> Overrides:
        return replace(self, locations={**self.locations, entry.id: entry})

    # --- applying ----------------------------------------------------------------------------------------------------

    def apply(self, cib: Cib) -> Cib:
        """The configuration as these overrides change it. Overrides of what is not configured have no effect."""
        locations = tuple(
            Location(entry.id, entry.resource, node=entry.node, score=entry.score, role=entry.role)
            for entry in self.locations.values()
        )
        return replace(
            cib,
            nodes=tuple(self._node(node) for node in cib.nodes),
            resources=tuple(self._resource(resource) for resource in cib.resources),
            options=_before(cib.options, self.options, "cib-bootstrap-options"),
            constraints=(*cib.constraints, *locations),
        )

    def _node(self, node: Node) -> Node:
        return replace(node, attributes=_before(node.attributes, self.nodes.get(node.name, {})))

    def _resource(self, resource: Resource) -> Resource:
        values = self.resources.get(resource.id, {})
        match resource:
            case Group():
                members = tuple(self._primitive(member) for member in resource.members)
                return replace(resource, meta=_before(resource.meta, values), members=members)
            case Clone():
                member = self._resource(resource.member)
                assert isinstance(member, Primitive | Group)
                return replace(resource, meta=_before(resource.meta, values), member=member)
            case Bundle():
                inner = self._primitive(resource.primitive) if resource.primitive else None
                return replace(resource, meta=_before(resource.meta, values), primitive=inner)
            case Primitive():
                return self._primitive(resource)

    def _primitive(self, primitive: Primitive) -> Primitive:
        return replace(primitive, meta=_before(primitive.meta, self.resources.get(primitive.id, {})))

    # --- etcd --------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        locations = [
            {
                "id": entry.id,
                "resource": entry.resource,
                "node": entry.node,
                "score": entry.score,
                "role": entry.role,
                "until": entry.until,
            }
            for entry in self.locations.values()
        ]
        return {
            "locations": locations,
            "nodes": {node: dict(values) for node, values in self.nodes.items()},
            "resources": {resource: dict(values) for resource, values in self.resources.items()},
            "options": dict(self.options),
        }

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Overrides:
        """Read `to_json`'s answer; missing parts are empty."""
        entries = [Override(**entry) for entry in raw.get("locations", ())]
        return checked(
            cls(
                {entry.id: entry for entry in entries},
                raw.get("nodes", {}),
                raw.get("resources", {}),
                raw.get("options", {}),
            )
        )


def _before(sets: tuple[NvSet, ...], values: Mapping[str, str], set_id: str = "cli-overrides") -> tuple[NvSet, ...]:
    """`set_id` matters for cluster options, where Pacemaker looks at the set cib-bootstrap-options first."""
    if not values:
        return sets
    return (NvSet(tuple(values.items()), id=set_id, score=_FIRST), *sets)


def _set(
    table: Mapping[str, Mapping[str, str]], owner: str, name: str, value: str | None
) -> dict[str, Mapping[str, str]]:
    values = {key: entry for key, entry in table.get(owner, {}).items() if key != name}
    if value is not None:
        values[name] = value
    out = {key: entry for key, entry in table.items() if key != owner}
    return {**out, owner: values} if values else out
