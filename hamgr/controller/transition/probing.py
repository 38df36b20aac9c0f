"""Look first, then decide: of a transition that probes, what waits for the answers is decided anew once they are there.

Pacemaker plans a start behind each probe and drops the plan when the probe finds the resource running, as after every
`cleanup`. Here a planned start has effects before it begins (a standby on another node gives way, people read of a
restart), so that such a plan is not made. Pure: transition in, transition out.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from hamgr.scheduler.transition import GraphAction, Transition


def probes_first(transition: Transition) -> Transition:
    """The transition without what has to wait for its probes; the same object where nothing real does.

    A transition in which a fence waits for a probe is left as it is: no fence is put off.
    """
    behind = _behind(transition, {action.id for action in transition.actions if _is_probe(action)})
    put_off = [action for action in transition.actions if action.id in behind]
    real = [action for action in put_off if action.kind != "pseudo"]
    if not real or any(action.task == "stonith" for action in real):
        return transition
    actions = tuple(action for action in transition.actions if action.id not in behind)
    begun = {action.resource for action in actions if action.kind == "rsc" and not _is_probe(action)}
    waiting = {action.resource for action in real} - begun
    return replace(
        transition,
        actions=actions,
        edges=tuple(edge for edge in transition.edges if edge[1] not in behind),
        summary=tuple(line for line in transition.summary if line.task or line.resource not in waiting),
    )


def _is_probe(action: GraphAction) -> bool:
    return action.kind == "rsc" and action.task == "monitor" and not action.interval_ms


def _behind(transition: Transition, first: set[int]) -> set[int]:
    """The actions, probes apart, that some of the first ones have to come before."""
    after: dict[int, list[int]] = defaultdict(list)
    for one, then in transition.edges:
        after[one].append(then)
    found: set[int] = set()
    looked_at = list(first)
    while looked_at:
        for then in after[looked_at.pop()]:
            if then not in found:
                found.add(then)
                looked_at.append(then)
    return found - first
