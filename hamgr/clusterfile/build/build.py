"""From a validated cluster file to the model that the scheduler reads, with hamgr's defaults filled in.

What is filled in, and nothing else: `RESOURCE_DEFAULTS`; the file's namespace where an agent takes one; monitors and
timeouts that an agent's author advises, where the file has none of its own; one stonith resource that stands for
hamgr's fencer, because Pacemaker's rules start nothing while fencing is on and no device is configured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hamgr.cib import booleans, model
from hamgr.cib.options import META, Values
from hamgr.cib.scores import INFINITY
from hamgr.clusterfile.agents import AgentSpec
from hamgr.clusterfile.build.constraints import built_constraints
from hamgr.clusterfile.build.resources import ResourceBuilder
from hamgr.clusterfile.build.sets import model_sets, names_in, option_sets
from hamgr.clusterfile.fencing import FenceLevel, Fencing
from hamgr.clusterfile.schema import ClusterSection, NodeEntry

FENCING_ID = "fencing"
FENCER = model.Agent("stonith", "hamgr")

# Stickiness: a resource stays where it runs when a node comes back. Threshold and timeout: five failures on a node
# within ten minutes move it elsewhere; a node is forgiven ten minutes after its last failure.
RESOURCE_DEFAULTS: Mapping[str, str] = {
    name: META[name].default for name in ("resource-stickiness", "migration-threshold", "failure-timeout")
}


def build_cib(section: ClusterSection, agents: Mapping[str, AgentSpec]) -> model.Cib:
    """The configuration as a model without any recorded state."""
    timeouts = "timeout" not in names_in(section.defaults.operations)
    builder = ResourceBuilder(agents, section.namespace, timeouts=timeouts)
    resources = tuple(builder.resource(entry) for entry in section.resources)
    return model.Cib(
        nodes=tuple(_node(entry) for entry in section.nodes),
        resources=(*_fencing_resources(section, resources, builder), *resources),
        constraints=tuple(built_constraints(section.constraints)),
        options=option_sets(section.options, "options"),
        rsc_defaults=(
            *option_sets(section.defaults.resources, "rsc-defaults"),
            model.NvSet(tuple(RESOURCE_DEFAULTS.items()), id="hamgr-rsc-defaults", score=-INFINITY),
        ),
        op_defaults=option_sets(section.defaults.operations, "op-defaults"),
        tags=dict(section.tags),
        fencing_levels=tuple(_topology(section.fencing)),
    )


def _node(entry: NodeEntry) -> model.Node:
    flags = (("standby", entry.standby), ("maintenance", entry.maintenance))
    pairs = tuple((name, booleans.text(value)) for name, value in flags if value is not None)
    own = (model.NvSet(pairs, id=f"{entry.name}-flags"),) if pairs else ()
    return model.Node(
        name=entry.name,
        attributes=(*own, *model_sets(entry.attributes, f"{entry.name}-attributes")),
        utilization=model_sets(entry.utilization, f"{entry.name}-utilization"),
    )


def _fencing_resources(
    section: ClusterSection, resources: tuple[model.Resource, ...], builder: ResourceBuilder
) -> tuple[model.Primitive, ...]:
    devices = tuple(builder.device(entry) for entry in section.fencing.devices)
    switches = [Values(entry.values) for entry in section.options]
    switched_off = any(one.is_set("fencing-enabled") and not one.flag("fencing-enabled") for one in switches)
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
