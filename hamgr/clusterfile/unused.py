"""Names the options of a cluster file that a running cluster makes nothing of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from hamgr.cib.options import OPERATION
from hamgr.clusterfile.options import why_unused
from hamgr.clusterfile.resources import BundleEntry, CloneEntry, GroupEntry, Operations, PrimitiveEntry, ResourceEntry
from hamgr.clusterfile.schema import ClusterSection
from hamgr.clusterfile.values import ValueSet

Found = tuple[str, Iterable[str]]  # what the options are of, and their names


def unused_options(section: ClusterSection) -> list[str]:
    """A sentence for each such option, with the reason."""
    found = {
        f"{owner} {name}": why_unused(name) for owner, names in _options(section) for name in names if why_unused(name)
    }
    if any(entry.rule and {"fencing-timeout", "stonith-timeout"} & entry.values.keys() for entry in section.options):
        found["cluster option fencing-timeout under a rule"] = "how long a fence may take does not depend on rules"
    return [f"{what} has no effect: {why}" for what, why in found.items()]


def _options(section: ClusterSection) -> Iterator[Found]:
    yield "cluster option", _names(section.options)
    yield "defaults: meta-attribute", _names(section.defaults.resources)
    yield "defaults: property", _names(section.defaults.operations)
    for entry in section.resources:
        yield from _of(entry)
    for device in section.fencing.devices:
        yield f"fence device {device.id}: meta-attribute", _names(device.meta)
        yield from _of_operations(f"fence device {device.id}", device.operations)


def _of(entry: ResourceEntry) -> Iterator[Found]:
    if isinstance(entry, PrimitiveEntry):
        yield f"resource {entry.id}: meta-attribute", _names(entry.meta)
        yield from _of_operations(f"resource {entry.id}", entry.operations)
        return
    parts: tuple[PrimitiveEntry | GroupEntry, ...]
    if isinstance(entry, GroupEntry):
        name, parts = f"group {entry.group}", entry.members
    elif isinstance(entry, CloneEntry):
        name, parts = f"clone {entry.clone}", (entry.of,)
    else:
        assert isinstance(entry, BundleEntry)
        name, parts = f"bundle {entry.bundle}", () if entry.primitive is None else (entry.primitive,)
    yield f"{name}: meta-attribute", _names(entry.meta)
    for part in parts:
        yield from _of(part)


def _of_operations(owner: str, operations: Operations) -> Iterator[Found]:
    for task, entries in operations.items():
        for entry in entries:
            written = (name for name in OPERATION if getattr(entry, name.replace("-", "_")) is not None)
            yield f"{owner}: operation {task}: property", [*written, *_names(entry.meta)]


def _names(sets: Iterable[ValueSet]) -> list[str]:
    return [name for entry in sets for name in entry.values]
