"""`make demo`: set the stage, play the story, print the table, write build/demo.json."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import pymysql
from rich.console import Console
from rich.table import Table

from hamgr.sandbox.client import ApiError
from hamgr.sandbox.demo.acts import ACTS, Act
from hamgr.sandbox.demo.stage import NotInTime, Stage
from hamgr.sandbox.demo.story import Result, play, prepare
from hamgr.sandbox.errors import SandboxError

RESULTS = Path("build/demo.json")
_ROWS_AN_ACT = 100_000
_PATIENCE_S = 60.0

_WIDTH = 132  # of a table that nobody looks at on a terminal
console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="MariaDB on a ReadWriteOnce disk, and five faults.")
    parser.add_argument("--runs", type=int, default=1, help="play the story so many times; the table shows medians")
    parser.add_argument("--only", nargs="*", choices=[act.name for act in ACTS], help="these faults only")
    parser.add_argument("--baseline", action="store_true", help="measure plain Kubernetes' controllers here as well")
    parser.add_argument("--dir", type=Path, default=Path("build/demo-sandbox"))
    parser.add_argument("--keep", action="store_true", help="leave the sandbox running at the end")
    options = parser.parse_args()
    acts = [act for act in ACTS if not options.only or act.name in options.only]
    try:
        baseline = _perform(Stage(options.dir, hamgr=False), acts, 1, keep=False) if options.baseline else {}
        results = _perform(Stage(options.dir), acts, options.runs, keep=options.keep)
    except (SandboxError, NotInTime, ApiError, pymysql.MySQLError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    _print_table(acts, results, baseline)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    flat = [result.to_json() for act in acts for result in results[act.name]]
    RESULTS.write_text(json.dumps(flat, indent=1) + "\n")
    console.print(f"all of it, with every step: {RESULTS}")
    return 0 if all(_kept(act, result) for act in acts for result in results[act.name]) else 1


def _perform(stage: Stage, acts: list[Act], runs: int, *, keep: bool) -> dict[str, list[Result]]:
    began = time.monotonic()

    def say(line: str) -> None:
        console.print(f"[dim]{time.monotonic() - began:7.1f}[/dim]  {line}", markup=True)

    results: dict[str, list[Result]] = {act.name: [] for act in acts}
    first = 1
    try:
        stage.up(say)
        prepare(stage)
        for run in range(runs):
            for act in acts:
                if act.name == "leader-killed" and not stage.hamgr:
                    continue
                console.rule(f"{act.title}" + (f" ({run + 1} of {runs})" if runs > 1 else ""), align="left")
                result = play(stage, act, first, say, _PATIENCE_S)
                first += _ROWS_AN_ACT
                results[act.name].append(result)
                say(f"outage {result.outage_s:.2f} s, {result.found} of {result.acked} acknowledged rows found")
    finally:
        if not keep:
            stage.down()
    return results


def _kept(act: Act, result: Result) -> bool:
    """Whether what is never traded away was kept: every acknowledged row is there once, and there was one writer."""
    del act
    return result.found == result.acked and not result.duplicates and not result.second_writer


def _print_table(acts: list[Act], results: dict[str, list[Result]], baseline: dict[str, list[Result]]) -> None:
    table = Table(title="what the client saw", title_justify="left")
    for column in ("fault", "outage", "bound", "acked", "found", "twice", "2 writers"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    for column in ("plain K8s", "Pacemaker"):
        table.add_column(column, justify="right")
    if baseline:
        table.add_column("plain K8s, here", justify="right")
    for act in acts:
        mine = results[act.name]
        outages = sorted(result.outage_s for result in mine)
        shown = f"{outages[len(outages) // 2]:.2f} s"
        if len(outages) > 1:
            shown += f" ({outages[0]:.2f}-{outages[-1]:.2f})"
        row = [
            act.title,
            shown,
            f"<= {act.bound_s:g} s",
            str(sum(result.acked for result in mine)),
            str(sum(result.found for result in mine)),
            str(sum(result.duplicates for result in mine)),
            "no" if not any(result.second_writer for result in mine) else "YES",
            act.kubernetes,
            act.pacemaker,
        ]
        if baseline:
            here = baseline.get(act.name) or []
            row.append(f"{here[0].outage_s:.1f} s" if here and here[0].found else "-" if not here else "not back")
        table.add_row(*row)
    console.print(table)
    console.print(
        "[dim]plain Kubernetes 1.36 and Pacemaker 2.1.5: measured on real clusters, see docs/performance.md[/dim]"
    )


if __name__ == "__main__":
    sys.exit(main())
