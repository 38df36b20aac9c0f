"""Fixtures for tests of the node agent: a cluster of API server and disks, without and with a node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.node_cluster import Api, Cluster
from hamgr_sandbox.apiserver.threaded import in_thread
from hamgr_sandbox.disks import DiskStore


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with in_thread() as url:
        made = Cluster(Api(url), tmp_path, DiskStore(tmp_path / "disks"))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture
def node(cluster: Cluster) -> Cluster:
    """A cluster with one node, n1."""
    cluster.start_agent("n1")
    return cluster
