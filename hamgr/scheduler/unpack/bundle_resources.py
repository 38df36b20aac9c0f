"""Makes the resources that a bundle implies: for each replica an address, a container, a connection to the guest node
in it, and an instance of the primitive that runs there.

Implements "Bundles - Containerized Resources" of Pacemaker Explained. What these resources do together is in `bundles`.
"""

from __future__ import annotations

from hamgr.cib import model, scores
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.state.entities import BundleData, Node, Replica, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.unpack import container_options, nodes, remote_nodes, resources

# Beyond what addresses can be counted up for, and more than one scheduler could place.
MAX_REPLICAS = 1000


def unusable(config: model.Bundle) -> str:
    """Why a bundle cannot be scheduled at all; "" when it can."""
    if not config.technology:
        return "it has no docker, podman or rkt element"
    if config.primitive is not None and not {"ip-range-start", "control-port"} & set(config.network):
        return f'"{config.primitive.id}" inside of it cannot be controlled without ip-range-start or control-port'
    return ""


def _replica_count(config: model.Bundle, name: str, least: int) -> int:
    """A number of replicas from a container's attributes, within what can be."""
    return max(least, min(scores.leading_int(config.container.get(name, "")), MAX_REPLICAS))


def _promoted_max(config: model.Bundle) -> int:
    return _replica_count(config, "promoted-max" if "promoted-max" in config.container else "masters", 0)


def _replicas(config: model.Bundle) -> int:
    promoted = _promoted_max(config)
    return promoted if promoted and "replicas" not in config.container else _replica_count(config, "replicas", 1)


def _per_host(work: WorkingSet, config: model.Bundle) -> int:
    count = _replica_count(config, "replicas-per-host", 1)
    if count > 1 and config.primitive is not None and "ip-range-start" not in config.network:
        work.warn(
            f'Bundle "{config.id}": without ip-range-start, replicas on one host would share the control-port; '
            "replicas-per-host counts as 1."
        )
        return 1
    return count


def build(work: WorkingSet, config: model.Bundle) -> Resource:
    """Make the runtime resource of a bundle with its implicit resources, and the guest nodes in its containers."""
    bundle = resources.begin(work, config, None)
    per_host = _per_host(work, config)
    if _replica_count(config, "replicas-per-host", 1) == 1:
        bundle.settings = bundle.settings.with_changes(unique=False)
    data = bundle.bundle = BundleData(config, per_host)
    for complaint in container_options.complaints(config):
        work.warn(complaint)
    count = _replicas(config)
    children: list[Resource | None] = [None] * count
    if config.primitive is not None:
        data.child = resources.build(work, _inner_clone(config, config.primitive, count, per_host), bundle)
        children = list(data.child.children)
        if any(instance.settings.notify for instance in data.child.children):
            data.child.settings = data.child.settings.with_changes(notify=True)
    known = container_options.addresses(config, count)
    for index, child in enumerate(children):
        data.replicas.append(_replica(work, bundle, config, index, known, child))
    if data.child is not None:
        _attribute_target(bundle, data.child)
        bundle.children.append(data.child)
    return bundle


def _inner_clone(config: model.Bundle, primitive: model.Primitive, count: int, per_host: int) -> model.Clone:
    """The clone whose instances run in the containers."""
    promoted = _promoted_max(config)
    pairs = [
        ("ordered", "true"),
        ("clone-max", str(count)),
        ("clone-node-max", str(per_host)),
        ("globally-unique", "true" if per_host > 1 else "false"),
    ]
    if promoted:
        pairs += [("promotable", "true"), ("promoted-max", str(promoted))]
    name = f"{config.id}-{'master' if promoted else 'clone'}"
    return model.Clone(name, primitive, meta=(model.NvSet(tuple(pairs)),))


def _attribute_target(bundle: Resource, clone: Resource) -> None:
    target = clone.children[-1].meta.get("container-attribute-target")
    if target is not None:
        bundle.meta["container-attribute-target"] = clone.meta["container-attribute-target"] = target


def _sanitized(name: str) -> str:
    return name.replace(":", ".").replace("#", ".")


def _replica(
    work: WorkingSet, bundle: Resource, config: model.Bundle, index: int, known: list[str], child: Resource | None
) -> Replica:
    container = resources.build(work, _container(config, index, known), bundle)
    replica = Replica(container, known[index], child)
    bundle.children.append(container)
    if "ip-range-start" in config.network:
        replica.ip = resources.build(work, _address(config, known[index]), bundle)
        bundle.children.append(replica.ip)
    if child is not None:
        child.placing.exclusive_discovery = True
        _connect(work, bundle, config, index, replica, child)
        # A guest node's capacity is its container's demand.
        container.utilization, child.utilization = child.utilization, {}
    return replica


def _container(config: model.Bundle, index: int, known: list[str]) -> model.Primitive:
    name = _sanitized(f"{config.id}-{config.technology}-{index}")
    params = container_options.container_params(config, index, known)
    return model.Primitive(
        name,
        model.Agent("ocf", config.technology, "heartbeat"),
        ops=(model.Op("monitor", 60_000, f"{name}-monitor-interval-60s"),),
        params=(model.NvSet(tuple(params.items())),),
    )


def _address(config: model.Bundle, address: str) -> model.Primitive:
    name = _sanitized(f"{config.id}-ip-{address or '(null)'}")
    pairs = [("ip", address)] if address else []
    if "host-interface" in config.network:
        pairs.append(("nic", config.network["host-interface"]))
    pairs.append(("cidr_netmask", config.network.get("host-netmask", "32")))
    return model.Primitive(
        name,
        model.Agent("ocf", "IPaddr2", "heartbeat"),
        ops=(model.Op("monitor", 60_000, f"{name}-monitor-interval-60s"),),
        params=(model.NvSet(tuple(pairs)),),
    )


def _connect(
    work: WorkingSet, bundle: Resource, config: model.Bundle, index: int, replica: Replica, child: Resource
) -> None:
    """Add the guest node in a replica's container, and the connection to it."""
    name = f"{config.id}-{index}"
    if name in work.by_id:
        name = f"pcmk-internal-{child.id}-remote-{index}"
    port = config.network.get("control-port", container_options.REMOTE_PORT)
    meta = (("internal_rsc", "true"), ("container", replica.container.id))
    # Without an address of its own, the guest node is reached through its host's.
    primitive = remote_nodes.connection(name, meta, replica.address or "#uname", port, "")
    replica.node = node = _guest_node(work, name)
    child.allowed = {node: 500}
    child.placing.discovery = {node: "exclusive"}
    assert child.parent is not None
    child.parent.allowed[node] = -INFINITY
    replica.remote = remote = resources.build(work, primitive, bundle)
    for other in remote.allowed:
        if other.remote:
            remote.allowed[other] = -INFINITY
    remote.settings = remote.settings.with_changes(is_bundle_connection=True)
    remote.container = replica.container
    node.remote_rsc = remote
    node.guest = True
    node.attributes["#kind"] = "container"
    bundle.children.append(remote)


def _guest_node(work: WorkingSet, name: str) -> Node:
    """The guest node in a container, where nothing runs but the bundle's own primitive."""
    node = work.nodes_by_name.get(name)
    if node is None:
        node = nodes.create_node(work, name, name, True)
        work.nodes.sort(key=lambda n: n.name)
    node.bundle = node.remote = True
    node.weight = -INFINITY
    for top in work.resources:
        for rsc in top.with_descendants():
            if node in rsc.allowed:
                rsc.allowed[node] = -INFINITY
    return node
