"""Pacemaker's own regression corpus, where it lies beside the project (it is no part of it): all is answered alike."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from fixtures.simulated import answer

from hamgr.cib.xml.document import load_xml
from hamgr.cli.render import json

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "pacemaker"

pytestmark = pytest.mark.skipif(not (CORPUS / "score.py").exists(), reason=f"no corpus at {CORPUS}")


def _score() -> ModuleType:
    spec = importlib.util.spec_from_file_location("score", CORPUS / "score.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _gates(score: Any, name: str) -> dict[str, bool]:
    cib = CORPUS / "cib" / f"{name}.xml"
    transition, _, revised = answer(load_xml(cib), datetime.now(UTC))
    got = json.plain(transition, revised)
    anonymous = score.anonymous(ET.parse(cib).getroot())
    root = ET.parse(CORPUS / "oracle" / f"{name}.xml").getroot()
    actions = root.find("actions")
    expected, edges = score.graph_expected(CORPUS / "graph" / f"{name}.xml", anonymous)
    given, given_edges = score.graph_given(got["graph"], anonymous)
    summary = [e.attrib for e in (actions if actions is not None else ())]
    return {
        "summary": score.summary(summary, anonymous) == score.summary(got["actions"], anonymous),
        "actions": Counter(filter(None, expected.values())) == Counter(filter(None, given.values())),
        "revised": score.revised_expected(root, anonymous) == score.revised_given(got["revised"], anonymous),
        "order": score.closure(expected, edges) == score.closure(given, given_edges),
    }


@pytest.mark.parametrize("cases", ["core.txt", "extended.txt"])
def test_answered_as_pacemaker_does(cases: str) -> None:
    score = _score()
    names = [n for n in (CORPUS / cases).read_text().split() if n not in score.CLOCK | score.UPSTREAM_CHANGED]
    assert names
    failing = {name: [gate for gate, passed in _gates(score, name).items() if not passed] for name in names}
    assert {name: gates for name, gates in failing.items() if gates} == {}
