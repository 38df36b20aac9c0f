"""A configuration as a person reads it: every resource with its operations, defaults filled in. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from hamgr.cib.durations import parse_ms
from hamgr.cib.model import Cib, Group, NvSet, Op, Primitive, Resource
from hamgr.clusterfile.agents import name_of


def render_cib(cib: Cib) -> str:
    """Resources, their operations and the defaults in force."""
    lines = ["Resources:"]
    for resource in cib.resources:
        lines += _resource(resource, 1)
    lines.append("Defaults:")
    lines += [f"  * {name}={value}" for entry in cib.rsc_defaults for name, value in entry.pairs]
    lines += [f"  * operations: {name}={value}" for entry in cib.op_defaults for name, value in entry.pairs]
    return "\n".join(lines)


def _resource(resource: Resource, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(resource, Primitive):
        yield f"{indent}* {resource.id} ({name_of(resource.agent)}){_pairs(resource.meta)}"
        for op in resource.ops:
            yield f"{indent}  * {_operation(op)}"
        return
    yield f"{indent}* {resource.id} ({type(resource).__name__.lower()}){_pairs(resource.meta)}"
    inner = resource.members if isinstance(resource, Group) else (getattr(resource, "member", None),)
    for child in inner:
        if child is not None:
            yield from _resource(child, depth + 1)


def _operation(op: Op) -> str:
    words = [op.name]
    if op.interval_ms:
        words.append(f"interval={op.interval_ms / 1000:g}s")
    for name, value in op.attributes.items():
        words.append(f"{name}={parse_ms(value) / 1000:g}s" if name == "timeout" else f"{name}={value}")
    return " ".join(words)


def _pairs(sets: tuple[NvSet, ...]) -> str:
    return "".join(f" {name}={value}" for entry in sets for name, value in entry.pairs)
