"""What can go wrong when one speaks to Kubernetes, told so that an operator can act on it.

The API server's own sentence is kept where there is one (it names the object and the right that is missing); for
everything below HTTP a sentence is made here.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Mapping
from typing import Any


class KubeError(Exception):
    """The API server refused or could not be asked.

    ``code`` is the HTTP status (0: there was no answer), ``reason`` Kubernetes' word for it (``NotFound``, ...),
    ``message`` a sentence for people, ``retry_after`` the seconds after which the server wants to be asked again.
    """

    def __init__(self, code: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class NotFound(KubeError):
    """404: there is no such object, or no such kind."""


class Conflict(KubeError):
    """409: the object is not (any more) the one that the UID or resourceVersion precondition names."""


class AlreadyExists(KubeError):
    """409: an object of that name is there already."""


class Gone(KubeError):
    """410: the resourceVersion is too old; list anew."""


class Invalid(KubeError):
    """400, 413, 415, 422: the object or request is malformed; also a JSON patch whose ``test`` failed."""


class Unauthorized(KubeError):
    """401: the API server does not know our credentials."""


class Forbidden(KubeError):
    """403: known, but without the right to do this."""


class Unavailable(KubeError):
    """No usable answer: refused, timed out, untrusted certificate, 429 or 5xx. Whether a write took effect is unknown
    unless ``code`` is 429."""


class Barred(Unavailable):
    """Nothing was sent: who asked may not change anything now, or not for long enough to wait for the answer."""

    def __init__(self, why: str) -> None:
        super().__init__(0, "Barred", why)


class BadConfiguration(KubeError):
    """The kubeconfig or the in-cluster credentials cannot be used (CRM_EX_CONFIG, 78)."""


_BY_CODE: Mapping[int, type[KubeError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    405: Invalid,
    409: Conflict,
    410: Gone,
    413: Invalid,
    415: Invalid,
    422: Invalid,
}
_BY_REASON: Mapping[str, type[KubeError]] = {"AlreadyExists": AlreadyExists, "Expired": Gone}


def from_status(code: int, body: bytes, headers: Mapping[str, str], asked: str, server: str) -> KubeError:
    """The error for an HTTP answer; ``asked`` is "GET /path", ``body`` usually a Status object, but proxies differ."""
    status = _status_object(body)
    reason = str(status.get("reason") or f"HTTP{code}")
    said = str(status.get("message") or body[:200].decode(errors="replace").strip() or "no explanation")
    retry_after = _retry_after(headers, status)
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code) or (Unavailable if code == 429 or code >= 500 else KubeError)
    if kind is Invalid and _is_another_object(status):
        kind, reason = Conflict, "Conflict"
    elif kind is Unauthorized:
        said = f"the Kubernetes API server at {server} does not accept our credentials ({said}); check the kubeconfig"
    elif kind is Unavailable:
        said = f"the Kubernetes API server at {server} answered {code} to {asked}: {said}"
    return kind(code, reason, said, retry_after)


def from_watch_event(status: Mapping[str, Any]) -> KubeError:
    """The error for an ERROR event inside a watch, whose object is a Status."""
    code = int(status.get("code") or 0)
    reason = str(status.get("reason") or f"HTTP{code}")
    kind = _BY_REASON.get(reason) or _BY_CODE.get(code) or Unavailable
    return kind(code, reason, str(status.get("message") or "the watch was ended by the API server"))


def from_failure(error: BaseException, asked: str, server: str, waited_s: float) -> Unavailable:
    """The error for a call that got no answer at all: a urllib3, ssl or socket exception."""
    root = _root(error)
    text = str(root) or type(root).__name__
    if "WRONG_VERSION_NUMBER" in text:
        why, reason = "does not speak TLS; write http:// for it in the kubeconfig, or the port that does", "TLS"
    elif isinstance(root, ssl.SSLError) or "certificate" in text.lower():
        why, reason = f"cannot be trusted: {_certificate_trouble(root)}; check the kubeconfig's certificates", "TLS"
    elif isinstance(root, TimeoutError) or "timed out" in text:
        why, reason = f"did not answer {asked} within {waited_s:.3g} s", "Timeout"
    elif isinstance(root, ConnectionRefusedError):
        why, reason = "refuses connections; is it running, and is the address right?", "Refused"
    elif isinstance(root, ConnectionError) and server.startswith("http://"):
        why, reason = "hung up without an answer; if it speaks TLS, write https:// in the kubeconfig", "Unreachable"
    elif isinstance(root, socket.gaierror):
        why, reason = "has an address that cannot be resolved; check the kubeconfig and the name service", "Unresolved"
    else:
        why, reason = f"cannot be reached: {text}", "Unreachable"
    return Unavailable(0, reason, f"the Kubernetes API server at {server} {why}")


def _root(error: BaseException) -> BaseException:
    """The socket's or ssl's own exception below what urllib3 has wrapped around it."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None)
        if isinstance(error, OSError) and not isinstance(inner, BaseException):
            return error
        below = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
        if below is None:
            return error
        error = below
    return error


def _certificate_trouble(error: BaseException) -> str:
    return str(getattr(error, "verify_message", "") or getattr(error, "reason", "") or error)


def _status_object(body: bytes) -> Mapping[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) and parsed.get("kind") == "Status" else {}


def _is_another_object(status: Mapping[str, Any]) -> bool:
    """A patch that names a UID is refused as an attempt to change it when another object has taken the name."""
    causes = (status.get("details") or {}).get("causes") or []
    return any(cause.get("field") == "metadata.uid" for cause in causes)


def _retry_after(headers: Mapping[str, str], status: Mapping[str, Any]) -> float | None:
    said = headers.get("Retry-After") or (status.get("details") or {}).get("retryAfterSeconds")
    try:
        return float(said) if said is not None else None
    except (TypeError, ValueError):
        return None
