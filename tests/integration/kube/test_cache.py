"""The watch cache against the stand-in API server: changes, outages, hung servers, and how old its knowledge is."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fixtures.waiting import wait_until
from hamgr_sandbox.apiserver.threaded import in_thread

from hamgr.kube.cache import Cache, Departure
from hamgr.kube.gateway import Kube
from hamgr.kube.objects import LEASE, NODE, POD, Kind, is_terminating, name_of, uid_of

PODS = POD.collection("default")


def pod(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "c", "image": "i"}], "nodeName": "n1"},
    }


class Proxy:
    """A TCP relay that can stop relaying without closing anything, as a server that hangs does."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._open = threading.Event()
        self._open.set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._closed = True
        self._open.set()
        self._listener.close()
        for end in self._pairs:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._target))
            self._pairs += [client, server]
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._relay, args=(source, sink), daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                self._open.wait()
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    with in_thread() as url:
        relay = Proxy(int(url.rsplit(":", 1)[1]))
        yield relay
        relay.close()


@pytest.fixture
def open_cache() -> Iterator[Callable[..., Cache]]:
    opened: list[Cache] = []

    def opener(kube: Kube, **settings: Any) -> Cache:
        opened.append(Cache(kube, **{"probe_s": 0.05} | settings))
        opened[-1].start()
        return opened[-1]

    yield opener
    for cache in opened:
        cache.stop()


def test_follows_creation_change_and_deletion(kube: Kube, open_cache: Callable[..., Cache]) -> None:
    seen: list[tuple[str, str, str, bool]] = []

    def on_change(kind: Kind, change: str, obj: dict[str, Any], old: dict[str, Any] | None) -> None:
        seen.append((kind.name, change, name_of(obj), old is not None))

    kube.post(PODS, pod("before"))
    cache = open_cache(kube, kinds=(POD,), on_change=on_change)
    assert cache.wait_synced(5)
    created = kube.post(PODS, pod("a", app="x"))
    assert cache.wait_for(lambda: cache.get(POD, "a", "default"), 5)
    kube.patch_merge(f"{PODS}/a", {"metadata": {"labels": {"app": "y"}}})
    assert cache.wait_for(lambda: cache.list(POD, "default", {"app": "y"}) or None, 5)
    kube.delete(f"{PODS}/a", uid=uid_of(created), grace=0)
    assert cache.wait_for(lambda: cache.get(POD, "a", "default") is None or None, 5)
    last = cache.last_seen(POD, "a", "default")
    assert last is not None
    assert uid_of(last) == uid_of(created)
    assert cache.final_state(POD, "a", "default") == last
    wait_until(lambda: seen[-1][1] == "DELETED")
    assert seen[:3] == [
        ("Pod", "ADDED", "before", False),
        ("Pod", "ADDED", "a", False),
        ("Pod", "MODIFIED", "a", True),
    ]
    assert seen[-1] == ("Pod", "DELETED", "a", True)


def test_remembers_when_an_object_went_and_how_long_that_took(kube: Kube, open_cache: Callable[..., Cache]) -> None:
    now = [100.0]
    cache = open_cache(kube, kinds=(POD,), clock=lambda: now[0])
    wait_until(lambda: cache.synced)
    created = kube.post(PODS, pod("a"))
    wait_until(lambda: cache.get(POD, "a", "default"))
    assert cache.departure(POD, "a", "default") is None
    kube.delete(f"{PODS}/a", uid=uid_of(created), grace=30)
    wait_until(lambda: is_terminating(cache.get(POD, "a", "default") or {}))
    now[0] = 103.0
    kube.delete(f"{PODS}/a", uid=uid_of(created), grace=0)
    wait_until(lambda: cache.get(POD, "a", "default") is None)
    now[0] = 105.0
    assert cache.departure(POD, "a", "default") == Departure(gone_for_s=2.0, leaving_s=3.0)


def test_a_listener_that_fails_is_dropped_for_that_event_alone(kube: Kube, open_cache: Callable[..., Cache]) -> None:
    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    cache = open_cache(kube, kinds=(POD,), on_change=fail)
    for name in ("a", "b"):
        kube.post(PODS, pod(name))
        assert cache.wait_for(lambda name=name: cache.get(POD, name, "default"), 5)  # type: ignore[misc]


def test_node_leases_alone_are_watched(kube: Kube, open_cache: Callable[..., Cache]) -> None:
    for namespace in ("default", "kube-node-lease"):
        kube.post(LEASE.collection(namespace), {"metadata": {"name": f"in-{namespace}"}, "spec": {}})
    cache = open_cache(kube, kinds=(LEASE,))
    assert cache.wait_synced(5)
    assert [name_of(lease) for lease in cache.list(LEASE)] == ["in-kube-node-lease"]


def test_knowledge_is_fresh_while_windows_come_and_go(kube: Kube, open_cache: Callable[..., Cache]) -> None:
    assert Cache(kube, kinds=(POD, NODE)).staleness_s() == float("inf")  # before it was started
    cache = open_cache(kube, kinds=(POD, NODE), window_s=1)
    assert cache.wait_synced(5)
    ages: list[float] = []

    def watched_long_enough() -> bool:
        ages.append(cache.staleness_s())
        return len(ages) > 200

    wait_until(watched_long_enough)  # more than two windows
    assert max(ages) < 1.5


def test_a_frozen_server_makes_knowledge_old_and_a_thawed_one_new(
    proxy: Proxy, open_kube: Callable[..., Kube], open_cache: Callable[..., Cache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hamgr.kube.cache._BREAK_S", 1.0)
    gateway = open_kube(proxy.url, read_timeout_s=0.5)
    cache = open_cache(gateway, kinds=(POD,), window_s=30)
    assert cache.wait_synced(5)
    synced_at = time.monotonic()
    wait_until(lambda: cache.staleness_s(POD) < 0.3)
    proxy.freeze()
    wait_until(lambda: cache.staleness_s(POD) > 1.0)
    assert cache.seen_for_s(POD) == 0.0
    proxy.thaw()
    wait_until(lambda: cache.staleness_s(POD) < 0.5)
    assert cache.seen_for_s(POD) < time.monotonic() - synced_at - 1.0  # counted anew from the break on


def test_an_outage_of_the_server_is_survived_and_nothing_is_missed(
    open_kube: Callable[..., Kube], open_cache: Callable[..., Cache]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    from hamgr_sandbox.apiserver.server import Listener

    gateway = open_kube(f"http://127.0.0.1:{port}")
    deleted: list[str] = []
    cache = open_cache(
        gateway,
        kinds=(POD,),
        on_change=lambda kind, change, obj, old: deleted.append(name_of(obj)) if change == "DELETED" else None,
    )
    with in_thread(listener=Listener("127.0.0.1", port)):
        gateway.post(PODS, pod("lost-with-the-server"))
        assert cache.wait_for(lambda: cache.get(POD, "lost-with-the-server", "default"), 20)
    wait_until(lambda: cache.trouble(POD) is not None)
    with in_thread(listener=Listener("127.0.0.1", port)):
        gateway.post(PODS, pod("new"))
        assert cache.wait_for(lambda: cache.get(POD, "new", "default"), 20)
        assert cache.wait_for(lambda: cache.get(POD, "lost-with-the-server", "default") is None or None, 20)
    assert deleted == ["lost-with-the-server"]
    assert cache.last_seen(POD, "lost-with-the-server", "default") is not None
    assert cache.final_state(POD, "lost-with-the-server", "default") is None  # what it came to meanwhile nobody saw


def test_waiting_ends_when_cancelled(kube: Kube, open_cache: Callable[..., Cache]) -> None:
    cache = open_cache(kube, kinds=(POD,))
    assert cache.wait_synced(5)
    forever = 1e6
    assert cache.wait_for(lambda: cache.get(POD, "never", "default"), forever, cancelled=lambda: True) is None


def test_an_idle_cache_stops_at_once(kube: Kube, open_cache: Callable[..., Cache]) -> None:
    cache = open_cache(kube, kinds=(POD, NODE), window_s=300)
    assert cache.wait_synced(5)
    wait_until(lambda: cache.staleness_s() < 0.5)
    cache.stop()
    assert not [t for t in threading.enumerate() if t.name.startswith("watch-") and t.is_alive()]
