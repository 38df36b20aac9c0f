"""What a resource's history on a node leads to: where it is active, what has to be recovered, banned or fenced."""

from __future__ import annotations

from hamgr.cib.model import OpRecord
from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import fencing, resource_actions
from hamgr.scheduler.placement import node_scores
from hamgr.scheduler.state.constants import OPTIONAL, PROMOTED, STARTED, STOPPED, UNKNOWN, OnFail, Variant
from hamgr.scheduler.state.entities import Node, Resource
from hamgr.scheduler.state.parts import strip_instance
from hamgr.scheduler.state.working_set import WorkingSet


class UnpackedOperations:
    """One resource's operations on one node, while they are unpacked."""

    __slots__ = ("last_failure", "node", "on_fail", "rsc", "work")

    def __init__(self, work: WorkingSet, rsc: Resource, node: Node) -> None:
        self.work = work
        self.rsc = rsc
        self.node = node
        self.on_fail = OnFail.IGNORE
        self.last_failure: OpRecord | None = None


def apply(work: WorkingSet, unpacked: UnpackedOperations) -> None:
    """Turn what the operations have shown into the working state: where it runs, what has to be recovered or fenced."""
    rsc, node = unpacked.rsc, unpacked.node
    if rsc.role != UNKNOWN:
        known: Resource | None = rsc
        while known is not None:
            known.known_on[node] = True
            if known.settings.unique:
                break
            known = known.parent
    if rsc.role > STOPPED and not node.online and not node.maintenance and rsc.managed:
        _fence_where_active(work, rsc, node)
    saved = unpacked.on_fail
    # A node that is to be fenced takes its failures with it.
    on_fail = OnFail.IGNORE if node.unclean else unpacked.on_fail
    _handle_failure(work, rsc, node, on_fail)
    if rsc.failed and rsc.settings.is_remote_node:
        target = work.node(rsc.id)
        if target is not None and target.unclean:
            target.unseen = False
    if rsc.role not in (STOPPED, UNKNOWN):
        add_running(work, rsc, node, saved != OnFail.IGNORE)
        if on_fail in (OnFail.DEMOTE, OnFail.BLOCK):
            rsc.failed = True
        elif on_fail != OnFail.IGNORE:
            rsc.failed = rsc.recorded.stop_required = True
    elif ":" in rsc.history_id and not rsc.settings.unique:
        rsc.history_id = strip_instance(rsc.history_id)
        rsc.clone_name = ""
    else:
        for action in resource_actions.all_of(rsc, "stop", node):
            action.flags |= OPTIONAL
    if (
        rsc.role == STOPPED
        and rsc.recorded.partial_migration_source is node
        and rsc.recorded.partial_migration_target
        and rsc.running_on
    ):
        rsc.role = STARTED


def _fence_where_active(work: WorkingSet, rsc: Resource, node: Node) -> None:
    why = "is thought to be active there"
    if node.guest:
        rsc.failed = rsc.recorded.stop_required = True
    elif not work.options.fencing:
        return
    elif node.remote and node.remote_rsc is not None and not node.remote_rsc.failed:
        # Fencing is revoked if the connection can be established from elsewhere.
        node.unseen = True
        why = "is active there (fencing will be revoked if remote connection can be re-established elsewhere)"
    fencing.fence_node(work, node, f"{rsc.id} {why}", priority_delay=False)


def _handle_failure(work: WorkingSet, rsc: Resource, node: Node, on_fail: int) -> None:
    if on_fail == OnFail.DEMOTE:
        rsc.failed = True
        resource_actions.demote(work, rsc, node, False)
    elif on_fail == OnFail.FENCE:
        fencing.fence_node(work, node, f"{rsc.id} failed there", priority_delay=False)
    elif on_fail == OnFail.STANDBY:
        node.standby = node.standby_onfail = True
    elif on_fail == OnFail.BLOCK:
        rsc.managed = False
        rsc.blocked = True
    elif on_fail == OnFail.MIGRATE:
        node_scores.ban(work, rsc, node, "on-fail-migrate")
    elif on_fail == OnFail.STOP:
        rsc.next_role = STOPPED
    elif on_fail == OnFail.RECOVER:
        if rsc.role not in (STOPPED, UNKNOWN):
            rsc.failed = rsc.recorded.stop_required = True
            resource_actions.stop(work, rsc, node, False)
    elif on_fail == OnFail.RESTART_CONTAINER:
        rsc.failed = rsc.recorded.stop_required = True
        if rsc.container is not None and rsc.in_bundle():
            work.stop_needed.insert(0, rsc.container)
        elif rsc.container is not None:
            resource_actions.stop(work, rsc.container, node, False)
        elif rsc.role not in (STOPPED, UNKNOWN):
            resource_actions.stop(work, rsc, node, False)
    elif on_fail == OnFail.RESET_REMOTE:
        _reset_remote(work, rsc, node)


def _reset_remote(work: WorkingSet, rsc: Resource, node: Node) -> None:
    rsc.failed = rsc.recorded.stop_required = True
    if work.options.fencing and rsc.settings.is_remote_node:
        remote = work.node(rsc.id)
        if remote is not None and remote.remote and not remote.guest and not remote.remote_was_fenced:
            fencing.fence_node(work, remote, "remote connection is unrecoverable", priority_delay=False)
    if rsc.role > STOPPED:
        resource_actions.stop(work, rsc, node, False)
    if rsc.settings.remote_reconnect_ms:
        rsc.next_role = STOPPED


def add_running(work: WorkingSet, rsc: Resource, node: Node, failed: bool) -> None:
    """Record that a resource is active on a node."""
    if node in rsc.running_on:
        return
    rsc.running_on.append(node)
    if rsc.variant == Variant.PRIMITIVE:
        node.running.append(rsc)
        _priority_to_node(rsc, node, failed)
        if node.maintenance:
            rsc.managed = False
    if not rsc.managed:
        node_scores.prefer(work, rsc, node, INFINITY, "not-managed")
        parent = rsc.parent
        while parent is not None and node.online:
            # Counted once for each unmanaged part: to its clone, the instance then looks like one active on several.
            parent.running_on.append(node)
            parent = parent.parent
        return
    if rsc.variant == Variant.PRIMITIVE and len(rsc.running_on) > 1:
        _multiply_active(work, rsc)
    if rsc.parent is not None:
        add_running(work, rsc.parent, node, False)


def _multiply_active(work: WorkingSet, rsc: Resource) -> None:
    work.because("multiply-active", rsc, recovery=rsc.settings.multiple_active)
    if rsc.settings.multiple_active == "stop_only":
        for node in rsc.allowed:
            rsc.allowed[node] = -INFINITY
    elif rsc.settings.multiple_active == "block":
        rsc.managed = False
        rsc.blocked = True
        parent = rsc.parent
        if (
            parent is not None
            and parent.variant in (Variant.GROUP, Variant.BUNDLE)
            and parent.settings.multiple_active == "block"
        ):
            for child in parent.children:
                child.managed = False
                child.blocked = True
    elif rsc.settings.multiple_active == "stop_unexpected":
        rsc.stop_unexpected = True


def _priority_to_node(rsc: Resource, node: Node, failed: bool) -> None:
    """Add up the priority of what runs on a node, for ``priority-fencing-delay``."""
    if rsc.priority == 0 or failed:
        return
    priority = rsc.priority
    if rsc.role == PROMOTED:
        # A promoted instance counts a little more than its priority.
        priority += 1
    node.priority += priority
    if node.guest and node.remote_rsc is not None and node.remote_rsc.container is not None:
        for host in node.remote_rsc.container.running_on:
            host.priority += priority
