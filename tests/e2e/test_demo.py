"""`make demo` for an ordinary user: what cannot be played is left out, with the reason, and the rest is judged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fixtures.etcd import require_etcd

ROOT = Path(__file__).parents[2]
NOBODY = 65534

pytestmark = [pytest.mark.etcd, pytest.mark.mariadb, pytest.mark.timeout(300)]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home of the ordinary user's own: the tests' own folders are root's alone."""
    made = Path(tempfile.mkdtemp(prefix="hamgr-demo-"))
    if os.geteuid() == 0:
        os.chown(made, NOBODY, NOBODY)
    yield made
    shutil.rmtree(made)


def as_ordinary_user(home: Path) -> list[str]:
    """What runs a command as nobody, who reads this checkout wherever it is; empty for who is ordinary already."""
    if os.geteuid() != 0:
        return []
    user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    # A process of a process of his: setpriv itself finds its program with root's rights.
    again = "import hamgr, subprocess, sys; subprocess.run([sys.executable, '-c', ''], check=True)"
    reads = [*user, sys.executable, "-c", again]
    if subprocess.run(reads, cwd=home, capture_output=True, check=False).returncode == 0:
        return user
    return [*user, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def processes_of(home: Path) -> list[str]:
    """The command lines of what still runs in or on this home."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has just ended
        if str(home) in text:
            found.append(text)
    return found


def test_an_ordinary_user_gets_the_table_and_the_reason_for_what_is_left_out(home):
    if shutil.which("mariadbd", path="/usr/sbin:/usr/bin") is None:
        pytest.skip("no MariaDB server: install Debian's mariadb-server")
    require_etcd()
    done = subprocess.run(
        [
            *as_ordinary_user(home),
            sys.executable,
            "-m",
            "hamgr_sandbox.demo",
            "--only",
            "container-killed",
            "host-partitioned",
        ],
        cwd=home,
        env={**os.environ, "HOME": str(home), "PYTHONPATH": f"{ROOT}:{ROOT / 'agents'}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    (killed,) = [row for row in rows if row[:2] == ["container", "killed"] and "no" in row]
    acked, found, twice = killed[-8:-5]  # before: no second writer, and two times with their unit
    assert int(acked) > 20
    assert (found, twice) == (acked, "0")
    assert any(row[:8] == ["host", "cut", "off,", "still", "writing", "left", "out", "9"] for row in rows)
    assert "host cut off, still writing: left out: without root" in done.stdout
    assert "No acknowledged row was lost" in done.stdout
    assert [result["fault"] for result in json.loads((home / "build/demo.json").read_text())] == ["container-killed"]
    assert processes_of(home) == []


def test_nothing_to_play_is_a_sentence_and_an_exit_code(home):
    alone = [*as_ordinary_user(home), sys.executable, "-m", "hamgr_sandbox.demo", "--only", "host-partitioned"]
    done = subprocess.run(alone, cwd=home, capture_output=True, text=True, check=False)
    assert done.returncode == 77
    assert done.stderr.startswith("demo: nothing to play: host cut off, still writing: left out: without root")
