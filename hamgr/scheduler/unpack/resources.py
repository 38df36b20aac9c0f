"""Resources as configured: meta attributes with their inheritance, defaults, clones' instances.

Implements "Resource Options" and "Clone Options" of Pacemaker Explained.
"""

from __future__ import annotations

from hamgr.cib import durations, model, rules, scores
from hamgr.cib.booleans import is_true
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.inputs import attributes
from hamgr.scheduler.state.constants import Needs, Variant
from hamgr.scheduler.state.entities import CloneData, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.unpack import remote_nodes

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Sequence


def _agent_of(config: model.Resource) -> model.Agent | None:
    return config.agent if isinstance(config, model.Primitive) else None


def _meta(work: WorkingSet, rsc: Resource, config: model.Resource) -> dict[str, str]:
    context = rules.Context(now=work.now, agent=_agent_of(config))
    table = rules.values(config.meta, context)
    ancestor = rsc.parent
    while ancestor is not None:
        for name, value in rules.values(ancestor.meta_sets, context).items():
            table.setdefault(name, value)
        ancestor = ancestor.parent
    if work.cib.rsc_defaults:
        for name, value in rules.values(work.cib.rsc_defaults, context).items():
            table.setdefault(name, value)
    if rsc.parent is not None:
        for name, value in rsc.parent.meta.items():
            table.setdefault(name, value)
    return table


_VARIANTS = {
    model.Primitive: Variant.PRIMITIVE,
    model.Group: Variant.GROUP,
    model.Clone: Variant.CLONE,
    model.Bundle: Variant.BUNDLE,
}


def begin(work: WorkingSet, config: model.Resource, parent: Resource | None, suffix: str = "") -> Resource:
    """The runtime resource for a configured one, with its meta attributes, but without anything that is in it."""
    rsc = Resource(config.id + suffix, _VARIANTS[type(config)], parent)
    rsc.meta_sets = config.meta
    rsc.meta = _meta(work, rsc, config)
    if not isinstance(config, model.Bundle):
        rsc.own_params = config.params
    if isinstance(config, model.Primitive):
        rsc.primitive = config
        rsc.fence_device = config.agent.standard == "stonith"
        if rsc.fence_device:
            work.have_stonith_resource = True
    _apply_meta(work, rsc)
    work.by_id[rsc.id] = rsc
    return rsc


def build(
    work: WorkingSet, config: model.Primitive | model.Group | model.Clone, parent: Resource | None, suffix: str = ""
) -> Resource:
    """Make the runtime resource for a configured one, with its members or instances."""
    rsc = begin(work, config, parent, suffix)
    if isinstance(config, model.Primitive):
        _primitive(work, rsc, config)
    elif isinstance(config, model.Group):
        rsc.ordered = is_true(rsc.meta.get("ordered", "true"))
        rsc.colocated = is_true(rsc.meta.get("collocated", "true"))
        rsc.children = [build(work, member, rsc, suffix) for member in config.members]
    else:
        _clone(work, rsc, config)
    return rsc


def _apply_meta(work: WorkingSet, rsc: Resource) -> None:
    meta, options = rsc.meta, work.options
    rsc.priority = scores.parse(meta.get("priority"))
    rsc.critical = is_true(meta.get("critical", "true"))
    rsc.notify = is_true(meta.get("notify"))
    managed = meta.get("is-managed")
    rsc.managed = managed is None or managed.lower() == "default" or is_true(managed)
    if is_true(meta.get("maintenance")) or options.maintenance:
        rsc.managed = False
        rsc.maintenance = True
    top = rsc.top()
    rsc.unique = not top.is_clone() or (is_true(meta.get("globally-unique")) and not _forced_anonymous(top))
    rsc.promotable = rsc.variant == Variant.CLONE and is_true(meta.get("promotable"))
    rsc.restart_type_restart = meta.get("restart-type") == "restart"
    rsc.multiple_active = meta.get("multiple-active", "stop_start")
    if (stickiness := meta.get("resource-stickiness")) is not None and stickiness != "default":
        rsc.stickiness = scores.parse(stickiness)
    if (threshold := meta.get("migration-threshold")) is not None and threshold != "default":
        rsc.migration_threshold = scores.parse(threshold)
        if rsc.migration_threshold < 0:
            rsc.migration_threshold = INFINITY
    rsc.failure_timeout_ms = durations.parse_ms(meta.get("failure-timeout"))
    is_remote = rsc.primitive is not None and remote_nodes.is_remote_agent(rsc.primitive.agent)
    is_guest = is_remote and "container" in meta
    allow_migrate = meta.get("allow-migrate")
    rsc.allow_migrate = is_remote and not is_guest if allow_migrate is None else is_true(allow_migrate)
    _requires(work, rsc, is_remote)
    if is_remote:
        rsc.is_remote_node = True
        interval = attributes.params(work, rsc, None).get("reconnect_interval")
        if interval is not None:
            rsc.remote_reconnect_ms = durations.parse_ms(interval)
            rsc.failure_timeout_ms = rsc.remote_reconnect_ms
    rsc.next_role = attributes.target_role(rsc)
    if options.symmetric:
        # A node's own score is 0, or -INFINITY once it is known to be down.
        rsc.allowed = {node: node.weight for node in work.nodes if not node.bundle}
    elif is_guest:
        # Where the connection to a guest node may run is up to the guest's container.
        rsc.allowed = {node: node.weight for node in work.nodes}


def _forced_anonymous(clone: Resource) -> bool:
    """Whether a clone cannot be globally unique: the operating system's services cannot tell instances apart."""
    return clone.clone is not None and any(p.agent.standard in _NEVER_UNIQUE for p in _leaf_configs(clone.clone.config))


def _requires(work: WorkingSet, rsc: Resource, is_remote: bool) -> None:
    value = rsc.meta.get("requires", "")
    options = work.options
    if value == "unfencing" and (rsc.fence_device or not options.fencing):
        value = ""
    if value not in ("nothing", "quorum", "fencing", "unfencing"):
        if rsc.fence_device or (is_remote and rsc.variant == Variant.PRIMITIVE):
            value = "quorum"
        elif options.enable_unfencing:
            value = "unfencing"
        elif options.fencing:
            value = "fencing"
        else:
            value = "nothing" if options.quorum_policy == "ignore" else "quorum"
    rsc.needs_unfencing = value == "unfencing"
    rsc.needs = {"nothing": Needs.NOTHING, "quorum": Needs.QUORUM}.get(value, Needs.FENCING)


def _primitive(work: WorkingSet, rsc: Resource, config: model.Primitive) -> None:
    top = rsc.top()
    if config.utilization:
        rsc.utilization = attributes.utilization(config.utilization, rules.Context(now=work.now, agent=config.agent))
    if not rsc.unique and top.is_clone() and ":" in rsc.id:
        rsc.history_id = rsc.id.rpartition(":")[0]
    work.by_history.setdefault(rsc.history_id, []).append(rsc)


def _clone(work: WorkingSet, rsc: Resource, config: model.Clone) -> None:
    data = CloneData(config)
    rsc.clone = data
    meta = rsc.meta
    if config.master:
        rsc.promotable = True
    if rsc.promotable:
        data.promoted_max = _instance_count(meta, ("promoted-max", "master-max"), 1)
        data.promoted_node_max = _instance_count(meta, ("promoted-node-max", "master-node-max"), 1)
        rsc.meta["promotable"] = "true"
    data.clone_max = _instance_count(meta, ("clone-max",), max(1, len(work.nodes)))
    data.clone_node_max = _instance_count(meta, ("clone-node-max",), 1)
    if not rsc.unique:
        data.clone_node_max = min(data.clone_node_max, 1)
    if rsc.unique and _forced_anonymous(rsc):
        rsc.unique = False
        data.clone_max = min(data.clone_max, len(work.nodes))
        data.clone_node_max = 1
    data.ordered = is_true(meta.get("ordered"))
    # Without a stickiness of their own, instances prefer to stay where they are by just enough to break ties.
    if "resource-stickiness" not in meta:
        meta["resource-stickiness"] = "1"
    meta["globally-unique"] = "true" if rsc.unique else "false"
    for _ in range(max(data.clone_max, 1)):
        create_instance(work, rsc)


_NEVER_UNIQUE = frozenset(("lsb", "service", "systemd", "upstart", "nagios"))


def _leaf_configs(config: model.Clone) -> tuple[model.Primitive, ...]:
    return config.member.members if isinstance(config.member, model.Group) else (config.member,)


def create_instance(work: WorkingSet, clone: Resource) -> Resource:
    """Add the next instance to a clone; those beyond clone-max are orphans."""
    data = clone.clone
    assert data is not None
    child = build(work, data.config.member, clone, f":{data.total}")
    data.total += 1
    clone.children.append(child)
    if data.total > data.clone_max:
        for part in (child, *child.children):
            part.orphan = True
    return child


def _instance_count(meta: dict[str, str], names: Sequence[str], default: int) -> int:
    """A number of instances, by the first of its names that is set; the default where what is set is no number."""
    for name in names:
        value = meta.get(name)
        if value is not None:
            is_number = value.strip("+-").strip()[:1].isdigit()
            return max(0, min(scores.leading_int(value), 1_000_000)) if is_number else default
    return default
