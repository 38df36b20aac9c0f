"""The transition graph: which of the considered actions are carried out, and in which order.

An action gets in if it is runnable and required (or joins others that are); an input that cannot happen and whose
ordering does not insist is dropped ("Transition Graph" of Pacemaker Development).
"""

from __future__ import annotations

from hamgr.cib import digest
from hamgr.scheduler.actions import digest_check, graph_inputs, notifications
from hamgr.scheduler.inputs import attributes, operations
from hamgr.scheduler.state.constants import DUMPED, PSEUDO
from hamgr.scheduler.state.entities import Action, Resource
from hamgr.scheduler.state.working_set import WorkingSet
from hamgr.scheduler.transition import GraphAction

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

_CRM = frozenset(("stonith", "do_shutdown", "clear_failcount"))


def build(work: WorkingSet) -> tuple[tuple[GraphAction, ...], tuple[tuple[int, int], ...]]:
    """The graph's actions and edges (first action's id, then action's id).

    An edge may begin at an action that is not in the graph: one that would be needed, but cannot be carried out. What
    waits for it never happens.
    """
    included: list[Action] = []
    edges: list[tuple[int, int]] = []
    for action in _considered(work):
        if not action.flags & DUMPED and graph_inputs.wanted(action):
            action.flags |= DUMPED
            included.append(action)
            merged: dict[Action, int] = {}
            for link in action.before:
                merged[link.action] = merged.get(link.action, 0) | link.flags
            edges += [
                (first.id, action.id) for first, flags in merged.items() if graph_inputs.keeps(action, first, flags)
            ]
    return tuple(_to_action(work, act) for act in included), tuple(edges)


def _considered(work: WorkingSet) -> Iterator[Action]:
    """All actions in the order of Pacemaker's graph, which decides among those that may be carried out at once."""
    for rsc in work.resources:
        yield from _actions_of(work, rsc)
    yield from reversed(work.actions[:])


def _actions_of(work: WorkingSet, rsc: Resource) -> Iterator[Action]:
    if rsc.bundle is not None:
        if rsc.bundle.child is not None:
            yield from _actions_of(work, rsc.bundle.child)
        # Its own pseudo-actions come with those of the cluster, at the end.
        for replica in rsc.bundle.replicas:
            for part in (replica.ip, replica.container, replica.remote):
                if part is not None:
                    yield from _actions_of(work, part)
        return
    if rsc.is_clone():
        notifications.create(work, rsc)
        for child in rsc.children:
            yield from _actions_of(work, child)
        yield from reversed(rsc.action_list)
        return
    yield from reversed(rsc.action_list)
    for child in rsc.children:
        yield from _actions_of(work, child)


def _to_action(work: WorkingSet, act: Action) -> GraphAction:
    rsc = act.rsc
    kind = "pseudo" if act.flags & PSEUDO else "crm" if act.task in _CRM or rsc is None else "rsc"
    node = act.node.name if act.node is not None else ""
    if rsc is None:
        fence = act.meta.get("stonith_action", "") if act.task == "stonith" else ""
        return GraphAction(id=act.id, kind=kind, key=act.key, task=act.task, node=node, fence=fence, reason=act.reason)
    key = act.key
    history_id = rsc.history_id
    if rsc.primitive is not None and not rsc.settings.unique and not rsc.orphan:
        history_id = rsc.primitive.id
    if rsc.clone_name and act.task == "notify":
        key = f"{rsc.clone_name}_{act.meta['notify_type']}_notify_{act.meta['notify_operation']}_0"
    elif rsc.clone_name and act.task == "notified":
        key = f"{rsc.clone_name}_notified_0"
    elif rsc.clone_name and key.startswith(rsc.id + "_"):
        key = rsc.clone_name + key[len(rsc.id) :]
    if kind != "rsc" or rsc.primitive is None:
        return GraphAction(
            id=act.id,
            kind=kind,
            key=key,
            task=act.task,
            node=node,
            resource=rsc.id,
            history_id=history_id,
            reason=act.reason,
            agent=rsc.primitive.agent if rsc.primitive else None,
            interval_ms=act.interval_ms,
        )
    return _operation(work, act, key, node, history_id)


def _operation(work: WorkingSet, act: Action, key: str, node: str, history_id: str) -> GraphAction:
    rsc = act.rsc
    assert rsc is not None
    assert rsc.primitive is not None
    task = act.task
    params = {**attributes.params(work, rsc, act.node), **operations.op_params(work, act.op, act.node)}
    if digest_check.needs_remote_name(rsc):
        params["addr"] = digest_check.host_address(rsc)
    executes = task not in ("cancel", "delete", "notify")
    return GraphAction(
        id=act.id,
        kind="rsc",
        key=key,
        task=task,
        node=node,
        resource=rsc.id if rsc.settings.unique else history_id,
        history_id=history_id,
        instance_id=rsc.id if rsc.history_id == history_id else rsc.history_id,
        agent=rsc.primitive.agent,
        interval_ms=act.interval_ms,
        timeout_ms=act.timeout_ms,
        params=params,
        meta=act.meta,
        target_rc=max(act.target_rc, 0),
        cancel_task=act.cancel_task,
        op_digest=digest.op_digest(params, act.interval_ms, act.timeout_ms) if executes else "",
        migrate_source=act.meta.get("migrate_source", ""),
        migrate_target=act.meta.get("migrate_target", ""),
        reason=act.reason,
    )
