"""What has to wait for what in a transition beyond what the scheduler says, because of disks that it does not know of.

To the scheduler a resource that was renamed is two: one that is not configured any more and is stopped, and one that is
started, at the same time. If both use one claim, that would be two writers. And the members of a group that was taken
out of the file have no order left: a disk's stop would wait, on its own time-out, for the stop of the pod that uses it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import pairwise
from typing import Any

import yaml

from hamgr.cib import history
from hamgr.cib.digest import digest
from hamgr.cib.model import NodeState, ResourceHistory
from hamgr.controller.tree import Configured
from hamgr.scheduler.transition import GraphAction, Transition

Disks = frozenset[tuple[str, str]]
"""(namespace, claim)"""


def disks_of(params: Mapping[str, str]) -> Disks:
    """The claims that an instance with these parameters uses, as far as they say so."""
    names = {params["claim"]} if params.get("claim") else set()
    names |= set(_claims_in(params.get("template", "")))
    return frozenset((params.get("namespace") or "default", name) for name in names)


def uses_of(params: Mapping[str, str]) -> Disks:
    """What two instances cannot both have: claims, and the workload whose template (and so whose claims) is used."""
    workload = params.get("template_from")
    return disks_of(params) | ({(params.get("namespace") or "default", workload)} if workload else frozenset())


def holder(state: NodeState, resource: str, params: Mapping[str, str]) -> str:
    """The other resource that has one of these disks on a node, by what is on record there; empty: none has.

    What a probe finds of a disk is that it is attached there; whose it is, the attachment does not say.
    """
    disks = disks_of(params)
    for entry in state.resources:
        another = _base(entry.id) != _base(resource) and history.is_active(entry)
        started = entry.started if another else None
        if started is not None and started.agent.type == "volume" and disks & disks_of(started.params):
            return entry.id
    return ""


def extra_edges(
    transition: Transition, states: Iterable[NodeState], configured: Configured
) -> tuple[tuple[int, int], ...]:
    """What waits for what besides: (first action, then action). states: what is on record.

    An edge that would close a circle is left out: then the agents' own checks are what is left.
    """
    cluster_state = {(state.name, entry.id): entry for state in states for entry in state.resources}
    ids = configured.primitives
    stops = [(action, entry) for action, entry in _stops(transition, cluster_state) if _has_changed(action, entry, ids)]
    following: dict[int, set[int]] = defaultdict(set)
    for first, then in transition.edges:
        following[first].add(then)
    added = []
    for first, then in (
        *_before_starts(stops, transition, configured.groups),
        *_within_groups(stops, configured.primitives),
    ):
        if then not in following[first] and not _leads_to(following, then, first):
            following[first].add(then)
            added.append((first, then))
    return tuple(added)


def _stops(
    transition: Transition, cluster_state: Mapping[tuple[str, str], ResourceHistory]
) -> Iterator[tuple[GraphAction, ResourceHistory]]:
    for action in transition.actions:
        entry = cluster_state.get((action.node, action.history_id or action.resource))
        if action.task == "stop" and entry is not None and entry.started is not None:
            yield action, entry


def _has_changed(action: GraphAction, entry: ResourceHistory, configured: Container[str]) -> bool:
    assert entry.started is not None
    return _base(action.resource) not in configured or entry.started.digest != digest(action.params)


def _before_starts(
    stops: Iterable[tuple[GraphAction, ResourceHistory]], transition: Transition, groups: Mapping[str, str]
) -> Iterator[tuple[int, int]]:
    """What used a disk is stopped before anything else that uses it is started.

    A pod whose template is elsewhere does not say which disks it uses; that it is of the same group says enough.
    """
    for stop, entry in stops:
        started = entry.started
        uses = frozenset[tuple[str, str]]() if started is None else uses_of(started.params)
        for start in transition.actions:
            if start.task != "start" or start.resource == stop.resource or started is None:
                continue
            together = started.group and groups.get(_base(start.resource)) == started.group
            if (together and started.agent == start.agent) or uses & uses_of(start.params):
                yield stop.id, start.id


def _within_groups(
    stops: Iterable[tuple[GraphAction, ResourceHistory]], configured: Container[str]
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
