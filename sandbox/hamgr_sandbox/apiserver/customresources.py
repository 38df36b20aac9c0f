"""Custom resources: a CustomResourceDefinition adds kinds to the catalog while it exists.

Their objects are stored as they are sent: schemas are neither checked nor used to drop fields.
"""

from __future__ import annotations

from typing import Any

from hamgr_sandbox.apiserver.clock import timestamp
from hamgr_sandbox.apiserver.columns import custom_columns
from hamgr_sandbox.apiserver.kinds import Kind, Strategy
from hamgr_sandbox.apiserver.registry import Registry, WriteOptions
from hamgr_sandbox.apiserver.storage import Event

Obj = dict[str, Any]

DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"
_STRATEGY = Strategy(generation=True, unconditional_update=False, status_metadata=False)


def kinds_of(definition: Obj) -> list[Kind]:
    """The kinds, one a served version, that a definition stands for."""
    spec = definition["spec"]
    names = spec["names"]
    found = []
    for version in spec.get("versions") or []:
        if not version.get("served"):
            continue
        parts = version.get("subresources") or {}
        scale = parts.get("scale")
        paths = None
        if scale:
            texts = (scale["specReplicasPath"], scale["statusReplicasPath"], scale.get("labelSelectorPath", ""))
            paths = (texts[0].lstrip("."), texts[1].lstrip("."), texts[2].lstrip("."))
        kind = Kind(
            spec["group"],
            version["name"],
            names["kind"],
            names["plural"],
            spec["scope"] == "Namespaced",
            short_names=tuple(names.get("shortNames") or ()),
            categories=tuple(names.get("categories") or ()),
            strategy=_STRATEGY,
            has_status="status" in parts,
            scale_paths=paths,
            columns=custom_columns(version),
            singular_name=names.get("singular", ""),
            custom=version,
        )
        found.append(kind)
    return found


class Definitions:
    """Keeps the catalog in step with the definitions."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def handle(self, stored_as: str, event: Event) -> None:
        if stored_as != DEFINITIONS:
            return
        if event.new is None:
            self._withdraw(event.old or {})
            return
        spec = event.new["spec"]
        self._registry.catalog.discard(spec["group"], spec["names"]["plural"])
        for kind in kinds_of(event.new):
            self._registry.catalog.add(kind)
        if not (event.new.get("status") or {}).get("conditions"):
            self._establish(event.new)

    def _establish(self, definition: Obj) -> None:
        spec = definition["spec"]
        conditions = [
            {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "no conflicts found"},
            {"type": "Established", "status": "True", "reason": "InitialNamesAccepted",
             "message": "the initial names have been accepted"},
        ]  # fmt: skip
        names = {"singular": spec["names"]["kind"].lower(), "listKind": f"{spec['names']['kind']}List", **spec["names"]}
        status = {
            "conditions": [{**one, "lastTransitionTime": timestamp()} for one in conditions],
            "acceptedNames": names,
            "storedVersions": [one["name"] for one in spec["versions"] if one.get("storage")],
        }
        found = self._registry.catalog.by_kind("apiextensions.k8s.io/v1", "CustomResourceDefinition")
        assert found is not None
        made = {**definition, "spec": {**spec, "names": names}, "status": status}
        self._registry.overwrite(found, made, WriteOptions(manager="kube-apiserver"))

    def _withdraw(self, definition: Obj) -> None:
        for kind in kinds_of(definition):
            for obj in self._registry.storage.items(kind.stored_as):
                metadata = obj["metadata"]
                self._registry.storage.remove(kind.stored_as, (metadata.get("namespace", ""), metadata["name"]))
        self._registry.catalog.discard(definition["spec"]["group"], definition["spec"]["names"]["plural"])
