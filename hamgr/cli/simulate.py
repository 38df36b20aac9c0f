"""``hamgr simulate``: what the cluster would do about a CIB, as crm_simulate -S shows it.

Kept lean: a run is a process, so nothing is imported that the answer does not need.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from hamgr.cib.model import Cib
from hamgr.cib.rules import parse_date
from hamgr.cli import simulate_input
from hamgr.cli.exits import CommandError, Exit
from hamgr.scheduler import Transition, schedule, simulator, status
from hamgr.scheduler.engine import effective_time, run
from hamgr.scheduler.state import Rsc

TYPE_CHECKING = False  # as typing has it, which takes 2 ms to import
if TYPE_CHECKING:
    from typing import Any


def document(transition: Transition, revised: simulator.StatusView) -> dict[str, Any]:
    """The answer as plain values; what ``--output json`` prints."""
    lines = []
    for line in transition.summary:
        pairs = (
            ("action", line.action),
            ("task", line.task),
            ("resource", line.resource),
            ("role", line.role),
            ("next-role", line.next_role),
            ("source", line.source),
            ("dest", line.dest),
            ("node", line.node),
            ("reason", line.reason),
        )
        item: dict[str, Any] = {k: v for k, v in pairs if v}
        if line.blocked:
            item["blocked"] = True
        lines.append(item)
    actions = []
    for action in transition.actions:
        entry: dict[str, Any] = {"id": action.id, "key": action.task if action.kind == "crm" else action.key}
        if action.node and action.kind != "pseudo":
            entry["node"] = action.node
        if action.kind == "pseudo":
            entry["pseudo"] = True
        if action.fence:
            entry["fence"] = action.fence
        actions.append(entry)
    return {
        "actions": lines,
        "graph": {"actions": actions, "edges": transition.edges},
        "revised": {
            "nodes": [
                {
                    "name": n.name,
                    "online": n.online,
                    "standby": n.standby,
                    "maintenance": n.maintenance,
                    "pending": n.pending,
                    "unclean": n.unclean,
                }
                for n in revised.nodes
            ],
            "resources": [{"id": r.id, "role": r.role, "node": r.node} for r in revised.resources],
        },
        "warnings": transition.warnings,
    }


def answer(
    cib: Cib, now: datetime, failing: dict[str, int] | None = None
) -> tuple[Transition, simulator.Simulation, simulator.StatusView]:
    """Schedule, pretend to execute, and look at the result."""
    transition = schedule(cib, now)
    simulation = simulator.execute(cib, transition, now, failing)
    return transition, simulation, simulator.view(simulation.cib, now)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hamgr simulate",
        description="Show what the cluster would do: current status, what changes, its execution, status afterwards.",
    )
    parser.add_argument("file", nargs="?", metavar="CIB.xml|FILE.yaml", help="a Pacemaker CIB or a cluster file")
    parser.add_argument("--live", action="store_true", help="what the running cluster would do now")
    parser.add_argument("--config", help="hamgrd's settings file, for --live")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.add_argument("--at", metavar="TIME", help="decide as of this time (ISO 8601)")
    parser.add_argument("--node-up", action="append", default=[], metavar="NODE", help="as if the node came up")
    parser.add_argument("--node-down", action="append", default=[], metavar="NODE", help="as if it left cleanly")
    parser.add_argument("--node-fail", action="append", default=[], metavar="NODE", help="as if it was lost")
    parser.add_argument("--op-fail", action="append", default=[], metavar="RSC_OP_INTERVAL@NODE=RC")
    parser.add_argument("--show-scores", action="store_true", help="also each resource's score on each node")
    parser.add_argument("--why", metavar="RESOURCE", help="say why this resource goes where it goes")
    return parser


def _failures(texts: list[str]) -> dict[str, int]:
    found = {}
    for text in texts:
        key, equals, rc = text.rpartition("=")
        if not equals or "@" not in key or not rc.isdigit():
            raise CommandError(f'--op-fail "{text}" is not of the form RSC_OP_INTERVAL@NODE=RC', Exit.USAGE)
        found[key] = int(rc)
    return found


def _moment(text: str | None) -> datetime:
    if not text:
        return datetime.now(UTC)
    moment = parse_date(text)
    if moment is None:
        raise CommandError(f'"{text}" is no ISO 8601 time', Exit.USAGE)
    return datetime.fromtimestamp(moment, UTC)


def _cib(options: argparse.Namespace) -> Cib:
    if bool(options.file) == options.live:
        raise CommandError("name one thing to simulate: a CIB.xml, a cluster file, or --live", Exit.USAGE)
    cib = simulate_input.live(options.config) if options.live else simulate_input.from_file(options.file)
    known = {node.name for node in cib.nodes} | {state.name for state in cib.node_states}
    for name in (*options.node_up, *options.node_down, *options.node_fail):
        if name not in known:
            raise CommandError(f"there is no node {name}; nodes are {', '.join(sorted(known))}", Exit.NO_HOST)
    return simulator.inject(cib, options.node_up, options.node_down, options.node_fail)


def main(argv: list[str]) -> int:
    """Run the command; its exit code."""
    try:
        options = _parser().parse_args(argv)
    except SystemExit as stop:  # argparse says 2 for wrong usage
        return Exit.USAGE if stop.code else Exit.OK
    try:
        return _run(options)
    except CommandError as error:
        print(f"hamgr simulate: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # `hamgr simulate ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:
        if not options.live:
            raise
        from hamgr.store.errors import StoreError

        if not isinstance(error, StoreError):
            raise
        print(f"hamgr simulate: {error}", file=sys.stderr)
        return Exit.UNAVAILABLE


def _run(options: argparse.Namespace) -> int:
    failing, now, cib = _failures(options.op_fail), _moment(options.at), _cib(options)
    transition, simulation, revised = answer(cib, now, failing)
    for warning in transition.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if options.output == "json":
        import json

        json.dump(document(transition, revised), sys.stdout)
        sys.stdout.write("\n")
    elif options.why:
        sys.stdout.write(_why(options.why, cib, now, transition))
    else:
        from hamgr.cli import render_simulate

        when = effective_time(cib, now)
        before, after = status.unpack(cib, when), status.unpack(simulation.cib, when)
        sys.stdout.write(render_simulate.render(before, transition, simulation, after))
    if options.show_scores and options.output == "text":
        from hamgr.cli.render_reasons import score_lines

        sys.stdout.write("\n".join(("\nAllocation scores:", *score_lines(run(cib, now)))) + "\n")
    return Exit.OK


def _why(name: str, cib: Cib, now: datetime, transition: Transition) -> str:
    from hamgr.cli.render_reasons import reason_lines, score_lines

    work = run(cib, now)
    found = [rsc for top in work.resources for rsc in _family(top) if name in (rsc.id, rsc.id.split(":")[0])]
    if not found:
        raise CommandError(f"there is no resource {name}", Exit.NO_OBJECT)
    parents = {rsc.parent.id for rsc in found if rsc.parent is not None}
    lines = reason_lines(name, parents, transition.reasons, transition.summary)
    ids = {rsc.id for rsc in found}
    scores = [line for line in score_lines(work) if line.split(" ", 1)[0] in ids]
    told = [f"  * {line}" for line in (*lines, *scores)] or ["  * nothing was decided about it: it stays as it is"]
    return "\n".join((f"{name}:", *told)) + "\n"


def _family(rsc: Rsc) -> Iterator[Rsc]:
    yield rsc
    for child in rsc.children:
        yield from _family(child)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
