"""One sandbox for the end-to-end tests of a process, gone before others begin; each finds it whole and leaves it so."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from fixtures.etcd import require_etcd
from fixtures.live_cluster import LiveCluster


@pytest.fixture(scope="package")
def _sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveCluster]:
    if os.geteuid() != 0:
        pytest.skip("network namespaces and loop devices need root")
    require_etcd()
    made = LiveCluster(tmp_path_factory.mktemp("e2e"))
    try:
        yield made.up()
    finally:
        made.down()


@pytest.fixture
def live(_sandbox: LiveCluster) -> LiveCluster:
    """The cluster, whole."""
    _sandbox.await_whole()
    return _sandbox
