"""Turns build/demo.json into the table of docs/performance.md: medians, ranges, rows, and where the time went."""

from __future__ import annotations

import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

_MILESTONES = (
    ("noticed", re.compile(r"fell silent")),
    ("fenced, with proof", re.compile(r"fenced by level")),
    ("disk attached", re.compile(r"^start of disk on")),
    ("MariaDB answers", re.compile(r"^start of mariadb on")),
    ("clients sent there", re.compile(r"^start of clients on")),
    ("first acknowledged row", re.compile(r"^client: first acknowledged row")),
    ("last row of the old database", re.compile(r"^old database: last row")),
)


def main() -> int:
    path = Path(sys.argv[1] if len(sys.argv) > 1 else "build/demo.json")
    results = json.loads(path.read_text())
    faults = list(dict.fromkeys(result["fault"] for result in results))
    print("| fault | n | median | range | rows acknowledged, found | twice | second writer |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for fault in faults:
        print(_row([result for result in results if result["fault"] == fault]))
    for fault in faults:
        times = _milestones([result for result in results if result["fault"] == fault])
        if times:
            print(f"\n{fault}: " + ", ".join(f"{name} {at:.1f} s" for name, at in times))
    return 0


def _row(results: list[dict[str, Any]]) -> str:
    outages = [result["outage_s"] for result in results]
    rows = f"{sum(result['acked'] for result in results)}, {sum(result['found'] for result in results)}"
    twice = sum(result["duplicates"] for result in results)
    second = "YES" if any(result["second_writer"] for result in results) else "no"
    spread = f"{min(outages):.2f}–{max(outages):.2f}"
    median = f"{statistics.median(outages):.2f} s"
    return f"| {results[0]['title']} | {len(results)} | {median} | {spread} | {rows} | {twice} | {second} |"


def _milestones(results: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Medians of the moments, in seconds after the fault; those that not every run has are left out."""
    found = []
    for name, pattern in _MILESTONES:
        moments = [_first(result["steps"], pattern) for result in results]
        known = [moment for moment in moments if moment is not None]
        if len(known) == len(results):
            found.append((name, statistics.median(known)))
    return sorted(found, key=lambda item: item[1])


def _first(steps: list[dict[str, Any]], pattern: re.Pattern[str]) -> float | None:
    return next((float(step["at_s"]) for step in steps if pattern.search(step["step"])), None)


if __name__ == "__main__":
    sys.exit(main())
