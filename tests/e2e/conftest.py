"""One sandbox for all end-to-end tests, gone before others begin; each finds the cluster whole and leaves it so."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from fixtures.etcd import require_etcd
from fixtures.live_cluster import LiveCluster


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the one sandbox stay in one process of pytest-xdist; the others run beside it."""
    for item in items:
        if "live" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("sandbox"))


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
