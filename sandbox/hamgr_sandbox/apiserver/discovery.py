"""What the server offers, as clients ask for it: the lists of groups, versions and resources, old form and new.

The aggregated form (apidiscovery.k8s.io/v2) answers in two requests what the old form answers in one a version.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from hamgr_sandbox.apiserver.kinds import Catalog, Kind, Subresource

Obj = dict[str, Any]

VERSION: Obj = {
    "major": "1",
    "minor": "36",
    "emulationMajor": "1",
    "emulationMinor": "36",
    "minCompatibilityMajor": "1",
    "minCompatibilityMinor": "35",
    "gitVersion": "v1.36.2+hamgr-sandbox",
    "gitCommit": "",
    "gitTreeState": "",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}

AGGREGATED_TYPE = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_STATUS_VERBS = ("get", "patch", "update")

# Resources that store nothing: a request is its own answer.
_REVIEWS: dict[str, tuple[tuple[str, str, bool], ...]] = {
    "authorization.k8s.io/v1": (
        ("localsubjectaccessreviews", "LocalSubjectAccessReview", True),
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", False),
        ("subjectaccessreviews", "SubjectAccessReview", False),
    ),
    "authentication.k8s.io/v1": (
        ("selfsubjectreviews", "SelfSubjectReview", False),
        ("tokenreviews", "TokenReview", False),
    ),
}


def _storage_hash(kind: Kind) -> str:
    """As the API server computes it, so that clients see the same resource in the same form."""
    digest = hashlib.sha256(f"{kind.group}/{kind.version}/{kind.kind}".encode()).digest()
    return base64.b64encode(digest[:8]).decode()


def subresources(kind: Kind) -> list[Subresource]:
    """Every subresource of a kind, in the order of their names."""
    found = list(kind.subresources)
    if kind.has_status:
        found.append(Subresource("status", kind.kind, _STATUS_VERBS))
    if kind.scale_paths:
        found.append(Subresource("scale", "Scale", _STATUS_VERBS, "autoscaling", "v1"))
    return sorted(found, key=lambda one: one.name)


def _entry(kind: Kind) -> Obj:
    entry: Obj = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": sorted(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    entry["storageVersionHash"] = _storage_hash(kind)
    return entry


def _sub_entry(kind: Kind, sub: Subresource) -> Obj:
    entry: Obj = {"name": f"{kind.plural}/{sub.name}", "singularName": "", "namespaced": kind.namespaced}
    if sub.group:
        entry |= {"group": sub.group, "version": sub.version}
    return entry | {"kind": sub.kind, "verbs": list(sub.verbs)}


def _review_entries(group_version: str) -> list[Obj]:
    return [
        {"name": plural, "singularName": kind.lower(), "namespaced": namespaced, "kind": kind, "verbs": ["create"]}
        for plural, kind, namespaced in _REVIEWS.get(group_version, ())
    ]


def resource_list(catalog: Catalog, group: str, version: str) -> Obj | None:
    """The APIResourceList of a group version; None when there is none."""
    group_version = f"{group}/{version}" if group else version
    resources: list[Obj] = []
    if group_version == "v1":
        binding = {"name": "bindings", "singularName": "binding", "namespaced": True, "kind": "Binding"}
        resources.append({**binding, "verbs": ["create"]})
    for kind in catalog.in_version(group, version):
        resources.append(_entry(kind))
        resources += [_sub_entry(kind, sub) for sub in subresources(kind)]
    resources += _review_entries(group_version)
    if not resources:
        return None
    head: Obj = {"kind": "APIResourceList"}
    if group:
        head["apiVersion"] = "v1"
    return {**head, "groupVersion": group_version, "resources": resources}


def groups(catalog: Catalog) -> dict[str, list[str]]:
    """Named group -> versions, those that store nothing included."""
    found = {group: versions for group, versions in catalog.groups().items() if group}
    for group_version in _REVIEWS:
        group, _, version = group_version.partition("/")
        found.setdefault(group, [version])
    return found


def _group(name: str, versions: list[str]) -> Obj:
    listed = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def group_list(catalog: Catalog) -> Obj:
    """The answer to /apis."""
    listed = [_group(name, versions) for name, versions in groups(catalog).items()]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": listed}


def group(catalog: Catalog, name: str) -> Obj | None:
    """The answer to /apis/GROUP."""
    versions = groups(catalog).get(name)
    return None if versions is None else {"kind": "APIGroup", "apiVersion": "v1", **_group(name, versions)}


def versions(address: str) -> Obj:
    """The answer to /api; `address` is the server's own, as the client sees it."""
    route = {"clientCIDR": "0.0.0.0/0", "serverAddress": address}
    return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": [route]}


def _discovered(resource: Obj, subs: list[Obj], group: str, version: str) -> Obj:
    entry: Obj = {
        "resource": resource["name"],
        "responseKind": {"group": group, "version": version, "kind": resource["kind"]},
        "scope": "Namespaced" if resource["namespaced"] else "Cluster",
        "singularResource": resource["singularName"],
        "verbs": resource["verbs"],
    }
    for name in ("shortNames", "categories"):
        if name in resource:
            entry[name] = resource[name]
    if subs:
        entry["subresources"] = [
            {
                "subresource": one["name"].partition("/")[2],
                "responseKind": {
                    "group": one.get("group", group),
                    "version": one.get("version", version),
                    "kind": one["kind"],
                },
                "verbs": one["verbs"],
            }
            for one in subs
        ]
    return entry


def _version_discovery(catalog: Catalog, group: str, version: str) -> Obj:
    listed = (resource_list(catalog, group, version) or {"resources": []})["resources"]
    tops = [one for one in listed if "/" not in one["name"]]
    resources = [
        _discovered(top, [one for one in listed if one["name"].startswith(top["name"] + "/")], group, version)
        for top in tops
    ]
    return {"version": version, "resources": resources, "freshness": "Current"}


def aggregated(catalog: Catalog, *, core: bool) -> Obj:
    """The APIGroupDiscoveryList of /api (the core group) or of /apis (all others)."""
    offered = {"": ["v1"]} if core else groups(catalog)
    items = [
        {
            "metadata": {"name": name} if name else {},
            "versions": [_version_discovery(catalog, name, one) for one in found],
        }
        for name, found in offered.items()
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}
