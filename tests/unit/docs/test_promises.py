"""The table of promises in docs/fencing.md names tests that exist, and no promise stands there without one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
TITLE = "## What is promised, what backs it, and what it does not cover\n"
TEST = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def rows() -> list[list[str]]:
    """The cells of each row: promise, what backs it, what it does not cover."""
    section = (ROOT / "docs/fencing.md").read_text().partition(TITLE)[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table[2:]]


def named(row: list[str]) -> list[tuple[str, str]]:
    return TEST.findall(row[1])


def test_each_promise_has_a_mechanism_a_test_and_a_bound() -> None:
    assert len(rows()) >= 12
    for row in rows():
        assert len(row) == 3, row[0]
        assert all(row), row[0]
        assert named(row), f"no test is named for: {row[0]}"


@pytest.mark.parametrize(("file", "name"), sorted({test for row in rows() for test in named(row)}))
def test_the_tests_that_are_named_exist(file: str, name: str) -> None:
    text = (ROOT / file).read_text()
    assert not name or re.search(rf"def {name}\(", text), f"{file} has no {name}"
