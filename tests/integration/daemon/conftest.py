"""Stores on a real etcd server, closed after each test."""

from collections.abc import Iterator

import pytest
from fixtures.etcd import EtcdServer

from hamgr.store import Store, StoreConfig


@pytest.fixture
def store(etcd_server: EtcdServer) -> Iterator[Store]:
    """A store with short time-outs."""
    config = StoreConfig(
        (etcd_server.endpoint,), cluster="t", attempt_timeout_s=0.5, request_timeout_s=2.0, silence_s=0.3
    )
    opened = Store(config)
    yield opened
    opened.close()
