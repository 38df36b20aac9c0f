"""Nodes and their recorded state: attributes, and which of them are online, shut down, in standby or to be fenced."""

from __future__ import annotations

from hamgr.cib import model, scores
from hamgr.cib.booleans import is_true
from hamgr.scheduler.actions import fencing
from hamgr.scheduler.state.constants import STARTED, STOPPED
from hamgr.scheduler.state.entities import Node
from hamgr.scheduler.state.working_set import WorkingSet


def name_key(name: str) -> list[tuple[int, int, int]]:
    """Sorts names as people (and Pacemaker) do: case ignored, numbers in them by value."""
    key: list[tuple[int, int, int]] = []
    in_number = False
    for letter in name.lower():
        if letter not in "0123456789":
            key.append((ord(letter), 0, 0))
            in_number = False
        elif in_number:
            _, value, length = key[-1]
            key[-1] = (ord("0"), value * 10 + int(letter), length + 1)
        else:
            # No other character lies between the digits, so one place does for all numbers.
            key.append((ord("0"), int(letter), 1))
            in_number = True
    return key


def create_node(work: WorkingSet, name: str, node_id: str, remote: bool) -> Node:
    """A node with the attributes that every node has."""
    node = Node(name, node_id, remote)
    work.have_remote_nodes = work.have_remote_nodes or remote
    node.attributes["#uname"] = name
    node.attributes["#id"] = node_id
    node.is_dc = bool(work.cib.dc_uuid) and work.cib.dc_uuid == node_id
    node.attributes["#is_dc"] = "true" if node.is_dc else "false"
    node.attributes["#kind"] = "remote" if remote else "cluster"
    cluster_name = work.options.text("cluster-name")
    if cluster_name:
        node.attributes["#cluster-name"] = cluster_name
    if work.nodes and name_key(name) < name_key(work.nodes[-1].name):
        from bisect import insort  # most configurations name their nodes in order

        insort(work.nodes, node, key=lambda other: name_key(other.name))
    else:
        work.nodes.append(node)
    work.nodes_by_name[name] = node
    work.nodes_by_id[node_id] = node
    return node


def unpack_states(work: WorkingSet) -> None:
    """Take over what is recorded about nodes, and see which of them are online; of remote nodes that comes later."""
    for state in work.cib.node_states:
        node = work.node_of(state)
        if node is None:
            continue
        if node.remote:
            # The rest of its state counts only if its connection turns out to be up.
            node.remote_was_fenced = scores.leading_int(state.node_fenced) > 0
            continue
        node.unclean = False
        node.unseen = False
        _add_attributes(node, state)
        node.standby = is_true(node.attributes.get("standby"))
        node.maintenance = is_true(node.attributes.get("maintenance"))
        _determine_online(work, node, state)
        if not work.quorum and node.online and work.options.quorum_policy == "suicide":
            fencing.fence_node(work, node, "cluster does not have quorum", priority_delay=False)
    for node in work.nodes:
        site = node.attributes.get("site-name") or work.options.text("cluster-name")
        if site:
            node.attributes.setdefault("#site-name", site)


def _add_attributes(node: Node, state: model.NodeState) -> None:
    if state.attributes:
        node.attributes.update(state.attributes)
    node.has_fail_counts = any(name.startswith("fail-count-") for name in node.attributes)


def remote_attributes(work: WorkingSet, node: Node, state: model.NodeState) -> None:
    """Take over what is recorded about a remote node that has been found to be up (or has to be fenced)."""
    connection = node.remote_rsc
    if not node.remote_requires_reset:
        node.unclean = False
        node.unseen = False
    _add_attributes(node, state)
    node.shutdown = node.shutdown or shutdown_requested(node)
    node.standby = node.standby or is_true(node.attributes.get("standby"))
    if is_true(node.attributes.get("maintenance")) or (connection is not None and not connection.managed):
        node.maintenance = True
    discovery = node.attributes.get("resource-discovery")
    if discovery is not None and not is_true(discovery) and (node.guest or work.options.fencing):
        node.discovery_enabled = False


def shutdown_requested(node: Node) -> bool:
    """Whether a node has asked to be shut down (its transient attribute, set to the time of the request)."""
    return node.attributes.get("shutdown", "0") != "0"


def _determine_online(work: WorkingSet, node: Node, state: model.NodeState) -> None:
    if shutdown_requested(node):
        node.shutdown = True
    elif state.expected == "member":
        node.expected_up = True
    node.online = _online_with_fencing(work, node, state) if work.options.fencing else _online_plain(work, node, state)
    if not node.online or node.shutdown:
        node.fixed = True
        node.weight = -scores.INFINITY


def _online_plain(work: WorkingSet, node: Node, state: model.NodeState) -> bool:
    if not state.in_ccm:
        return False
    if state.crmd:
        return state.join == "member"
    if node.expected_up:
        fencing.fence_node(work, node, "peer is unexpectedly down", priority_delay=False)
    return False


def _terminate_requested(node: Node) -> bool:
    text = node.attributes.get("terminate", "")
    return is_true(text) or (text[:1].isdigit() and text[0] != "0")


def _online_with_fencing(work: WorkingSet, node: Node, state: model.NodeState) -> bool:
    in_cluster = bool(state.in_ccm)
    terminate = _terminate_requested(node)
    expected = state.expected or "down"
    reason, lost = "", False
    if node.shutdown:
        # Other criteria, since a peer that is gone cannot be shut down.
        return state.crmd
    if state.in_ccm is None:
        reason = "peer has not been seen by the cluster"
    elif state.join == "banned":
        reason = "peer failed Pacemaker membership criteria"
    elif not terminate and expected == "down":
        if in_cluster or state.crmd:
            node.standby = node.pending = True
    elif terminate and state.join == "down" and not in_cluster and not state.crmd:
        return False
    elif not in_cluster:
        reason, lost = "peer is no longer part of the cluster", True
    elif not state.crmd:
        reason = "peer process is no longer available"
    elif terminate:
        reason = "termination was requested"
    elif state.join == "member":
        pass
    elif state.join in ("pending", "down"):
        node.standby = node.pending = True
    else:
        reason = "peer was in an unknown state"
    if reason:
        fencing.fence_node(work, node, reason, priority_delay=lost)
    return in_cluster


def determine_remote_online(node: Node) -> None:
    """A remote node is up when its connection is; see `remote_nodes`."""
    connection = node.remote_rsc
    if connection is None:
        node.online = False
        return
    container = connection.container
    host = connection.running_on[0] if container is not None and len(connection.running_on) == 1 else None
    if connection.role == STARTED:
        node.online = True
        if connection.next_role == STOPPED:
            node.shutdown = True
    if container is not None and container.failed:
        node.online = False
        node.remote_requires_reset = True
    elif connection.failed:
        node.online = False
    elif connection.role == STOPPED or (container is not None and container.role == STOPPED):
        node.online = False
        node.remote_requires_reset = False
    elif host is not None and not host.online and host.unclean:
        node.online = False
        node.remote_requires_reset = True
