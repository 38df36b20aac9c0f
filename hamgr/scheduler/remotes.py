"""Pacemaker Remote: nodes that are reached through a connection resource (remote) or live in a resource (guest).

Implements "Pacemaker Remote". A connection resource has the id of its node.
"""

from __future__ import annotations

from hamgr.cib import model
from hamgr.scheduler import actions, fencing, nodes
from hamgr.scheduler.state.action import O_OPTIONAL, Act
from hamgr.scheduler.state.node import NodeRt
from hamgr.scheduler.state.resource import Rsc
from hamgr.scheduler.state.vocabulary import STOPPED
from hamgr.scheduler.state.work import Work


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


def unpack_nodes(work: Work) -> None:
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


def implicit_connections(work: Work) -> list[model.Primitive]:
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


def link_nodes(work: Work) -> None:
    """Tie each remote node to its connection resource."""
    for rsc in list(work.by_id.values()):
        if not rsc.is_remote_node:
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


def adopt_orphan(work: Work, rsc: Rsc) -> None:
    """A connection that is no longer configured shuts its node down."""
    node = work.nodes_by_name.get(rsc.id)
    if node is None:
        node = nodes.create_node(work, rsc.id, rsc.id, True)
    node.remote_rsc = rsc
    node.shutdown = True


def state_of(node: NodeRt) -> str:
    """What actions on a remote node can count on: its connection is alive, resting, stopped, failed or unknown."""
    rsc = node.remote_rsc
    if rsc is None:
        return "unknown"
    host = rsc.current_node()
    if rsc.next_role == STOPPED or rsc.assigned_to is None:
        if host is not None and host.unclean:
            return "failed"
        if not rsc.failed:
            return "stopped"
        waiting = rsc.next_role == STOPPED and rsc.remote_reconnect_ms and node.remote_was_fenced
        if waiting and node.attributes.get("shutdown", "0") == "0":
            # Whether it can be recovered will be known once the reconnect interval is over.
            return "unknown"
        return "failed"
    if host is None:
        return "unknown"
    if host.unclean or not host.online:
        return "resting"
    if len(rsc.running_on) > 1 and rsc.partial_migration_source and rsc.partial_migration_target:
        return "resting"
    return "alive"


def order_after_fencing(work: Work, action: Act, rsc: Rsc) -> None:
    """Clearing a connection's failure waits for its node's fencing."""
    node = work.node(rsc.id)
    if node is not None:
        fence = fencing.fence_op(work, node, "", True, "")
        actions.order(fence, action, O_OPTIONAL)


def connection_assigned(work: Work, rsc: Rsc) -> None:
    """Once a connection's place is known, so is whether its node is going to be there."""
    node = work.nodes_by_name.get(rsc.id)
    if node is None:
        return
    if rsc.assigned_to is not None and rsc.next_role != STOPPED:
        node.online = True
        if node.unseen:
            # Not fenced: the connection is about to be established again.
            node.unclean = False
    else:
        node.shutdown = True


def order_actions(work: Work) -> None:
    """Order actions on remote nodes after their connection's start, and before its stop."""
    if not work.have_remote_nodes:
        return
    from hamgr.scheduler import remote_ordering

    remote_ordering.apply(work)
