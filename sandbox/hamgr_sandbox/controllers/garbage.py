"""The garbage collector: objects go after their owners, in the foreground or in the background, or are set free."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from hamgr_sandbox.client import ApiError, Object, OnEvent, key_of
from hamgr_sandbox.controllers import objects
from hamgr_sandbox.controllers.cluster import RESOURCES, Cluster, path, path_of
from hamgr_sandbox.controllers.workqueue import WorkQueue

log = logging.getLogger(__name__)

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"
# Kinds that own others or are owned in a sandbox. Owner references to and from other kinds are left alone.
KINDS = (
    "Pod", "ReplicaSet", "Deployment", "StatefulSet", "Service", "EndpointSlice", "PersistentVolumeClaim",
    "ConfigMap", "Lease", "Node",
)  # fmt: skip

Named: TypeAlias = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a dependent: it stays, loses references to owners that are gone, or goes."""

    outcome: Literal["keep", "release", "delete"]
    owners: tuple[Object, ...] = ()


def judge(item: Object, absent: Iterable[str], leaving: Iterable[str]) -> Verdict:
    """By its owners: ``absent`` (by UID) are gone for certain, ``leaving`` wait in the foreground for it to go."""
    references = item["metadata"].get("ownerReferences") or []
    gone, waiting = set(absent), set(leaving)
    solid = tuple(entry for entry in references if entry["uid"] not in gone | waiting)
    if not references or len(solid) == len(references):
        return Verdict("keep")
    if not solid:
        return Verdict("delete")
    if any(entry["uid"] in gone for entry in references):
        return Verdict("release", tuple(entry for entry in references if entry["uid"] not in gone))
    return Verdict("keep")


class GarbageCollector:
    """One key is one object, looked at as a dependent and as an owner that is being deleted."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._informers = {kind: cluster.watch(kind) for kind in KINDS}
        self._queue: WorkQueue[Named] = WorkQueue("garbage", self._examine)
        for kind, informer in self._informers.items():
            informer.listeners.append(self._listener(kind))

    async def run(self) -> None:
        await self._queue.run()

    def _listener(self, kind: str) -> OnEvent:
        return lambda event, item, _: self._changed(kind, event, item)

    def _changed(self, kind: str, event: str, item: Object) -> None:
        references = item["metadata"].get("ownerReferences") or []
        if event == "DELETED":
            self._add(self._dependents(item))
            self._add(self._waiting_owners(item, references))
        elif references or objects.is_terminating(item):
            self._queue.add((kind, *key_of(item)))

    def _add(self, items: Iterable[Object]) -> None:
        for item in items:
            self._queue.add((item["kind"], *key_of(item)))

    def _dependents(self, owner: Object) -> Iterator[Object]:
        uid = owner["metadata"]["uid"]
        for informer in self._informers.values():
            for item in informer.items.values():
                if any(entry["uid"] == uid for entry in item["metadata"].get("ownerReferences") or []):
                    yield item

    def _waiting_owners(self, item: Object, references: list[Object]) -> Iterator[Object]:
        for entry in references:
            owner = self._owner(item, entry)
            if owner is not None and objects.is_terminating(owner):
                yield owner

    def _owner(self, item: Object, reference: Object) -> Object | None:
        kind = reference["kind"]
        if kind not in self._informers:
            return None
        namespace = item["metadata"].get("namespace", "") if RESOURCES[kind][2] else ""
        found = self._informers[kind].items.get((namespace, reference["name"]))
        return found if found is not None and found["metadata"]["uid"] == reference["uid"] else None

    async def _examine(self, key: Named) -> None:
        kind, namespace, name = key
        item = self._informers[kind].items.get((namespace, name))
        if item is None:
            return
        if objects.is_terminating(item):
            await self._finish(item)
            return
        verdict = judge(item, await self._absent(item), self._leaving(item))
        if verdict.outcome == "delete":
            log.info("%s %s/%s goes after its owner", kind, namespace, name)
            await self._delete(item)
        elif verdict.outcome == "release":
            metadata = {
                "resourceVersion": item["metadata"]["resourceVersion"],
                "ownerReferences": list(verdict.owners) or None,
            }
            await self._cluster.patch(item, {"metadata": metadata})

    async def _absent(self, item: Object) -> list[str]:
        """UIDs of owners that are gone: the cache may only suspect it, the API server has to confirm."""
        found = []
        for entry in item["metadata"].get("ownerReferences") or []:
            if entry["kind"] not in self._informers or self._owner(item, entry) is not None:
                continue
            namespace = item["metadata"].get("namespace", "") if RESOURCES[entry["kind"]][2] else ""
            code, body = await self._cluster.client.raw("GET", path_of(entry["kind"], namespace, entry["name"]))
            if code == 404 or (code == 200 and body["metadata"]["uid"] != entry["uid"]):
                found.append(entry["uid"])
        return found

    def _leaving(self, item: Object) -> list[str]:
        owners = self._waiting_owners(item, item["metadata"].get("ownerReferences") or [])
        return [
            owner["metadata"]["uid"] for owner in owners if FOREGROUND in (owner["metadata"].get("finalizers") or [])
        ]

    async def _finish(self, owner: Object) -> None:
        """Work off the deletion finalizers of an owner."""
        finalizers = owner["metadata"].get("finalizers") or []
        dependents = list(self._dependents(owner))
        if ORPHAN in finalizers:
            for item in dependents:
                await self._set_free(item, owner)
            await self._remove_finalizer(owner, ORPHAN)
        elif FOREGROUND in finalizers:
            blocking = [item for item in dependents if _blocks(item, owner)]
            self._add(item for item in dependents if not objects.is_terminating(item))
            if not blocking:
                await self._remove_finalizer(owner, FOREGROUND)

    async def _set_free(self, item: Object, owner: Object) -> None:
        references = [
            entry for entry in item["metadata"]["ownerReferences"] if entry["uid"] != owner["metadata"]["uid"]
        ]
        metadata = {
            "resourceVersion": item["metadata"]["resourceVersion"],
            "ownerReferences": references or None,
        }
        await self._cluster.patch(item, {"metadata": metadata})

    async def _remove_finalizer(self, owner: Object, finalizer: str) -> None:
        rest = [entry for entry in owner["metadata"]["finalizers"] if entry != finalizer]
        metadata = {"resourceVersion": owner["metadata"]["resourceVersion"], "finalizers": rest or None}
        # Not through the cache: an object that loses its last finalizer is gone with this answer.
        await self._cluster.client.patch(path(owner), {"metadata": metadata})

    async def _delete(self, item: Object) -> None:
        in_foreground = any(True for _ in self._dependents(item)) and bool(self._leaving(item))
        body = {
            "preconditions": {"uid": item["metadata"]["uid"]},
            "propagationPolicy": "Foreground" if in_foreground else "Background",
        }
        try:
            await self._cluster.client.delete(path(item), body)
        except ApiError as error:
            if error.code not in (404, 409):
                raise


def _blocks(item: Object, owner: Object) -> bool:
    return any(
        entry["uid"] == owner["metadata"]["uid"] and entry.get("blockOwnerDeletion")
        for entry in item["metadata"]["ownerReferences"]
    )
