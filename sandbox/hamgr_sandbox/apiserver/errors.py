"""Failures as the API server tells them: a Status object with code, reason, message and details.

The wording follows kube-apiserver 1.36 (recorded answers), because clients and people match on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hamgr_sandbox.apiserver.kinds import Kind

Obj = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that is wrong with one field of an object."""

    field: str
    reason: str
    message: str


def invalid(path: str, value: str, why: str) -> Cause:
    """A value that must not be; `value` is its JSON text."""
    return Cause(path, "FieldValueInvalid", f"Invalid value: {value}: {why}")


def required(path: str, why: str = "") -> Cause:
    """A value that must be there and is not."""
    return Cause(path, "FieldValueRequired", "Required value" + (f": {why}" if why else ""))


def forbidden_field(path: str, why: str) -> Cause:
    """A field that may not be set or changed here."""
    return Cause(path, "FieldValueForbidden", f"Forbidden: {why}")


def duplicate(path: str, value: str) -> Cause:
    """A list key that occurs twice; `value` is its JSON text."""
    return Cause(path, "FieldValueDuplicate", f"Duplicate value: {value}")


def unsupported(path: str, value: str, supported: Sequence[str]) -> Cause:
    """A value outside of an enumeration; `value` is its JSON text."""
    listed = ", ".join(f'"{one}"' for one in supported)
    return Cause(path, "FieldValueNotSupported", f"Unsupported value: {value}: supported values: {listed}")


@dataclass
class ApiFailure(Exception):
    """A request that fails with this Status."""

    code: int
    reason: str
    message: str
    details: Obj | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(self.message)

    def body(self) -> Obj:
        """The Status object that goes to the client."""
        status: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status


def _details(kind: Kind, name: str, *, by_kind: bool) -> Obj:
    details: Obj = {"name": name} if name else {}
    if kind.group:
        details["group"] = kind.group
    details["kind"] = kind.kind if by_kind else kind.plural
    return details


def not_found(kind: Kind, name: str) -> ApiFailure:
    return ApiFailure(404, "NotFound", f'{kind.resource} "{name}" not found', _details(kind, name, by_kind=False))


def path_not_found() -> ApiFailure:
    return ApiFailure(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(kind: Kind, name: str) -> ApiFailure:
    message = f'{kind.resource} "{name}" already exists'
    return ApiFailure(409, "AlreadyExists", message, _details(kind, name, by_kind=False))


def conflict(kind: Kind, name: str, why: str) -> ApiFailure:
    message = f'Operation cannot be fulfilled on {kind.resource} "{name}": {why}'
    return ApiFailure(409, "Conflict", message, _details(kind, name, by_kind=False))


def modified(kind: Kind, name: str) -> ApiFailure:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(kind, name, why)


def precondition_failed(kind: Kind, name: str, why: str) -> ApiFailure:
    """A delete precondition that does not hold; the API server names the kind here, not the resource."""
    message = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}'
    return ApiFailure(409, "Conflict", message, _details(kind, name, by_kind=True))


def invalid_object(kind: Kind, name: str, causes: Iterable[Cause]) -> ApiFailure:
    """422 with every cause; the message mentions each distinct one once."""
    listed = list(causes)
    texts = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in listed))
    summary = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    details = _details(kind, name, by_kind=True)
    details["causes"] = [{"reason": c.reason, "message": c.message, "field": c.field} for c in listed]
    return ApiFailure(422, "Invalid", f'{kind.qualified} "{name}" is invalid: {summary}', details)


def bad_request(message: str) -> ApiFailure:
    return ApiFailure(400, "BadRequest", message)


def forbidden(kind: Kind, name: str, why: str) -> ApiFailure:
    subject = f'{kind.resource} "{name}"' if name else kind.resource
    return ApiFailure(403, "Forbidden", f"{subject} is forbidden: {why}", _details(kind, name, by_kind=False))


def unauthorized() -> ApiFailure:
    return ApiFailure(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiFailure:
    return ApiFailure(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", details={}
    )


def unsupported_media_type() -> ApiFailure:
    return ApiFailure(415, "UnsupportedMediaType", "415: Unsupported Media Type", {})


def expired(message: str) -> ApiFailure:
    return ApiFailure(410, "Expired", message)


def too_large_resource_version(asked: int, current: int) -> ApiFailure:
    details: Obj = {
        "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
        "retryAfterSeconds": 1,
    }
    message = f"Timeout: Too large resource version: {asked}, current: {current}"
    return ApiFailure(504, "Timeout", message, details, {"Retry-After": "1"})


def too_many_disruptions(message: str) -> ApiFailure:
    details: Obj = {
        "causes": [{"reason": "DisruptionBudget", "message": message}],
    }
    text = "Cannot evict pod as it would violate the pod's disruption budget."
    return ApiFailure(429, "TooManyRequests", text, details, {"Retry-After": "10"})


def internal_error(message: str) -> ApiFailure:
    return ApiFailure(500, "InternalError", f"Internal error occurred: {message}")


def success(code: int | None = None, details: Obj | None = None) -> Obj:
    """A Status object that reports success."""
    status: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details is not None:
        status["details"] = details
    if code is not None:
        status["code"] = code
    return status
