"""Who uses which claims, as far as the configuration and the objects say so. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from hamgr.cib.model import Cib, Primitive
from hamgr.clusterfile.agents import AgentSpec, name_of
from hamgr.controller.fencing.targets import claims, values_of, volumes_in
from hamgr.controller.tree import primitives

Claim = tuple[str, str]
"""(namespace, name)"""


def written_by(primitive: Primitive) -> tuple[Claim, ...]:
    """The claims that the pods of a resource may write to, as far as its parameters say so."""
    values = values_of(primitive)
    if primitive.agent.type == "volume":
        return ()
    namespace = values.get("namespace") or "default"
    names = [values["claim"]] if values.get("image") and values.get("claim") else []
    for volume in volumes_in(values.get("template", "")):
        source = volume.get("persistentVolumeClaim")
        if isinstance(source, dict) and source.get("claimName") and not source.get("readOnly"):
            names.append(str(source["claimName"]))
    return tuple(dict.fromkeys((namespace, name) for name in names))


def doubled_parameters(cib: Cib, agents: Mapping[str, AgentSpec]) -> Iterator[str]:
    """Resources of one agent that have the same value of a parameter that it calls unique.

    As Pacemaker's tools check it: per agent. Names of Kubernetes objects are unique within their namespace.
    """
    users: dict[tuple[str, str, str, str], list[str]] = defaultdict(list)
    for primitive in primitives(cib):
        agent, values = name_of(primitive.agent), values_of(primitive)
        spec = agents.get(agent)
        for parameter in spec.parameters.values() if spec is not None else ():
            if parameter.unique and values.get(parameter.name):
                within = values.get("namespace", "") if spec is not None and "namespace" in spec.parameters else ""
                users[agent, parameter.name, within, values[parameter.name]].append(primitive.id)
    for (agent, name, within, value), ids in users.items():
        if len(ids) > 1:
            where = f" in namespace {within}" if within else ""
            yield (
                f"resources {_listed(ids)} of agent {agent} have the same {name} '{value}'{where}, "
                "which only one may have: remove all but one"
            )


def shared_claims(cib: Cib) -> Iterator[tuple[Claim, tuple[str, ...], bool]]:
    """Claims that several resources' pods write to, with these; and whether a `volume` resource makes them single."""
    users: dict[Claim, list[str]] = defaultdict(list)
    for primitive in primitives(cib):
        for claim in written_by(primitive):
            users[claim].append(primitive.id)
    single = claims(cib)
    for claim, ids in users.items():
        if len(ids) > 1:
            yield claim, tuple(ids), claim in single


def refused_sharing(cib: Cib) -> Iterator[str]:
    """Why a configuration would have two writers of one disk."""
    for claim, ids, single in shared_claims(cib):
        if single:
            yield (
                f"the pods of {_listed(ids)} all write to claim {'/'.join(claim)}, the disk of a volume resource, "
                "which one pod at a time may have: give each a claim of its own, or make one pod of them"
            )


def doubtful_sharing(cib: Cib) -> Iterator[str]:
    """What is right for claims of many writers alone, which a file does not say."""
    for claim, ids, single in shared_claims(cib):
        if not single:
            yield (
                f"the pods of {_listed(ids)} all write to claim {'/'.join(claim)}: unless it is ReadWriteMany, the "
                "second of them will not start"
            )


def _listed(ids: list[str] | tuple[str, ...]) -> str:
    return f"{', '.join(ids[:-1])} and {ids[-1]}"
