"""Whether a name on the command line is one of the cluster's, for verbs that read etcd and would find just nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hamgr.api.exits import Exit
from hamgr.api.status import ResourceStatus, StatusDoc
from hamgr.cli.exits import CommandError
from hamgr.store.store import Store


def require_node(store: Store, name: str) -> None:
    """Raises CommandError when the leader's status knows no such node; without a status every name may be one."""
    names = [node.name for node in _status(store).nodes]
    if names and name not in names:
        raise CommandError(f"there is no node '{name}' in the cluster: nodes are {', '.join(names)}", Exit.NO_HOST)


def require_resource(store: Store, name: str) -> None:
    """Raises CommandError when the leader's status knows no such resource."""
    names = list(_ids(_status(store).resources))
    if names and name not in names:
        raise CommandError(f"there is no resource '{name}': resources are {', '.join(names)}", Exit.NO_OBJECT)


def _status(store: Store) -> StatusDoc:
    entry = store.get("status")
    try:
        return StatusDoc.from_value(entry.value) if entry is not None else StatusDoc("")
    except ValueError:
        return StatusDoc("")


def _ids(resources: Sequence[ResourceStatus]) -> Iterator[str]:
    for resource in resources:
        yield resource.id
        yield from _ids(resource.children)
