"""`make demo`: set the stage, play the story, print the table, write build/demo.json."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

import pymysql
from rich.console import Console

from hamgr.api.exits import Exit
from hamgr_sandbox.client import ApiError
from hamgr_sandbox.demo.cluster import DemoCluster, NotInTime
from hamgr_sandbox.demo.display import Display, left_out, table, verdict
from hamgr_sandbox.demo.faults import ACTS, Act
from hamgr_sandbox.demo.result import Result
from hamgr_sandbox.demo.scenario import play, prepare
from hamgr_sandbox.errors import SandboxError
from hamgr_sandbox.network import NetworkError

RESULTS = Path("build/demo.json")
BASELINE = Path("build/baseline.json")
_ROWS_AN_ACT = 100_000
_PATIENCE_S = 60.0
_WIDTH = 132  # of lines that nobody looks at on a terminal

_FAILURES = (SandboxError, NetworkError, NotInTime, ApiError, pymysql.MySQLError, OSError)


def main() -> int:
    options = _options()
    chosen = [act for act in ACTS if not options.only or act.name in options.only]
    acts = [act for act in chosen if not act.left_out]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    teller = Display(console)
    if not acts:
        print(f"demo: nothing to play: {'; '.join(left_out(chosen))}", file=sys.stderr)
        return int(Exit.NO_PERMISSION)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # either way the sandbox is taken down
    baseline = None
    try:
        results = _hamgr(acts, options, teller, console)
        if options.baseline:
            baseline = _kubernetes(acts, options, teller, console)
    except _FAILURES as error:
        print(f"demo: {error}", file=sys.stderr)
        return int(error.code) if isinstance(error, SandboxError) else 1
    except KeyboardInterrupt:
        print("demo: interrupted; the sandbox is down", file=sys.stderr)
        return 130
    console.print()
    console.print(table(chosen, results, baseline))
    kept, sentences = verdict(acts, results)
    console.print()
    for sentence in left_out(chosen):
        console.print(sentence, style="yellow")
    for sentence in sentences:
        console.print(sentence, style="bold green" if kept and sentence is sentences[0] else "" if kept else "bold red")
    console.print(
        "Pacemaker 2.1.5 and Kubernetes 1.36 were measured on real clusters (docs/performance.md). "
        f"Every step: {RESULTS}",
        style="dim",
    )
    return 0 if kept else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description="MariaDB on a ReadWriteOnce disk, and five faults.")
    parser.add_argument("--runs", type=int, default=1, help="play the story so many times; the table shows medians")
    parser.add_argument("--only", nargs="*", choices=[act.name for act in ACTS], help="these faults only")
    parser.add_argument("--baseline", action="store_true", help="then the same with plain Kubernetes' controllers")
    parser.add_argument(
        "--patience", type=float, default=120.0, help="seconds after which plain Kubernetes is given up, per fault"
    )
    parser.add_argument(
        "--dir", type=Path, default=Path("build/demo-sandbox"), help="where the sandbox keeps its files"
    )
    parser.add_argument("--keep", action="store_true", help="leave the sandbox running at the end")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    if options.keep and options.baseline:
        parser.error("--keep and --baseline do not go together: both want the sandbox")
    return options


def _hamgr(acts: list[Act], options: argparse.Namespace, teller: Display, console: Console) -> dict[str, list[Result]]:
    """Play the story with hamgr and write its results down, also those of a story that had to be broken off."""
    faults = "Five faults." if len(acts) == 5 else "1 fault." if len(acts) == 1 else f"{len(acts)} faults."
    console.print(f"MariaDB on a ReadWriteOnce disk, three nodes, a client that writes 10 rows a second. {faults}")
    results: dict[str, list[Result]] = {act.name: [] for act in acts}
    for run in range(options.runs):
        # A cluster of its own for each run: hamgr lets a node alone that was fenced several times in an hour.
        stage = DemoCluster(options.dir)
        try:
            _set(stage, teller)
            if run == 0:
                console.print(f"[dim]        watch it yourself: {_watch_command(stage)}[/dim]", soft_wrap=True)
            for index, act in enumerate(acts):
                turn = f", run {run + 1} of {options.runs}" if options.runs > 1 else ""
                teller.act(f"{index + 1}. {act.title}{turn}")
                results[act.name].append(play(stage, act, 1 + _ROWS_AN_ACT * index, teller, _PATIENCE_S))
                _write(RESULTS, results)
        finally:
            if not (options.keep and run == options.runs - 1):
                stage.down()
    return results


def _kubernetes(
    acts: list[Act], options: argparse.Namespace, teller: Display, console: Console
) -> dict[str, list[Result]]:
    """Play the story with a plain Deployment. What the sandbox's controllers cannot recover ends it, not the demo."""
    console.print()
    console.rule("The same with a plain Deployment, in real time", style="dim")
    console.print(f"A fault is given up after {options.patience:g} s (--patience).")
    results: dict[str, list[Result]] = {act.name: [] for act in acts}
    stage = DemoCluster(options.dir, hamgr=False)
    try:
        _set(stage, teller)
        for index, act in enumerate(acts):
            if act.needs_hamgr:
                continue
            teller.act(f"plain Kubernetes: {act.title}")
            results[act.name].append(play(stage, act, 1 + _ROWS_AN_ACT * index, teller, options.patience))
            _write(BASELINE, results)
    except NotInTime as error:
        teller.conclude(f"{error}; the rest is left out", good=False)
    finally:
        stage.down()
    return results


def _set(stage: DemoCluster, teller: Display) -> None:
    stage.up(teller.say)
    prepare(stage)
    teller.say(f"waiting for {stage.calm}")


def _watch_command(stage: DemoCluster) -> str:
    return f"{Path(sys.executable).parent}/hamgr --config {stage.sandbox.layout.user_settings} status --watch"


def _write(path: Path, results: Mapping[str, list[Result]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    flat = [result.to_json() for played in results.values() for result in played]
    path.write_text(json.dumps(flat, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
