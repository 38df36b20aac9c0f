"""From a validated cluster file to the model that the scheduler reads, with hamgr's defaults filled in.

What is filled in, and nothing else: `RESOURCE_DEFAULTS`; the file's namespace where an agent takes one; monitors and
timeouts that an agent's author advises, where the file has none of its own; one stonith resource that stands for
hamgr's fencer, because Pacemaker's rules start nothing while fencing is on and no device is configured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hamgr.cib import model
from hamgr.cib.config_agents import ActionSpec, AgentSpec
from hamgr.cib.config_constraints import (
    ColocationEntry,
    ConstraintEntry,
    LocationEntry,
    OrderEntry,
    ScoredRule,
    SetEntry,
    TicketEntry,
)
from hamgr.cib.config_fencing import FenceDevice, FenceLevel, Fencing
from hamgr.cib.config_options import boolean_value, duration_ms, score_value
from hamgr.cib.config_resources import (
    BundleEntry,
    CloneEntry,
    GroupEntry,
    Operation,
    Operations,
    PrimitiveEntry,
    ResourceEntry,
)
from hamgr.cib.config_rules import parse_rule
from hamgr.cib.config_schema import ClusterSection, NodeEntry
from hamgr.cib.config_values import ValueSet
from hamgr.cib.scores import INFINITY

FENCING_ID = "fencing"
FENCER = model.Agent("stonith", "hamgr")
MONITOR_INTERVAL_MS = 10_000  # of a monitor that names none, by an agent that advises none

# What the cluster asks of agents; the rest (validate-all, meta-data) is for people.
_SCHEDULED = frozenset(
    {"start", "stop", "monitor", "promote", "demote", "notify", "migrate_to", "migrate_from", "reload-agent"}
)

# Stickiness: a resource stays where it runs when a node comes back. Threshold and timeout: five failures on a node
# within ten minutes move it elsewhere; a node is forgiven ten minutes after its last failure.
RESOURCE_DEFAULTS: Mapping[str, str] = {
    "resource-stickiness": "100",
    "migration-threshold": "5",
    "failure-timeout": "10min",
}


def build_cib(section: ClusterSection, agents: Mapping[str, AgentSpec]) -> model.Cib:
    """The configuration as a model without any recorded state."""
    timeouts = "timeout" not in _names(section.defaults.operations)
    builder = _Resources(agents, section.namespace, timeouts=timeouts)
    resources = tuple(builder.resource(entry) for entry in section.resources)
    return model.Cib(
        nodes=tuple(_node(entry) for entry in section.nodes),
        resources=(*_fencing_resources(section, resources, builder), *resources),
        constraints=tuple(_constraints(section.constraints)),
        options=_sets(section.options, "options"),
        rsc_defaults=(
            *_sets(section.defaults.resources, "rsc-defaults"),
            model.NvSet(tuple(RESOURCE_DEFAULTS.items()), id="hamgr-rsc-defaults", score=-INFINITY),
        ),
        op_defaults=_sets(section.defaults.operations, "op-defaults"),
        tags=dict(section.tags),
        fencing_levels=tuple(_topology(section.fencing)),
    )


def agent_of(name: str) -> model.Agent:
    """A cluster file's agent name as class, provider and type; a bare name is one of hamgr's own agents."""
    standard, _, rest = name.partition(":")
    if not rest:
        return model.Agent("ocf", name, "hamgr")
    provider, _, kind = rest.rpartition(":")
    return model.Agent(standard, kind, provider)


def name_of(agent: model.Agent) -> str:
    """The inverse of `agent_of`."""
    if (agent.standard, agent.provider) == ("ocf", "hamgr"):
        return agent.type
    return ":".join(part for part in (agent.standard, agent.provider, agent.type) if part)


def _names(sets: Iterable[ValueSet]) -> set[str]:
    return {name for entry in sets for name in entry.values}


def _sets(entries: Iterable[ValueSet], owner: str) -> tuple[model.NvSet, ...]:
    return tuple(
        model.NvSet(
            pairs=tuple(entry.values.items()),
            id=entry.id or (owner if index == 0 else f"{owner}-{index}"),
            score=score_value(entry.score),
            rule=parse_rule(entry.rule) if entry.rule else None,
        )
        for index, entry in enumerate(entries)
    )


def _text(value: bool) -> str:
    return "true" if value else "false"


def _node(entry: NodeEntry) -> model.Node:
    flags = (("standby", entry.standby), ("maintenance", entry.maintenance))
    pairs = tuple((name, _text(value)) for name, value in flags if value is not None)
    own = (model.NvSet(pairs, id=f"{entry.name}-flags"),) if pairs else ()
    return model.Node(
        name=entry.name,
        attributes=(*own, *_sets(entry.attributes, f"{entry.name}-attributes")),
        utilization=_sets(entry.utilization, f"{entry.name}-utilization"),
    )


# --- fencing -----------------------------------------------------------------------------------------------------


def _fencing_resources(
    section: ClusterSection, resources: tuple[model.Resource, ...], builder: _Resources
) -> tuple[model.Primitive, ...]:
    devices = tuple(builder.device(entry) for entry in section.fencing.devices)
    enabled = [entry.values.get("stonith-enabled") for entry in section.options]
    switched_off = any(value is not None and not boolean_value(value) for value in enabled)
    own = any(primitive.agent.standard == "stonith" for primitive in _primitives(resources))
    implicit = () if own or switched_off else (model.Primitive(FENCING_ID, FENCER),)
    return (*implicit, *devices)


def _primitives(resources: Iterable[model.Resource]) -> Iterable[model.Primitive]:
    for resource in resources:
        if isinstance(resource, model.Primitive):
            yield resource
        elif isinstance(resource, model.Group):
            yield from resource.members
        elif isinstance(resource, model.Clone):
            yield from _primitives((resource.member,))
        elif resource.primitive is not None:
            yield resource.primitive


def _topology(fencing: Fencing) -> Iterable[model.FencingLevel]:
    for entry in fencing.topology:
        for index, level in enumerate(entry.levels, 1):
            yield model.FencingLevel(
                index=index,
                devices=_level_devices(level),
                id=f"fencing-{entry.node or entry.pattern or entry.attribute}-{index}",
                target=entry.node or "",
                target_pattern=entry.pattern or "",
                target_attribute=entry.attribute or "",
                target_value=entry.value,
            )


def _level_devices(level: FenceLevel) -> tuple[str, ...]:
    return level.devices or (level.level,)


# --- resources ---------------------------------------------------------------------------------------------------


class _Resources:
    """Builds resources with what their agents' authors advise."""

    def __init__(self, agents: Mapping[str, AgentSpec], namespace: str, *, timeouts: bool) -> None:
        self._agents = agents
        self._namespace = namespace
        self._timeouts = timeouts  # fill in advised timeouts: not when the file has a default of its own

    def resource(self, entry: ResourceEntry) -> model.Resource:
        if isinstance(entry, PrimitiveEntry):
            return self.primitive(entry)
        if isinstance(entry, GroupEntry):
            return self._group(entry)
        if isinstance(entry, CloneEntry):
            return self._clone(entry)
        return self._bundle(entry)

    def primitive(self, entry: PrimitiveEntry) -> model.Primitive:
        agent = self._agents.get(entry.agent)
        takes_namespace = agent is not None and "namespace" in agent.parameters
        where = (("namespace", self._namespace),) if takes_namespace and "namespace" not in _names(entry.params) else ()
        extra = (model.NvSet(where, id=f"{entry.id}-namespace", score=-INFINITY),) if where else ()
        return model.Primitive(
            id=entry.id,
            agent=agent_of(entry.agent),
            ops=self._operations(entry.id, entry.operations, agent),
            params=(*_sets(entry.params, f"{entry.id}-params"), *extra),
            meta=_sets(entry.meta, f"{entry.id}-meta"),
            utilization=_sets(entry.utilization, f"{entry.id}-utilization"),
        )

    def device(self, entry: FenceDevice) -> model.Primitive:
        hosts = (("pcmk_host_list", " ".join(entry.nodes)),) if entry.nodes else ()
        action = (("pcmk_reboot_action", entry.action),) if entry.action else ()
        extra = (model.NvSet((*hosts, *action), id=f"{entry.id}-hosts", score=-INFINITY),) if hosts or action else ()
        return model.Primitive(
            id=entry.id,
            agent=model.Agent("stonith", entry.agent),
            ops=self._operations(entry.id, entry.operations, None),
            params=(*_sets(entry.params, f"{entry.id}-params"), *extra),
            meta=_sets(entry.meta, f"{entry.id}-meta"),
        )

    def _group(self, entry: GroupEntry) -> model.Group:
        return model.Group(
            id=entry.group,
            members=tuple(self.primitive(member) for member in entry.members),
            params=_sets(entry.params, f"{entry.group}-params"),
            meta=_sets(entry.meta, f"{entry.group}-meta"),
        )

    def _clone(self, entry: CloneEntry) -> model.Clone:
        member = self._group(entry.of) if isinstance(entry.of, GroupEntry) else self.primitive(entry.of)
        flag = (("promotable", _text(entry.promotable)),) if entry.promotable is not None else ()
        own = (model.NvSet(flag, id=f"{entry.clone}-promotable"),) if flag else ()
        return model.Clone(
            id=entry.clone,
            member=member,
            params=_sets(entry.params, f"{entry.clone}-params"),
            meta=(*_sets(entry.meta, f"{entry.clone}-meta"), *own),
        )

    def _bundle(self, entry: BundleEntry) -> model.Bundle:
        return model.Bundle(
            id=entry.bundle,
            technology=entry.technology,
            container=dict(entry.container),
            network=dict(entry.network),
            ports=tuple(
                model.PortMapping(port.id or f"{entry.bundle}-port-{index}", port.port, port.internal_port, port.range)
                for index, port in enumerate(entry.ports)
            ),
            storage=tuple(
                model.StorageMapping(
                    storage.id or f"{entry.bundle}-storage-{index}",
                    storage.source_dir,
                    storage.source_dir_root,
                    storage.target_dir,
                    storage.options,
                )
                for index, storage in enumerate(entry.storage)
            ),
            primitive=self.primitive(entry.primitive) if entry.primitive else None,
            meta=_sets(entry.meta, f"{entry.bundle}-meta"),
        )

    def _operations(self, owner: str, operations: Operations, agent: AgentSpec | None) -> tuple[model.Op, ...]:
        advised = [action for action in (agent.actions if agent else ()) if action.name in _SCHEDULED]
        configured = [
            self._operation(owner, name, entry, agent) for name, entries in operations.items() for entry in entries
        ]
        added = [
            self._operation(owner, action.name, _advice(action), agent)
            for action in advised
            if action.name not in operations and (action.interval_ms or (action.timeout_ms and self._timeouts))
        ]
        return (*configured, *added)

    def _operation(self, owner: str, name: str, entry: Operation, agent: AgentSpec | None) -> model.Op:
        advised = [action for action in (agent.actions if agent else ()) if action.name == name]
        fitting = [action for action in advised if action.role == (entry.role or "")] or advised
        interval_ms = duration_ms(entry.interval) if entry.interval is not None else _usual_interval_ms(name, fitting)
        attributes = _operation_attributes(entry)
        if "timeout" not in attributes and self._timeouts and fitting and fitting[0].timeout_ms:
            attributes["timeout"] = f"{fitting[0].timeout_ms}ms"
        identity = entry.id or f"{owner}-{name}-{interval_ms}ms" + (f"-{entry.role}" if entry.role else "")
        return model.Op(
            name=name,
            interval_ms=interval_ms,
            id=identity,
            attributes=attributes,
            meta=_sets(entry.meta, f"{identity}-meta"),
            params=_sets(entry.params, f"{identity}-params"),
        )


def _advice(action: ActionSpec) -> Operation:
    return Operation.model_validate({"interval": f"{action.interval_ms}ms", "role": action.role or None})


def _usual_interval_ms(name: str, advised: list[ActionSpec] | tuple[ActionSpec, ...]) -> int:
    advice = advised[0].interval_ms if advised else 0
    return advice or (MONITOR_INTERVAL_MS if name == "monitor" else 0)


def _operation_attributes(entry: Operation) -> dict[str, str]:
    written: Mapping[str, str | bool | None] = {
        "timeout": entry.timeout,
        "on-fail": entry.on_fail,
        "role": entry.role,
        "enabled": entry.enabled,
        "start-delay": entry.start_delay,
        "interval-origin": entry.interval_origin,
        "record-pending": entry.record_pending,
    }
    return {
        name: _text(value) if isinstance(value, bool) else value for name, value in written.items() if value is not None
    }


# --- constraints -------------------------------------------------------------------------------------------------


def _constraints(entries: Iterable[ConstraintEntry]) -> Iterable[model.Constraint]:
    entries = list(entries)
    taken = {
        one.id
        for entry in entries
        for one in (entry.location, entry.colocation, entry.order, entry.ticket)
        if one and one.id
    }
    for entry in entries:
        if entry.location:
            yield _location(entry.location, taken)
        elif entry.colocation:
            yield _colocation(entry.colocation, taken)
        elif entry.order:
            yield _order(entry.order, taken)
        elif entry.ticket:
            yield _ticket(entry.ticket, taken)


def _unique(taken: set[str], *parts: str | None) -> str:
    """An id made of the parts, with a number behind it when it is taken already."""
    wanted = "-".join(part for part in parts if part)
    name, number = wanted, 1
    while name in taken:
        number += 1
        name = f"{wanted}-{number}"
    taken.add(name)
    return name


def _location(entry: LocationEntry, taken: set[str]) -> model.Location:
    subject = entry.resource or (entry.sets[0].resources[0] if entry.sets else "pattern")
    identity = entry.id or _unique(taken, "location", subject, entry.node)
    return model.Location(
        id=identity,
        rsc=entry.resource or "",
        rsc_pattern=entry.pattern or "",
        node=entry.node or "",
        score=score_value(entry.score) if entry.score else 0,
        role=entry.role or "",
        discovery=entry.resource_discovery or "",
        rules=tuple(_scored_rule(rule, f"{identity}-rule-{index}") for index, rule in enumerate(entry.rules)),
        sets=_resource_sets(entry.sets, identity),
        lifetime=parse_rule(entry.lifetime) if entry.lifetime else None,
    )


def _scored_rule(entry: ScoredRule, identity: str) -> model.Rule:
    rule = parse_rule(entry.rule)
    return model.Rule(
        id=entry.id or identity,
        expressions=rule.expressions,
        boolean_op=rule.boolean_op,
        score=score_value(entry.score) if entry.score else 0,
        score_attribute=entry.score_attribute or "",
        role=entry.role or "",
    )


def _colocation(entry: ColocationEntry, taken: set[str]) -> model.Colocation:
    first = entry.resource or entry.sets[0].resources[0]
    identity = entry.id or _unique(taken, "colocation", first, entry.with_)
    return model.Colocation(
        id=identity,
        rsc=entry.resource or "",
        with_rsc=entry.with_ or "",
        score=score_value(entry.score),
        rsc_role=entry.role or "",
        with_rsc_role=entry.with_role or "",
        node_attribute=entry.node_attribute or "",
        influence="" if entry.influence is None else _text(entry.influence),
        sets=_resource_sets(entry.sets, identity),
        lifetime=parse_rule(entry.lifetime) if entry.lifetime else None,
    )


def _order(entry: OrderEntry, taken: set[str]) -> model.Order:
    first = entry.first or entry.sets[0].resources[0]
    identity = entry.id or _unique(taken, "order", first, entry.then)
    return model.Order(
        id=identity,
        first=entry.first or "",
        then=entry.then or "",
        first_action=entry.first_action or "",
        then_action=entry.then_action or "",
        kind=entry.kind or "",
        score=score_value(entry.score) if entry.score else None,
        symmetrical=entry.symmetrical,
        require_all=entry.require_all,
        sets=_resource_sets(entry.sets, identity),
        lifetime=parse_rule(entry.lifetime) if entry.lifetime else None,
    )


def _ticket(entry: TicketEntry, taken: set[str]) -> model.TicketConstraint:
    identity = entry.id or _unique(taken, "ticket", entry.ticket, entry.resource)
    return model.TicketConstraint(
        id=identity,
        ticket=entry.ticket,
        rsc=entry.resource or "",
        rsc_role=entry.role or "",
        loss_policy=entry.loss_policy or "",
        sets=_resource_sets(entry.sets, identity),
        lifetime=parse_rule(entry.lifetime) if entry.lifetime else None,
    )


def _resource_sets(entries: Iterable[SetEntry], owner: str) -> tuple[model.ResourceSet, ...]:
    return tuple(
        model.ResourceSet(
            members=entry.resources,
            id=entry.id or f"{owner}-set-{index}",
            sequential=None if entry.sequential else False,
            require_all=entry.require_all,
            role=entry.role or "",
            action=entry.action or "",
            kind=entry.kind or "",
            ordering=entry.ordering or "",
            score=score_value(entry.score) if entry.score else None,
        )
        for index, entry in enumerate(entries)
    )
