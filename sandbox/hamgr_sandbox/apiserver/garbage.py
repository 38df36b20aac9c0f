"""The garbage collector: objects whose owners are gone go too.

Background: the owner goes at once, its dependents after it. Foreground: the owner waits, held by a finalizer, until
the dependents that block it are gone. Orphan: the dependents forget their owner.
https://kubernetes.io/docs/concepts/architecture/garbage-collection/
"""

from __future__ import annotations

from typing import Any

from hamgr_sandbox.apiserver.deletion import FOREGROUND, ORPHAN, DeleteOptions
from hamgr_sandbox.apiserver.kinds import Kind
from hamgr_sandbox.apiserver.registry import Registry, WriteOptions
from hamgr_sandbox.apiserver.storage import Event, Key

Obj = dict[str, Any]
Place = tuple[str, Key]  # kind as stored, key

_QUIET = WriteOptions(manager="garbage-collector")


def owners(obj: Obj | None) -> list[Obj]:
    return (obj or {}).get("metadata", {}).get("ownerReferences") or []


class GarbageCollector:
    """Keeps an index of dependents by their owner's UID and acts on each event."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._dependents: dict[str, set[Place]] = {}

    def _kind(self, stored_as: str) -> Kind | None:
        return next((kind for kind in self._registry.catalog.stored() if kind.stored_as == stored_as), None)

    def handle(self, stored_as: str, event: Event) -> None:
        """Bring the index up to date, and delete what this event has left without an owner."""
        place = (stored_as, event.key)
        for owner in owners(event.old):
            self._dependents.get(owner.get("uid", ""), set()).discard(place)
        if event.new is not None:
            for owner in owners(event.new):
                self._dependents.setdefault(owner.get("uid", ""), set()).add(place)
            if owners(event.new) and owners(event.new) != owners(event.old):
                self._collect(place)
            if "deletionTimestamp" in event.new["metadata"]:
                self._release(place)
            return
        old = event.old or {}
        for dependent in sorted(self._dependents.pop(old["metadata"]["uid"], ())):
            self._collect(dependent)
        for owner in owners(old):
            self._release_owner(owner, event.key[0])

    def _object(self, place: Place) -> Obj | None:
        return self._registry.storage.get(*place)

    def _owner(self, reference: Obj, namespace: str) -> tuple[Kind, Obj] | None:
        kind = self._registry.catalog.by_kind(reference.get("apiVersion", ""), reference.get("kind", ""))
        if kind is None:
            return None
        found = self._registry.storage.get(kind.stored_as, (namespace if kind.namespaced else "", reference["name"]))
        return (kind, found) if found and found["metadata"]["uid"] == reference.get("uid") else None

    def _collect(self, place: Place) -> None:
        """Delete an object none of whose owners exists; take the owners that are gone out of one that has others."""
        obj, kind = self._object(place), self._kind(place[0])
        if obj is None or kind is None or not owners(obj):
            return
        catalog = self._registry.catalog
        present = [
            one
            for one in owners(obj)
            if catalog.by_kind(one.get("apiVersion", ""), one.get("kind", "")) is None
            or self._owner(one, place[1][0]) is not None
        ]
        if not present:
            uid = obj["metadata"]["uid"]
            self._registry.delete(kind, *place[1], DeleteOptions(uid=uid, policy=None))
        elif len(present) < len(owners(obj)):
            self._store(kind, obj, ownerReferences=present)

    def _store(self, kind: Kind, obj: Obj, **metadata: Any) -> None:
        changed = {**obj["metadata"], **metadata}
        self._registry.overwrite(kind, {**obj, "metadata": {k: v for k, v in changed.items() if v != []}}, _QUIET)

    def _release(self, place: Place) -> None:
        """Work off the finalizers by which an object waits for its dependents."""
        obj, kind = self._object(place), self._kind(place[0])
        if obj is None or kind is None:
            return
        finalizers = obj["metadata"].get("finalizers") or []
        uid = obj["metadata"]["uid"]
        dependents = [one for one in self._dependents.get(uid, ()) if self._object(one) is not None]
        if ORPHAN in finalizers:
            for dependent in sorted(dependents):
                self._orphan(dependent, uid)
            self._store(kind, obj, finalizers=[one for one in finalizers if one != ORPHAN])
        elif FOREGROUND in finalizers:
            blocking = [one for one in sorted(dependents) if self._blocks(one, uid)]
            if not blocking:
                self._store(kind, obj, finalizers=[one for one in finalizers if one != FOREGROUND])
            for dependent in sorted(dependents):
                self._delete_foreground(dependent)

    def _blocks(self, place: Place, uid: str) -> bool:
        return any(one.get("uid") == uid and one.get("blockOwnerDeletion") for one in owners(self._object(place)))

    def _orphan(self, place: Place, uid: str) -> None:
        obj, kind = self._object(place), self._kind(place[0])
        if obj is not None and kind is not None:
            self._store(kind, obj, ownerReferences=[one for one in owners(obj) if one.get("uid") != uid])

    def _delete_foreground(self, place: Place) -> None:
        obj, kind = self._object(place), self._kind(place[0])
        if obj is None or kind is None or "deletionTimestamp" in obj["metadata"]:
            return
        policy = "Foreground" if self._dependents.get(obj["metadata"]["uid"]) else None
        self._registry.delete(kind, *place[1], DeleteOptions(uid=obj["metadata"]["uid"], policy=policy))

    def _release_owner(self, reference: Obj, namespace: str) -> None:
        found = self._owner(reference, namespace)
        if found and "deletionTimestamp" in found[1]["metadata"]:
            kind, owner = found
            self._release((kind.stored_as, (owner["metadata"].get("namespace", ""), owner["metadata"]["name"])))
