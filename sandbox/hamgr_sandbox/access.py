"""Who may speak to the sandbox's API server, and how: tokens and kubeconfigs, each for one user.

Every program has a user of its own, as in a real cluster, so that the API server can tell them apart.
"""

import base64
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import yaml


@dataclass(frozen=True, slots=True)
class User:
    """A user of the API server and the secret that proves it."""

    name: str
    groups: tuple[str, ...]
    token: str


def new_user(name: str, *groups: str) -> User:
    """A user with a token that nobody can guess."""
    return User(name, groups, secrets.token_urlsafe(32))


def administrator() -> User:
    """The user behind the sandbox's own kubeconfig, who may do everything."""
    return new_user("sandbox-admin", "system:masters")


def node(name: str) -> User:
    """The user of a node agent."""
    return new_user(f"system:node:{name}", "system:nodes")


def daemon(name: str) -> User:
    """The user of the hamgrd on a node."""
    return new_user(f"hamgrd:{name}", "hamgrd")


def write_tokens(path: Path, users: Sequence[User]) -> None:
    """Write the token file that kube-apiserver's --token-auth-file describes; readable for the owner alone."""
    path.touch(mode=0o600)
    path.write_text("".join(f'{user.token},{user.name},{user.name},"{",".join(user.groups)}"\n' for user in users))


_FILES = {
    "clusters": ("cluster", ("certificate-authority",)),
    "users": ("user", ("client-certificate", "client-key", "tokenFile")),
}


def relayed_kubeconfig(source: Path, target: Path, server: str) -> None:
    """A copy of a kubeconfig that reaches its API server by another address, and still checks the server's own name."""
    config = yaml.safe_load(source.read_text())
    for section, (entry, names) in _FILES.items():
        for each in config.get(section) or []:
            for name in set(names) & set(each[entry]):
                each[entry][name] = str(source.absolute().parent / each[entry][name])
    for each in config["clusters"]:
        cluster = each["cluster"]
        cluster.setdefault("tls-server-name", urlsplit(cluster["server"]).hostname)
        cluster["server"] = server
    target.touch(mode=0o600)
    target.write_text(yaml.safe_dump(config, sort_keys=False))


def write_kubeconfig(path: Path, server: str, authority: Path, user: User) -> None:
    """Write a kubeconfig that needs no other file; readable for the owner alone."""
    cluster = {"server": server, "certificate-authority-data": base64.b64encode(authority.read_bytes()).decode()}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": cluster}],
        "users": [{"name": user.name, "user": {"token": user.token}}],
        "contexts": [{"name": "sandbox", "context": {"cluster": "sandbox", "user": user.name, "namespace": "default"}}],
        "current-context": "sandbox",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
