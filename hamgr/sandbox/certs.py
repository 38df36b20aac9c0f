"""Certificates and kubeconfigs of a sandbox: an authority of its own, so that clients check what they talk to."""

import base64
import secrets
from collections.abc import Sequence
from pathlib import Path

import trustme
import yaml

CA, SERVER_CERT, SERVER_KEY = "ca.crt", "tls.crt", "tls.key"


def make_authority(directory: Path, hosts: Sequence[str]) -> None:
    """Write an authority's certificate and a server certificate for `hosts` to `directory`; keys only for the owner."""
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority = trustme.CA(organization_name="hamgr sandbox")
    server = authority.issue_cert(*hosts)
    authority.cert_pem.write_to_path(str(directory / CA))
    key = directory / SERVER_KEY
    key.touch(mode=0o600)
    server.private_key_pem.write_to_path(str(key))
    (directory / SERVER_CERT).write_bytes(b"".join(blob.bytes() for blob in server.cert_chain_pems))


def new_token() -> str:
    """A bearer token nobody can guess."""
    return secrets.token_urlsafe(32)


def write_kubeconfig(path: Path, server: str, ca: Path | None, token: str, user: str = "sandbox-admin") -> None:
    """Write a kubeconfig that needs no other file; readable for the owner alone."""
    cluster: dict[str, str] = {"server": server}
    if ca is not None:
        cluster["certificate-authority-data"] = base64.b64encode(ca.read_bytes()).decode()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": cluster}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user, "namespace": "default"}}],
        "current-context": "sandbox",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))


def redirected_kubeconfig(source: Path, target: Path, server: str) -> None:
    """A copy of a kubeconfig that reaches the same API server through another address, which its certificate names."""
    config = yaml.safe_load(source.read_text())
    for cluster in config["clusters"]:
        cluster["cluster"]["server"] = server
    target.touch(mode=0o600)
    target.write_text(yaml.safe_dump(config, sort_keys=False))
