"""The systemd unit, judged by systemd itself."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[3] / "systemd/hamgrd.service"
WORST_EXPOSURE = 25  # tenths; docs/operations.md tells the score

pytestmark = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze on this machine")


@pytest.fixture
def unit(tmp_path):
    """The unit with a command that exists here: systemd-analyze looks for it."""
    copy = tmp_path / "hamgrd.service"
    copy.write_text(UNIT.read_text().replace("/opt/hamgr/bin/hamgrd", sys.executable))
    return copy


def analyze(*arguments):
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_systemd_has_nothing_to_say_about_it(unit):
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stderr) == (0, "")


def test_nor_about_what_self_fencing_adds(unit):
    """The drop-in is judged as a part of the unit: settings that are lists add up, the others replace."""
    added = (UNIT.with_name("hamgrd.service.d") / "self-fencing.conf").read_text().partition("[Service]")[2]
    unit.write_text(unit.read_text().replace("[Install]", f"{added}\n[Install]"))
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_word_that_systemd_does_not_know_would_be_noticed(unit):
    unit.write_text(unit.read_text().replace("[Service]", "[Service]\nProtectEverything=yes"))
    assert "ProtectEverything" in analyze("verify", "--man=no", str(unit)).stderr


def test_it_is_well_shut_in(unit):
    done = analyze("security", "--offline=true", f"--threshold={WORST_EXPOSURE}", str(unit))
    assert done.returncode == 0, done.stdout[-200:]
    assert re.search(r"Overall exposure level for hamgrd.service: [0-9.]+", done.stdout)


def test_the_control_loop_is_watched_and_restarted():
    text = UNIT.read_text()
    for line in ("Type=notify", "WatchdogSec=30", "Restart=always", "StartLimitIntervalSec=0"):
        assert line in text.splitlines()
