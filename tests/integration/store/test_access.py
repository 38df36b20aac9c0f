"""TLS, users and the sentences for what is wrong: against real etcd servers with certificates and users."""

import json
import os
import socket
import ssl
import struct
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from fixtures.etcd import EtcdServer, ServerTls, free_port, require_etcd
from fixtures.waiting import wait_until

from hamgr.store import Leadership, Store, StoreAuthError, StoreConfig, StoreConfigError, StoreError, StoreUnavailable
from hamgr.store.diagnose import probe

pytestmark = pytest.mark.etcd


@dataclass
class Certificates:
    ca: Path
    cert: Path
    key: Path


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    leaf = authority.issue_cert("127.0.0.1", "localhost")
    found = Certificates(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority.cert_pem.write_to_path(found.ca)
    leaf.private_key_pem.write_to_path(found.key)
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(found.cert, append=True)
    return found


@pytest.fixture
def tls_server(tmp_path: Path, certificates: Certificates) -> Iterator[EtcdServer]:
    require_etcd()
    tls = ServerTls(certificates.ca, certificates.cert, certificates.key)
    server = EtcdServer(tmp_path / "etcd", tls=tls)
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def guarded_server(tls_server: EtcdServer, certificates: Certificates) -> EtcdServer:
    """A TLS server with users: root, and hamgr, who may write below /hamgr/t/ alone."""
    context = ssl.create_default_context(cafile=str(certificates.ca))

    def post(path: str, **body: Any) -> None:
        url = f"{tls_server.endpoint}/v3/auth/{path}"
        urllib.request.urlopen(url, data=json.dumps(body).encode(), timeout=10, context=context).read()

    post("user/add", name="root", password="root-secret")
    post("user/grant", user="root", role="root")
    post("user/add", name="hamgr", password="secret")
    post("role/add", name="hamgr")
    permission = {"permType": "READWRITE", "key": "L2hhbWdyL3Qv", "range_end": "L2hhbWdyL3Qw"}
    post("role/grant", name="hamgr", perm=permission)
    post("user/grant", user="hamgr", role="hamgr")
    post("enable")
    return tls_server


def settings(server: EtcdServer, **fields: Any) -> StoreConfig:
    defaults: dict[str, Any] = {"cluster": "t", "request_timeout_s": 1.0, "attempt_timeout_s": 1.0, "silence_s": 0.3}
    return StoreConfig((server.endpoint,), **(defaults | fields))


def failure(config: StoreConfig) -> StoreError:
    store = Store(config)
    try:
        with pytest.raises(StoreError) as caught:
            store.check()
        return caught.value
    finally:
        store.close()


def test_tls(tls_server: EtcdServer, certificates: Certificates) -> None:
    store = Store(settings(tls_server, ca=certificates.ca))
    assert store.read().values == {}
    store.close()


def test_an_unknown_authority_is_a_wrong_setting(tls_server: EtcdServer, tmp_path: Path) -> None:
    other = tmp_path / "other-ca.pem"
    trustme.CA().cert_pem.write_to_path(other)
    error = failure(settings(tls_server, ca=other))
    assert isinstance(error, StoreConfigError)
    assert "is not to be trusted" in str(error)
    assert str(other) in str(error)


def test_clear_text_to_a_tls_server_is_named(tls_server: EtcdServer) -> None:
    config = StoreConfig((tls_server.endpoint.replace("https", "http"),), request_timeout_s=1.0)
    error = failure(config)
    assert isinstance(error, StoreConfigError)
    assert "speaks TLS: write https://" in str(error)


def test_tls_to_a_clear_text_server_is_named(etcd_server: EtcdServer, certificates: Certificates) -> None:
    endpoint = etcd_server.endpoint.replace("http", "https")
    error = failure(StoreConfig((endpoint,), ca=certificates.ca, request_timeout_s=1.0))
    assert isinstance(error, StoreConfigError)
    assert "does not speak TLS: write http://" in str(error)


@pytest.mark.parametrize("last_word", [b"", b"HTTP/1.0 400 Bad Request\r\n\r\n"])
def test_however_a_clear_text_server_ends_a_handshake_it_is_named(certificates: Certificates, last_word: bytes) -> None:
    """Reset, closed or answered in clear text: which of them a client sees is a matter of timing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1)  # it has begun to speak TLS
                connection.sendall(last_word)
                # A close with unread data, and no linger, is a reset.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        server = threading.Thread(target=refuse)
        server.start()
        config = StoreConfig((f"https://127.0.0.1:{listener.getsockname()[1]}",), ca=certificates.ca)
        error = probe(config, config.addresses[0])
        server.join()
    assert isinstance(error, StoreConfigError)
    assert "does not speak TLS: write http://" in str(error)


def test_a_missing_client_certificate_is_named(tmp_path: Path, certificates: Certificates) -> None:
    require_etcd()
    tls = ServerTls(certificates.ca, certificates.cert, certificates.key, client_auth=True)
    server = EtcdServer(tmp_path / "etcd", tls=tls)
    try:
        server.start()
        error = failure(settings(server, ca=certificates.ca))
        assert isinstance(error, StoreConfigError)
        assert "refused our client certificate" in str(error)
        store = Store(settings(server, ca=certificates.ca, cert=certificates.cert, key=certificates.key))
        store.check()
        store.close()
    finally:
        server.kill()


def test_connection_refused_and_unknown_names_are_named() -> None:
    port = free_port()
    error = failure(StoreConfig((f"http://127.0.0.1:{port}",), request_timeout_s=0.3))
    assert isinstance(error, StoreUnavailable)
    assert f"connection refused by etcd endpoint http://127.0.0.1:{port}" in str(error)
    error = failure(StoreConfig(("http://etcd.invalid:2379",), request_timeout_s=0.3))
    assert isinstance(error, StoreUnavailable)
    assert "the name etcd.invalid" in str(error)


def test_users(guarded_server: EtcdServer, certificates: Certificates) -> None:
    store = Store(settings(guarded_server, ca=certificates.ca, user="hamgr", password="secret"))
    leadership = Leadership(store, "n1")
    assert leadership.campaign() is not None
    leadership.fenced_txn(puts={"state/x": 1})
    assert store.read("state/").values == {"state/x": 1}
    store.close()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"user": "hamgr", "password": "wrong"}, "does not accept user 'hamgr' with this password"),
        ({}, "wants a user and password"),
        ({"user": "hamgr", "password": "secret", "cluster": "other"}, "denies user 'hamgr' access below /hamgr/other/"),
    ],
)
def test_refused_users_are_named(
    guarded_server: EtcdServer, certificates: Certificates, fields: dict[str, Any], sentence: str
) -> None:
    error = failure(settings(guarded_server, ca=certificates.ca, **fields))
    assert isinstance(error, StoreAuthError)
    assert sentence in str(error)
    assert "secret" not in str(error)


def test_access_tokens_void_after_a_restart_are_renewed(guarded_server: EtcdServer, certificates: Certificates) -> None:
    store = Store(settings(guarded_server, ca=certificates.ca, user="hamgr", password="secret", request_timeout_s=5.0))
    leadership = Leadership(store, "n1", ttl_s=60)
    assert leadership.campaign() is not None
    seen: list[object] = []
    watch = store.watch(store.read("state/"), lambda changes, _rev: seen.extend(c.value for c in changes))
    leadership.fenced_txn(puts={"state/x": 1})
    guarded_server.kill()
    guarded_server.start()
    leadership.fenced_txn(puts={"state/x": 2})
    wait_until(lambda: seen[-1:] == [2])
    watch.stop()
    store.close()


def test_a_user_is_harmless_where_etcd_has_no_users(tls_server: EtcdServer, certificates: Certificates) -> None:
    store = Store(settings(tls_server, ca=certificates.ca, user="hamgr", password="secret"))
    assert store.read().values == {}
    store.close()


def documented_commands() -> list[list[str]]:
    """The commands of docs/operations.md that make roles and users."""
    text = (Path(__file__).parents[3] / "docs/operations.md").read_text()
    block = text.split("### Who may do what in etcd")[1].split("```")[1]
    return [line.split() for line in block.strip().splitlines()]


@pytest.fixture
def shop(tls_server: EtcdServer, certificates: Certificates) -> Iterator[dict[str, Store]]:
    """An etcd with the roles and users of the documentation; a store for each user."""
    endpoint = [f"--endpoints={tls_server.endpoint}", f"--cacert={certificates.ca}"]
    for program, *words in documented_commands():
        command = [program, *endpoint, *words]
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, "ETCDCTL_API": "3"})
    passwords = {"n1": "a-long-password", "alice": "another-one"}
    stores = {
        user: Store(settings(tls_server, cluster="shop", ca=certificates.ca, user=user, password=password))
        for user, password in passwords.items()
    }
    yield stores
    for store in stores.values():
        store.close()


def test_a_node_leads_and_records_but_does_not_write_the_configuration(shop: dict[str, Store]) -> None:
    store = shop["n1"]
    store.check()
    shop["alice"].compare_and_put("config", {"text": "cluster: shop"}, 0)
    assert store.read("").values == {"config": {"text": "cluster: shop"}}
    leadership = Leadership(store, "n1")
    assert leadership.campaign() is not None
    leadership.fenced_txn(puts={"state/x": 1, "status": {}, "fences/1": {}, "events/1": {}, "responses/1": {}})
    with pytest.raises(StoreAuthError):
        leadership.fenced_txn(puts={"config": {"text": "cluster: other"}})
    with pytest.raises(StoreAuthError):
        store.transact(deletes=("config",))
    config = store.get("config")
    assert config is not None
    assert config.value == {"text": "cluster: shop"}


@pytest.mark.parametrize("key", ["state/nodes/n1", "leader", "status", "fences/1", "members/n1", "config2", "events/1"])
def test_an_operator_configures_and_asks_and_writes_nothing_else(shop: dict[str, Store], key: str) -> None:
    store = shop["alice"]
    store.compare_and_put("config", {"text": "cluster: shop"}, 0)
    store.compare_and_put("requests/1", {"kind": "fence", "body": {}}, 0)
    with pytest.raises(StoreAuthError):
        store.compare_and_put(key, {}, 0)
    assert shop["n1"].get(key) is None


@pytest.mark.parametrize("user", ["n1", "alice"])
def test_other_clusters_are_out_of_reach(
    shop: dict[str, Store], user: str, tls_server: EtcdServer, certificates: Certificates
) -> None:
    given = shop[user].config
    for cluster in ("sho", "shop2", "other"):
        other = settings(tls_server, cluster=cluster, ca=certificates.ca, user=given.user, password=given.password)
        store = Store(other)
        with pytest.raises(StoreAuthError):
            store.read("")
        store.close()
