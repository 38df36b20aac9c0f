"""The scheduler beside Pacemaker's: process time, CPU time and growth, in one run on the same inputs.

Prints medians and ranges; docs/performance.md has what it printed, and on which machine. Inputs: the recorded CIBs in
../shared/pacemaker when they are there, else generated ones (tests/scheduler/differential).
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT / "tests")  # in the place of bench/, where this file is another "scheduler"

from scheduler.differential.clusters import cib_number  # noqa: E402

from hamgr.cib.xml.document import load_xml  # noqa: E402
from hamgr.scheduler import schedule  # noqa: E402

RECORDED = ROOT.parent / "shared" / "pacemaker" / "cib"
HAMGR, MODULE, CRM, START = "hamgr simulate", "python -m, JSON", "crm_simulate -S", "python -c pass"
COMMANDS = {
    HAMGR: [str(Path(sys.executable).with_name("hamgr")), "simulate"],
    MODULE: [sys.executable, "-m", "hamgr.cli.simulate", "--output", "json"],
    CRM: ["crm_simulate", "-S", "-x"],
    START: [sys.executable, "-c", "pass"],  # what no Python program can do without
}
SIZES = ((10, 3), (50, 5), (100, 8), (200, 16), (500, 32), (1000, 64), (2000, 100))
NOW = datetime.now(UTC)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=30, help="CIBs for the process times")
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured")
    parser.add_argument("--largest", type=int, default=2000, help="resources in the largest generated cluster")
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory(prefix="bench-scheduler-") as folder:
        files = inputs(Path(folder))
        compare_processes(files[:: max(1, len(files) // options.cases)], options.rounds)
        compare_cpu(files, Path(folder))
        compare_growth(Path(folder), [size for size in SIZES if size[0] <= options.largest], options.rounds)
        one_failed_node(Path(folder), options.rounds)
    return 0


def machine() -> str:
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    return f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, {when}"


def inputs(folder: Path) -> list[Path]:
    """Recorded CIBs where they are, else generated ones."""
    if RECORDED.is_dir():
        print(f"inputs: {RECORDED}")
        return sorted(RECORDED.glob("*.xml"))
    print("inputs: generated CIBs (the recorded ones are not here)")
    files = []
    for number in range(200):
        files.append(folder / f"{number}.xml")
        files[-1].write_text(cib_number(number), encoding="utf-8")
    return files


def spread(values: Sequence[float], unit: str = "ms", digits: int = 0) -> str:
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"median {middle} {unit} ({low} to {high})"


# --- one case as a process -------------------------------------------------------------------------------


def run_process(command: Sequence[str]) -> tuple[float, float]:
    """Wall and CPU time in ms."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, timeout=600)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, cpu * 1000


def compare_processes(files: Sequence[Path], rounds: int) -> None:
    print(f"\nOne case as a process: {len(files)} CIBs, {rounds} rounds, the two alternating")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    if shutil.which("crm_simulate") is None:
        del times[CRM]
    for _ in range(rounds):
        for file in files:
            for name, found in times.items():
                found.append(run_process([*COMMANDS[name], str(file)]))
    for name, found in times.items():
        wall, cpu = zip(*found, strict=True)
        beside = ""
        if CRM in times and name in (HAMGR, MODULE):
            beside = "; hamgr / Pacemaker in pairs:" + "".join(
                f" {what} {statistics.median(a[kind] / b[kind] for a, b in zip(found, times[CRM], strict=True)):.2f}"
                for kind, what in enumerate(("wall", "CPU"))
            )
        print(f"  {name:16} wall {spread(wall, digits=1)}, CPU {spread(cpu, digits=1)}{beside}")


# --- CPU of the schedulers alone ----------------------------------------------------------------------------


def cpu_ms(work: Callable[[], object], repeat: int) -> float:
    """The fastest of `repeat` runs: what it costs when nothing disturbs."""
    best = float("inf")
    for _ in range(repeat):
        started = time.process_time()
        work()
        best = min(best, time.process_time() - started)
    return best * 1000


def hamgr_cpu_ms(file: Path, repeat: int = 3) -> float:
    """CPU time of the scheduler in this process, without reading the file."""
    cib = load_xml(str(file))
    gc.collect()
    return cpu_ms(lambda: schedule(cib, NOW), repeat)


def oracle_cpu_ms(folder: Path, repeat: int) -> dict[str, float]:
    """CPU time of the C scheduler by file name, as crm_simulate's own profiling mode tells it."""
    if shutil.which("crm_simulate") is None:
        return {}
    command = ["crm_simulate", "--profile", str(folder), "--repeat", str(repeat)]
    text = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1800).stdout
    found = re.findall(r"([^/\s]+\.xml) \.\.\. ([\d.]+) secs", text)
    return {name: float(seconds) * 1000 / repeat for name, seconds in found}


def compare_cpu(files: Sequence[Path], folder: Path) -> None:
    print(f"\nThe scheduler alone, CPU time summed over {len(files)} CIBs")
    oracle = oracle_cpu_ms(files[0].parent, 20)
    ours = {file.name: hamgr_cpu_ms(file) for file in files}
    total = sum(ours.values())
    print(f"  hamgr            {total:8.0f} ms, a case: {spread(list(ours.values()), digits=1)}")
    both = [name for name in ours if name in oracle]
    if both:
        theirs = sum(oracle[name] for name in both)
        print(f"  Pacemaker (C)    {theirs:8.0f} ms, a case: {spread([oracle[name] for name in both], digits=1)}")
        print(f"  hamgr / Pacemaker: {sum(ours[name] for name in both) / theirs:.1f}, same {len(both)} CIBs")


# --- growth -------------------------------------------------------------------------------------------------


def cluster(resources: int, nodes: int, *, failed: bool = False) -> str:
    """A cluster as operators build them: groups of a disk, an application and an address, clones and constraints."""
    names = [f"node{number:03}" for number in range(nodes)]
    parts, constraints, histories = [], [], dict[str, list[str]]()
    groups = resources // 5
    for number in range(groups):
        home = names[number % nodes]
        members = [f"{kind}{number}" for kind in ("disk", "app", "ip")]
        parts.append(f'<group id="grp{number}">{"".join(map(primitive, members))}</group>')
        singles = [f"web{number}", f"job{number}"]
        parts += map(primitive, singles)
        constraints.append(f'<rsc_location id="l{number}" rsc="grp{number}" node="{home}" score="100"/>')
        constraints.append(
            f'<rsc_colocation id="c{number}" rsc="web{number}" with-rsc="grp{number}" score="INFINITY"/>'
        )
        constraints.append(f'<rsc_order id="o{number}" first="grp{number}" then="web{number}"/>')
        for member in (*members, *singles):
            for name in names:
                histories.setdefault(name, []).append(started(member, name) if name == home else probed(member, name))
    fence = '<primitive id="fence" class="stonith" type="fence_xvm"/>'
    histories.setdefault(names[-1], []).append(
        started("fence", names[-1]).replace(
            'class="ocf" provider="pacemaker" type="Dummy"', 'class="stonith" type="fence_xvm"'
        )
    )
    states = "".join(state(name, histories.get(name, []), failed=failed and name == names[0]) for name in names)
    members_xml = "".join(f'<node id="{name}" uname="{name}"/>' for name in names)
    return (
        f'<cib validate-with="pacemaker-3.9" admin_epoch="1" epoch="1" num_updates="1" have-quorum="1" '
        f'dc-uuid="{names[-1]}"><configuration><crm_config/><nodes>{members_xml}</nodes>'
        f"<resources>{fence}{''.join(parts)}</resources><constraints>{''.join(constraints)}</constraints>"
        f"</configuration><status>{states}</status></cib>"
    )


def primitive(name: str) -> str:
    return (
        f'<primitive id="{name}" class="ocf" provider="pacemaker" type="Dummy"><operations>'
        f'<op id="{name}-monitor" name="monitor" interval="10s"/></operations></primitive>'
    )


def started(name: str, node: str) -> str:
    key = "5:5:0:6a5ce7d4-0000-4000-8000-000000000001"
    ops = "".join(
        f'<lrm_rsc_op id="{name}_{slot}" operation_key="{name}_{task}_{interval}" operation="{task}" '
        f'transition-key="{key}" transition-magic="0:0;{key}" on_node="{node}" call-id="{call}" rc-code="0" '
        f'op-status="0" interval="{interval}" last-rc-change="1750000000"/>'
        for call, (slot, task, interval) in enumerate((("last_0", "start", 0), ("monitor_10000", "monitor", 10_000)), 1)
    )
    return f'<lrm_resource id="{name}" class="ocf" provider="pacemaker" type="Dummy">{ops}</lrm_resource>'


def probed(name: str, node: str) -> str:
    key = "5:5:7:6a5ce7d4-0000-4000-8000-000000000001"
    return (
        f'<lrm_resource id="{name}" class="ocf" provider="pacemaker" type="Dummy"><lrm_rsc_op id="{name}_last_0" '
        f'operation_key="{name}_monitor_0" operation="monitor" transition-key="{key}" transition-magic="0:7;{key}" '
        f'on_node="{node}" call-id="1" rc-code="7" op-status="0" interval="0" last-rc-change="1750000000"/>'
        "</lrm_resource>"
    )


def state(name: str, histories: Sequence[str], *, failed: bool) -> str:
    seen = 'in_ccm="false" crmd="offline"' if failed else 'in_ccm="true" crmd="online"'
    return (
        f'<node_state id="{name}" uname="{name}" {seen} join="member" expected="member"><lrm id="{name}">'
        f"<lrm_resources>{''.join(histories)}</lrm_resources></lrm></node_state>"
    )


def compare_growth(folder: Path, sizes: Sequence[tuple[int, int]], rounds: int) -> None:
    print(f"\nGrowth: generated clusters, one node failed; CPU of the scheduler alone, {rounds} rounds alternating")
    print("  resources  nodes  hamgr                                 Pacemaker (C)                         ratio")
    for resources, nodes in sizes:
        # A folder for each, because crm_simulate's profiling mode takes folders.
        growth = folder / f"growth-{resources}"
        growth.mkdir()
        file = growth / "cib.xml"
        file.write_text(cluster(resources, nodes, failed=True), encoding="utf-8")
        ours, theirs = growth_cpu_ms(file, max(1, min(100, 20_000 // (resources * nodes))), rounds)
        ratio = f"{statistics.median(ours) / statistics.median(theirs):.2f}" if theirs else ""
        beside = spread(theirs, digits=1) if theirs else "-"
        print(f"  {resources:9}  {nodes:5}  {spread(ours, digits=1):36}  {beside:36}  {ratio}", flush=True)


def growth_cpu_ms(file: Path, repeat: int, rounds: int) -> tuple[list[float], list[float]]:
    """CPU of each round, hamgr's and Pacemaker's, which is the mean of `repeat`: its clock ticks every 10 ms."""
    cib = load_xml(str(file))
    ours, theirs = [], []
    for _ in range(rounds):
        gc.collect()
        ours.append(cpu_ms(lambda: schedule(cib, NOW), 1))
        theirs += oracle_cpu_ms(file.parent, repeat).values()
    return ours, theirs


def one_failed_node(folder: Path, rounds: int) -> None:
    file = folder / "failed.xml"
    file.write_text(cluster(500, 32, failed=True), encoding="utf-8")
    cib = load_xml(str(file))
    walls, cpus = [], []
    for _ in range(max(rounds, 5)):
        gc.collect()
        wall, cpu = time.perf_counter(), time.process_time()
        transition = schedule(cib, NOW)
        walls.append((time.perf_counter() - wall) * 1000)
        cpus.append((time.process_time() - cpu) * 1000)
    print(f"\n500 resources on 32 nodes, one failed ({len(transition.actions)} actions):")
    print(f"  wall {spread(walls)}, CPU {spread(cpus)}")


if __name__ == "__main__":
    sys.exit(main())
