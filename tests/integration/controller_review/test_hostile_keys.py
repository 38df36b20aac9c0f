"""What somebody has written below hamgr's prefix, or a crash has left there, keeps nobody from leading."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fixtures.etcd import EtcdServer
from fixtures.waiting import wait_until

from hamgr.api.status import StatusDoc
from hamgr.controller.loop import Controller, ControllerDeps
from hamgr.controller.settings import ControllerSettings
from hamgr.executor.executor import ExecutorDeps
from hamgr.executor.registry import Registry
from hamgr.store import Leadership, Leased, Store, StoreConfig, read_events

pytestmark = pytest.mark.etcd

DEEP = b"[" * 100_000 + b"]" * 100_000
BAD = {
    "deep": DEEP,
    "deep for us alone": b'{"a":' * 900 + b"1" + b"}" * 900,
    "infinity": b'{"call_id": Infinity, "transition": NaN, "since": Infinity, "levels": []}',
    "overflow": b'{"call_id": 1e999, "transition": 1e999}',
    "long number": b'{"call_id": ' + b"9" * 400 + b', "transition": 1}',
    "half a character": rb'{"text": "\ud800", "kind": "\udfff"}',
    "not utf-8": b"\xff\xfe\x00",
    "empty": b"",
    "wrong type": b'[{"node": []}]',
}
KEYS = (
    "members/n9", "promises/n9", "goodbyes/n9", "config", "state/meta", "state/overrides", "state/nodes/n1",
    "state/history/n1/db", "state/odd", "fences/1", "requests/1", "events/000000000007", "status", "writes",
)  # fmt: skip
ODD_KEYS = (
    b"events/\xc2\xb2",
    b"events/" + b"9" * 5000,
    b"events/-1",
    b"members/\xff",
    b"state/history/",
    b"requests/",
)


def write_raw(store: Store, key: str | bytes, value: bytes) -> None:
    full = store.config.prefix.encode() + (key if isinstance(key, bytes) else key.encode())
    store.connection.call(lambda client: client.put(full, value))


@pytest.fixture
def store(etcd_server: EtcdServer) -> Iterator[Store]:
    opened = Store(StoreConfig((etcd_server.endpoint,), cluster="t", silence_s=0.3))
    yield opened
    opened.close()


@pytest.fixture
def controller(store: Store) -> Iterator[Any]:
    stop = threading.Event()
    deps = ControllerDeps(store, Registry(), ExecutorDeps(), lambda *_: None)  # type: ignore[arg-type,return-value]
    made = Controller(ControllerSettings("n1"), deps)
    thread = threading.Thread(target=made.run, args=(stop,))

    def start() -> Controller:
        thread.start()
        return made

    yield start
    stop.set()
    if thread.ident:
        thread.join()


@pytest.mark.parametrize("name", BAD)
def test_a_leader_leads_whatever_every_key_holds(store: Store, controller: Any, name: str) -> None:
    for key in KEYS:
        write_raw(store, key, BAD[name])
    leadership = controller().leadership
    wait_until(leadership.valid)
    wait_until(lambda: isinstance((store.get("status") or store).value, dict))  # type: ignore[union-attr]
    token = leadership.token
    for key in KEYS:  # and under its eyes
        if key != "status":
            write_raw(store, key, BAD[name] + b" ")
    wait_until(lambda: not store.read("requests/").entries)
    warnings = StatusDoc.from_value(_published(store)).warnings
    assert any("/hamgr/t/state/meta in etcd cannot be used" in warning for warning in warnings), warnings
    assert any(event.get("code") == "key_unusable" for _, event in read_events(store) if isinstance(event, dict))
    assert leadership.token == token


def _published(store: Store) -> Any:
    found: list[Any] = []

    def readable() -> bool:
        entry = store.get("status")
        found.append(None if entry is None else entry.value)
        return isinstance(found[-1], dict)

    wait_until(readable)
    return found[-1]


def test_odd_keys(store: Store, controller: Any) -> None:
    for key in ODD_KEYS:
        write_raw(store, key, b'{"odd": 1}')
    leadership = controller().leadership
    wait_until(leadership.valid)
    wait_until(lambda: [event["code"] for _, event in read_events(store)][:1] == ["leader"])


@pytest.mark.parametrize(
    "value", [b'{"node": "n9", "id": "x"}', b"garbage", b"[]", DEEP], ids=["json", "text", "list", "deep"]
)
def test_a_leader_key_on_no_lease_is_taken_away_once_it_is_surely_nobodys(store: Store, value: bytes) -> None:
    """It stays for ever, and nobody would lead until somebody deleted it by hand."""
    now = [1000.0]
    store.clock = lambda: now[0]
    leadership = Leadership(store, "n1", clock=lambda: now[0])
    write_raw(store, "leader", value)
    assert leadership.campaign() is None
    now[0] += 9.9
    assert leadership.campaign() is None
    write_raw(store, "leader", value)  # somebody lives who writes it: the time begins anew
    assert leadership.campaign() is None
    now[0] += 9.9
    assert leadership.campaign() is None
    now[0] += 0.2
    assert leadership.campaign() is not None


def test_a_living_leader_puts_its_key_in_order(store: Store) -> None:
    leadership = Leadership(store, "n1", ttl_s=1, margin_s=0.2)
    token = leadership.campaign()
    before = store.get("leader")
    assert before is not None
    write_raw(store, "leader", b"scribbled over")
    wait_until(lambda: leadership.renew() and store.get("leader").value == before.value)  # type: ignore[union-attr]
    after = store.get("leader")
    assert after is not None
    assert (after.lease, after.create_revision) == (before.lease, before.create_revision)
    assert leadership.token == token


def test_a_member_whose_entry_is_spoilt_is_not_gone(store: Store) -> None:
    from hamgr.store import members_of

    lease, _ = store.grant(60)
    store.transact(puts={"members/n1": Leased({"node": []}, lease), "members/n2": "on no lease"})
    assert set(members_of(store.read("members/"))) == {"n1"}
    seen: list[Any] = []
    watch = store.watch(store.read("members/"), lambda changes, _revision: seen.extend(changes))
    write_raw(store, "members/n2", DEEP)
    wait_until(lambda: seen)
    watch.stop()
    assert seen[0].entry is not None
