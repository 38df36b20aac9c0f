"""A long comparison: `make campaign-scheduler N=10000` puts that many generated CIBs to both schedulers.

Prints how many differ, gate by gate; shrinks the first differences of each kind to minimal CIBs, which it saves with
Pacemaker's answer under build/scheduler-differences/ (from there to tests/scheduler/differential/found/); writes the
figures to build/scheduler-campaign.json.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from scheduler.differential.answers import GATES
from scheduler.differential.bundle_clusters import bundle_cib_number
from scheduler.differential.clusters import cib_number, remote_cib_number
from scheduler.differential.judges import Verdict, judge, oracle_installed
from scheduler.differential.shrinking import shrink

BUILD = Path(__file__).resolve().parents[3] / "build"
SHRINK_S = 25.0
GENERATORS: dict[str, Callable[[int], str]] = {
    "clusters": cib_number,
    "remotes": remote_cib_number,
    "bundles": bundle_cib_number,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=10_000, help="how many CIBs")
    parser.add_argument("--first", type=int, default=0, help="the number of the first CIB")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--shrink", type=int, default=12, help="how many different differences to shrink")
    parser.add_argument("--of", choices=GENERATORS, default="clusters", help="what is generated")
    options = parser.parse_args()
    generate = GENERATORS[options.of]
    if not oracle_installed():
        print("campaign: crm_simulate is not installed (Debian package pacemaker-cli-utils)", file=sys.stderr)
        return 69
    started = time.monotonic()
    tally = Tally()
    numbers = range(options.first, options.first + options.count)
    with ProcessPoolExecutor(options.jobs) as pool:
        for number, verdict in zip(
            numbers, pool.map(partial(judge_number, generate), numbers, chunksize=10), strict=True
        ):
            tally.count(number, verdict)
            if tally.judged % 500 == 0:
                print(f"{tally.judged} CIBs, {len(tally.differing)} differ", flush=True)
    figures = tally.figures(time.monotonic() - started)
    BUILD.mkdir(exist_ok=True)
    (BUILD / "scheduler-campaign.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(report(figures))
    save_minimal(generate, list(tally.kinds.values())[: options.shrink])
    return 0 if not tally.differing else 1


def judge_number(generate: Callable[[int], str], number: int) -> Verdict:
    return judge(generate(number))


class Tally:
    """Counts verdicts and sorts differences into kinds."""

    def __init__(self) -> None:
        self.judged = 0
        self.trivial = 0
        self.actions = 0
        self.refusals: Counter[str] = Counter()
        self.gates: Counter[str] = Counter()
        self.crashes: list[int] = []
        self.differing: list[int] = []
        self.kinds: dict[frozenset[str], int] = {}  # a difference's signature: the first CIB that shows it

    def count(self, number: int, verdict: Verdict) -> None:
        self.judged += 1
        if verdict.oracle is None:
            self.refusals[re.sub(r"\d+", "N", verdict.refusal)[:80]] += 1
            return
        self.trivial += verdict.oracle.trivial
        self.actions += sum(verdict.oracle.actions.values())
        if verdict.agree:
            return
        self.differing.append(number)
        if verdict.crash:
            self.crashes.append(number)
        self.gates.update(verdict.differences.keys())
        self.kinds.setdefault(signature(verdict), number)

    def figures(self, took_s: float) -> dict[str, Any]:
        answered = self.judged - sum(self.refusals.values())
        return {
            "cibs": self.judged,
            "answered_by_oracle": answered,
            "oracle_without_answer": dict(self.refusals),
            "nothing_to_do": self.trivial,
            "actions_per_cib": round(self.actions / max(answered, 1), 1),
            "differing": len(self.differing),
            "differing_percent": round(100 * len(self.differing) / max(answered, 1), 3),
            "differing_by_gate": {gate: self.gates[gate] for gate in GATES},
            "crashes": self.crashes[:50],
            "numbers": self.differing[:200],
            "took_s": round(took_s, 1),
        }


_WORDS = re.compile(
    r"_(start|stop|monitor|promote|demote|notify|migrate_to|migrate_from)_|(action=\w+|clear_failcount)"
)


def signature(verdict: Verdict) -> frozenset[str]:
    """What kinds of differences these are: gates, tasks and directions, but no names."""
    if verdict.crash:
        return frozenset({re.sub(r"\d+", "N", verdict.crash)})
    kinds = set()
    for gate, lines in verdict.differences.items():
        told = lines[:1] if gate == "order" else lines
        kinds |= {f"{gate} {line[0]} {_WORDS.findall(line)}" for line in told}
    return frozenset(kinds)


def report(figures: dict[str, Any]) -> str:
    answered = max(figures["answered_by_oracle"], 1)
    lines = [
        f"{figures['cibs']} CIBs in {figures['took_s']} s; crm_simulate answered {figures['answered_by_oracle']}",
        f"nothing to do in {figures['nothing_to_do']}; {figures['actions_per_cib']} actions a CIB",
        f"differing: {figures['differing']} ({figures['differing_percent']} %)",
    ]
    lines += [f"  {gate:8} {n:6}  {100 * n / answered:.3f} %" for gate, n in figures["differing_by_gate"].items()]
    lines += [f"no answer: {n:5}  {why}" for why, n in figures["oracle_without_answer"].items()]
    return "\n".join(lines)


def save_minimal(generate: Callable[[int], str], numbers: Iterable[int]) -> None:
    folder = BUILD / "scheduler-differences"
    folder.mkdir(exist_ok=True)
    for number in numbers:
        print(save_difference(generate(number), folder / f"{number}.xml"), flush=True)


def save_difference(text: str, path: Path, budget_s: float = SHRINK_S) -> str:
    """Shrink a CIB that makes a difference, save it beside what differs, and say where."""
    before = judge(text)
    kinds = signature(before)

    def still(smaller: str) -> bool:
        found = signature(judge(smaller))
        return bool(found) and found <= kinds

    minimal = shrink(text, still, budget_s)
    verdict = judge(minimal)
    lines = [verdict.crash] if verdict.crash else []
    for gate, differences in verdict.differences.items():
        lines += [f"{gate}: {line}" for line in differences]
    path.write_text(minimal, encoding="utf-8")
    if verdict.oracle is not None:
        answer = json.dumps(verdict.oracle.to_json(), indent=1) + "\n"
        path.with_suffix(".json").write_text(answer, encoding="utf-8")
    path.with_suffix(".txt").write_text(
        "Only crm_simulate's answer has the lines with -, only hamgr's those with +.\n" + "\n".join(lines) + "\n",
        encoding="utf-8",
    )
    return f"{path}\n" + "\n".join(f"  {line}" for line in lines[:6])


if __name__ == "__main__":
    sys.exit(main())
