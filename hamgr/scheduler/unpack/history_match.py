"""Which resource a node's history is about: one by that name, an instance of a clone, or one that is not configured.

Histories know instances of anonymous clones by the name of what was cloned, so that an instance has to be chosen for
them; what is not configured is made up from its history, in order to be stopped ("orphans").
"""

from __future__ import annotations

from hamgr.cib import model
from hamgr.cib.model import ResourceHistory
from hamgr.scheduler.placement import node_scores
from hamgr.scheduler.state import parts
from hamgr.scheduler.state.constants import Needs, Variant
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.unpack import remote_nodes, resources


def find(work: WorkingSet, node: Node, history: ResourceHistory) -> Resource | None:
    """The resource that a history is about; None if it is not configured (or is no primitive)."""
    rsc = work.by_id.get(history.id)
    if rsc is None:
        renamed = work.by_history.get(history.id)
        zero = work.by_id.get(parts.strip_instance(history.id) + ":0")
        if zero is not None and not zero.settings.unique and zero.variant == Variant.PRIMITIVE:
            rsc = zero
        elif renamed:
            rsc = renamed[0]
    elif rsc.variant != Variant.PRIMITIVE:
        return None
    if rsc is None:
        return None
    parent = rsc.top()
    if parent.variant == Variant.CLONE and not parent.settings.unique:
        if parent.parent is not None and parent.parent.bundle is not None:
            rsc = next((r.child for r in parent.parent.bundle.replicas if r.node is node), None)
        else:
            rsc = _anonymous_instance(work, node, parent, parts.strip_instance(history.id))
    if rsc is not None and history.id not in (rsc.id, rsc.history_id):
        rsc.history_id = history.id
    if rsc is not None and history.id != rsc.id:
        rsc.clone_name = history.id
    return rsc


def _locations(instance: Resource) -> list[Node]:
    found: list[Node] = []
    for leaf in instance.leaves():
        for node in leaf.running_on:
            if node not in found:
                found.append(node)
        if leaf.recorded.pending_node is not None and leaf.recorded.pending_node not in found:
            found.append(leaf.recorded.pending_node)
    return found


def _anonymous_instance(work: WorkingSet, node: Node, clone: Resource, base: str) -> Resource | None:
    """The instance that a node's history is about: the one bound to the node, else a free one, else an orphan."""
    rsc: Resource | None = None
    inactive: Resource | None = None
    skip_inactive = False
    for child in clone.children:
        where = _locations(child)
        if where:
            if where[0] is node:
                rsc = parts.member_called(child, base)
                if rsc is not None and rsc.running_on:
                    # Several instances in one node's history: the others are left over from when they were unique.
                    skip_inactive, rsc = True, None
                if rsc is not None:
                    break
        elif not skip_inactive and inactive is None and not child.blocked:
            inactive = parts.member_called(child, base)
            if (
                inactive is not None
                and inactive.recorded.pending_node is not None
                and inactive.recorded.pending_node is not node
            ):
                inactive = None
    if rsc is None and not skip_inactive:
        rsc = inactive
    assert clone.clone is not None
    if (
        rsc is not None
        and rsc.settings.needs < Needs.FENCING
        and (not node.online or node.unclean)
        and not node.guest
        and clone.clone.clone_max != len(work.nodes)
    ):
        rsc = None
    if rsc is None:
        rsc = parts.member_called(resources.create_instance(work, clone), base)
    return rsc


def make_orphan(work: WorkingSet, history: ResourceHistory) -> Resource:
    """A resource that is no longer configured, made up from its history so that it can be stopped."""
    config = model.Primitive(history.id, history.agent)
    rsc = resources.build(work, config, None)
    rsc.orphan = True
    work.resources.append(rsc)
    if rsc.settings.is_remote_node:
        remote_nodes.adopt_orphan(work, rsc)
    if history.container:
        rsc.recorded.orphan_container_filler = True
    if work.options.stop_orphans:
        node_scores.ban_everywhere(work, rsc, "orphan")
    else:
        rsc.managed = False
    return rsc
