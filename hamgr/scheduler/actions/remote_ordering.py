"""Orders what happens on remote nodes relative to their connections.

An action on a remote node needs its connection; where the connection moves, fails or stops, stops have to come before
and starts after ("Pacemaker Remote").
"""

from __future__ import annotations

from hamgr.scheduler.actions import fencing, orderings, remote_connections
from hamgr.scheduler.state.constants import (
    O_IMPLIES_FIRST,
    O_IMPLIES_THEN,
    O_OPTIONAL,
    O_PRESERVE,
    O_RUNNABLE_LEFT,
    PSEUDO,
    STOPPED,
)
from hamgr.scheduler.state.entities import Action, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet


def apply(work: WorkingSet) -> None:
    """Add the orderings that connections imply to all actions on remote nodes."""
    for action in reversed(list(work.actions)):
        rsc, node = action.rsc, action.node
        if rsc is None:
            continue
        if rsc.settings.is_remote_node and action.task == "clear_failcount":
            key = orderings.key_of(rsc, "start")
            orderings.new_ordering(work, rsc, "", action, rsc, key, None, O_OPTIONAL)
            continue
        if node is None or not node.remote or action.flags & PSEUDO:
            continue
        connection = node.remote_rsc
        if connection is None:
            continue
        if action.task == "start":
            _keep_until_connected(work, action, rsc, connection)
        if connection.container is not None:
            _on_guest(work, action, node, connection, connection.container)
        else:
            _on_remote(work, action, node, connection)


def _keep_until_connected(work: WorkingSet, start: Action, rsc: Resource, connection: Resource) -> None:
    """What moves to a remote node is not stopped elsewhere before the connection is there."""
    for stop in rsc.action_list:
        if stop.task == "stop" and stop.node is not start.node:
            key = orderings.key_of(connection, "start")
            orderings.new_ordering(work, connection, key, None, rsc, "", stop, O_OPTIONAL)


def _after_start(work: WorkingSet, first: Resource, action: Action, extra: int = 0) -> None:
    flags = O_PRESERVE | O_RUNNABLE_LEFT | extra
    orderings.new_ordering(work, first, orderings.key_of(first, "start"), None, action.rsc, action.key, action, flags)


def _before_stop(work: WorkingSet, action: Action, then: Resource, extra: int = 0) -> None:
    # A connection is brought down even where the action cannot be run.
    key = orderings.key_of(then, "stop")
    orderings.new_ordering(work, action.rsc, action.key, action, then, key, None, O_PRESERVE | extra)


def _on_remote(work: WorkingSet, action: Action, node: Node, connection: Resource) -> None:
    state = remote_connections.state_of(node)
    task = "stop" if action.task in ("migrate_to", "migrate_from") else action.task
    if task in ("start", "promote"):
        # With the connection lost for good, the resource has to be recovered.
        _after_start(work, connection, action, O_IMPLIES_THEN if state == "failed" else 0)
    elif task == "stop":
        if state == "failed":
            why = "resources are active but connection is unrecoverable"
            fencing.fence_node(work, node, why, priority_delay=False)
        elif state == "alive" or connection.next_role == STOPPED:
            _before_stop(work, action, connection, O_IMPLIES_FIRST)
        else:
            _after_start(work, connection, action)
    elif task == "demote":
        if state in ("resting", "unknown"):
            _after_start(work, connection, action)
    elif action.interval_ms:
        _after_start(work, connection, action, O_IMPLIES_THEN)
    else:
        if task == "monitor" and state == "failed":
            why = "resources are in unknown state and connection is unrecoverable"
            fencing.fence_node(work, node, why, priority_delay=False)
        if connection.running_on and state == "stopped":
            _before_stop(work, action, connection)
        else:
            _after_start(work, connection, action)


def _on_guest(work: WorkingSet, action: Action, node: Node, connection: Resource, container: Resource) -> None:
    # A migration has to be over before the connection goes, as a stop has.
    task = "stop" if action.task in ("migrate_to", "migrate_from") else action.task
    if container.failed:
        fencing.fence_node(work, node, "container failed", priority_delay=False)
    if task in ("start", "promote"):
        _after_start(work, container, action, O_IMPLIES_THEN)
        _after_start(work, connection, action)
    elif task in ("stop", "demote"):
        # A failed container's stop implies the stops inside of it.
        if not container.failed:
            _before_stop(work, action, connection)
    elif action.interval_ms:
        if task != "cancel":
            _after_start(work, connection, action, O_IMPLIES_THEN)
    else:
        _after_start(work, connection, action)
