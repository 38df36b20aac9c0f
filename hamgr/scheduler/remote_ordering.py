"""Orders what happens on remote nodes relative to their connections, and fences guests by recovering their containers.

An action on a remote node needs its connection; where the connection moves, fails or stops, stops have to come before
and starts after ("Pacemaker Remote").
"""

from __future__ import annotations

from hamgr.scheduler import actions, fencing, remotes
from hamgr.scheduler.state import (
    O_IMPLIES_FIRST,
    O_IMPLIES_THEN,
    O_OPTIONAL,
    O_PRESERVE,
    O_RUNNABLE_LEFT,
    PSEUDO,
    Act,
    NodeRt,
    Rsc,
    Work,
)

_CLUSTER_TASKS = frozenset(("clear_failcount", "stonith", "do_shutdown"))


def apply(work: Work) -> None:
    """Add the orderings that connections imply to all actions on remote nodes."""
    for action in list(work.actions):
        rsc, node = action.rsc, action.node
        if rsc is None or node is None or not node.remote or action.flags & PSEUDO:
            continue
        connection = node.remote_rsc
        if connection is None or rsc.is_remote_node and rsc is connection:
            continue
        if action.task == "clear_failcount":
            continue
        if node.guest or connection.container is not None:
            _container(work, action, node, connection)
        else:
            _remote(work, action, node, connection)
    for rsc in list(work.resources):
        _clear_before_start(work, rsc)


def _clear_before_start(work: Work, rsc: Rsc) -> None:
    """A connection's fail count is cleared before it starts again."""
    for leaf in rsc.leaves():
        if leaf.is_remote_node:
            for action in leaf.action_list:
                if action.task == "clear_failcount":
                    key = actions.key_of(leaf, "start")
                    actions.new_ordering(work, leaf, "", action, leaf, key, None, O_OPTIONAL)


def _after_start(work: Work, connection: Rsc, action: Act, extra: int) -> None:
    actions.new_ordering(
        work,
        connection,
        actions.key_of(connection, "start"),
        None,
        action.rsc,
        action.key,
        action,
        O_PRESERVE | O_RUNNABLE_LEFT | extra,
    )


def _before_stop(work: Work, action: Act, connection: Rsc, extra: int) -> None:
    actions.new_ordering(
        work,
        action.rsc,
        action.key,
        action,
        connection,
        actions.key_of(connection, "stop"),
        None,
        O_PRESERVE | extra,
    )


def _remote(work: Work, action: Act, node: NodeRt, connection: Rsc) -> None:
    state = remotes.state_of(node)
    task = action.task
    if task in ("start", "promote"):
        extra = O_IMPLIES_THEN if state == "failed" else 0
        _after_start(work, connection, action, extra)
    elif task == "stop":
        if state == "alive":
            _before_stop(work, action, connection, O_IMPLIES_FIRST)
        elif state == "failed":
            # Fencing the node implies the stop; the connection's stop is not waited for.
            _before_stop(work, action, connection, O_IMPLIES_FIRST)
        elif connection.next_role == 1:
            _before_stop(work, action, connection, O_IMPLIES_FIRST)
        else:
            _after_start(work, connection, action, 0)
    elif task == "demote":
        if state in ("unknown", "alive") and connection.next_role > 1:
            _after_start(work, connection, action, 0)
    elif action.interval_ms > 0:
        if state == "resting" or state == "unknown":
            _after_start(work, connection, action, 0)
        elif state == "alive":
            _after_start(work, connection, action, O_IMPLIES_THEN)
    else:
        _after_start(work, connection, action, 0)


def _container(work: Work, action: Act, node: NodeRt, connection: Rsc) -> None:
    container = connection.container
    task = action.task
    if container is not None and container.failed:
        fencing.fence_node(work, node, "container failed", priority_delay=False)
    if task in ("start", "promote"):
        if container is not None:
            _after_start(work, container, action, 0)
        _after_start(work, connection, action, 0)
    elif task in ("stop", "demote"):
        if node.remote_requires_reset:
            # Implied by the guest's "fencing".
            return
        _before_stop(work, action, connection, O_IMPLIES_FIRST if task == "stop" else 0)
    elif action.interval_ms > 0:
        if node.remote_requires_reset:
            if task != "cancel":
                _after_start(work, connection, action, O_IMPLIES_THEN)
        else:
            _after_start(work, connection, action, O_IMPLIES_THEN)
    else:
        _after_start(work, connection, action, 0)


def fence_guest(work: Work, node: NodeRt) -> None:
    """A pseudo-fencing of a guest node, which is really the recovery of its container."""
    connection = node.remote_rsc
    container = connection.container if connection else None
    stop: Act | None = None
    task = "reboot"
    if container is not None:
        stop = next((a for a in container.action_list if a.task == "stop"), None)
        start = next((a for a in container.action_list if a.task == "start"), None)
        if stop is not None and start is None:
            task = "off"
    fence = fencing.fence_op(work, node, task, False, "guest is unclean")
    fence.flags |= PSEUDO | fencing.RUNNABLE
    # The container's stop carries out the fencing.
    if stop is not None and stop.flags & PSEUDO and container is not None and container.current_node() is not None:
        host = container.current_node()
        assert host is not None
        parent = fencing.fence_op(work, host, "", True, "")
        actions.order(parent, fence, O_RUNNABLE_LEFT | O_IMPLIES_THEN)
    if stop is not None:
        actions.order(stop, fence, O_RUNNABLE_LEFT | O_IMPLIES_THEN)
    elif connection is not None:
        stop = next((a for a in connection.action_list if a.task == "stop"), None)
        if stop is not None:
            actions.order(stop, fence, O_OPTIONAL)
    fencing.order_dependents(work, fence)
