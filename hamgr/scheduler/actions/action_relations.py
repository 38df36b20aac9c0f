"""What an ordering implies for its two actions, spread from action to action until nothing changes.

An ordering says more than "before": that a required first makes the other required (or the other way round), that an
unrunnable first makes the other unrunnable, and so on. Implements "Action Relations" of Pacemaker Development.
"""

from __future__ import annotations

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.actions import orderings, resource_actions
from hamgr.scheduler.state.constants import (
    MIGRATE_RUNNABLE,
    O_ASYMMETRICAL,
    O_IMPLIES_FIRST,
    O_IMPLIES_FIRST_MIGRATABLE,
    O_IMPLIES_FIRST_PRINTED,
    O_IMPLIES_THEN,
    O_IMPLIES_THEN_ON_NODE,
    O_IMPLIES_THEN_PRINTED,
    O_NONE,
    O_ONE_OR_MORE,
    O_OPTIONAL,
    O_PROBE,
    O_PROMOTED_IMPLIES_FIRST,
    O_PSEUDO_LEFT,
    O_RESTART,
    O_RUNNABLE_LEFT,
    O_SAME_NODE,
    O_THEN_CANCELS_FIRST,
    OPTIONAL,
    PRINT_ALWAYS,
    PROMOTED,
    PSEUDO,
    REQUIRES_ANY,
    RUNNABLE,
    STARTED,
    STOPPED,
    UNKNOWN,
    Variant,
)
from hamgr.scheduler.state.entities import Action, Link, Node, Resource
from hamgr.scheduler.state.working_set import WorkingSet

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from collections.abc import Iterator

# What an update changed.
FIRST, THEN = 1, 2

_DONE_TASK = {"start": "running", "stop": "stopped", "promote": "promoted", "demote": "demoted", "notify": "notified"}
_DONE_TASKS = frozenset(_DONE_TASK.values())


def state_of(rsc: Resource) -> int:
    """A resource's current role; of a collection the highest of its parts."""
    if rsc.variant == Variant.PRIMITIVE:
        return rsc.role
    if rsc.variant == Variant.BUNDLE:
        return UNKNOWN  # its containers run or not, but it has no role as a whole
    return max((state_of(child) for child in rsc.children), default=UNKNOWN)


def flags_for(work: WorkingSet, action: Action, node: Node | None) -> int:
    """An action's flags as an ordering sees them; a clone's action is runnable if it is anywhere."""
    rsc = action.rsc
    if rsc is None or rsc.variant == Variant.PRIMITIVE:
        return action.flags
    flags = work.variants[rsc.variant].action_flags(work, action, None)
    if node is None or not rsc.is_clone():
        return flags
    runnable = flags & RUNNABLE
    return work.variants[rsc.variant].action_flags(work, action, node) | runnable


def remapped(action: Action) -> Action:
    """What waiting for a collection's action means: waiting until all of its parts have done it."""
    rsc = action.rsc
    if rsc is None or rsc.variant == Variant.PRIMITIVE or "notify" in action.key:
        return action
    task = action.task
    if action.interval_ms == 0 and (task in _DONE_TASK or task in _DONE_TASKS):
        done = _DONE_TASK.get(task, task)
        if rsc.settings.notify and (rsc.is_clone() or rsc.in_bundle()):
            key = f"{rsc.id}_confirmed-post_notify_{done}_0"
        else:
            key = f"{rsc.id}_{done}_0"
        return resource_actions.find(rsc, key) or action
    return action


def _group_node(action: Action) -> Node | None:
    rsc = action.rsc
    if rsc is not None and rsc.variant == Variant.GROUP and action.task == "start":
        return rsc.location(current=False)
    return action.node


def update(work: WorkingSet, root: Action) -> None:
    """Spread an action's inputs' consequences to it, and its own changes on, until nothing changes."""
    # Depth first. A chain of orderings may be longer than Python lets functions call each other.
    running = [_update_one(work, root)]
    while running:
        action = next(running[-1], None)
        if action is None:
            running.pop()
        else:
            running.append(_update_one(work, action))


def _update_one(work: WorkingSet, then: Action) -> Iterator[Action]:
    """Let an action's inputs act on it; yields the actions that have to be looked at again before it goes on."""
    changed_then = False
    before_flags = then.flags
    if then.flags & REQUIRES_ANY:
        then.runnable_before = 0
        if then.required_runnable_before == 0:
            then.required_runnable_before = 1
        then.flags &= ~RUNNABLE
    for link in reversed(then.before[:]):
        changed = _follow(work, link, then)
        if changed & FIRST:
            first = link.action
            for after in reversed(first.after[:]):
                yield after.action
            yield first
        if changed & THEN:
            changed_then = True
    if then.flags & REQUIRES_ANY:
        changed_then = before_flags != then.flags
    if changed_then:
        if before_flags & RUNNABLE and not then.flags & RUNNABLE:
            block_dependents(work, then)
        yield then
        for after in reversed(then.after[:]):
            yield after.action


def _follow(work: WorkingSet, link: Link, then: Action) -> int:
    """Let one input act on an action; which of the two changed."""
    first = link.action
    if link.flags & O_SAME_NODE:
        first_node, then_node = _group_node(first), _group_node(then)
        if first_node is not None and then_node is not None and first_node is not then_node:
            link.flags = O_NONE
            return 0
    first_rsc, then_rsc = first.rsc, then.rsc
    if first_rsc is not None:
        if link.flags & O_THEN_CANCELS_FIRST and not then.flags & OPTIONAL:
            first.flags |= OPTIONAL
            if first.task == "reload-agent":
                first_rsc.reload = False
        if (
            first_rsc.variant != Variant.PRIMITIVE
            and then_rsc is not None
            and first_rsc is not then_rsc
            and not then_rsc.is_within(first_rsc)
        ):
            first = remapped(first)
    # Looking at a collection's action brings its flags up to date, also where the ordering is then replaced.
    first_flags, then_flags = flags_for(work, first, _group_node(then)), flags_for(work, then, _group_node(first))
    if first is link.action:
        return _spread(work, first, then, link, first_flags, then_flags)
    if orderings.order(first, then, link.flags):
        link.flags = O_NONE
        return THEN
    return 0


def _spread(work: WorkingSet, first: Action, then: Action, link: Link, first_flags: int, then_flags: int) -> int:
    """Apply one ordering to its two actions; which of them changed."""
    node = then.node
    if link.flags & O_IMPLIES_THEN_ON_NODE:
        link.flags = (link.flags & ~O_IMPLIES_THEN_ON_NODE) | O_IMPLIES_THEN
        node = first.node
    type_ = link.flags
    changed = _spread_required(work, first, then, node, first_flags, type_)
    changed |= _spread_runnable(work, first, then, node, first_flags, link)
    if then.rsc is not None:
        changed |= _spread_to_resource(work, then.rsc, first, then, node, first_flags, type_)
    if first.flags & RUNNABLE and type_ & O_IMPLIES_THEN_PRINTED and not first_flags & OPTIONAL:
        then.flags |= PRINT_ALWAYS
    if type_ & O_IMPLIES_FIRST_PRINTED and not then_flags & OPTIONAL:
        first.flags |= PRINT_ALWAYS
    if type_ & (O_IMPLIES_THEN | O_IMPLIES_FIRST | O_RESTART) and _stop_is_blocked(first) and then.flags & RUNNABLE:
        then.flags &= ~RUNNABLE
        changed |= THEN
    return changed


def _spread_required(
    work: WorkingSet, first: Action, then: Action, node: Node | None, first_flags: int, type_: int
) -> int:
    """Kinds of orderings by which one of two actions makes the other required."""
    rsc = then.rsc
    changed = 0
    if type_ & O_IMPLIES_THEN:
        if rsc is not None:
            changed |= _update(work, rsc, first, then, node, first_flags & OPTIONAL, OPTIONAL, O_IMPLIES_THEN)
        elif not first_flags & OPTIONAL and then.flags & OPTIONAL:
            then.flags &= ~OPTIONAL
            changed |= THEN
    if type_ & O_RESTART and rsc is not None:
        changed |= _update(work, rsc, first, then, node, first_flags, OPTIONAL | RUNNABLE, O_RESTART)
    if type_ & O_IMPLIES_FIRST:
        if first.rsc is not None:
            changed |= _update(work, first.rsc, first, then, node, first_flags, OPTIONAL, O_IMPLIES_FIRST)
        elif not first_flags & OPTIONAL and first.flags & RUNNABLE:
            first.flags &= ~RUNNABLE
            changed |= FIRST
    if type_ & O_PROMOTED_IMPLIES_FIRST and rsc is not None:
        changed |= _update(work, rsc, first, then, node, first_flags & OPTIONAL, OPTIONAL, O_PROMOTED_IMPLIES_FIRST)
    return changed


def _spread_runnable(
    work: WorkingSet, first: Action, then: Action, node: Node | None, first_flags: int, link: Link
) -> int:
    """Kinds of orderings by which whether the first can be done decides whether the second can."""
    rsc = then.rsc
    type_ = link.flags
    changed = 0
    if type_ & O_ONE_OR_MORE:
        if rsc is not None:
            changed |= _update(work, rsc, first, then, node, first_flags, RUNNABLE, O_ONE_OR_MORE)
        elif first_flags & RUNNABLE:
            then.runnable_before += 1
            if then.runnable_before >= then.required_runnable_before and not then.flags & RUNNABLE:
                then.flags |= RUNNABLE
                changed |= THEN
    if type_ & O_PROBE and rsc is not None:
        if not first_flags & RUNNABLE and first.rsc is not None and first.rsc.running_on:
            link.flags = O_NONE
        else:
            changed |= _update(work, rsc, first, then, node, first_flags, RUNNABLE, O_RUNNABLE_LEFT)
    if type_ & O_RUNNABLE_LEFT:
        if rsc is not None:
            changed |= _update(work, rsc, first, then, node, first_flags, RUNNABLE, O_RUNNABLE_LEFT)
        elif not first_flags & RUNNABLE and then.flags & RUNNABLE:
            then.flags &= ~RUNNABLE
            changed |= THEN
    return changed


def _spread_to_resource(
    work: WorkingSet, rsc: Resource, first: Action, then: Action, node: Node | None, first_flags: int, type_: int
) -> int:
    """Kinds of orderings that mean something only where the second action is a resource's."""
    changed = 0
    if type_ & O_IMPLIES_FIRST_MIGRATABLE:
        changed |= _update(work, rsc, first, then, node, first_flags, OPTIONAL, O_IMPLIES_FIRST_MIGRATABLE)
    if type_ & O_PSEUDO_LEFT:
        changed |= _update(work, rsc, first, then, node, first_flags, OPTIONAL, O_PSEUDO_LEFT)
    if type_ & O_OPTIONAL and rsc.variant != Variant.PRIMITIVE:
        changed |= _update(work, rsc, first, then, node, first_flags, RUNNABLE, O_OPTIONAL)
    if type_ & O_ASYMMETRICAL:
        changed |= _update(work, rsc, first, then, node, first_flags, RUNNABLE, O_ASYMMETRICAL)
    return changed


def _stop_is_blocked(action: Action) -> bool:
    """Whether an action is the stop of a resource that failed in a way that nobody but a person may mend."""
    rsc = action.rsc
    return rsc is not None and not rsc.managed and rsc.blocked and not action.flags & RUNNABLE and action.task == "stop"


def _update(
    work: WorkingSet,
    rsc: Resource,
    first: Action,
    then: Action,
    node: Node | None,
    flags: int,
    filter_: int,
    type_: int,
) -> int:
    if rsc.variant == Variant.PRIMITIVE:
        return update_primitive(work, first, then, flags, filter_, type_)
    return work.variants[rsc.variant].update_ordered(work, first, then, node, flags, filter_, type_)


def update_primitive(work: WorkingSet, first: Action, then: Action, flags: int, filter_: int, type_: int) -> int:
    """What one kind of ordering implies for two actions, the second of them a primitive's (or a pseudo-action)."""
    then_before, first_before = then.flags, first.flags
    if type_ & O_ASYMMETRICAL:
        _asymmetric(first, then)
    if type_ & O_IMPLIES_FIRST and not then_before & OPTIONAL:
        if filter_ & OPTIONAL and not flags & OPTIONAL and first_before & OPTIONAL:
            _clear(first, OPTIONAL, then)
        if flags & MIGRATE_RUNNABLE and not then.flags & MIGRATE_RUNNABLE:
            _clear(first, MIGRATE_RUNNABLE, then)
    promoted = then.rsc is not None and then.rsc.role == PROMOTED
    if type_ & O_PROMOTED_IMPLIES_FIRST and filter_ & OPTIONAL and not then.flags & OPTIONAL and promoted:
        _clear(first, OPTIONAL, then)
        if not then.flags & MIGRATE_RUNNABLE:
            _clear(first, MIGRATE_RUNNABLE, then)
    if type_ & O_IMPLIES_FIRST_MIGRATABLE and filter_ & OPTIONAL:
        if then.flags & (MIGRATE_RUNNABLE | RUNNABLE) != MIGRATE_RUNNABLE | RUNNABLE:
            _clear(first, RUNNABLE, then)
        if not then.flags & OPTIONAL:
            _clear(first, OPTIONAL, then)
    if type_ & O_PSEUDO_LEFT and filter_ & OPTIONAL and not first.flags & RUNNABLE:
        _clear(then, MIGRATE_RUNNABLE, first)
        then.flags &= ~PSEUDO
    if type_ & O_RUNNABLE_LEFT and filter_ & RUNNABLE and then.flags & RUNNABLE and not flags & RUNNABLE:
        _clear(then, RUNNABLE, first)
        _clear(then, MIGRATE_RUNNABLE, first)
    if (
        type_ & O_IMPLIES_THEN
        and filter_ & OPTIONAL
        and then.flags & OPTIONAL
        and not flags & OPTIONAL
        and not first.flags & MIGRATE_RUNNABLE
    ):
        _clear(then, OPTIONAL, first)
    if type_ & O_RESTART:
        _restart(first, then, filter_)
    changed = 0
    if then.flags != then_before:
        changed |= THEN
        if then.rsc is not None and then.rsc.parent is not None:
            update(work, then)
    if first.flags != first_before:
        changed |= FIRST
    return changed


_LOST = {RUNNABLE: "unrunnable", OPTIONAL: "required", MIGRATE_RUNNABLE: "unrunnable"}


def _clear(action: Action, flag: int, cause: Action) -> None:
    """Take a flag from an action because of another one, which becomes its reason if that is another resource's."""
    if not action.flags & flag:
        return
    action.flags &= ~flag
    # The first reason is the one that counts, except that a migration which cannot be outdoes it.
    if action.rsc is not cause.rsc and (not action.reason or flag == MIGRATE_RUNNABLE):
        action.reason = " ".join(part for part in (_LOST[flag], cause.rsc and cause.rsc.id, cause.task) if part)


def _asymmetric(first: Action, then: Action) -> None:
    rsc = then.rsc
    if rsc is None:
        return
    role = state_of(rsc)
    if role == STOPPED and then.task == "stop" and then.flags & OPTIONAL:
        return
    if (
        role >= STARTED
        and then.task == "start"
        and then.flags & OPTIONAL
        and then.node is not None
        and len(rsc.running_on) == 1
        and then.node is rsc.running_on[0]
    ):
        return
    if not first.flags & RUNNABLE:
        _clear(then, OPTIONAL, first)
        _clear(then, RUNNABLE, first)


def _restart(first: Action, then: Action, filter_: int) -> None:
    """Stop and start of one resource: a start that is required, or cannot be, makes the stop required."""
    needed = filter_ & OPTIONAL and not then.flags & OPTIONAL
    if (
        filter_ & RUNNABLE
        and not then.flags & RUNNABLE
        and then.rsc is not None
        and then.rsc.managed
        and first.rsc is then.rsc
    ):
        needed = True
    if not needed:
        return
    if first.flags & RUNNABLE or not then.flags & OPTIONAL:
        _clear(first, OPTIONAL, then)
    if not then.flags & MIGRATE_RUNNABLE:
        _clear(first, MIGRATE_RUNNABLE, then)
    if not first.flags & (OPTIONAL | RUNNABLE):
        _clear(then, RUNNABLE, first)


# --- colocated dependents -----------------------------------------------------------------------------


def block_dependents(work: WorkingSet, action: Action) -> None:
    """Where no part of a primary can start (or be promoted), neither can what has to be with it."""
    if action.flags & RUNNABLE or action.task not in ("start", "promote") or action.rsc is None:
        return
    rsc = action.rsc.top_with_bundle()
    for child in rsc.children:
        child_action = next((a for a in reversed(child.action_list) if a.task == action.task), None)
        if child_action is None or child_action.flags & RUNNABLE:
            return
    for constraint in rsc.placing.with_dependents:
        if constraint.score < INFINITY or (action.task == "promote" and constraint.primary_role != PROMOTED):
            continue
        task = "promote" if constraint.dependent_role == PROMOTED else "start"
        _block(work, constraint.dependent, task, action.rsc)


def _block(work: WorkingSet, rsc: Resource, task: str, cause: Resource) -> None:
    for action in rsc.action_list:
        if action.task == task and action.flags & RUNNABLE:
            action.flags &= ~RUNNABLE
            action.reason = action.reason or f"colocation with {cause.id}"
            block_dependents(work, action)
            update(work, action)
    for child in rsc.children:
        _block(work, child, task, cause)
