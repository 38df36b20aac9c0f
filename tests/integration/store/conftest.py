"""Stores on real etcd servers, closed after each test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fixtures.etcd import EtcdServer

from hamgr.store import Store, StoreConfig

OpenStore = Callable[..., Store]


@pytest.fixture
def open_store() -> Iterator[OpenStore]:
    """Open a store on these servers; short time-outs, so that tests of failures are quick."""
    opened: list[Store] = []

    def opener(*servers: EtcdServer, **settings: Any) -> Store:
        settings = {"attempt_timeout_s": 0.5, "request_timeout_s": 2.0, "silence_s": 0.3} | settings
        opened.append(Store(StoreConfig(tuple(server.endpoint for server in servers), cluster="t", **settings)))
        return opened[-1]

    yield opener
    for store in opened:
        store.close()


@pytest.fixture
def store(etcd_server: EtcdServer, open_store: OpenStore) -> Store:
    """A store on one healthy server."""
    return open_store(etcd_server)
