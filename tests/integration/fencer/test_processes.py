"""Leaders as processes of their own: frozen past their lease and thawed, or killed, in the middle of a fence."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fixtures import fencing_process
from fixtures.etcd import EtcdServer
from fixtures.fence_world import OTHER_IN_USE, World
from fixtures.waiting import wait_until

from hamgr.fencer import FenceRecord, Outcome, Phase, records_of
from hamgr.kube.objects import POD
from hamgr.store import Store, StoreConfig

pytestmark = pytest.mark.etcd
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def store(etcd_server: EtcdServer) -> Iterator[Store]:
    opened = Store(StoreConfig((etcd_server.endpoint,), cluster="t"))
    yield opened
    opened.close()


@pytest.fixture
def start(etcd_server: EtcdServer, api_server: Path) -> Iterator[Start]:
    """Start a leader by its name."""
    running: list[subprocess.Popen[str]] = []

    def starter(name: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(fencing_process.__file__), etcd_server.endpoint, str(api_server), name]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield starter
    for process in running:
        process.kill()
        process.wait()


def the_record(store: Store) -> FenceRecord | None:
    found = records_of(store.read("fences/"))
    return found[0] if found else None


def in_detach(store: Store, world: World) -> bool:
    record = the_record(store)
    return record is not None and record.phase is Phase.DETACH and not world.pods()


def ended(store: Store) -> bool:
    record = the_record(store)
    return record is not None and record.outcome is Outcome.SUCCEEDED


def test_a_leader_frozen_past_its_lease_changes_nothing_when_thawed(store: Store, world: World, start: Start) -> None:
    world.attacher.allowed.clear()
    first = start("n3")
    wait_until(lambda: in_detach(store, world))
    first.send_signal(signal.SIGSTOP)
    start("n2")
    wait_until(lambda: (record := the_record(store)) is not None and record.executed_by == "n2")
    world.attacher.allowed.set()
    wait_until(lambda: ended(store))
    before = the_record(store)
    # The node comes back, and the resource with it, under the same names.
    world.pod()
    world.attach()
    world.set_node("n1", ready="True", boot="boot-2", in_use=(OTHER_IN_USE, world.volume.unique_name))
    first.send_signal(signal.SIGCONT)
    assert first.wait(timeout=30) == 0
    assert first.stdout is not None
    assert "deposed" in first.stdout.read()
    assert the_record(store) == before
    assert "deletionTimestamp" not in world.kube.get(POD.path("db-n1", "default"))["metadata"]
    assert len(world.attachments()) == 1
    assert world.in_use() == [OTHER_IN_USE, world.volume.unique_name]


def test_a_killed_leaders_fence_is_ended_by_the_next(store: Store, world: World, start: Start) -> None:
    world.attacher.allowed.clear()
    first = start("n3")
    wait_until(lambda: in_detach(store, world))
    first.kill()
    first.wait()
    start("n2")
    world.attacher.allowed.set()
    wait_until(lambda: ended(store))
    record = the_record(store)
    assert record is not None
    assert (record.executed_by, len(record.tokens), record.proofs[0].token) == ("n2", 2, record.tokens[1])
    assert world.in_use() == [OTHER_IN_USE, world.volume.released_mark]
    assert len(records_of(store.read("fences/"))) == 1
