"""How members that failed are avoided, whatever the wall clock does."""

import time

import pytest

from hamgr.store.config import Address, StoreConfig
from hamgr.store.connection import AVOID_FAILED_S, Connection, Endpoint
from hamgr.store.errors import StoreUnavailable


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(Address("127.0.0.1", 1, tls=False), None, AVOID_FAILED_S)


def test_a_failed_member_is_avoided_for_a_while(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not endpoint.is_failed()
    endpoint.fail()
    assert endpoint.is_failed()
    with pytest.raises(ValueError, match="failed a moment ago"):
        endpoint.use()
    later = time.monotonic() + AVOID_FAILED_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert not endpoint.is_failed()


@pytest.mark.parametrize("jump_s", [-3600.0, 3600.0])
def test_a_jump_of_the_wall_clock_changes_nothing(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, jump_s: float
) -> None:
    wall = time.time()
    endpoint.fail()
    monkeypatch.setattr(time, "time", lambda: wall + jump_s)
    assert endpoint.is_failed()
    endpoint.forgive()
    assert not endpoint.is_failed()
    assert endpoint.use() is endpoint.channel


def test_a_closed_connection_says_so() -> None:
    connection = Connection(StoreConfig(("http://127.0.0.1:1",)))
    connection.close()
    with pytest.raises(StoreUnavailable, match="connection to etcd is closed"):
        connection.call(lambda client: client.get("x"))
