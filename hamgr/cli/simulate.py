"""``hamgr simulate``: what the cluster would do about a CIB, as crm_simulate -S shows it.

Kept lean: a run is a process, so nothing is imported that the answer does not need.
"""

from __future__ import annotations

import gc
import os
import sys
import time

if __name__ == "__main__":
    gc.disable()  # as in hamgr.cli.main: before the imports, which would otherwise set it off several times

from hamgr.api.exits import Exit
from hamgr.cib.model import Cib
from hamgr.cli import simulate_input, simulate_options
from hamgr.cli.exits import CommandError
from hamgr.cli.simulate_options import Options
from hamgr.scheduler import Transition, schedule, simulator
from hamgr.scheduler.engine import effective_time, run

TYPE_CHECKING = False  # as typing has it; neither that nor datetime is cheap enough to import for an annotation
if TYPE_CHECKING:
    pass


def _failures(texts: list[str], cib: Cib, now: int) -> dict[str, int]:
    """The operations that are told to fail, and how: exit codes by "RESOURCE_OPERATION_INTERVAL@NODE"."""
    found = {}
    for text in texts:
        key, _, rc = text.rpartition("=")
        operation, _, node = key.rpartition("@")
        resource, task, interval = [*operation.rsplit("_", 2), "", ""][:3]
        if not (resource and task and interval.isdigit() and node and rc.isdigit() and int(rc) < 256):
            what = f'--op-fail "{text}" is not of the form RSC_OP_INTERVAL@NODE=RC'
            raise CommandError(f"{what}, such as db_monitor_10000@n1=7", Exit.USAGE)
        _known_node(node, cib)
        from hamgr.scheduler.unpack import status

        work = status.unpack(cib, effective_time(cib, now))
        if resource not in simulate_input.resource_names(work):
            raise simulate_input.no_resource(resource, work)
        found[key] = int(rc)
    return found


def _unhappened(failing: dict[str, int], simulation: simulator.Simulation) -> list[str]:
    """Operations that were told to fail and have no part in the transition."""
    done = {
        f"{name}_{action.task}_{action.interval_ms}@{action.node}"
        for action in simulation.executed
        for name in (action.resource, action.history_id)
    }
    # After a failure nothing more is executed, so only without one does this tell that there is no such action.
    return [] if done & set(failing) else list(failing)


def _known_node(name: str, cib: Cib) -> None:
    known = {node.name for node in cib.nodes} | {state.name for state in cib.node_states}
    if name not in known:
        near = simulate_input.meant(name, known) or f"; nodes are {', '.join(sorted(known))}"
        raise CommandError(f"there is no node {name}{near}", Exit.NO_HOST)


def _moment(text: str) -> int:
    """Seconds since the epoch."""
    if not text:
        return int(time.time())
    from hamgr.cib.dates import parse_date

    moment = parse_date(text)
    if moment is None:
        raise CommandError(f'"{text}" is no ISO 8601 time', Exit.USAGE)
    return moment


def _cib(options: Options) -> Cib:
    if bool(options.file) == options.live:
        raise CommandError("name one thing to simulate: a CIB.xml, a cluster file, or --live", Exit.USAGE)
    cib = simulate_input.live(options.config) if options.live else simulate_input.from_file(options.file)
    for name in (*options.node_up, *options.node_down, *options.node_fail):
        _known_node(name, cib)
    return simulator.inject(cib, options.node_up, options.node_down, options.node_fail)


def main(argv: list[str]) -> int:
    """Run the command; its exit code."""
    live = False
    try:
        options = simulate_options.parse(argv)
        live = options.live
        return _run(options)
    except CommandError as error:
        print(f"hamgr simulate: {error}", file=sys.stderr)
        return error.code
    except BrokenPipeError:  # `hamgr simulate ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except Exception as error:
        if not live:
            raise
        from hamgr.store.errors import StoreError

        if not isinstance(error, StoreError):
            raise
        print(f"hamgr simulate: {error}", file=sys.stderr)
        return Exit.UNAVAILABLE


def _run(options: Options) -> int:
    if options.help:
        sys.stdout.write(simulate_options.help_text())
        return Exit.OK
    now, cib = _moment(options.at), _cib(options)
    failing = _failures(options.op_fail, cib, now)
    transition = schedule(cib, now)
    for warning in transition.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if options.why:
        sys.stdout.write(_why(options.why, cib, now, options.output))
    else:
        simulation = simulator.execute(cib, transition, now, failing)
        for key in _unhappened(failing, simulation):
            print(f"warning: --op-fail: there is no {key} in this transition, so it cannot fail", file=sys.stderr)
        show = _json if options.output == "json" else _text
        sys.stdout.write(show(cib, now, transition, simulation))
    if options.show_scores and options.output == "text":
        from hamgr.cli.render.scores import score_lines

        sys.stdout.write("\n".join(("\nAllocation scores:", *score_lines(run(cib, now)))) + "\n")
    sys.stdout.flush()
    return Exit.OK


def _json(_cib: Cib, now: int, transition: Transition, simulation: simulator.Simulation) -> str:
    from hamgr.cli.render.json import render

    return render(transition, simulator.view(simulation.cib, now))


def _text(cib: Cib, now: int, transition: Transition, simulation: simulator.Simulation) -> str:
    from hamgr.cli.render.simulate import render
    from hamgr.scheduler.unpack import status

    when = effective_time(cib, now)
    return render(status.unpack(cib, when), transition, simulation, status.unpack(simulation.cib, when))


def _why(name: str, cib: Cib, now: int, output: str) -> str:
    from hamgr.cli.render import why
    from hamgr.scheduler.output import explain

    work = run(cib, now, explain=True)
    accounts = explain.accounts(work, name)
    if not accounts:
        raise simulate_input.no_resource(name, work)
    if output == "json":
        from hamgr.cli.json_text import dumps

        return dumps({"why": why.plain(accounts)}) + "\n"
    return why.render(accounts)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    gc.freeze()
    sys.exit(code)
