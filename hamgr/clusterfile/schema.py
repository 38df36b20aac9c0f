"""The shape of a whole cluster file."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from hamgr.clusterfile.constraints import ConstraintEntry
from hamgr.clusterfile.fencing import Fencing
from hamgr.clusterfile.options import CLONE_META, CLUSTER_OPTIONS
from hamgr.clusterfile.resources import OperationDefaults, ResourceEntry
from hamgr.clusterfile.values import DnsLabel, DnsName, Id, ResourceRef, Section, ValueSets, checked_names

ClusterOptions = Annotated[ValueSets, AfterValidator(checked_names(CLUSTER_OPTIONS, "cluster option"))]
ResourceDefaults = Annotated[ValueSets, AfterValidator(checked_names(CLONE_META, "meta-attribute"))]


class NodeEntry(Section):
    """A cluster node; its name is that of the Kubernetes node."""

    name: DnsName
    standby: bool | None = None
    maintenance: bool | None = None
    attributes: ValueSets = ()
    utilization: ValueSets = ()


def _node_entry(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class Defaults(Section):
    """Meta-attributes and properties for everything that does not set its own."""

    resources: ResourceDefaults = ()
    operations: OperationDefaults = ()


class ClusterSection(Section):
    """A whole cluster file."""

    cluster: DnsLabel
    namespace: DnsLabel = "default"
    options: ClusterOptions = ()
    nodes: Annotated[
        tuple[Annotated[NodeEntry, BeforeValidator(_node_entry)], ...],
        Field(min_length=1),
    ]
    fencing: Fencing = Field(default_factory=Fencing)
    defaults: Defaults = Field(default_factory=Defaults)
    resources: tuple[ResourceEntry, ...] = ()
    constraints: tuple[ConstraintEntry, ...] = ()
    tags: dict[Id, tuple[ResourceRef, ...]] = Field(default_factory=dict)
