"""Leaders killed by SIGKILL at every point of every level, on a real etcd; the next one ends the fence.

All points take minutes: `make test` takes some of them, `make kill-matrix` all (HAMGR_KILL_EVERY=1).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures import mortal_process
from fixtures.etcd import EtcdServer
from fixtures.fence_world import World, furnish_richly, wipe
from fixtures.mortality import SCENARIOS, Kubelet, audit

from hamgr.fencer import records_of
from hamgr.store import Store, StoreConfig

pytestmark = pytest.mark.etcd
EVERY = int(os.environ.get("HAMGR_KILL_EVERY", "40"))


class Leaders:
    """Leaders as processes, one after the other."""

    def __init__(self, etcd: EtcdServer, kubeconfig: Path, world: World, switch: Path) -> None:
        self.store = Store(StoreConfig((etcd.endpoint,), cluster="t"))
        self._world = world
        self._switch = switch
        command = [sys.executable, str(mortal_process.__file__), etcd.endpoint, str(kubeconfig), str(switch)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self.store.close()

    def lead(self, scenario: str, at: int | None, name: str) -> dict[str, Any]:
        """One leader, until it has ended the fence or is dead; then its lease runs out at once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"scenario": scenario, "at": at, "name": name}), file=self._process.stdin, flush=True)
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        left = self.store.get("leader")
        if left is not None:
            self.store.revoke(left.lease)
        return answer

    def life(self, scenario: str, at: int | None) -> int:
        """A fence whose first leader dies at this point, ended by a second and audited; the points of the last one."""
        wipe(self._world)
        furnish_richly(self._world)
        self._world.attacher.detached.clear()
        self._switch.unlink(missing_ok=True)
        self.store.transact(deletes=list(self.store.read("fences/").entries))
        if at is not None:
            first = self.lead(scenario, at, "n3")
            assert first["killed"] or first["points"] < at  # how often it had to look or act again varies a little
        last = self.lead(scenario, None, "n2")
        assert not last["killed"]
        (record,) = records_of(self.store.read("fences/"))
        audit(self._world, record, [])
        assert not self._switch.exists() or self._switch.read_text() == "on n1"
        return int(last["points"])


@pytest.fixture
def leaders(etcd_server: EtcdServer, api_server: Path, world: World, tmp_path: Path) -> Iterator[Leaders]:
    kubelet = Kubelet(world.kube)
    kubelet.start()
    made = Leaders(etcd_server, api_server, world, tmp_path / "switch")
    try:
        yield made
    finally:
        made.close()
        kubelet.stopping.set()
        kubelet.join()


@pytest.mark.timeout(3600)
def test_sigkill_at_every_point_of_every_level(leaders: Leaders) -> None:
    began, total = time.monotonic(), 0
    for name in SCENARIOS:
        points = leaders.life(name, None)
        tried = range(1, points + 1, EVERY)
        for at in tried:
            leaders.life(name, at)
        total += len(tried)
        print(f"level {name}: killed at {len(tried)} of {points} points, all ended by the next leader")
    print(f"{total} leaders killed in {time.monotonic() - began:.0f} s")
