"""Resources and fence devices of a cluster file as the model has them, with what their agents' authors advise."""

from __future__ import annotations

from collections.abc import Mapping

from hamgr.cib import booleans, model
from hamgr.cib.options import OPERATION
from hamgr.cib.scores import INFINITY
from hamgr.clusterfile.agents import ActionSpec, AgentSpec, agent_of
from hamgr.clusterfile.build.sets import model_sets, names_in, option_sets
from hamgr.clusterfile.fencing import FenceDevice
from hamgr.clusterfile.options import duration_ms
from hamgr.clusterfile.resources import (
    BundleEntry,
    CloneEntry,
    GroupEntry,
    Operation,
    Operations,
    PrimitiveEntry,
    ResourceEntry,
)

MONITOR_INTERVAL_MS = 10_000  # of a monitor that names none, by an agent that advises none

# What the cluster asks of agents; the rest (validate-all, meta-data) is for people.
_SCHEDULED = frozenset(
    {"start", "stop", "monitor", "promote", "demote", "notify", "migrate_to", "migrate_from", "reload-agent"}
)


class ResourceBuilder:
    """Builds resources and devices, given the agents by name and the file's namespace."""

    def __init__(self, agents: Mapping[str, AgentSpec], namespace: str, *, timeouts: bool) -> None:
        self._agents = agents
        self._namespace = namespace
        self._timeouts = timeouts  # fill in advised timeouts: not when the file has a default of its own

    def resource(self, entry: ResourceEntry) -> model.Resource:
        """A resource with all that it consists of."""
        if isinstance(entry, PrimitiveEntry):
            return self._primitive(entry)
        if isinstance(entry, GroupEntry):
            return self._group(entry)
        if isinstance(entry, CloneEntry):
            return self._clone(entry)
        return self._bundle(entry)

    def _primitive(self, entry: PrimitiveEntry) -> model.Primitive:
        agent = self._agents.get(entry.agent)
        takes_namespace = agent is not None and "namespace" in agent.parameters
        implied = takes_namespace and "namespace" not in names_in(entry.params)
        where = (("namespace", self._namespace),) if implied else ()
        extra = (model.NvSet(where, id=f"{entry.id}-namespace", score=-INFINITY),) if where else ()
        return model.Primitive(
            id=entry.id,
            agent=agent_of(entry.agent),
            ops=self._operations(entry.id, entry.operations, agent),
            params=(*model_sets(entry.params, f"{entry.id}-params"), *extra),
            meta=option_sets(entry.meta, f"{entry.id}-meta"),
            utilization=model_sets(entry.utilization, f"{entry.id}-utilization"),
        )

    def device(self, entry: FenceDevice) -> model.Primitive:
        """A fence device: to Pacemaker, a resource of class stonith."""
        hosts = (("pcmk_host_list", " ".join(entry.nodes)),) if entry.nodes else ()
        action = (("pcmk_reboot_action", entry.action),) if entry.action else ()
        extra = (model.NvSet((*hosts, *action), id=f"{entry.id}-hosts", score=-INFINITY),) if hosts or action else ()
        return model.Primitive(
            id=entry.id,
            agent=model.Agent("stonith", entry.agent),
            ops=self._operations(entry.id, entry.operations, None),
            params=(*model_sets(entry.params, f"{entry.id}-params"), *extra),
            meta=option_sets(entry.meta, f"{entry.id}-meta"),
        )

    def _group(self, entry: GroupEntry) -> model.Group:
        return model.Group(
            id=entry.group,
            members=tuple(self._primitive(member) for member in entry.members),
            params=model_sets(entry.params, f"{entry.group}-params"),
            meta=option_sets(entry.meta, f"{entry.group}-meta"),
        )

    def _clone(self, entry: CloneEntry) -> model.Clone:
        member = self._group(entry.of) if isinstance(entry.of, GroupEntry) else self._primitive(entry.of)
        flag = (("promotable", booleans.text(entry.promotable)),) if entry.promotable is not None else ()
        own = (model.NvSet(flag, id=f"{entry.clone}-promotable"),) if flag else ()
        return model.Clone(
            id=entry.clone,
            member=member,
            params=model_sets(entry.params, f"{entry.clone}-params"),
            meta=(*option_sets(entry.meta, f"{entry.clone}-meta"), *own),
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
            primitive=self._primitive(entry.primitive) if entry.primitive else None,
            meta=option_sets(entry.meta, f"{entry.bundle}-meta"),
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
            meta=option_sets(entry.meta, f"{identity}-meta"),
            params=model_sets(entry.params, f"{identity}-params"),
        )


def _advice(action: ActionSpec) -> Operation:
    return Operation.model_validate({"interval": f"{action.interval_ms}ms", "role": action.role or None})


def _usual_interval_ms(name: str, advised: list[ActionSpec] | tuple[ActionSpec, ...]) -> int:
    advice = advised[0].interval_ms if advised else 0
    return advice or (MONITOR_INTERVAL_MS if name == "monitor" else 0)


def _operation_attributes(entry: Operation) -> dict[str, str]:
    found = {}
    for name, option in OPERATION.items():
        value = getattr(entry, name.replace("-", "_"))
        if value is not None and name != "interval" and not option.why_not:
            found[name] = booleans.text(value) if isinstance(value, bool) else str(value)
    return found
