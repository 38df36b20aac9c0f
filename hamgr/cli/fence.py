"""`hamgr fence` and `hamgr unfence`: the leader does it; this shows each step as it happens and the proof it got."""

from __future__ import annotations

import json
from typing import Any

import click

from hamgr.cib import requests
from hamgr.cib.status import FenceStatus, complete
from hamgr.cli.asking import ask, ask_and_tell, confirm
from hamgr.cli.exits import CommandError, Exit
from hamgr.cli.group import target
from hamgr.cli.render import render_step

TIMEOUT_S = 300.0


@click.command()
@click.argument("what", metavar="POD|NODE")
@click.option("--level", default="", metavar="LEVEL", help="volume, node, watchdog or manual; default: as configured.")
@click.option("--reason", default="", help="Recorded with the fence.")
@click.option("--dry-run", is_flag=True, help="Only show the steps that would be taken, and on which objects.")
@click.option("--confirm", "confirmed", is_flag=True, help="You vouch that this NODE is off; nothing else is done.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--timeout", type=click.FloatRange(1), default=TIMEOUT_S, show_default=True, help="Seconds to wait.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def fence(
    ctx: click.Context,
    what: str,
    level: str,
    reason: str,
    dry_run: bool,
    confirmed: bool,
    yes: bool,
    timeout: float,
    output: str,
) -> int:
    """Make sure that a node or a pod cannot write any more.

    A pod is NAME or NAMESPACE/NAME. Everything that runs there and is managed starts elsewhere.
    """
    if confirmed:
        _vouch(what, yes)
        body: dict[str, Any] = {"node": what, "reason": reason}
    else:
        if not dry_run:
            confirm(f"Fence {what}? Whatever runs there is cut off from its volumes.", yes)
        body = {"target": what, "level": level, "reason": reason, "dry_run": dry_run}
    shower = _Shower(quiet=output == "json")
    answer = ask(target(ctx), requests.CONFIRM if confirmed else requests.FENCE, body, timeout, shower.show)
    record = _record(answer)
    shower.show(answer)
    if output == "json":
        click.echo(json.dumps(complete(record), indent=2, ensure_ascii=False))
    else:
        _conclude(record, dry_run)
    return Exit.OK if dry_run or record.outcome == "succeeded" else Exit.ERROR


@click.command()
@click.argument("node")
@click.pass_context
def unfence(ctx: click.Context, node: str) -> int:
    """Let a fenced node take part again."""
    return ask_and_tell(target(ctx), requests.UNFENCE, {"node": node}, f"{node} may take part again")


class _Shower:
    """Prints each step of a fence once, in the order in which they come."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._shown = 0

    def show(self, value: Any) -> None:
        steps = _record(value).steps
        for step in () if self._quiet else steps[self._shown :]:
            click.echo(render_step(step.at_s, step.step, step.detail))
        self._shown = max(self._shown, len(steps))


def _record(value: Any) -> FenceStatus:
    try:
        return FenceStatus.from_value(value)
    except ValueError as error:
        raise CommandError(f"the leader's answer is no fence record: {error}") from None


def _conclude(record: FenceStatus, dry_run: bool) -> None:
    if dry_run:
        click.echo(f"nothing was done: these are the steps for {record.target}")
        return
    level = f" by level {record.level}" if record.level else ""
    took = f" in {record.took_s:.1f} s" if record.took_s is not None else ""
    click.echo(f"{record.target}: {record.outcome}{level}{took}")
    if record.proof:
        click.echo(f"proof: {record.proof}")
    if record.error:
        click.echo(f"hamgr: the fence of {record.target} failed: {record.error}", err=True)


def _vouch(node: str, yes: bool) -> None:
    """The manual acknowledgement: a wrong word here loses data, so the node's name is typed."""
    if yes:
        return
    warning = f"If {node} is still running, two writers will destroy data. Type the node's name to vouch that it is off"
    if click.prompt(warning, default="", show_default=False) != node:
        raise CommandError("that is not the node's name: nothing was done", Exit.USAGE)
