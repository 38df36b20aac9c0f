"""The main job itself, on real MariaDB: its host crashes, then the next one is cut off while the database runs on.

The demo's own story is played, and its judgement checked: what it prints is what is true.
"""

from __future__ import annotations

import io
import os
import shutil

import pytest
from fixtures.etcd import require_etcd
from hamgr_sandbox.demo.cluster import DemoCluster
from hamgr_sandbox.demo.display import Display
from hamgr_sandbox.demo.faults import ACTS
from hamgr_sandbox.demo.scenario import play, prepare
from hamgr_sandbox.demo.writer import Writer
from rich.console import Console

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.mariadb, pytest.mark.timeout(300)]
_PATIENCE_S = 100.0


@pytest.fixture
def stage(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("network namespaces and loop devices need root")
    if shutil.which("mariadbd", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") is None:
        pytest.skip("no MariaDB server: install Debian's mariadb-server-core")
    require_etcd()
    made = DemoCluster(tmp_path / "sandbox")
    try:
        yield made
    finally:
        made.down()


def test_mariadb_survives_a_crashed_and_a_partitioned_host(stage):
    teller = Display(Console(file=io.StringIO()))
    stage.up(teller.say)
    prepare(stage)
    hosts = []
    for number, name in enumerate(("host-crashed", "host-partitioned")):
        act = next(act for act in ACTS if act.name == name)
        hosts.append(stage.active_pod()["spec"]["nodeName"])
        result = play(stage, act, 1 + number * 100_000, teller, _PATIENCE_S)
        assert result.back, name
        assert result.acked > 20, f"{name}: hardly anything was written"
        assert (result.found, result.duplicates) == (result.acked, 0), name
        assert not result.second_writer, name
        assert stage.active_pod()["spec"]["nodeName"] != hosts[-1], name
        assert any("fenced by level volume" in step.step for step in result.steps), name
    # All rows are the client's, numbered once each: nobody else has written.
    ((rows, numbers),) = stage.query(f"SELECT COUNT(*), COUNT(DISTINCT number) FROM {Writer.TABLE}")
    assert rows == numbers
