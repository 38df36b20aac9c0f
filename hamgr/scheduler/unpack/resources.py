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
from hamgr.scheduler.state.settings import ResourceSettings
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
        for name, value in rules.values(ancestor.settings.meta_sets, context).items():
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
    rsc.meta = _meta(work, rsc, config)
    if isinstance(config, model.Primitive):
        rsc.primitive = config
    rsc.settings = _settings(work, rsc, config)
    if rsc.settings.fence_device:
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
        rsc.children = [build(work, member, rsc, suffix) for member in config.members]
    else:
        _clone(work, rsc, config)
    return rsc


def _settings(work: WorkingSet, rsc: Resource, config: model.Resource) -> ResourceSettings:
    meta = rsc.meta
    fence_device = isinstance(config, model.Primitive) and config.agent.standard == "stonith"
    is_remote = isinstance(config, model.Primitive) and remote_nodes.is_remote_agent(config.agent)
    top = rsc.top()
    stickiness, threshold = meta.get("resource-stickiness", "default"), meta.get("migration-threshold", "default")
    failures = INFINITY if threshold == "default" else scores.parse(threshold)
    requires = _requires(work, rsc, fence_device, is_remote)
    is_group = rsc.variant == Variant.GROUP
    return ResourceSettings(
        meta_sets=config.meta,
        own_params=() if isinstance(config, model.Bundle) else config.params,
        stickiness=0 if stickiness == "default" else scores.parse(stickiness),
        migration_threshold=failures if failures >= 0 else INFINITY,
        multiple_active=meta.get("multiple-active", "stop_start"),
        restart_type_restart=meta.get("restart-type") == "restart",
        needs={"nothing": Needs.NOTHING, "quorum": Needs.QUORUM}.get(requires, Needs.FENCING),
        needs_unfencing=requires == "unfencing",
        critical=is_true(meta.get("critical", "true")),
        fence_device=fence_device,
        is_remote_node=is_remote,
        unique=not top.is_clone() or (is_true(meta.get("globally-unique")) and not _forced_anonymous(top)),
        notify=is_true(meta.get("notify")),
        promotable=rsc.variant == Variant.CLONE and is_true(meta.get("promotable")),
        ordered=not is_group or is_true(meta.get("ordered", "true")),
        colocated=not is_group or is_true(meta.get("collocated", "true")),
    )


def _apply_meta(work: WorkingSet, rsc: Resource) -> None:
    meta, options = rsc.meta, work.options
    rsc.priority = scores.parse(meta.get("priority"))
    managed = meta.get("is-managed")
    rsc.managed = managed is None or managed.lower() == "default" or is_true(managed)
    if is_true(meta.get("maintenance")) or options.maintenance:
        rsc.managed = False
        rsc.maintenance = True
    rsc.failure_timeout_ms = durations.parse_ms(meta.get("failure-timeout"))
    is_remote = rsc.settings.is_remote_node
    is_guest = is_remote and "container" in meta
    allow_migrate = meta.get("allow-migrate")
    rsc.allow_migrate = is_remote and not is_guest if allow_migrate is None else is_true(allow_migrate)
    if is_remote:
        interval = attributes.params(work, rsc, None).get("reconnect_interval")
        if interval is not None:
            rsc.failure_timeout_ms = durations.parse_ms(interval)
            rsc.settings = rsc.settings.with_changes(remote_reconnect_ms=rsc.failure_timeout_ms)
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


def _requires(work: WorkingSet, rsc: Resource, fence_device: bool, is_remote: bool) -> str:
    """What has to be true before it may start: nothing, quorum, fencing or unfencing."""
    value = rsc.meta.get("requires", "")
    options = work.options
    if value == "unfencing" and (fence_device or not options.fencing):
        value = ""
    if value in ("nothing", "quorum", "fencing", "unfencing"):
        return value
    if fence_device or is_remote:
        return "quorum"
    if options.enable_unfencing:
        return "unfencing"
    if options.fencing:
        return "fencing"
    return "nothing" if options.quorum_policy == "ignore" else "quorum"


def _primitive(work: WorkingSet, rsc: Resource, config: model.Primitive) -> None:
    top = rsc.top()
    if config.utilization:
        rsc.utilization = attributes.utilization(config.utilization, rules.Context(now=work.now, agent=config.agent))
    if not rsc.settings.unique and top.is_clone() and ":" in rsc.id:
        rsc.history_id = rsc.id.rpartition(":")[0]
    work.by_history.setdefault(rsc.history_id, []).append(rsc)


def _clone(work: WorkingSet, rsc: Resource, config: model.Clone) -> None:
    data = CloneData(config)
    rsc.clone = data
    meta = rsc.meta
    if config.master:
        rsc.settings = rsc.settings.with_changes(promotable=True)
    if rsc.settings.promotable:
        data.promoted_max = _instance_count(meta, ("promoted-max", "master-max"), 1)
        data.promoted_node_max = _instance_count(meta, ("promoted-node-max", "master-node-max"), 1)
        rsc.meta["promotable"] = "true"
    data.clone_max = _instance_count(meta, ("clone-max",), max(1, len(work.nodes)))
    data.clone_node_max = _instance_count(meta, ("clone-node-max",), 1)
    if not rsc.settings.unique:
        data.clone_node_max = min(data.clone_node_max, 1)
    if rsc.settings.unique and _forced_anonymous(rsc):
        rsc.settings = rsc.settings.with_changes(unique=False)
        data.clone_max = min(data.clone_max, len(work.nodes))
        data.clone_node_max = 1
    data.ordered = is_true(meta.get("ordered"))
    # Without a stickiness of their own, instances prefer to stay where they are by just enough to break ties.
    if "resource-stickiness" not in meta:
        meta["resource-stickiness"] = "1"
    meta["globally-unique"] = "true" if rsc.settings.unique else "false"
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
