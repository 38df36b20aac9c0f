"""The gateway against the stand-in API server, and against servers that refuse, stall and lie."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme

from hamgr.kube.connection import KubeConfig
from hamgr.kube.errors import (
    AlreadyExists,
    BadConfiguration,
    Barred,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
    Unauthorized,
    Unavailable,
)
from hamgr.kube.gate import LeadersGate
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import POD, uid_of

PODS = POD.collection("default")


def pod(name: str, node: str = "") -> dict[str, Any]:
    spec: dict[str, Any] = {"containers": [{"name": "c", "image": "i"}]} | ({"nodeName": node} if node else {})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "x"}}, "spec": spec}


def status(code: int, reason: str, message: str, **details: Any) -> dict[str, Any]:
    return {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}


def test_create_read_list_replace_and_patch(kube: Kube) -> None:
    created = kube.post(PODS, pod("a"))
    assert kube.get(f"{PODS}/a")["metadata"]["uid"] == uid_of(created)
    assert [p["metadata"]["name"] for p in kube.list(PODS, label_selector="app=x").items] == ["a"]
    assert kube.list(PODS, label_selector="app=y").items == []
    created["metadata"]["labels"]["put"] = "1"
    kube.put(f"{PODS}/a", created)
    kube.patch_merge(f"{PODS}/a", {"metadata": {"labels": {"merge": "1"}}})
    kube.patch_strategic(f"{PODS}/a", {"metadata": {"labels": {"strategic": "1"}}})
    kube.patch_json(f"{PODS}/a", [{"op": "add", "path": "/metadata/labels/json", "value": "1"}])
    assert kube.get(f"{PODS}/a")["metadata"]["labels"] == {
        "app": "x",
        "put": "1",
        "merge": "1",
        "strategic": "1",
        "json": "1",
    }


def test_refusals_are_told_apart(kube: Kube) -> None:
    first = kube.post(PODS, pod("a"))
    with pytest.raises(AlreadyExists, match='pods "a" already exists'):
        kube.post(PODS, pod("a"))
    with pytest.raises(NotFound, match='pods "nope" not found'):
        kube.get(f"{PODS}/nope")
    with pytest.raises(Invalid):
        kube.post(PODS, pod("Bad_Name"))
    kube.patch_merge(f"{PODS}/a", {"metadata": {"labels": {"changed": "1"}}})
    with pytest.raises(Conflict):
        kube.put(f"{PODS}/a", first)
    with pytest.raises(Invalid):
        kube.patch_json(f"{PODS}/a", [{"op": "test", "path": "/metadata/uid", "value": "other"}])
    with pytest.raises(Conflict):
        kube.patch_merge(f"{PODS}/a", {"metadata": {"uid": "another-pod", "labels": {"x": "1"}}})


def test_deletion_hits_the_very_object_only(kube: Kube) -> None:
    first = kube.post(PODS, pod("a", node="n1"))
    with pytest.raises(Conflict):
        kube.delete(f"{PODS}/a", uid="another-pod", grace=0)
    with pytest.raises(Conflict):
        kube.delete(f"{PODS}/a", uid=uid_of(first), resource_version="1", grace=0)
    graceful = kube.delete(f"{PODS}/a", uid=uid_of(first), grace=30)
    assert graceful["metadata"]["deletionGracePeriodSeconds"] == 30
    assert uid_of(kube.get(f"{PODS}/a")) == uid_of(first)
    kube.delete(f"{PODS}/a", uid=uid_of(first), grace=0)
    with pytest.raises(NotFound):
        kube.get(f"{PODS}/a")


def test_long_lists_come_in_pages(kube: Kube) -> None:
    for number in range(7):
        kube.post(PODS, pod(f"p{number}"))
    from hamgr.kube import gateway

    original, gateway._PAGE = gateway._PAGE, 3
    try:
        assert len(kube.list(PODS).items) == 7
    finally:
        gateway._PAGE = original


def test_a_watch_ends_with_its_window_and_says_gone(kube: Kube) -> None:
    listing = kube.list(PODS)
    kube.post(PODS, pod("a"))
    with kube.watch(PODS, listing.resource_version, window_s=1, silence_s=5) as stream:
        events = [(change, obj["metadata"].get("name")) for change, obj in stream if change != "BOOKMARK"]
    assert events == [("ADDED", "a")]


def test_an_old_revision_is_gone(scripted: Callable[..., Any], open_kube: Callable[..., Kube]) -> None:
    expired = {"type": "ERROR", "object": status(410, "Expired", "too old resource version: 1 (1478)")}
    server = scripted(lambda *_: (200, {}, json.dumps(expired).encode() + b"\n"))
    gateway = open_kube(server.url)
    with pytest.raises(Gone), gateway.watch(PODS, "1", window_s=1, silence_s=5) as stream:
        list(stream)


def test_throttled_calls_are_repeated_after_the_time_asked_for(
    scripted: Callable[..., Any], open_kube: Callable[..., Kube]
) -> None:
    def busy_twice(method: str, path: str, body: bytes, number: int) -> tuple[int, dict[str, str], Any]:
        if number < 3:
            return 429, {"Retry-After": "0.01"}, status(429, "TooManyRequests", "too many requests")
        return 201, {}, {"kind": "Pod"}

    server = scripted(busy_twice)
    assert open_kube(server.url).post(PODS, pod("a")) == {"kind": "Pod"}
    assert len(server.requests) == 3


def test_server_errors_are_repeated_for_idempotent_calls_alone(
    scripted: Callable[..., Any], open_kube: Callable[..., Kube]
) -> None:
    server = scripted(lambda *_: (503, {"Retry-After": "0.01"}, b"upstream down"))
    gateway = open_kube(server.url)
    with pytest.raises(Unavailable, match="answered 503 to GET /api/v1/namespaces/default/pods/a: upstream down"):
        gateway.get(f"{PODS}/a")
    assert len(server.requests) == 3
    with pytest.raises(Unavailable):
        gateway.post(PODS, pod("a"))
    assert len(server.requests) == 4


def test_rights_are_explained_in_the_servers_words(
    scripted: Callable[..., Any], open_kube: Callable[..., Kube]
) -> None:
    words = 'pods is forbidden: User "x" cannot list resource "pods"'
    server = scripted(lambda *_: (403, {}, status(403, "Forbidden", words)))
    with pytest.raises(Forbidden, match="cannot list resource"):
        open_kube(server.url).list(PODS)


def test_rotated_credentials_are_read_again(
    scripted: Callable[..., Any], open_kube: Callable[..., Kube], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def demands_new(method: str, path: str, body: bytes, number: int) -> tuple[int, dict[str, str], Any]:
        if server.requests[-1][2].get("authorization") == "Bearer new":
            return 200, {}, {"kind": "Pod"}
        return 401, {}, status(401, "Unauthorized", "Unauthorized")

    server = scripted(demands_new)
    gateway = open_kube(server.url, token="old")
    monkeypatch.setattr("hamgr.kube.connection._RELOAD_S", 0.0)
    path = gateway.config.kubeconfig
    assert path is not None
    with pytest.raises(Unauthorized, match="does not accept our credentials"):
        gateway.get(f"{PODS}/a")
    path.write_text(path.read_text().replace("old", "new"))
    assert gateway.get(f"{PODS}/a") == {"kind": "Pod"}


def test_nobody_listens(open_kube: Callable[..., Kube]) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        gateway = open_kube(f"http://127.0.0.1:{reserved.getsockname()[1]}")
        with pytest.raises(Unavailable, match="refuses connections") as caught:
            gateway.get(f"{PODS}/a")
    assert caught.value.reason == "Refused"


def test_a_hung_server_costs_one_timeout(open_kube: Callable[..., Kube]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        gateway = open_kube(f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unavailable, match=r"did not answer GET .* within 0\.\d+ s") as caught:
            gateway.get(f"{PODS}/a", timeout_s=0.2)
    assert caught.value.reason == "Timeout"


def test_an_untrusted_certificate_is_named(open_kube: Callable[..., Kube]) -> None:
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with socket.socket() as plain:
        plain.bind(("127.0.0.1", 0))
        plain.listen()

        def shake_hands() -> None:
            connection, _ = plain.accept()
            try:
                context.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()

        threading.Thread(target=shake_hands, daemon=True).start()
        gateway = open_kube(f"https://127.0.0.1:{plain.getsockname()[1]}")
        with pytest.raises(Unavailable, match=r"cannot be trusted: .*certificate") as caught:
            gateway.get(f"{PODS}/a")
    assert caught.value.reason == "TLS"


@pytest.mark.parametrize(
    ("scheme", "answer", "told"),
    [
        ("https", b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS; write http:// for it"),
        ("http", b"", "hung up without an answer; if it speaks TLS, write https://"),
    ],
)
def test_an_address_of_the_wrong_scheme_is_told(
    open_kube: Callable[..., Kube], scheme: str, answer: bytes, told: str
) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(4096)
                connection.sendall(answer)
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        gateway = open_kube(f"{scheme}://127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(Unavailable, match=told):
            gateway.get(f"{PODS}/a")
        server.shutdown(socket.SHUT_RDWR)


def test_a_missing_or_broken_kubeconfig_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="does not exist"):
        Kube(KubeConfig(kubeconfig=tmp_path / "none"))
    broken = tmp_path / "broken"
    broken.write_text("contexts: [")
    with pytest.raises(BadConfiguration, match=f"kubeconfig {broken} cannot be used"):
        Kube(KubeConfig(kubeconfig=broken))
    broken.write_text("{}")
    with pytest.raises(BadConfiguration):
        Kube(KubeConfig(kubeconfig=broken))


def query_of(path: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(path).query))


def test_a_gate_bounds_each_request_that_changes_something_and_each_of_its_repeats(
    open_kube: Callable[..., Kube], scripted: Any
) -> None:
    answers = [(503, {}, status(503, "ServiceUnavailable", "wait")), (200, {}, {})]
    server = scripted(lambda method, *_: (200, {}, {}) if method == "GET" else answers.pop(0))
    asked: list[tuple[str, float]] = []

    def gate(what: str, wanted_s: float) -> float:
        asked.append((what, wanted_s))
        return 1.5 - len(asked) / 4

    kube = open_kube(server.url).behind(gate)
    kube.get(f"{PODS}/a")
    kube.delete(f"{PODS}/a", uid="u", grace=0)
    assert asked == [(f"DELETE {PODS}/a", 2.0)] * 2
    assert [query_of(path).get("timeout") for _, path, _, _ in server.requests] == [None, "1250ms", "1000ms"]


def test_what_a_gate_refuses_is_not_sent_and_not_repeated(open_kube: Callable[..., Kube], scripted: Any) -> None:
    server = scripted(lambda *_: (503, {}, status(503, "ServiceUnavailable", "wait")))
    left = iter([3.0, 1.1, 3.0])
    kube = open_kube(server.url).behind(LeadersGate(lambda: next(left), lambda: True))
    with pytest.raises(Barred, match=r"ends too soon, in 1\.1 s"):
        kube.patch_merge(f"{PODS}/a", {})
    assert len(server.requests) == 1, "the repeat was sent"


CHANGES: dict[str, Callable[[Kube, dict[str, Any]], Any]] = {
    "post": lambda kube, _: kube.post(PODS, pod("b")),
    "put": lambda kube, made: kube.put(f"{PODS}/a", made),
    "merge": lambda kube, _: kube.patch_merge(f"{PODS}/a", {"metadata": {"labels": {"app": "y"}}}),
    "strategic": lambda kube, _: kube.patch_strategic(f"{PODS}/a", {"metadata": {"labels": {"app": "y"}}}),
    "json": lambda kube, _: kube.patch_json(f"{PODS}/a", [{"op": "remove", "path": "/metadata/labels/app"}]),
    "delete": lambda kube, made: kube.delete(f"{PODS}/a", uid=uid_of(made), grace=0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_changed_by_whom_etcd_does_not_call_the_leader(kube: Kube, change: str) -> None:
    made = kube.post(PODS, pod("a"))
    late = kube.behind(LeadersGate(lambda: 4.0, lambda: False))
    with pytest.raises(Barred):
        CHANGES[change](late, made | {"metadata": made["metadata"] | {"labels": {"app": "y"}}})
    assert [p["metadata"]["resourceVersion"] for p in kube.list(PODS).items] == [made["metadata"]["resourceVersion"]]


def test_a_gated_request_takes_no_longer_than_it_may_connecting_included(
    open_kube: Callable[..., Kube], scripted: Any
) -> None:
    server = scripted(lambda *_: time.sleep(1.5) or (200, {}, {}))
    kube = open_kube(server.url, read_timeout_s=30.0).behind(LeadersGate(lambda: 1.21, lambda: True))
    with pytest.raises(Unavailable, match="did not answer"):
        kube.post(PODS, pod("a"))
