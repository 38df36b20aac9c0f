"""A short campaign on a real sandbox; `make campaign-faults N=500` is the long one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hamgr_sandbox.campaign.__main__ import Results, run_campaign

pytestmark = [pytest.mark.root, pytest.mark.etcd, pytest.mark.slow]

SEEDS = [4, 9]  # a crashed host and the power switch; a leader that is frozen past its lease in the middle of a fence


@pytest.mark.timeout(240)
def test_faults_break_no_invariant(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("partitions and disks that can be pulled need root")
    results = Results(tmp_path / "faults.json")
    run_campaign(SEEDS, results, tmp_path / "sandboxes", sandboxes=1)
    summary = json.loads((tmp_path / "faults.json").read_text())
    assert [row["findings"] for row in summary["rows"]] == [[], []]
    assert summary["seeds_failed"] == []
    assert summary["fences"] > 0
    assert all(row["acknowledged"] for row in summary["rows"])
