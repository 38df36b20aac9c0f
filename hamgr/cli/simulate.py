"""``hamgr simulate``: what the cluster would do about a CIB, as crm_simulate -S shows it.

Kept lean: a run is a process, so nothing is imported that the answer does not need.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any

from hamgr.cib.model import Cib
from hamgr.cib.rules import parse_date
from hamgr.cib.xml import CibError, load_xml
from hamgr.scheduler import Transition, schedule, simulator

EX_OK, EX_ERROR, EX_USAGE, EX_NOINPUT, EX_CONFIG = 0, 1, 64, 66, 78


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
    parser = argparse.ArgumentParser(prog="hamgr simulate", description="Show what the cluster would do about a CIB.")
    parser.add_argument("cib", metavar="CIB.xml", help="Pacemaker CIB file")
    parser.add_argument("--output", choices=("text", "json"), default="text")
    parser.add_argument("--at", metavar="TIME", help="decide as of this time (ISO 8601)")
    parser.add_argument("--node-up", action="append", default=[], metavar="NODE")
    parser.add_argument("--node-down", action="append", default=[], metavar="NODE")
    parser.add_argument("--node-fail", action="append", default=[], metavar="NODE")
    parser.add_argument("--op-fail", action="append", default=[], metavar="RSC_OP_INTERVAL@NODE=RC")
    return parser


def _failures(texts: list[str]) -> dict[str, int]:
    found = {}
    for text in texts:
        key, equals, rc = text.rpartition("=")
        if not equals or "@" not in key or not rc.isdigit():
            raise ValueError(f'--op-fail "{text}" is not of the form RSC_OP_INTERVAL@NODE=RC.')
        found[key] = int(rc)
    return found


def main(argv: list[str]) -> int:
    """Run the command; its exit code."""
    options = _parser().parse_args(argv)
    try:
        failing = _failures(options.op_fail)
        cib = load_xml(options.cib)
    except ValueError as error:
        print(f"hamgr simulate: {error}", file=sys.stderr)
        return EX_CONFIG if isinstance(error, CibError) else EX_USAGE
    except OSError as error:
        print(f"hamgr simulate: cannot read {options.cib}: {error.strerror}.", file=sys.stderr)
        return EX_NOINPUT
    now = datetime.now(UTC)
    if options.at:
        moment = parse_date(options.at)
        if moment is None:
            print(f'hamgr simulate: "{options.at}" is no ISO 8601 time.', file=sys.stderr)
            return EX_USAGE
        now = datetime.fromtimestamp(moment, UTC)
    cib = simulator.inject(cib, options.node_up, options.node_down, options.node_fail)
    transition, simulation, revised = answer(cib, now, failing)
    if options.output == "json":
        json.dump(document(transition, revised), sys.stdout)
        sys.stdout.write("\n")
    else:
        from hamgr.cli import simulate_text

        simulate_text.write(sys.stdout, cib, now, transition, simulation, revised)
    return EX_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
