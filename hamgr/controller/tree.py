"""A configuration's resources, with all that is below them."""

from __future__ import annotations

from collections.abc import Iterator

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
