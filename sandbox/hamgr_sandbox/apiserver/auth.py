"""Who a request comes from, and whether it may.

Identity comes from a bearer token (of the token file, or of a service account) or from a client certificate; without
either configured everybody is the administrator. What an identity may do is an authorizer's word: everything, or what
its roles say (rbac.py).
"""

from __future__ import annotations

import csv
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from aiohttp import web

from hamgr_sandbox.apiserver import accounts
from hamgr_sandbox.apiserver.errors import unauthorized
from hamgr_sandbox.apiserver.storage import Storage

Obj = dict[str, Any]

ADMINISTRATORS = "system:masters"
_OPEN_PATHS = ("/healthz", "/livez", "/readyz", "/version")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who is known."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""

    def info(self) -> Obj:
        """As a review tells it."""
        found: Obj = {"username": self.name, "groups": [*self.groups, "system:authenticated"]}
        return {**found, "uid": self.uid} if self.uid else found


ADMINISTRATOR = User("system:admin", (ADMINISTRATORS,))
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a request wants to do: a verb on a resource, or on a path that is none."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Authorizer(Protocol):
    """Decides what somebody may do."""

    def allows(self, user: User, wanted: Attributes) -> bool: ...


class AllowAll:
    """Everybody who is known may do everything."""

    def allows(self, user: User, wanted: Attributes) -> bool:
        return user is not ANONYMOUS or wanted.path in _OPEN_PATHS


def allow_all(storage: Storage) -> Authorizer:
    """The authorizer of a sandbox that is not about permissions."""
    return AllowAll()


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Knows users by token and by certificate; `required` is off when nothing was configured.

    `accounts_key` signs the tokens of service accounts.
    """

    tokens: Mapping[str, User] = field(default_factory=dict)
    certificates: bool = False
    accounts_key: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @property
    def required(self) -> bool:
        return bool(self.tokens) or self.certificates

    def identify(self, request: web.Request) -> User:
        """The user behind a request; raises ApiFailure 401."""
        header = request.headers.get("Authorization", "")
        if header.lower().startswith("bearer "):
            user = self._bearer(header[7:].strip())
            if user is None and self.required:
                raise unauthorized()
            return user or ADMINISTRATOR
        certificate = request.transport.get_extra_info("peercert") if request.transport else None
        if certificate:
            return _certificate_user(certificate)
        if not self.required:
            return ADMINISTRATOR
        if request.path in _OPEN_PATHS:
            return ANONYMOUS
        raise unauthorized()

    def _bearer(self, token: str) -> User | None:
        if token in self.tokens:
            return self.tokens[token]
        account = accounts.bearer(self.accounts_key, token, datetime.now(UTC))
        return User(*account) if account else None


def _certificate_user(certificate: Obj) -> User:
    """Common name and organizations of a verified client certificate are user and groups."""
    parts = [pair for entry in certificate.get("subject", ()) for pair in entry]
    name = next((value for key, value in parts if key == "commonName"), "")
    return User(name, tuple(value for key, value in parts if key == "organizationName"))


def read_tokens(path: Path) -> dict[str, User]:
    """A token file in Kubernetes' form: token,user,uid[,"group1,group2"] a line. Raises OSError, ValueError."""
    found = {}
    with path.open(encoding="utf-8", newline="") as stream:
        for number, row in enumerate(csv.reader(stream), 1):
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3:
                raise ValueError(f"{path}: line {number}: expected token,user,uid and perhaps groups")
            groups = tuple(one.strip() for one in row[3].split(",")) if len(row) > 3 and row[3] else ()
            found[row[0].strip()] = User(row[1].strip(), groups, row[2].strip())
    return found
