"""Tokens of service accounts: signed statements of who the bearer is and until when, good over a restart of the server.

https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-request-v1/
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

from hamgr_sandbox.apiserver.errors import bad_request

Obj = dict[str, Any]
_SHORTEST_S, _USUAL_S = 600, 3600


def request_token(key: bytes, account: Obj, body: Obj, now: datetime) -> Obj:
    """The TokenRequest `body` for this ServiceAccount, answered. Raises ApiFailure 400."""
    seconds = (body.get("spec") or {}).get("expirationSeconds") or _USUAL_S
    if not isinstance(seconds, int) or seconds < _SHORTEST_S:
        raise bad_request("spec.expirationSeconds: Invalid value: may not specify a duration less than 10 minutes")
    ends = now + timedelta(seconds=seconds)
    namespace, name = account["metadata"]["namespace"], account["metadata"]["name"]
    claims = {"sub": f"system:serviceaccount:{namespace}:{name}", "exp": ends.timestamp()}
    status = {"token": _sign(key, claims), "expirationTimestamp": ends.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": body.get("spec") or {}} | {
        "metadata": {"name": name, "namespace": namespace},
        "status": status,
    }


def bearer(key: bytes, token: str, now: datetime) -> tuple[str, tuple[str, ...]] | None:
    """Name and groups of whoever shows this token; None when it is none of ours, or over."""
    claims = _read(key, token)
    if claims is None or claims["exp"] <= now.timestamp():
        return None
    name = str(claims["sub"])
    namespace = name.split(":")[2]
    return name, ("system:serviceaccounts", f"system:serviceaccounts:{namespace}")


def _sign(key: bytes, claims: Obj) -> str:
    parts = [_encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    return ".".join([*parts, _encode(_signature(key, parts))])


def _read(key: bytes, token: str) -> Obj | None:
    *parts, signature = token.split(".")
    if len(parts) != 2 or not hmac.compare_digest(_encode(_signature(key, parts)), signature):
        return None
    try:
        claims: Obj = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return None
    return claims


def _signature(key: bytes, parts: list[str]) -> bytes:
    return hmac.digest(key, ".".join(parts).encode(), hashlib.sha256)


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
