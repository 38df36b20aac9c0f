"""Whether this node takes a pod that is bound to it: the kubelet's own look, whoever has bound it.

A pod that was bound without the scheduler may ask for more than is left, for a node with other labels, or not tolerate
a NoExecute taint; one that ran is looked at again when its kubelet starts anew. The kubelet does not bind it elsewhere
then: it gives the pod up, phase Failed with reason and message (kubelet/lifecycle/predicate.go).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hamgr_sandbox import fitting
from hamgr_sandbox.client import ApiError
from hamgr_sandbox.controllers import objects

Json = dict[str, Any]
_AFFINITY = "NodeAffinity"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a pod is not taken, as it stands in its status and in an event."""

    reason: str
    message: str


def why_rejected(pod: Json, node: Json, others: Sequence[Json]) -> Rejection | None:
    """The first thing that speaks against ``pod`` on ``node`` beside ``others``, the pods that were taken before it."""
    return next(_objections(pod, node, others), None)


def _objections(pod: Json, node: Json, others: Sequence[Json]) -> Iterator[Rejection]:
    if (pod["spec"].get("os") or {}).get("name", "linux") != "linux":
        yield Rejection("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    known = node.get("status", {}).get("allocatable") or {}
    for shortage in fitting.shortages(pod, node, others):
        if "/" in shortage.resource and shortage.resource not in known:
            continue  # an extended resource of the cluster's, which no node counts
        scale = 1000 if shortage.resource == "cpu" else 1
        asked, used, capacity = (round(n * scale) for n in (shortage.requested, shortage.used, shortage.capacity))
        yield Rejection(
            f"OutOf{shortage.resource}",
            f"Node didn't have enough resource: {shortage.resource}, "
            f"requested: {asked}, used: {used}, capacity: {capacity}",
        )
    if not fitting.matches_node(pod, node):
        yield _failed(_AFFINITY, "node(s) didn't match Pod's node affinity/selector")
    if fitting.ports_clash(pod, others):
        yield _failed("NodePorts", "node(s) didn't have free ports for the requested pod ports")
    tolerations = pod["spec"].get("tolerations") or []
    taints = [taint for taint in objects.taints(node) if taint["effect"] == "NoExecute"]
    if not all(fitting.tolerated(tolerations, taint) for taint in taints):
        yield _failed("TaintToleration", "node(s) had taints that the pod didn't tolerate")


def _failed(predicate: str, description: str) -> Rejection:
    return Rejection(predicate, f"Predicate {predicate} failed: {description}")


class Admissions:
    """Takes the pods of one node in or rejects them, one after another; those taken in count until they have ended."""

    def __init__(self, known: Callable[[], Json | None], ask: Callable[[], Awaitable[Json]]) -> None:
        """``known`` is the node as last seen, ``ask`` asks the API server for it (raises ApiError)."""
        self._known = known
        self._ask = ask
        self._taken: dict[str, Json] = {}
        self._turn = asyncio.Lock()

    async def judge(self, pod: Json) -> Rejection | None:
        """None: the pod is taken in, and counts until ``ended``."""
        async with self._turn:
            uid = pod["metadata"]["uid"]
            others = [other for name, other in self._taken.items() if name != uid]
            node = self._known()
            rejection = why_rejected(pod, node, others) if node is not None else None
            if rejection is not None and rejection.reason == _AFFINITY:
                with contextlib.suppress(ApiError):  # labels may just have changed
                    rejection = why_rejected(pod, await self._ask(), others)
            if rejection is None:
                self._taken[uid] = pod
            return rejection

    def ended(self, uid: str) -> None:
        """Nothing of the pod runs here any more, nor will."""
        self._taken.pop(uid, None)
