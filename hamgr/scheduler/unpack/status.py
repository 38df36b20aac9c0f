"""First stage of a run: fills the working state from the CIB.

Options and configured nodes are read here; recorded states of nodes in `nodes`, resources in `resources`, and what
operations tell about them in `histories`.
"""

from __future__ import annotations

from hamgr.cib import model, rules
from hamgr.scheduler.actions import failures
from hamgr.scheduler.inputs import attributes
from hamgr.scheduler.state.constants import Variant
from hamgr.scheduler.state.entities import Resource
from hamgr.scheduler.state.settings import ClusterOptions
from hamgr.scheduler.state.working_set import VariantMethods, WorkingSet
from hamgr.scheduler.unpack import histories, nodes, remote_nodes, resources

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Mapping


def read_options(cib: model.Cib, now: int) -> ClusterOptions:
    """The cluster options in force."""
    return ClusterOptions(
        rules.values(cib.options, rules.Context(now=now), first_id="cib-bootstrap-options"),
        may_panic=cib.have_quorum or cib.no_quorum_panic,
        enable_unfencing=any(_provides_unfencing(r) for r in cib.resources),
    )


def _provides_unfencing(resource: model.Resource) -> bool:
    sets = list(resource.meta)
    if isinstance(resource, model.Group):
        sets += [s for m in resource.members for s in m.meta]
    elif isinstance(resource, model.Clone):
        return _provides_unfencing(resource.member) or any(("provides", "unfencing") in s.pairs for s in sets)
    return any(("provides", "unfencing") in s.pairs for s in sets)


def unpack(cib: model.Cib, now: int, variants: Mapping[int, VariantMethods] | None = None) -> WorkingSet:
    """Make the working state: nodes, resources and what the recorded history says about both.

    ``variants`` is the table of what the stages after this one do for each kind of resource.
    """
    work = WorkingSet(cib, now, read_options(cib, now), variants)
    work.legacy_fail_counts = failures.version(cib.crm_feature_set) < (3, 0, 13)
    # A watchdog makes lost nodes fence themselves, so no device is needed.
    work.have_stonith_resource = work.options.have_watchdog
    for node in cib.nodes:
        _add_node(work, node)
    remote_nodes.unpack_nodes(work)
    _add_resources(work)
    remote_nodes.link_nodes(work)
    work.tickets.update((ticket.id, ticket) for ticket in cib.tickets)
    nodes.unpack_states(work)
    histories.unpack(work)
    return work


def _add_node(work: WorkingSet, config: model.Node) -> None:
    node = nodes.create_node(work, config.name, config.id or config.name, config.type == "remote")
    context = rules.Context(now=work.now, attributes=node.attributes)
    node.permanent = rules.values(config.attributes, context)
    node.utilization = attributes.utilization(config.utilization, context)
    node.attributes.update(node.permanent)
    if node.remote:
        return
    node.unclean = work.options.fencing and work.options.startup_fencing
    node.unseen = True


def _add_resources(work: WorkingSet) -> None:
    """Make all configured resources; those of higher priority come first."""
    for config in work.cib.resources:
        if isinstance(config, model.Bundle):
            _add_bundle(work, config)
        else:
            work.resources.append(resources.build(work, config, None))
    for connection in remote_nodes.implicit_connections(work):
        if connection.id not in work.by_id:
            work.resources.append(resources.build(work, connection, None))
    for rsc in list(work.by_id.values()):
        _link_container(work, rsc)
    work.resources.sort(key=lambda rsc: -rsc.priority)


def _add_bundle(work: WorkingSet, config: model.Bundle) -> None:
    from hamgr.scheduler.unpack import bundle_resources

    trouble = bundle_resources.unusable(config)
    if trouble:
        work.warn(f'Bundle "{config.id}" is left out: {trouble}.')
    else:
        work.resources.append(bundle_resources.build(work, config))


def _link_container(work: WorkingSet, rsc: Resource) -> None:
    """Tie a resource to the one it runs inside of (meta attribute ``container``)."""
    name = rsc.meta.get("container")
    container = work.by_id.get(name) if name and name != rsc.id else None
    if container is not None and container.variant == Variant.PRIMITIVE and rsc.variant == Variant.PRIMITIVE:
        rsc.container = container
        container.fillers.append(rsc)
