"""A configuration's resources, with all that is below them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hamgr.cib.model import Bundle, Cib, Clone, Group, Primitive, Resource


def tree(resource: Resource) -> Iterator[Resource]:
    """A resource and all below it."""
    yield resource
    match resource:
        case Group():
            yield from resource.members
        case Clone():
            yield from tree(resource.member)
        case Bundle() if resource.primitive is not None:
            yield resource.primitive


def primitives(cib: Cib) -> Iterator[Primitive]:
    """All primitives of a configuration."""
    for top in cib.resources:
        for resource in tree(top):
            if isinstance(resource, Primitive):
                yield resource


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration with its primitives by id, for those who look them up one by one. groups: of each member."""

    cib: Cib
    primitives: Mapping[str, Primitive]
    groups: Mapping[str, str]

    @classmethod
    def of(cls, cib: Cib) -> Configured:
        """All of a configuration."""
        groups: dict[str, str] = {}
        for top in cib.resources:
            for part in tree(top):
                if isinstance(part, Group):
                    groups |= {member.id: part.id for member in part.members}
        return cls(cib, {primitive.id: primitive for primitive in primitives(cib)}, groups)
