"""Reviews: questions about identity and permission, answered and not stored."""

from __future__ import annotations

from typing import Any

from hamgr_sandbox.apiserver.auth import Attributes, Authorizer, User

Obj = dict[str, Any]


def _attributes(spec: Obj) -> Attributes:
    resource = spec.get("resourceAttributes")
    if resource is None:
        path = spec.get("nonResourceAttributes") or {}
        return Attributes(path.get("verb", ""), path=path.get("path", ""))
    return Attributes(
        resource.get("verb", ""),
        resource.get("group", ""),
        resource.get("resource", ""),
        resource.get("subresource", ""),
        resource.get("namespace", ""),
        resource.get("name", ""),
    )


def answer_review(plural: str, body: Obj, user: User, authorizer: Authorizer) -> Obj | None:
    """The review with its status; None for a kind of review that is not known."""
    spec = body.get("spec") or {}
    if plural == "selfsubjectaccessreviews":
        return {**body, "status": {"allowed": authorizer.allows(user, _attributes(spec))}}
    if plural in ("subjectaccessreviews", "localsubjectaccessreviews"):
        asked = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
        return {**body, "status": {"allowed": authorizer.allows(asked, _attributes(spec))}}
    if plural == "selfsubjectreviews":
        return {**body, "status": {"userInfo": user.info()}}
    if plural == "selfsubjectrulesreviews":
        everything = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
        rules = {"resourceRules": [everything], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}
        return {**body, "status": {**rules, "incomplete": False}}
    return None
