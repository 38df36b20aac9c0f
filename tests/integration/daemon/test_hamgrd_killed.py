"""Whole hamgrds killed by SIGKILL at every point of every fencing level; the next leader ends the fence.

All points take minutes: `make test` takes a few of them, `make kill-matrix` all (HAMGR_KILL_EVERY=1). One that has
failed is played again with its level and number: `make kill-matrix LEVEL=node POINT=17`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from fixtures.etcd import EtcdServer
from fixtures.mortal_cluster import SCENARIOS, MortalCluster, mortal_cluster
from fixtures.mortal_daemon import NEVER

pytestmark = pytest.mark.etcd
EVERY = int(os.environ.get("HAMGR_KILL_EVERY", "0"))
LEVEL = os.environ.get("HAMGR_KILL_LEVEL", "")
POINT = int(os.environ.get("HAMGR_KILL_POINT", "0"))
FEW = {"volume": 24, "node": 17}


class Clusters:
    """One cluster after the other: another is made when a life has left one in disorder."""

    def __init__(self, directory: Path, etcd: EtcdServer) -> None:
        self._directory, self._etcd = directory, etcd
        self._stack = ExitStack()
        self._cluster: MortalCluster | None = None
        self._made = 0
        self.failures: list[str] = []

    def close(self) -> None:
        self._cluster = None
        self._stack.close()

    def life(self, level: str, at: int) -> list[str]:
        """One life, its failure noted; the points that its leader has passed."""
        try:
            if self._cluster is None:
                self._made += 1
                where = self._directory / f"cluster-{self._made}"
                self._cluster = self._stack.enter_context(mortal_cluster(where, self._etcd))
            self._cluster.play(SCENARIOS[level])
            return self._cluster.life(at)
        except Exception as error:  # noqa: BLE001  (whatever went wrong: the other points are to be tried as well)
            last = self._cluster.points()[-1:] if self._cluster is not None else []
            told = f"level {level}, point {at} ({''.join(last)}): {type(error).__name__}: {error}"
            print(f"FAILED {told}\n  see {self._directory}/cluster-{self._made}")
            self.failures.append(told)
            self.close()
            return []


@pytest.fixture
def clusters(etcd_server: EtcdServer, tmp_path: Path) -> Iterator[Clusters]:
    made = Clusters(tmp_path, etcd_server)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.slow
def test_a_leading_hamgrd_killed_in_the_middle_of_a_fence(clusters: Clusters) -> None:
    for level, point in FEW.items():
        assert len(clusters.life(level, point)) == point, clusters.failures


@pytest.mark.skipif(not EVERY and not POINT, reason="takes minutes: make kill-matrix")
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("level", [LEVEL] if LEVEL else SCENARIOS)
def test_hamgrd_killed_at_every_point(level: str, clusters: Clusters) -> None:
    began = time.monotonic()
    points = POINT or len(clusters.life(level, NEVER))
    tried = [POINT] if POINT else range(1, points + 1, EVERY)
    killed = sum(len(clusters.life(level, at)) == at for at in tried)
    took = time.monotonic() - began
    where = f"point {POINT}" if POINT else f"{len(tried)} of {points} points"
    print(f"hamgrd: {killed} killed at {where} of level {level} in {took:.0f} s")
    assert not clusters.failures, "\n".join(clusters.failures)
    assert killed
