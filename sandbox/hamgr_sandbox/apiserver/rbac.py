"""Role-based access control, so that the rights which hamgr is installed with can be tried out.

https://kubernetes.io/docs/reference/access-authn-authz/rbac/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hamgr_sandbox.apiserver.auth import ADMINISTRATORS, Attributes, User
from hamgr_sandbox.apiserver.storage import Storage

Obj = dict[str, Any]

_GROUP = "rbac.authorization.k8s.io"
# What a kubelet may do is the Node authorizer's word in a real cluster, which is not played here.
_EVERYTHING = frozenset({ADMINISTRATORS, "system:nodes"})
_FOR_ALL = ("/healthz", "/livez", "/readyz", "/version", "/api", "/apis", "/openapi")
_REVIEWS = ("selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews")


class RoleBased:
    """Allows what the roles bound to a user or to one of its groups allow, administrators and nodes everything."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def allows(self, user: User, wanted: Attributes) -> bool:
        """Whether any rule of any role of this user covers the request."""
        if not _EVERYTHING.isdisjoint(user.groups):
            return True
        if wanted.path:
            if any(wanted.path == one or wanted.path.startswith(f"{one}/") for one in _FOR_ALL):
                return True
        elif wanted.resource in _REVIEWS:
            return True
        return any(_covers(rule, wanted) for rule in self._rules(user, wanted.namespace))

    def _rules(self, user: User, namespace: str) -> Iterator[Obj]:
        for binding in self._storage.items(f"{_GROUP}/clusterrolebindings"):
            if _binds(binding, user):
                yield from self._role(binding, "")
        if namespace:
            for binding in self._storage.items(f"{_GROUP}/rolebindings", namespace):
                if _binds(binding, user):
                    yield from self._role(binding, namespace)

    def _role(self, binding: Obj, namespace: str) -> list[Obj]:
        reference = binding["roleRef"]
        if reference["kind"] == "ClusterRole":
            role = self._storage.get(f"{_GROUP}/clusterroles", ("", reference["name"]))
        else:
            role = self._storage.get(f"{_GROUP}/roles", (namespace, reference["name"]))
        return (role or {}).get("rules") or []


def _binds(binding: Obj, user: User) -> bool:
    groups = {*user.groups, "system:authenticated"}
    for subject in binding.get("subjects") or []:
        name = subject.get("name", "")
        if subject.get("kind") == "ServiceAccount":
            name = f"system:serviceaccount:{subject.get('namespace', '')}:{name}"
        if name in groups if subject.get("kind") == "Group" else name == user.name:
            return True
    return False


def _covers(rule: Obj, wanted: Attributes) -> bool:
    if not _among(wanted.verb, rule.get("verbs")):
        return False
    if wanted.path:
        patterns = rule.get("nonResourceURLs") or []
        return any(wanted.path == one or (one.endswith("*") and wanted.path.startswith(one[:-1])) for one in patterns)
    resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    resources = rule.get("resources") or []
    if not _among(resource, resources) and not (wanted.subresource and f"*/{wanted.subresource}" in resources):
        return False
    names = rule.get("resourceNames") or []
    return _among(wanted.group, rule.get("apiGroups")) and (not names or wanted.name in names)


def _among(value: str, listed: list[str] | None) -> bool:
    return listed is not None and (value in listed or "*" in listed)
