"""Certificates for HTTPS: an authority of the sandbox's own, the server's certificate, and the administrator's.

A directory that has them already is used as it is, so that a restarted server is still trusted.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import trustme

from hamgr_sandbox.apiserver.auth import ADMINISTRATORS

_NAMES = ("localhost", "127.0.0.1", "kubernetes", "kubernetes.default.svc")


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the files of a directory are; all PEM."""

    directory: Path

    @property
    def authority(self) -> Path:
        return self.directory / "ca.crt"

    @property
    def server(self) -> Path:
        return self.directory / "server.pem"

    @property
    def client(self) -> Path:
        return self.directory / "admin.pem"

    def complete(self) -> bool:
        return all(path.exists() for path in (self.authority, self.server, self.client))


def ensure(directory: Path, hosts: Sequence[str]) -> CertificateFiles:
    """The certificates in a directory, made for these hosts if they are not there. Raises OSError."""
    files = CertificateFiles(directory)
    if files.complete():
        return files
    directory.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA(organization_name="hamgr sandbox")
    names = [*dict.fromkeys([*_NAMES, *(host for host in hosts if not _unspecified(host))])]
    server = authority.issue_cert(*names)
    client = authority.issue_cert(common_name="kubernetes-admin", organization_name=ADMINISTRATORS)
    _write(files.server, server.private_key_and_cert_chain_pem.bytes())
    _write(files.client, client.private_key_and_cert_chain_pem.bytes())
    authority.cert_pem.write_to_path(str(files.authority))
    return files


def _unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """HTTPS with these certificates; a client certificate of the authority is checked when one is shown."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server)
    context.load_verify_locations(files.authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
