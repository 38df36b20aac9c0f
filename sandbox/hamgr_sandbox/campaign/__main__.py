"""`make campaign-faults`: play many schedules, print a line for each, keep build/faults.json up to date."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hamgr_sandbox.campaign.checkers import LOST_WRITE, SECOND_WRITER, STUCK, Finding
from hamgr_sandbox.campaign.harness import Harness
from hamgr_sandbox.campaign.play import Play, Row
from hamgr_sandbox.campaign.schedule import self_fencing
from hamgr_sandbox.client import ApiError
from hamgr_sandbox.errors import SandboxError

RESULTS = Path("build/faults.json")
DIRECTORY = Path("build/faults")
REBUILD_AFTER = 25  # schedules; keeps the application's log, which every audit reads whole, short
BROKEN = "sandbox-broken"


class Results:
    """What came of all schedules so far; the file is whole after each of them. Thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self.rows: list[Row] = []

    def add(self, row: Row) -> None:
        with self._lock:
            self.rows.append(row)
            self._tell(row)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = self._path.with_suffix(".new")
            unfinished.write_text(json.dumps(self.summary(), indent=1) + "\n")
            unfinished.rename(self._path)

    def summary(self) -> dict[str, Any]:
        """The figures, then a row for each schedule."""
        rules = Counter(rule for row in self.rows for rule in {finding.rule for finding in row.findings})
        return {
            "schedules": len(self.rows),
            "faults": sum(len(row.faults) - row.missed for row in self.rows),
            "second_writers": rules[SECOND_WRITER],
            "lost_writes": rules[LOST_WRITE],
            "stuck": rules[STUCK],
            "fences": sum(len(row.fences) for row in self.rows),
            "acknowledged": sum(row.acknowledged for row in self.rows),
            "broken_rules": dict(rules),
            "seeds_failed": sorted(row.seed for row in self.rows if row.findings),
            "took_s": round(time.monotonic() - self._began, 1),
            "rows": [row.to_json() for row in sorted(self.rows, key=lambda row: row.seed)],
        }

    def _tell(self, row: Row) -> None:
        verdict = "FAILED" if row.findings else "ok"
        print(
            f"seed {row.seed} ({row.levels}): {verdict}, {len(row.faults)} faults, {len(row.fences)} fences, "
            f"{row.acknowledged} writes, whole after {row.whole_after_s:g} s, {row.took_s:g} s in all",
            flush=True,
        )
        if row.findings:
            for line in row.faults:
                print(f"    fault  {line}")
            for fence in row.fences:
                print(f"    fence  {fence}")
            for finding in row.findings[:10]:
                print(f"    {finding.rule}: {finding.text}")
            print(f"    again: make campaign-faults SEED={row.seed}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make campaign-faults", description="Random faults and the audits after them."
    )
    parser.add_argument("--count", type=int, default=20, help="how many schedules (default: %(default)s)")
    parser.add_argument("--first", type=int, default=1, help="the first seed; the others follow (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="play the schedule of this seed alone")
    parser.add_argument("--sandboxes", type=int, default=2, help="how many side by side (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--dir", type=Path, default=DIRECTORY)
    parser.add_argument("--keep", action="store_true", help="leave the sandbox of a failed schedule as it is, and end")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("campaign-faults: needs root, for partitions and for disks that can be pulled", file=sys.stderr)
        return 77
    seeds = [options.seed] if options.seed is not None else range(options.first, options.first + options.count)
    results = Results(options.results)
    run_campaign(list(seeds), results, options.dir, min(options.sandboxes, len(seeds)), keep=options.keep)
    told = {key: value for key, value in results.summary().items() if key != "rows"}
    print(f"{json.dumps(told)}\nall of it: {options.results}")
    return 1 if told["seeds_failed"] else 0


def run_campaign(seeds: list[int], results: Results, directory: Path, sandboxes: int, *, keep: bool = False) -> None:
    """Play all seeds, so many sandboxes side by side."""
    remaining = iter(seeds)
    lock = threading.Lock()
    stopped = threading.Event()

    def draw_seed() -> int | None:
        with lock:
            return None if stopped.is_set() else next(remaining, None)

    workers = [
        threading.Thread(target=_work, args=(directory / str(number), draw_seed, results, keep), daemon=True)
        for number in range(1, sandboxes + 1)
    ]
    for worker in workers:
        worker.start()
    try:
        _wait_for(workers)
    except KeyboardInterrupt:
        told = "no new schedule begins; the ones under way are played to their end (a minute or so)"
        print(f"campaign-faults: {told}", file=sys.stderr, flush=True)
        stopped.set()
        _wait_for(workers)


def _wait_for(workers: list[threading.Thread]) -> None:
    """Until all have ended. A `join` that is interrupted takes its thread for ended ever after."""
    while any(worker.is_alive() for worker in workers):
        time.sleep(0.2)


def _work(directory: Path, draw_seed: Callable[[], int | None], results: Results, keep: bool) -> None:
    """Play seeds in one sandbox; it is built anew now and then, and after every failure, whose traces are kept."""
    harness: Harness | None = None
    play: Play | None = None
    played, fencing = 0, False
    try:
        while (seed := draw_seed()) is not None:
            if harness is None or play is None or self_fencing(seed) != fencing:
                if harness is not None:
                    harness.down()
                fencing, played = self_fencing(seed), 0
                harness = Harness(directory, self_fencing=fencing)
                play = Play(harness)
            played += 1
            row = _attempt(harness, play, seed, fresh=played == 1)
            results.add(row)
            if row.findings:
                _keep_traces(harness, play, row, directory.with_name(f"seed-{seed}"))
            if row.findings and keep:
                return
            if row.findings or played == REBUILD_AFTER:
                play = None
    finally:
        if harness is not None and not keep:
            harness.down()


def _attempt(harness: Harness, play: Play, seed: int, *, fresh: bool) -> Row:
    """Play one schedule; a sandbox that fails is a finding like others, and does not end the campaign."""
    try:
        if fresh:
            harness.up()
        return play.perform(seed)
    except Exception as error:  # noqa: BLE001  whatever it is, it belongs to this seed
        traceback.print_exc()
        return Row(seed, findings=[Finding(BROKEN, f"{type(error).__name__}: {error}")])


def _keep_traces(harness: Harness, play: Play, row: Row, target: Path) -> None:
    """Everything that tells what happened, beside the sandbox that is about to be built anew."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    (target / "row.json").write_text(json.dumps(row.to_json(), indent=1))
    layout = harness.sandbox.layout
    for machine in (layout.control, harness.sandbox.switch.home, *layout.nodes.glob("*")):
        shutil.copytree(machine / "logs", target / machine.name, dirs_exist_ok=True, ignore_dangling_symlinks=True)
    with contextlib.suppress(OSError):
        shutil.copy(layout.control / "apiserver.journal", target)
    with contextlib.suppress(OSError, ValueError, ApiError, SandboxError):
        shutil.copy(harness.log_of_active_pod(), target)
    (target / "acknowledged.json").write_text(json.dumps([asdict(each) for each in play.acknowledged], indent=1))
    processes = subprocess.run(["ps", "-eo", "pid,ppid,stat,wchan:20,lstart,args"], capture_output=True, check=False)
    (target / "processes").write_bytes(processes.stdout)
    try:
        kept = {entry.key: entry.value for entry in harness.past.read("")}
        (target / "etcd.json").write_text(json.dumps(kept, indent=1))
    except (OSError, ValueError, SandboxError) as error:
        (target / "etcd.json").write_text(json.dumps({"error": str(error)}))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        left = f"its sandboxes stay as they are: `hamgr sandbox down --dir {DIRECTORY}/N` ends one"
        print(f"campaign-faults: left off in the middle; {left}", file=sys.stderr)
        sys.exit(130)
