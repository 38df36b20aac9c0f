"""Which pods there are that should not be: every pod of ours, as it is now, held against what is on record.

A pod can come without our doing: the late request of a past leader, somebody's `kubectl apply`, a parked pod to which
Kubernetes has given the disk. An instance of which nobody knows is monitored by nobody, stopped by nobody, and a second
writer as soon as its disk is one that another pod uses, or that several nodes can have. `audit` finds them; a `Rule`
says how each is ended, or adopted where it may run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from hamgr.controller.nodes.membership import MembershipState
from hamgr.kube.objects import (
    ANNOTATION_PARKED,
    LABEL_CLUSTER,
    LABEL_RESOURCE,
    annotations_of,
    is_terminating,
    labels_of,
    name_of,
    namespace_of,
    uid_of,
)
from hamgr.kube.pods import has_ended, has_run, node_of


class Kind(StrEnum):
    """What is wrong with a pod."""

    STRAY = "stray-instance"  # runs where its resource does not run on record
    UNWATCHED = "unwatched-instance"  # runs where nothing is on record of its resource
    UNKNOWN = "unknown-instance"  # of a resource that is neither configured nor on record
    MISNAMED = "misnamed-instance"  # under a name, or in a namespace, that no instance of its resource has
    LATE = "late-pod"  # on a node that was fenced before it came
    BORROWED = "borrowed-label"  # our label in a namespace that is none of ours
    FOREIGN = "foreign-pod"  # not ours, and uses a claim that is


class Rule(StrEnum):
    """What is done about it."""

    PROBE = "probe"  # what is on record is forgotten, so that the scheduler probes, and keeps or stops it
    RECORD = "record"  # it goes on record as running, so that the scheduler stops it as what is not configured
    DELETE = "delete"  # gracefully
    FENCE = "fence"  # the node, once more
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Finding:
    """A pod that should not run, or not be there. patience_s: for how long it has to be so before it counts."""

    kind: Kind
    rule: Rule
    text: str
    namespace: str
    name: str
    uid: str
    node: str
    resource: str
    patience_s: float = 0.0

    @property
    def critical(self) -> bool:
        """Whether it may be a second writer."""
        return self.kind not in (Kind.BORROWED, Kind.FOREIGN)


@dataclass(frozen=True, slots=True)
class Known:
    """What pods are held against.

    homes: of each resource that is configured, or on record as active, the namespaces that its pods may be in.
    expected: (resource, node) that run or are being started, by what is on record and under way; down: that do not run.
    dealt_with: UIDs of pods that fences of whole nodes knew of. living: fenced nodes that show life.
    being_fenced: nodes.
    """

    cluster: str
    memberships: Mapping[str, MembershipState] = field(default_factory=dict)
    homes: Mapping[str, frozenset[str]] = field(default_factory=dict)
    expected: frozenset[tuple[str, str]] = frozenset()
    down: frozenset[tuple[str, str]] = frozenset()
    dealt_with: frozenset[str] = frozenset()
    living: frozenset[str] = frozenset()
    being_fenced: frozenset[str] = frozenset()


_KUBERNETES_DID_S = 2.0  # what follows a parked pod's start by itself: a fence that has just ended, say
_PROBED_SOON_S = 10.0


def audit(pods: Iterable[Mapping[str, Any]], known: Known) -> tuple[Finding, ...]:
    """What is wrong with these pods; those without our label are none of ours."""
    return tuple(finding for pod in pods for finding in _judge(pod, known))


def _judge(pod: Mapping[str, Any], known: Known) -> Iterator[Finding]:
    labels, node = labels_of(pod), node_of(pod)
    if labels.get(LABEL_CLUSTER) != known.cluster or LABEL_RESOURCE not in labels or has_ended(pod) or not node:
        return
    resource = labels[LABEL_RESOURCE]
    here = (resource, node)
    told = f"pod {namespace_of(pod)}/{name_of(pod)}"

    def found(kind: Kind, rule: Rule, text: str, patience_s: float = 0.0) -> Finding:
        return Finding(
            *(kind, rule, f"{told} {text}", namespace_of(pod), name_of(pod), uid_of(pod), node, resource),
            patience_s=patience_s,
        )

    if namespace_of(pod) not in frozenset().union(*known.homes.values()):
        yield found(
            *(Kind.BORROWED, Rule.NONE),
            f"carries our label {LABEL_CLUSTER} in a namespace that no resource uses: it is left alone",
        )
    elif known.memberships.get(node) is MembershipState.FENCED and uid_of(pod) not in known.dealt_with:
        if node not in known.being_fenced:
            yield _late(node in known.living, node, found)
    elif is_terminating(pod) or (ANNOTATION_PARKED in annotations_of(pod) and not has_run(pod)):
        return
    elif resource not in known.homes:
        named = name_of(pod) == f"{resource}-{node}"
        yield found(
            Kind.UNKNOWN,
            Rule.RECORD if named else Rule.DELETE,
            f"runs on {node}, though {resource} is not in the cluster file: it is stopped",
        )
    elif name_of(pod) != f"{resource}-{node}" or namespace_of(pod) not in known.homes[resource]:
        text = f"runs on {node}, though no instance of {resource} is called that: it is stopped"
        yield found(Kind.MISNAMED, Rule.DELETE, text)
    elif here in known.down and here not in known.expected:
        by_kubernetes = ANNOTATION_PARKED in annotations_of(pod)
        yield found(
            *(Kind.STRAY, Rule.PROBE),
            f"runs on {node}, where on record {resource} does not: {node} is probed, and it is stopped unless "
            f"{resource} may run there",
            _KUBERNETES_DID_S if by_kubernetes else 0.0,
        )
    elif here not in known.expected and known.memberships.get(node) in (
        MembershipState.MEMBER,
        MembershipState.KUBELET,
    ):
        text = (
            f"runs on {node} and nobody watches it: nothing is on record of {resource} there, and {node} is not probed "
            "(maintenance, or a constraint with resource-discovery)"
        )
        yield found(Kind.UNWATCHED, Rule.NONE, text, _PROBED_SOON_S)


def _late(lives: bool, node: str, found: Any) -> Finding:
    if lives:
        text = f"has appeared on {node} after that was fenced: it is looked after once {node} is back"
        late: Finding = found(Kind.LATE, Rule.NONE, text, _PROBED_SOON_S)
        return late
    fenced: Finding = found(Kind.LATE, Rule.FENCE, f"has appeared on {node} after that was fenced: it is fenced again")
    return fenced
