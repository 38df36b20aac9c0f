"""etcd takes no writes, or was restored from a backup under hamgr's feet: it is seen, and what is right goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from fixtures.etcd import EtcdServer
from fixtures.waiting import wait_until

from hamgr.controller.loop import Controller, ControllerDeps
from hamgr.controller.settings import ControllerSettings
from hamgr.executor.executor import ExecutorDeps
from hamgr.executor.registry import Registry
from hamgr.store import Store, StoreConfig

pytestmark = pytest.mark.etcd


@pytest.fixture
def store(etcd_server: EtcdServer) -> Iterator[Store]:
    opened = Store(StoreConfig((etcd_server.endpoint,), cluster="t", silence_s=0.2))
    yield opened
    opened.close()


def restore_nothing(server: EtcdServer) -> None:
    """Another etcd takes the place of this one, as after `etcdutl snapshot restore` of an old or empty backup."""
    server.kill()
    server.directory = server.directory / "restored"
    server.start()


def test_an_alarm_is_seen(store: Store) -> None:
    assert store.alarms() == ()
    store.connection.call(lambda client: client.create_alarm())
    assert store.alarms() == ("NOSPACE",)


def test_a_watch_follows_etcd_back(store: Store, etcd_server: EtcdServer) -> None:
    """It was deaf until the new revision had passed the old one, for days."""
    for number in range(20):
        store.transact(puts={"state/x": number})
    seen: list[Any] = []
    watch = store.watch(store.read("state/"), lambda changes, _revision: seen.extend(changes))
    restore_nothing(etcd_server)
    wait_until(lambda: seen and seen[-1].entry is None)
    store.transact(puts={"state/x": "new"})
    wait_until(lambda: seen[-1].value == "new")
    watch.stop()
    assert store.resets >= 1


def test_a_leader_of_an_etcd_that_was_restored_reads_everything_anew(store: Store, etcd_server: EtcdServer) -> None:
    deps = ControllerDeps(store, Registry(), ExecutorDeps(), lambda *_: None)  # type: ignore[arg-type,return-value]
    controller = Controller(ControllerSettings("n1"), deps)
    stop = threading.Event()
    thread = threading.Thread(target=controller.run, args=(stop,))
    thread.start()
    try:
        wait_until(lambda: store.get("status") is not None)
        restore_nothing(etcd_server)
        wait_until(lambda: controller.leadership.valid() and store.get("status") is not None)
        # and a backup of this very term, in which the leader key is the same
        token = controller.leadership.token
        store.resets += 1
        wait_until(lambda: controller.leadership.valid() and controller.leadership.token != token)
    finally:
        stop.set()
        thread.join()
