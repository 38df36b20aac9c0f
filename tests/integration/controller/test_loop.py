"""The control loop on a real etcd, where what surrounds it goes wrong: it goes on leading."""

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
from hamgr.store import Store, StoreConfig, read_events

pytestmark = pytest.mark.etcd


class BlindCache:
    """A watch cache that has not heard of the API server for a long time."""

    def changes(self, *kinds: object) -> int:
        return 0

    def staleness_s(self, _kind: object = None) -> float:
        return 99.0

    def get(self, *_: object) -> None:
        return None

    def list(self, *_: object, **__: object) -> list[Any]:
        return []


@pytest.fixture
def store(etcd_server: EtcdServer) -> Iterator[Store]:
    opened = Store(StoreConfig((etcd_server.endpoint,), cluster="review", silence_s=0.3))
    yield opened
    opened.close()


class Running:
    """A controller in its thread, counting its rounds."""

    def __init__(self, store: Store, **deps: Any) -> None:
        self.rounds = 0
        deps = {"registry": Registry(), "executor_deps": ExecutorDeps(), "fencer": lambda *_: None, **deps}
        self.controller = Controller(ControllerSettings("n1"), ControllerDeps(store=store, alive=self._count, **deps))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.controller.run, args=(self._stop,))
        self._thread.start()

    def _count(self) -> None:
        self.rounds += 1

    @property
    def leads(self) -> bool:
        return self.controller.leadership.valid()

    def let_pass(self, rounds: int) -> None:
        until = self.rounds + rounds
        wait_until(lambda: self.rounds >= until)

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


@pytest.fixture
def run(store: Store) -> Iterator[Any]:
    started: list[Running] = []

    def start(**deps: Any) -> Running:
        started.append(Running(store, **deps))
        return started[-1]

    yield start
    for running in started:
        running.stop()


def test_a_daemon_that_is_alone_and_blind_leads_and_goes_on_leading(run: Any) -> None:
    """It used to hand over to nobody and to win again, twice a second."""
    running = run(cache=BlindCache())
    wait_until(lambda: running.leads)
    token = running.controller.leadership.token
    running.let_pass(10)
    assert running.controller.leadership.token == token


def test_a_leader_that_hands_over_leaves_behind_why(run: Any, store: Store) -> None:
    """When nobody sees the API server nobody leads, and `hamgr events` is all that can say so."""
    running = run(cache=BlindCache())
    wait_until(lambda: running.leads)
    store.transact(puts={"members/n2": {"node": "n2"}})
    wait_until(lambda: not running.leads)
    told = [event["text"] for _, event in read_events(store) if event["code"] == "handing_over"]
    assert told == [
        "n1 leads no more: it has not seen the Kubernetes API server for too long; one that sees it leads next"
    ]


def test_odd_values_in_etcd_keep_nobody_from_leading(run: Any, store: Store) -> None:
    odd = {"locations": [{"moon": 1}]}
    store.transact(puts={"state/meta": [], "state/overrides": odd, "state/nodes/n1": "x", "members/n2": 7})
    running = run()
    wait_until(lambda: running.leads)
    token = running.controller.leadership.token
    running.let_pass(5)
    assert running.controller.leadership.token == token


def test_a_status_that_cannot_be_made_does_not_cost_the_leadership(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hamgr.controller.status.report.Reporter.document", lambda _self: 1 / 0)
    running = run()
    wait_until(lambda: running.leads)
    token = running.controller.leadership.token
    running.let_pass(10)
    assert running.controller.leadership.token == token


def test_a_term_that_cannot_be_opened_leaves_no_threads_behind(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again twice a second, for as long as the trouble lasts."""
    tried: list[int] = []

    def fail(*_: object) -> None:
        tried.append(1)
        raise ValueError("odd")

    monkeypatch.setattr("hamgr.controller.loop.Controller._configure", fail)
    run()
    wait_until(lambda: len(tried) >= 3)
    wait_until(lambda: sum(thread.name == "executor" for thread in threading.enumerate()) <= 1)


def test_standing_still_counts_as_an_interruption_of_our_view(store: Store) -> None:
    """After a SIGSTOP etcd answers at once, yet what we know of the members is as old as our standstill."""
    now = [100.0]
    deps = ControllerDeps(store, Registry(), ExecutorDeps(), lambda *_: None, clock=lambda: now[0])  # type: ignore[arg-type,return-value]
    controller = Controller(ControllerSettings("n1", settle_s=4.0), deps)
    for _ in range(50):
        now[0] += 0.2
        store.get("leader")
        controller._watch_our_own_eyes()
    assert controller._settled()
    now[0] += 3.0
    store.get("leader")
    controller._watch_our_own_eyes()
    assert not controller._settled()
