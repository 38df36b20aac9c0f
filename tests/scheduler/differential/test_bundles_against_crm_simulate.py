"""Some generated clusters with bundles, the same ones each time, are judged alike by crm_simulate and by hamgr."""

from __future__ import annotations

import pytest
from scheduler.differential.bundle_clusters import bundle_cib_number
from scheduler.differential.judges import judge, oracle_installed

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not oracle_installed(), reason="crm_simulate is not installed (package pacemaker-cli-utils)"),
]
NUMBERS = range(40)
# A ratchet: how many of them may differ.
MAY_DIFFER = 0


def test_generated_bundles_are_judged_alike() -> None:
    verdicts = {number: judge(bundle_cib_number(number)) for number in NUMBERS}
    crashes = {number: verdict.crash for number, verdict in verdicts.items() if verdict.crash}
    assert not crashes
    answered = [verdict.oracle for verdict in verdicts.values() if verdict.oracle is not None]
    assert len(answered) >= 35, "crm_simulate refuses what is generated"
    assert sum(not oracle.trivial for oracle in answered) >= 30, "nothing is asked"
    differing = {number: verdict.differences for number, verdict in verdicts.items() if not verdict.agree}
    assert len(differing) <= MAY_DIFFER, differing
