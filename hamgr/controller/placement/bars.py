"""The nodes that a resource cannot be on, whatever the cluster file says: as location rules. Pure.

hamgr names the node of a pod itself, so Kubernetes' scheduler is not asked. What it would refuse is worked out here:
the template's nodeSelector and required node affinity, and the node affinity (mostly the zone) of PersistentVolumes.
It counts for a start: what is active on a node stays there when labels change, as Kubernetes has it
(requiredDuringScheduling*IgnoredDuringExecution*).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Any

import yaml

from hamgr.cib.model import Cib, Location, Primitive
from hamgr.cib.records import replace
from hamgr.cib.scores import INFINITY
from hamgr.controller.disks.workloads import Source
from hamgr.controller.fencing.targets import values_of
from hamgr.controller.tree import primitives
from hamgr.kube.affinity import why_not_for_pod, why_not_for_volume
from hamgr.kube.objects import Obj, name_of
from hamgr.kube.volumes import claims_of_set

Bars = Mapping[str, Mapping[str, str]]
"""Resource: node: why it cannot be there."""

_PREFIX = "hamgr-cannot-run"


def source_of(primitive: Primitive) -> Source | None:
    """The workload whose template a resource uses."""
    values = values_of(primitive)
    told = values.get("template_from")
    return (values.get("namespace") or "default", told) if told else None


def pod_spec(primitive: Primitive, workloads: Mapping[Source, Obj]) -> Mapping[str, Any]:
    """The pod spec of a resource as far as it is known; empty: nothing is."""
    values, source = values_of(primitive), source_of(primitive)
    if source is not None:
        return _lent(workloads.get(source))
    if values.get("image") and values.get("claim"):
        return {"volumes": [{"persistentVolumeClaim": {"claimName": values["claim"]}}]}
    return _written_spec(values.get("template", ""))


@lru_cache(maxsize=1024)
def _written_spec(template: str) -> Mapping[str, Any]:
    """The pod spec of a template in text: JSON, as the cluster file's mapping becomes, or YAML."""
    try:
        parsed = json.loads(template) if template else {}
    except ValueError:
        try:
            parsed = yaml.safe_load(template)
        except (yaml.YAMLError, RecursionError):
            return {}
    if not isinstance(parsed, dict):
        return {}
    spec = parsed if "containers" in parsed else parsed.get("spec")
    return spec if isinstance(spec, dict) else {}


def _lent(workload: Obj | None) -> Mapping[str, Any]:
    spec = (workload or {}).get("spec") or {}
    lent: dict[str, Any] = dict((spec.get("template") or {}).get("spec") or {})
    claims = {} if workload is None else claims_of_set(name_of(workload), spec)
    made = [{"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in claims.items()]
    kept = [volume for volume in lent.get("volumes") or [] if volume.get("name") not in claims]
    return lent | {"volumes": [*kept, *made]}


def claims_used(primitive: Primitive, workloads: Mapping[Source, Obj]) -> tuple[tuple[str, str], ...]:
    """(namespace, claim) of all that a resource holds or mounts."""
    values = values_of(primitive)
    held = [values["claim"]] if primitive.agent.type == "volume" and values.get("claim") else []
    mounted = [name for name, _ in _mounted(primitive, workloads)]
    return tuple(dict.fromkeys((values.get("namespace") or "default", name) for name in (*held, *mounted)))


def claims_written(primitive: Primitive, workloads: Mapping[Source, Obj]) -> tuple[tuple[str, str], ...]:
    """(namespace, claim) of all that the pods of a resource may write to."""
    namespace = values_of(primitive).get("namespace") or "default"
    written = (name for name, read_only in _mounted(primitive, workloads) if not read_only)
    return tuple(dict.fromkeys((namespace, name) for name in written))


def _mounted(primitive: Primitive, workloads: Mapping[Source, Obj]) -> Iterator[tuple[str, bool]]:
    """The claims in the pods of a resource, and whether they are mounted to be read alone."""
    for volume in pod_spec(primitive, workloads).get("volumes") or []:
        source = volume.get("persistentVolumeClaim") if isinstance(volume, dict) else None
        if isinstance(source, dict) and source.get("claimName"):
            yield str(source["claimName"]), bool(source.get("readOnly"))


def find_bars(
    cib: Cib,
    nodes: Mapping[str, Obj],
    volumes: Mapping[tuple[str, str], Obj],
    workloads: Mapping[Source, Obj],
    active: Collection[tuple[str, str]],
) -> Bars:
    """Which resource cannot be on which node, and why.

    nodes: the Node objects that there are. volumes: the PersistentVolume of each bound claim. active: (resource, node).
    """
    found: dict[str, dict[str, str]] = {}
    for primitive in primitives(cib):
        for name, node in nodes.items():
            why = next(_barriers(primitive, node, volumes, workloads), "")
            if why and (primitive.id, name) not in active:
                found.setdefault(primitive.id, {})[name] = why
    return found


def _barriers(
    primitive: Primitive, node: Obj, volumes: Mapping[tuple[str, str], Obj], workloads: Mapping[Source, Obj]
) -> Iterator[str]:
    if why := why_not_for_pod(pod_spec(primitive, workloads), node):
        yield why
    for claim in claims_used(primitive, workloads):
        if claim in volumes and (why := why_not_for_volume(volumes[claim], node)):
            yield why


def bar_id(resource: str, node: str) -> str:
    """The name of the location rule."""
    return f"{_PREFIX}-{resource}-on-{node}"


def with_bars(cib: Cib, bars: Bars) -> Cib:
    """The configuration with a location rule for each."""
    ids, nodes = {primitive.id for primitive in primitives(cib)}, {node.name for node in cib.nodes}
    added = tuple(
        Location(bar_id(resource, node), resource, node=node, score=-INFINITY)
        for resource, places in sorted(bars.items())
        for node in sorted(places)
        if resource in ids and node in nodes
    )
    return replace(cib, constraints=(*cib.constraints, *added)) if added else cib
