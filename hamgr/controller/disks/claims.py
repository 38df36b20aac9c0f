"""Who uses which claims, as far as the configuration and the objects say so. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from hamgr.cib.model import Cib, Primitive
from hamgr.clusterfile.agents import AgentSpec, name_of
from hamgr.controller.disks.workloads import Source
from hamgr.controller.fencing.targets import claims, values_of
from hamgr.controller.placement.bars import claims_written
from hamgr.controller.tree import primitives
from hamgr.kube.objects import Obj

Claim = tuple[str, str]
"""(namespace, name)"""


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
                f"resources {listed(ids)} of agent {agent} have the same {name} '{value}'{where}, "
                "which only one may have: remove all but one"
            )


def shared_claims(cib: Cib, workloads: Mapping[Source, Obj]) -> Iterator[tuple[Claim, tuple[str, ...]]]:
    """Claims that the pods of several resources write to, with these in the order of the file.

    Containers of one pod are one user, and who mounts a claim to read is none. Two pods of a group are two: that they
    are on one node does not make them one writer.
    """
    users: dict[Claim, list[str]] = defaultdict(list)
    for primitive in primitives(cib):
        for claim in claims_written(primitive, workloads):
            users[claim].append(primitive.id)
    for claim, ids in users.items():
        if len(ids) > 1:
            yield claim, tuple(ids)


def refused_sharing(cib: Cib) -> Iterator[str]:
    """Why a configuration would have two writers of one disk, as far as the file itself says.

    A claim that many nodes may write to (ReadWriteMany) is no such disk. That is not in the file, so all who write to
    it have to say so (`shared_claims`). The claims behind `template_from` are known to the leader alone.
    """
    single = claims(cib)
    declared = {primitive.id: _declared(primitive) for primitive in primitives(cib)}
    for claim, ids in shared_claims(cib, {}):
        told = f"the pods of {listed(ids)} all write to claim {'/'.join(claim)}"
        if claim in single:
            yield (
                f"{told}, the disk of a volume resource, which one pod at a time may have: give each a claim of its "
                "own, or make one pod of them"
            )
        elif silent := [name for name in ids if claim[1] not in declared[name]]:
            yield (
                f"{told}, and one pod at a time may write to a disk: give each a claim of its own, make one pod of "
                f"them, mount it readOnly, or, if its access mode is ReadWriteMany, say `shared_claims: {claim[1]}` "
                f"({listed(silent)})"
            )


def _declared(primitive: Primitive) -> frozenset[str]:
    return frozenset(name.strip() for name in values_of(primitive).get("shared_claims", "").split(","))


def listed(ids: Sequence[str]) -> str:
    """Some names as a sentence has them."""
    return f"{', '.join(ids[:-1])} and {ids[-1]}" if len(ids) > 1 else "".join(ids)
