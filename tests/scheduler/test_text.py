"""What a person reads from `hamgr simulate` is what crm_simulate would have told, word for word."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from scheduler.differential.clusters import NOW, cib_number
from scheduler.differential.judges import judge

from hamgr.cli.simulate import main
from tests.scheduler.text_cases import MOMENT, RECORDED, TEXTS, ask_crm_simulate, told


def recorded(name: str) -> list[str]:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("name", TEXTS)
def test_tells_what_pacemaker_tells(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cib.xml"
    path.write_text(TEXTS[name])
    assert main([str(path), "--at", MOMENT]) == 0
    assert told(capsys.readouterr().out) == recorded(name)


oracle = pytest.mark.skipif(shutil.which("crm_simulate") is None, reason="crm_simulate is not installed")
# A ratchet: of this many generated clusters, about which both decide the same, so many may be told otherwise.
GENERATED, MAY_DIFFER = 60, 1


@pytest.mark.oracle
@oracle
@pytest.mark.parametrize("name", TEXTS)
def test_pacemaker_itself_tells_it(name: str) -> None:
    assert told(ask_crm_simulate(TEXTS[name])) == recorded(name)


def final_scores(text: str) -> dict[str, str]:
    """The last score told of each primitive on each node, and of each instance's promotion."""
    found = {}
    for line in text.splitlines():
        words = line.strip().removeprefix("pcmk__primitive_assign: ").rpartition(": ")
        if " score on " in words[0] and not words[0].startswith("pcmk__"):
            found[words[0]] = words[2]
    return found


@pytest.mark.oracle
@oracle
@pytest.mark.parametrize("name", TEXTS)
def test_scores_are_pacemakers(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cib.xml"
    path.write_text(TEXTS[name])
    assert main([str(path), "--at", MOMENT, "--show-scores"]) == 0
    ours, theirs = final_scores(capsys.readouterr().out), final_scores(ask_crm_simulate(TEXTS[name], what="-Rs"))
    assert theirs
    assert {line: ours.get(line) for line in theirs} == theirs


@pytest.mark.oracle
@oracle
def test_generated_clusters_are_told_alike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, moment = tmp_path / "cib.xml", datetime.fromtimestamp(NOW, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    asked, differing = 0, []
    for number in range(GENERATED):
        text = cib_number(number)
        theirs = told(ask_crm_simulate(text, moment))
        if not any(line.startswith("Revised") for line in theirs):
            continue  # it refused the CIB
        path.write_text(text)
        assert main([str(path), "--at", moment]) == 0
        asked += 1
        if told(capsys.readouterr().out) != theirs and judge(text).agree:
            differing.append(number)
    assert asked > GENERATED // 2
    assert len(differing) <= MAY_DIFFER, differing
