"""What has to be fenced when a node or a pod has to: claims, pods and resources that belong together."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import yaml

from hamgr.cib import history
from hamgr.cib.model import Cib, Group, Primitive, ResourceHistory
from hamgr.controller.nodes.observations import NodeObservations
from hamgr.controller.nodes.removal import running_on
from hamgr.controller.transition.disk_order import disks_of
from hamgr.controller.tree import primitives, tree
from hamgr.fencer.records import Pattern, Target
from hamgr.kube.cache import Cache
from hamgr.kube.objects import LABEL_RESOURCE, POD, home_of, is_instance, labels_of, name_of, namespace_of
from hamgr.kube.pods import node_of

_MAKE_PODS = {"template", "template_from", "image"}  # of which an agent has one that makes pods


@dataclass(frozen=True, slots=True)
class PodTarget:
    """A pod of hamgr's: which resource it is an instance of, and where."""

    namespace: str
    name: str
    resource: str
    node: str


def companions(cib: Cib, resource: str) -> tuple[str, ...]:
    """The primitives that live and move with one: those of its outermost group, itself included."""
    for top in cib.resources:
        for part in tree(top):
            members = part.members if isinstance(part, Group) else ()
            if resource in {member.id for member in members}:
                return tuple(member.id for member in members)
    return (resource,)


def claims(cib: Cib, only: tuple[str, ...] | None = None) -> tuple[tuple[str, str], ...]:
    """(namespace, claim) of the disks that `volume` resources hold, also those that were started by an earlier
    definition; of some resources only, if given."""
    return tuple(dict.fromkeys((*_started_claims(cib, only), *_defined_claims(cib, only).values())))


def all_claims(cib: Cib) -> frozenset[tuple[str, str]]:
    """(namespace, claim) of all that resources hold or mount by the definition, and by what is on record of starts."""
    params: list[Mapping[str, str]] = [values_of(primitive) for primitive in primitives(cib)]
    params += [e.started.params for state in cib.node_states for e in state.resources if e.started is not None]
    return frozenset(disk for values in params for disk in disks_of(values))


def planned_claims(cib: Cib, only: tuple[str, ...] | None = None) -> tuple[tuple[str, str], ...]:
    """Of `claims` those that the present definition alone names, and no recorded start: see `_is_on_record`."""
    started = set(_started_claims(cib, only))
    found = (claim for rsc, claim in _defined_claims(cib, only).items() if _is_on_record(cib, rsc))
    return tuple(dict.fromkeys(claim for claim in found if claim not in started))


def _started_claims(cib: Cib, only: tuple[str, ...] | None) -> list[tuple[str, str]]:
    return [
        disk
        for state in cib.node_states
        for entry in state.resources
        if entry.started is not None and entry.started.agent.type == "volume" and history.is_active(entry)
        if only is None or _base(entry.id) in only
        for disk in sorted(disks_of(entry.started.params))
    ]


def _defined_claims(cib: Cib, only: tuple[str, ...] | None) -> dict[str, tuple[str, str]]:
    """The claim of each `volume` resource of the present definition, by its id."""
    found = {}
    for primitive in primitives(cib):
        if primitive.agent.type != "volume" or (only is not None and primitive.id not in only):
            continue
        values = values_of(primitive)
        if values.get("claim"):
            found[primitive.id] = (values.get("namespace") or "default", values["claim"])
    return found


def _is_on_record(cib: Cib, resource: str) -> bool:
    """Whether all that may run of a resource has on record what it was started with.

    Why the definition may then be believed less than the records when a fence has to prove that the old writer is gone:
    what was started is what its recorded start says, whatever the file says since. The definition adds what may have
    been started since, and a start is on record before its first effect; so what no recorded start names was not
    started. It is proved all the same as far as it exists (the records may be behind: an etcd that was restored, a pod
    that Kubernetes has started itself). Only when the API server says that such a claim, or the workload that would
    name it, does not exist is there nothing to prove: no kubelet mounts a claim that does not exist, and no
    attachment is made for it. Without this, a file that names a claim which is still to be created kept every lost node
    from being fenced by its storage.

    An instance that was started by a version which did not record it, or was found and recorded without its
    parameters, has the definition in place of the record: for such a resource it is believed as ever.
    """
    active = (e for state in cib.node_states for e in state.resources if _base(e.id) == resource)
    return all(
        entry.started is not None and bool(entry.started.params.keys() & (_MAKE_PODS | {"claim"}))
        for entry in active
        if history.is_active(entry)
    )


def patterns(cib: Cib, node: str, now: int, only: tuple[str, ...] | None = None) -> tuple[Pattern, ...]:
    """What the pods are made from that may run on a node: of all resources that make pods (of some, if given), unless
    it is on record that the one is not active there. now: seconds since the epoch.

    Of an instance that is on record as active there are two: what it was started with, and what the definition says by
    now, which is marked as planned (see `_is_on_record`).
    """
    cluster_state = next((state.resources for state in cib.node_states if state.name == node), ())
    known, active = {_base(entry.id) for entry in cluster_state}, {_base(rsc) for rsc in running_on(cib, node, now)}
    recorded = [
        _pattern(_base(entry.id), node, entry.started.params)
        for entry in cluster_state
        if entry.started is not None and entry.started.params.keys() & _MAKE_PODS
        if _base(entry.id) in active and (only is None or _base(entry.id) in only)
    ]
    defined = []
    for primitive in primitives(cib):
        absent = primitive.id in known and primitive.id not in active
        values = {} if absent or (only is not None and primitive.id not in only) else values_of(primitive)
        if values.keys() & _MAKE_PODS and (found := _pattern(primitive.id, node, values)) not in recorded:
            defined.append(replace(found, planned=_is_on_record(cib, primitive.id)))
    return tuple(dict.fromkeys((*defined, *recorded)))


def _pattern(resource: str, node: str, params: Mapping[str, str]) -> Pattern:
    namespace = params.get("namespace") or "default"
    return Pattern(namespace, f"{resource}-{node}", json.dumps(_listed(params)), params.get("template_from", ""))


def _listed(values: Mapping[str, str]) -> list[dict[str, Any]]:
    """The volumes of the pod that an instance with these parameters is."""
    listed = volumes_in(values.get("template", ""))
    if values.get("image") and values.get("claim"):
        listed.append({"name": "data", "persistentVolumeClaim": {"claimName": values["claim"]}})
    return listed


def homes(cib: Cib) -> frozenset[tuple[str, str]]:
    """(namespace, resource) of the pods that a configuration can lead to."""
    made = ((primitive.id, values_of(primitive)) for primitive in primitives(cib))
    return frozenset(
        (values.get("namespace") or "default", resource) for resource, values in made if values.keys() & _MAKE_PODS
    )


def started_in(entries: Iterable[ResourceHistory]) -> frozenset[tuple[str, str]]:
    """(namespace, resource) of what was started, by what is on record of it."""
    return frozenset(
        (entry.started.params.get("namespace") or "default", _base(entry.id))
        for entry in entries
        if entry.started is not None
    )


def _base(instance: str) -> str:
    """The configured id of a clone's instance."""
    return instance.partition(":")[0]


def values_of(primitive: Primitive) -> dict[str, str]:
    """The parameters without regard to rules."""
    return {name: value for nvset in reversed(primitive.params) for name, value in nvset.pairs}


def volumes_in(template: str) -> list[dict[str, Any]]:
    """The volumes of a pod template in text; of one that nobody can read, no pod was ever made."""
    try:
        parsed = yaml.safe_load(template)
    except yaml.YAMLError:
        return []
    if not isinstance(parsed, dict):
        return []
    spec = parsed if "containers" in parsed else parsed.get("spec")
    listed = spec.get("volumes") if isinstance(spec, dict) else None
    return [volume for volume in listed or () if isinstance(volume, dict)]


def find_pod(cache: Cache | None, name: str, known: Collection[tuple[str, str]], cluster: str) -> PodTarget | None:
    """A pod of a cluster's by NAME or NAMESPACE/NAME. known: namespaces and resources of its instances."""
    namespace, _, short = name.rpartition("/")
    for pod in [] if cache is None else cache.list(POD, namespace or None):
        if name_of(pod) == short and is_instance(pod, cluster) and home_of(pod) in known:
            return pod_target(pod)
    return None


def pod_target(pod: Mapping[str, Any]) -> PodTarget:
    """The pod as a target."""
    return PodTarget(namespace_of(pod), name_of(pod), labels_of(pod)[LABEL_RESOURCE], node_of(pod))


def node_target(
    node: str,
    disks: tuple[tuple[str, str], ...],
    may_run: tuple[Pattern, ...],
    known: Collection[tuple[str, str]],
    observations: NodeObservations,
    planned: tuple[tuple[str, str], ...] = (),
) -> Target:
    """A node as a target, by what is seen of it. disks: the claims that may be used there; may_run: the pods; known:
    namespaces and resources of hamgr's instances; planned: of the claims those that no recorded start names.
    """
    promise = observations.promise(node)
    return Target(
        node,
        claims=disks,
        patterns=may_run,
        homes=tuple(sorted(known)),
        planned=planned,
        self_fence_s=None if promise is None else promise.self_fence,
        member_ttl_s=0.0 if promise is None else promise.ttl_s,
        boot_id=observations.boot_id(node),
        outdated_boot_id=observations.outdated_boot_id(node),
    )
