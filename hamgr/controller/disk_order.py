"""What has to wait for what in a transition beyond what the scheduler says, because of disks that it does not know of.

To the scheduler a resource that was renamed is two: one that is not configured any more and is stopped, and one that is
started, at the same time. If both use one claim, that would be two writers. And the members of a group that was taken
out of the file have no order left: a disk's stop would wait, on its own time-out, for the stop of the pod that uses it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import yaml

from hamgr.cib.digest import digest
from hamgr.cib.model import Cib, ResourceHistory
from hamgr.scheduler.transition import Action, Transition

Disks = frozenset[tuple[str, str]]
"""(namespace, claim)"""


def disks_of(params: Mapping[str, str]) -> Disks:
    """The claims that an instance with these parameters uses, as far as they say so."""
    names = {params["claim"]} if params.get("claim") else set()
    names |= set(_claims_in(params.get("template", "")))
    return frozenset((params.get("namespace") or "default", name) for name in names)


def extra_edges(transition: Transition, cib: Cib, configured: frozenset[str]) -> tuple[tuple[int, int], ...]:
    """What waits for what besides: (first action, then action). cib: with the states; configured: ids of primitives.

    An edge that would close a circle is left out: then the agents' own checks are what is left.
    """
    recorded = {(state.name, entry.id): entry for state in cib.node_states for entry in state.resources}
    stops = [
        (action, entry) for action, entry in _stops(transition, recorded) if _has_changed(action, entry, configured)
    ]
    following: dict[int, set[int]] = defaultdict(set)
    for first, then in transition.edges:
        following[first].add(then)
    added = []
    for first, then in (*_before_starts(stops, transition), *_within_groups(stops, configured)):
        if then not in following[first] and not _leads_to(following, then, first):
            following[first].add(then)
            added.append((first, then))
    return tuple(added)


def _stops(
    transition: Transition, recorded: Mapping[tuple[str, str], ResourceHistory]
) -> Iterator[tuple[Action, ResourceHistory]]:
    for action in transition.actions:
        entry = recorded.get((action.node, action.history_id or action.resource))
        if action.task == "stop" and entry is not None and entry.started is not None:
            yield action, entry


def _has_changed(action: Action, entry: ResourceHistory, configured: frozenset[str]) -> bool:
    assert entry.started is not None
    return _base(action.resource) not in configured or entry.started.digest != digest(action.params)


def _before_starts(
    stops: Iterable[tuple[Action, ResourceHistory]], transition: Transition
) -> Iterator[tuple[int, int]]:
    """What used a disk is stopped before anything else that uses it is started."""
    for stop, entry in stops:
        disks = disks_of(entry.started.params) if entry.started is not None else frozenset()
        for start in transition.actions if disks else ():
            another = start.task == "start" and start.resource != stop.resource
            if another and disks & disks_of(start.params):
                yield stop.id, start.id


def _within_groups(
    stops: Iterable[tuple[Action, ResourceHistory]], configured: frozenset[str]
) -> Iterator[tuple[int, int]]:
    """The members of a former group are stopped in the reverse order of their starts."""
    groups: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for stop, entry in stops:
        if entry.started is not None and entry.started.group and _base(stop.resource) not in configured:
            groups[stop.node, entry.started.group].append((_call_id(entry), stop.id))
    for members in groups.values():
        ordered = [action for _, action in sorted(members, reverse=True)]
        yield from pairwise(ordered)


def _call_id(entry: ResourceHistory) -> int:
    """Of the last operation that changed the instance: the later, the later it was started."""
    return max((op.call_id for op in entry.ops if op.id == f"{entry.id}_last_0"), default=0)


def _leads_to(following: Mapping[int, set[int]], start: int, end: int) -> bool:
    seen, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        if here == end:
            return True
        new = following.get(here, set()) - seen
        seen |= new
        waiting.extend(new)
    return False


@lru_cache(maxsize=512)
def _claims_in(template: str) -> tuple[str, ...]:
    """The claims in a pod template in text; of one that nobody can read, no pod was ever made."""
    parsed = _parsed(template)
    if not isinstance(parsed, dict):
        return ()
    spec = parsed if "containers" in parsed else parsed.get("spec")
    listed = spec.get("volumes") if isinstance(spec, dict) else None
    found = [v.get("persistentVolumeClaim") for v in listed or () if isinstance(v, dict)]
    return tuple(str(claim["claimName"]) for claim in found if isinstance(claim, dict) and claim.get("claimName"))


def _parsed(template: str) -> Any:
    if "persistentVolumeClaim" not in template:
        return None
    try:
        return json.loads(template)
    except ValueError:
        pass
    try:
        return yaml.safe_load(template)
    except (yaml.YAMLError, RecursionError):
        return None


def _base(instance: str) -> str:
    return instance.partition(":")[0]
