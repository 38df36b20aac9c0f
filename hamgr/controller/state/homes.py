"""Where pods of ours can be: (namespace, resource) of all instances that may have been made. Pure.

A label alone anybody can write, in a namespace of his own. So a pod is ours by the label of the cluster, its namespace
and its resource together. The pairs are recorded before anything is started by them: those of earlier configurations
are known to the next leader, and each node's hamgrd knows which pods it has to kill when the node fences itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

from hamgr.kube.objects import home_of, is_instance, uid_of

HOMES = "state/homes"
"""The key in etcd."""

Homes = frozenset[tuple[str, str]]
"""(namespace, resource)"""


def to_json(homes: Iterable[tuple[str, str]]) -> list[list[str]]:
    """As it is written to etcd."""
    return [list(home) for home in sorted(homes)]


def from_json(value: Any) -> Homes:
    """Read `to_json`'s answer. Raises ValueError."""
    if not isinstance(value, list) or not all(_is_home(entry) for entry in value):
        raise ValueError("this is no list of namespaces and resources")
    return frozenset((namespace, resource) for namespace, resource in value)


def _is_home(entry: Any) -> bool:
    return isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)


def others_among(pods: Iterable[Mapping[str, Any]], cluster: str, homes: Collection[tuple[str, str]]) -> set[str]:
    """UIDs of the pods that carry the cluster's label and are none of its instances.

    homes: as they are on record after the pods were listed. One of ours has its home on record before it is created, so
    a pod that was there before is judged rightly by what is read now.
    """
    return {uid_of(pod) for pod in pods if is_instance(pod, cluster) and home_of(pod) not in homes}
