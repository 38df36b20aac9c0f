"""What is told to whom etcd or the API server turns away: one sentence and the documented code, by daemon and command.

Real servers all of them: etcd with TLS, client certificates and users; the sandbox's API server with certificates,
tokens and roles.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from fixtures.etcd import EtcdServer, ServerTls, require_etcd
from hamgr_sandbox.apiserver.auth import Authenticator, User
from hamgr_sandbox.apiserver.certificates import ensure, server_context
from hamgr_sandbox.apiserver.rbac import RoleBased
from hamgr_sandbox.apiserver.server import Listener, Settings
from hamgr_sandbox.apiserver.threaded import in_thread

from hamgr.cli.main import main as hamgr
from hamgr.kube.cache import Cache
from hamgr.kube.connection import KubeConfig
from hamgr.kube.gateway import Kube

pytestmark = pytest.mark.etcd
_NO_PERMISSION, _CONFIG = 77, 78


@dataclass(frozen=True)
class Files:
    """PEM files: etcd's authority and certificate, and an authority that signed nothing here."""

    ca: Path
    cert: Path
    key: Path
    stranger: Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("pem")
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1")
    found = Files(folder / "ca.pem", folder / "cert.pem", folder / "key.pem", folder / "stranger.pem")
    authority.cert_pem.write_to_path(found.ca)
    leaf.private_key_pem.write_to_path(found.key)
    leaf.cert_chain_pems[0].write_to_path(found.cert)
    trustme.CA().cert_pem.write_to_path(found.stranger)
    return found


def started(folder: Path, files: Files, *, client_auth: bool = False) -> Iterator[EtcdServer]:
    require_etcd()
    server = EtcdServer(folder, tls=ServerTls(files.ca, files.cert, files.key, client_auth=client_auth))
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def strict_etcd(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Iterator[EtcdServer]:
    """Speaks to those alone who show a certificate."""
    yield from started(tmp_path_factory.mktemp("strict"), files, client_auth=True)


@pytest.fixture(scope="module")
def guarded_etcd(tmp_path_factory: pytest.TempPathFactory, files: Files) -> Iterator[EtcdServer]:
    """Knows root and hamgr, who may use /hamgr/t/ alone."""
    for server in started(tmp_path_factory.mktemp("guarded"), files):
        context = ssl.create_default_context(cafile=str(files.ca))
        for path, body in _USERS:
            url, data = f"{server.endpoint}/v3/auth/{path}", json.dumps(body).encode()
            urllib.request.urlopen(url, data=data, timeout=10, context=context).read()
        yield server


_USERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("user/add", {"name": "root", "password": "root-secret"}),
    ("user/grant", {"user": "root", "role": "root"}),
    ("user/add", {"name": "hamgr", "password": "right"}),
    ("role/add", {"name": "hamgr"}),
    (
        "role/grant",
        {"name": "hamgr", "perm": {"permType": "READWRITE", "key": "L2hhbWdyL3Qv", "range_end": "L2hhbWdyL3Qw"}},
    ),
    ("user/grant", {"user": "hamgr", "role": "hamgr"}),
    ("enable", {}),
)


def hamgrd(folder: Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    """The daemon's attempt to start."""
    path = folder / "hamgrd.yaml"
    times = {"attempt-timeout": "1s", "request-timeout": "1s"}
    document = {"cluster": "t", "node": "n1", "kubernetes": {"enabled": False}} | settings
    document["etcd"] = times | document["etcd"]
    path.write_text(yaml.safe_dump(document))
    return subprocess.run(
        [sys.executable, "-m", "hamgr.daemon.main", "--config", path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ,
    )


def assert_said(code: int, error: str, expected: int, *words: str) -> None:
    last = error.strip().splitlines()[-1]
    assert (code, [word for word in words if word not in last]) == (expected, []), error
    assert "Traceback" not in error


# --- etcd --------------------------------------------------------------------------------------------------------

ETCD = {
    "an authority that did not sign": ("strict_etcd", {"ca": "stranger"}, _CONFIG, ("is not to be trusted",)),
    "no client certificate": ("strict_etcd", {"ca": "ca"}, _CONFIG, ("refused our client certificate",)),
    "no user": ("guarded_etcd", {"ca": "ca"}, _NO_PERMISSION, ("wants a user and password",)),
    "a wrong password": (
        "guarded_etcd",
        {"ca": "ca", "user": "hamgr", "password": "wrong"},
        _NO_PERMISSION,
        ("does not accept user 'hamgr' with this password",),
    ),
    "a user without rights here": (
        "guarded_etcd",
        {"ca": "ca", "user": "hamgr", "password": "right", "cluster": "other"},
        _NO_PERMISSION,
        ("denies user 'hamgr' access below /hamgr/other/",),
    ),
}


@pytest.mark.parametrize("name", ETCD)
def test_etcd_turns_us_away(
    request: pytest.FixtureRequest, tmp_path: Path, files: Files, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    fixture, given, code, words = ETCD[name]
    server = request.getfixturevalue(fixture)
    etcd = {"endpoints": [server.endpoint], "ca": str(getattr(files, given["ca"]))}
    if "user" in given:
        (tmp_path / "password").write_text(given["password"] + "\n")
        etcd |= {"user": given["user"], "password-file": str(tmp_path / "password")}
    cluster = given.get("cluster", "t")
    done = hamgrd(tmp_path, etcd=etcd, cluster=cluster)
    assert_said(done.returncode, done.stderr, code, "hamgrd: ", *words)
    assert "right" not in done.stderr
    # The command line reads the same settings, and says the same.
    returned = hamgr(["--config", str(tmp_path / "hamgrd.yaml"), "status"])
    assert_said(returned, capsys.readouterr().err, code, "hamgr: ", *words)


def test_a_password_file_that_is_not_there(tmp_path: Path, guarded_etcd: EtcdServer, files: Files) -> None:
    etcd = {"endpoints": [guarded_etcd.endpoint], "ca": str(files.ca), "user": "hamgr", "password-file": "gone"}
    done = hamgrd(tmp_path, etcd=etcd)
    assert_said(done.returncode, done.stderr, _CONFIG, "hamgrd: ", "password file", "gone")


# --- the API server ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """An API server over HTTPS with role-based access, and its authority's certificate."""
    certificates = ensure(tmp_path_factory.mktemp("api"), ["127.0.0.1"])
    tokens = {"known": User("hamgr", ("system:authenticated",), "1")}
    settings = Settings(authenticator=Authenticator(tokens, certificates=True), authorization=RoleBased)
    with in_thread(settings, Listener("127.0.0.1", tls=server_context(certificates))) as url:
        yield url, certificates.authority


def kubeconfig(folder: Path, server: str, authority: Path, token: str) -> str:
    path = folder / "kubeconfig"
    cluster = {"server": server, "certificate-authority": str(authority)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": {"token": token}}],
    }
    path.write_text(yaml.safe_dump(document))
    return str(path)


API = {
    "an authority that did not sign": ("stranger", "known", _CONFIG, ("cannot be trusted", "certificate")),
    "an unknown token": ("", "unknown", _NO_PERMISSION, ("does not accept our credentials", "check the kubeconfig")),
    "a user without rights": ("", "known", _NO_PERMISSION, ("forbidden", 'User "hamgr" cannot list resource')),
}


@pytest.mark.parametrize("name", API)
def test_the_api_server_turns_us_away(
    tmp_path: Path, etcd_server: EtcdServer, api: tuple[str, Path], files: Files, name: str
) -> None:
    authority, token, code, words = API[name]
    url, own = api
    path = kubeconfig(tmp_path, url, files.stranger if authority else own, token)
    done = hamgrd(tmp_path, etcd={"endpoints": [etcd_server.endpoint]}, kubernetes={"kubeconfig": path})
    assert_said(done.returncode, done.stderr, code, "hamgrd: ", *words)


def test_a_kubeconfig_that_is_none(tmp_path: Path, etcd_server: EtcdServer) -> None:
    (tmp_path / "kubeconfig").write_text("clusters: [")
    settings = {"kubeconfig": str(tmp_path / "kubeconfig")}
    done = hamgrd(tmp_path, etcd={"endpoints": [etcd_server.endpoint]}, kubernetes=settings)
    assert_said(done.returncode, done.stderr, _CONFIG, "hamgrd: ", "kubeconfig", "cannot be used")


def test_nobody_waits_for_what_the_api_server_refuses(tmp_path: Path, api: tuple[str, Path]) -> None:
    server, authority = api
    kube = Kube(KubeConfig(kubeconfig=Path(kubeconfig(tmp_path, server, authority, "known"))))
    cache = Cache(kube)
    cache.start()
    try:
        assert cache.wait_synced(3600) is False
    finally:
        cache.stop()
        kube.close()
