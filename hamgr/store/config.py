"""How to reach etcd, checked before the first packet so that a wrong setting is named as such."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from hamgr.store.errors import StoreConfigError

DEFAULT_PORT = 2379
_CLUSTER_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class Address:
    """Host and port of one member of etcd."""

    host: str
    port: int
    tls: bool

    @property
    def netloc(self) -> str:
        """`host:port`, with brackets around an IPv6 address."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.netloc}"


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Where etcd is and who we are to it. Raises StoreConfigError for what cannot work.

    endpoints: URLs, `https://etcd-1:2379` or `http://127.0.0.1:2379`; all of them TLS or none.
    cluster: hamgr's cluster name; all keys are below `/hamgr/CLUSTER/`.
    ca, cert, key: PEM files; `ca` is needed for TLS, `cert` and `key` where etcd asks for a client certificate.
    user, password: etcd's own users; need TLS.
    attempt_timeout_s: one attempt at one member. request_timeout_s: all attempts of one call together.
    silence_s: a watch that has said nothing for so long is checked by a read of what it watches.
    """

    endpoints: tuple[str, ...]
    cluster: str = "default"
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    attempt_timeout_s: float = 1.0
    request_timeout_s: float = 3.0
    silence_s: float = 1.0

    def __post_init__(self) -> None:
        addresses = self.addresses
        if not _CLUSTER_NAME.fullmatch(self.cluster):
            raise StoreConfigError(
                f"the cluster name {self.cluster!r} is not usable as a key: use letters, digits, '.', '_' and '-'"
            )
        if len({address.tls for address in addresses}) > 1:
            raise StoreConfigError(
                "the etcd endpoints mix http:// and https://: a cluster speaks one of them, so use the same for all"
            )
        self._check_tls(tls=addresses[0].tls)
        if (self.user is None) != (self.password is None):
            raise StoreConfigError("etcd's user and password belong together: set both or neither")
        for name in ("attempt_timeout_s", "request_timeout_s", "silence_s"):
            if getattr(self, name) <= 0:
                raise StoreConfigError(f"etcd setting {name} must be more than 0 seconds, not {getattr(self, name)}")

    def _check_tls(self, *, tls: bool) -> None:
        if not tls and (self.ca or self.cert or self.key):
            raise StoreConfigError("etcd certificates are set but the endpoints say http://: write https://")
        if not tls and self.user is not None:
            raise StoreConfigError(
                "etcd user and password would cross the network in clear text: use https:// endpoints and set the CA"
            )
        if tls and self.ca is None:
            raise StoreConfigError("https:// endpoints need the CA that signed etcd's certificate: set the CA file")
        if (self.cert is None) != (self.key is None):
            raise StoreConfigError("etcd client certificate and key belong together: set both or neither")
        for what, path in (("CA", self.ca), ("client certificate", self.cert), ("client key", self.key)):
            if path is not None:
                _check_pem(what, Path(path))

    @property
    def addresses(self) -> tuple[Address, ...]:
        """The endpoints, parsed. Raises StoreConfigError."""
        if not self.endpoints:
            raise StoreConfigError("no etcd endpoint is set: give at least one, such as https://etcd-1:2379")
        return tuple(_parse_endpoint(text) for text in self.endpoints)

    @property
    def prefix(self) -> str:
        """What every key of this cluster starts with."""
        return f"/hamgr/{self.cluster}/"


def _parse_endpoint(text: str) -> Address:
    hint = "write it as https://HOST:PORT or http://HOST:PORT"
    try:
        url = urlsplit(text if "://" in text else f"http://{text}")
        port = url.port or DEFAULT_PORT
    except ValueError as error:
        raise StoreConfigError(f"etcd endpoint {text!r} is no address ({error}): {hint}") from None
    if url.scheme not in ("http", "https") or not url.hostname or url.path not in ("", "/"):
        raise StoreConfigError(f"etcd endpoint {text!r} is no address: {hint}")
    return Address(url.hostname, port, url.scheme == "https")


def _check_pem(what: str, path: Path) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StoreConfigError(f"the etcd {what} file {path} cannot be read: {error.strerror}") from None
    if b"-----BEGIN " not in content:
        raise StoreConfigError(f"the etcd {what} file {path} is not PEM: it holds no '-----BEGIN' line")
