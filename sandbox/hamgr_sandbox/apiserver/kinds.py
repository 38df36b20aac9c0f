"""What a kind is to the server: its names, where it lives, and the strategy by which its objects are written.

Nothing in the server asks "is this a pod?"; it asks the kind's strategy. The table of built-in kinds is in catalog.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hamgr_sandbox.apiserver.errors import Cause
from hamgr_sandbox.apiserver.selectors import Accessor, accessor
from hamgr_sandbox.apiserver.storage import Storage

Obj = dict[str, Any]


@dataclass(slots=True)
class Context:
    """What a strategy may look at and allocate from while it prepares an object.

    `dry_run` says that nothing will be stored.
    """

    storage: Storage
    allocations: Any = None
    dry_run: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`: its value is computed from the object by `cell`; priority 1 shows with -o wide."""

    name: str
    cell: Callable[[Obj], Any]
    type: str = "string"
    format: str = ""
    priority: int = 0
    description: str = ""


def _nothing_create(obj: Obj, context: Context) -> None:
    """No defaults beyond the schema's."""


def _nothing_update(new: Obj, old: Obj, context: Context) -> None:
    """Nothing to carry over."""


def _never_held(obj: Obj) -> bool:
    return False


def _same(obj: Obj) -> Obj:
    return obj


def _no_causes(obj: Obj) -> list[Cause]:
    return []


def _no_update_causes(new: Obj, old: Obj) -> list[Cause]:
    return []


@dataclass(frozen=True, slots=True)
class Strategy:
    """How objects of a kind are written. The functions may change the object that they are given, which is new.

    prepare_create(obj, context)        defaults and admission, before validation
    prepare_update(new, old, context)   the same for an update of the main resource
    validate(obj), validate_update(new, old)   what is wrong with it
    grace(obj, requested)               seconds of graceful deletion, None where the kind knows no graceful deletion
    held(obj)                           whether something but metadata.finalizers keeps a deleted object
    terminating(obj)                    what else changes when it is marked as being deleted
    released(obj, context)              called when the object is gone, to give back what it had allocated
    """

    prepare_create: Callable[[Obj, Context], None] = _nothing_create
    prepare_update: Callable[[Obj, Obj, Context], None] = _nothing_update
    validate: Callable[[Obj], list[Cause]] = _no_causes
    validate_update: Callable[[Obj, Obj], list[Cause]] = _no_update_causes
    grace: Callable[[Obj, int | None], int] | None = None
    released: Callable[[Obj, Context], None] = _nothing_create
    held: Callable[[Obj], bool] = _never_held
    terminating: Callable[[Obj], Obj] = _same
    label_names: bool = False  # names are DNS labels, not subdomains
    path_names: bool = False  # any name that can be a path segment (RBAC)
    status_on_create: bool = False  # a status given at creation is kept
    generation: bool = False  # metadata.generation counts changes of the spec
    unconditional_update: bool = True  # a PUT without resourceVersion is accepted
    create_on_update: bool = False  # a PUT of an object that does not exist creates it
    returns_deleted: bool = False  # DELETE answers with the object instead of a Status
    status_metadata: bool = True  # a write of the status may change labels and annotations


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource beside the object: the names under which discovery lists it."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_COMMON_FIELDS: Mapping[str, Accessor] = {
    "metadata.name": accessor("metadata.name"),
    "metadata.namespace": accessor("metadata.namespace"),
}


@dataclass(frozen=True, slots=True)
class Conversion:
    """A kind that is another view of objects stored under another kind (events.k8s.io and core events)."""

    stored_as: str
    to_storage: Callable[[Obj], Obj]
    from_storage: Callable[[Obj], Obj]


@dataclass(frozen=True, slots=True)
class Kind:
    """One resource of the API. `model` names the official client's model that tells its fields ("" for any field)."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    model: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    strategy: Strategy = field(default_factory=Strategy)
    has_status: bool = False
    scale_paths: tuple[str, str, str] | None = None  # spec replicas, status replicas, selector
    subresources: tuple[Subresource, ...] = ()
    columns: tuple[Column, ...] = ()
    selectable: Mapping[str, Accessor] = field(default_factory=dict)
    verbs: tuple[str, ...] = ALL_VERBS
    conversion: Conversion | None = None
    singular_name: str = ""
    custom: Obj | None = None  # the version entry of a CustomResourceDefinition

    @property
    def resource(self) -> str:
        """As messages name it: "pods", "leases.coordination.k8s.io"."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def qualified(self) -> str:
        """As messages name the kind: "Pod", "Lease.coordination.k8s.io"."""
        return f"{self.kind}.{self.group}" if self.group else self.kind

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        return self.singular_name or self.kind.lower()

    @property
    def list_kind(self) -> str:
        return f"{self.kind}List"

    @property
    def stored_as(self) -> str:
        """The storage's name for the kind; versions of one kind share it."""
        return self.conversion.stored_as if self.conversion else f"{self.group}/{self.plural}"

    @property
    def fields(self) -> Mapping[str, Accessor]:
        """The fields that a fieldSelector may name."""
        return (
            {**_COMMON_FIELDS, **self.selectable}
            if self.namespaced
            else {
                "metadata.name": _COMMON_FIELDS["metadata.name"],
                **self.selectable,
            }
        )


class Catalog:
    """All kinds that the server knows; custom ones come and go with their definitions."""

    def __init__(self, kinds: tuple[Kind, ...]) -> None:
        self._by_path: dict[tuple[str, str, str], Kind] = {}
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        self._by_path[kind.group, kind.version, kind.plural] = kind

    def discard(self, group: str, plural: str) -> None:
        """Forget every version of a resource."""
        for path in [path for path in self._by_path if path[0] == group and path[2] == plural]:
            del self._by_path[path]

    def find(self, group: str, version: str, plural: str) -> Kind | None:
        return self._by_path.get((group, version, plural))

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        """The kind that an ownerReference or an object's apiVersion and kind name."""
        group, _, version = api_version.rpartition("/")
        for one in self._by_path.values():
            if (one.group, one.version, one.kind) == (group, version, kind):
                return one
        return None

    def in_version(self, group: str, version: str) -> list[Kind]:
        found = [kind for kind in self._by_path.values() if (kind.group, kind.version) == (group, version)]
        return sorted(found, key=lambda kind: kind.plural)

    def groups(self) -> dict[str, list[str]]:
        """Group -> its versions, the preferred first, in the order in which they were added; the core group is ""."""
        found: dict[str, list[str]] = {}
        for group, version, _ in self._by_path:
            versions = found.setdefault(group, [])
            if version not in versions:
                versions.append(version)
        return found

    def stored(self) -> list[Kind]:
        """One kind for every shelf of the storage, views left out."""
        seen: dict[str, Kind] = {}
        for kind in self._by_path.values():
            if kind.conversion is None:
                seen.setdefault(kind.stored_as, kind)
        return list(seen.values())
