"""Pacemaker Remote: nodes that are reached through a connection resource (remote) or live in a resource (guest).

Implements "Pacemaker Remote". A connection resource has the id of its node.
"""

from __future__ import annotations

from hamgr.cib import model
from hamgr.scheduler.state.entities import Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.unpack import nodes


def _primitives(resource: model.Resource | None) -> list[model.Primitive]:
    if isinstance(resource, model.Primitive):
        return [resource]
    if isinstance(resource, model.Group):
        return list(resource.members)
    if isinstance(resource, model.Clone):
        return _primitives(resource.member)
    if isinstance(resource, model.Bundle):
        return _primitives(resource.primitive)
    return []


def is_remote_agent(agent: model.Agent) -> bool:
    """Whether a primitive is the connection to a Pacemaker Remote node."""
    return (agent.standard, agent.provider, agent.type) == ("ocf", "pacemaker", "remote")


def guest_name(primitive: model.Primitive) -> str:
    """The guest node that a primitive (a virtual machine, say) creates, if any."""
    for nvset in primitive.meta:
        for name, value in nvset.pairs:
            if name == "remote-node":
                return value
    return ""


def unpack_nodes(work: WorkingSet) -> None:
    """Make the nodes that connection resources and guests imply."""
    for resource in work.cib.resources:
        for primitive in _primitives(resource):
            name = primitive.id if is_remote_agent(primitive.agent) else guest_name(primitive)
            if not name:
                continue
            node = work.nodes_by_name.get(name)
            if node is None:
                node = nodes.create_node(work, name, name, True)
            node.remote = True
            work.have_remote_nodes = True
            node.guest = bool(guest_name(primitive))


def implicit_connections(work: WorkingSet) -> list[model.Primitive]:
    """Connection resources of guest nodes, which nobody configures."""
    made = []
    for resource in work.cib.resources:
        for primitive in _primitives(resource):
            name = guest_name(primitive)
            if not name:
                continue
            meta = {k: v for s in primitive.meta for k, v in s.pairs}
            pairs = [("container", primitive.id)]
            if "remote-allow-migrate" in meta:
                pairs.append(("allow-migrate", meta["remote-allow-migrate"]))
            if "is-managed" in meta:
                pairs.append(("is-managed", meta["is-managed"]))
            timeout = meta.get("remote-connect-timeout", "60s")
            made.append(
                connection(name, tuple(pairs), meta.get("remote-addr", ""), meta.get("remote-port", ""), timeout)
            )
    return made


def connection(
    name: str, meta: tuple[tuple[str, str], ...], address: str, port: str, connect_timeout: str
) -> model.Primitive:
    """The connection resource to a guest or bundle node."""
    params = tuple((k, v) for k, v in (("addr", address), ("port", port)) if v)
    return model.Primitive(
        id=name,
        agent=model.Agent("ocf", "remote", "pacemaker"),
        ops=(
            model.Op("monitor", 30_000, f"{name}-monitor-interval-30s", {"timeout": "30s"}),
            *(
                (model.Op("start", 0, f"{name}-start-interval-0", {"timeout": connect_timeout}),)
                if connect_timeout
                else ()
            ),
        ),
        params=(model.NvSet(params),) if params else (),
        meta=(model.NvSet(meta),),
    )


def link_nodes(work: WorkingSet) -> None:
    """Tie each remote node to its connection resource."""
    for rsc in list(work.by_id.values()):
        if not rsc.settings.is_remote_node:
            continue
        node = work.nodes_by_name.get(rsc.id)
        if node is None:
            continue
        node.remote_rsc = rsc
        if rsc.container is None:
            # A remote node (not a guest) that has not been seen has to be fenced before it counts as clean.
            node.unclean = work.options.fencing and work.options.startup_fencing
            node.unseen = True
        else:
            node.guest = True
            node.attributes["#kind"] = "container"


def adopt_orphan(work: WorkingSet, rsc: Resource) -> None:
    """A connection that is no longer configured shuts its node down."""
    node = work.nodes_by_name.get(rsc.id)
    if node is None:
        node = nodes.create_node(work, rsc.id, rsc.id, True)
    node.remote_rsc = rsc
    node.shutdown = True
