"""`hamgr fence` and `hamgr unfence`: the leader does it; this shows each step as it happens and the proof it got."""

from __future__ import annotations

import json
import queue
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import click

from hamgr.api.exits import Exit
from hamgr.api.requests import Confirm, Fence, FencePlan, PlanFence, Unfence
from hamgr.api.status import FenceStatus, complete
from hamgr.api.wire import to_value
from hamgr.cli.connection import open_store, target
from hamgr.cli.exits import CommandError
from hamgr.cli.fencetools import devices, history, test, topology
from hamgr.cli.leader_client import ask, ask_through, confirm
from hamgr.cli.param_types import Seconds
from hamgr.cli.render.status import render_how, render_step
from hamgr.cli.screen import fitted
from hamgr.fencer.records import FenceRecord
from hamgr.fencer.status_view import as_status
from hamgr.store.store import Store
from hamgr.store.values import Change

FENCES = "fences/"
TIMEOUT_S = 300.0
ORDER = "order"  # the verb that is left out


class FenceGroup(click.Group):
    """`hamgr fence WHAT` fences; `hamgr fence VERB` only looks."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, *ctx.help_option_names):
            args = [ORDER, *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        return ("" if name == ORDER else name), command, rest

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[OPTIONS] POD|NODE")
        formatter.write_usage(ctx.command_path, "VERB ...", prefix="       ")

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        order = self.commands[ORDER]
        records = [
            record
            for param in order.params
            if isinstance(param, click.Option) and (record := param.get_help_record(ctx)) is not None
        ]
        with formatter.section("Options"):
            formatter.write_dl([*records, ("-h, --help", "Show this message and exit.")])
        verbs = [(name, command.get_short_help_str(80)) for name, command in self.commands.items() if name != ORDER]
        with formatter.section("Verbs"):
            formatter.write_dl(verbs)


class OrderCommand(click.Command):
    """The verb that is left out is left out of the usage line, too."""

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path.rstrip(), " ".join(self.collect_usage_pieces(ctx)))


@click.group(cls=FenceGroup)
def fence() -> None:
    """Make sure that a node or a pod cannot write any more.

    A pod is NAME or NAMESPACE/NAME. Everything that runs there and is managed starts elsewhere.
    """


@fence.command(ORDER, cls=OrderCommand, hidden=True)
@click.argument("what", metavar="POD|NODE")
@click.option("--level", default="", metavar="LEVEL", help="volume, node, watchdog or manual; default: as configured.")
@click.option("--reason", default="", help="Recorded with a confirmation.")
@click.option("--dry-run", is_flag=True, help="Only show the steps that would be taken, and on which objects.")
@click.option("--confirm", "confirmed", is_flag=True, help="You vouch that this NODE is off; nothing else is done.")
@click.option(
    "--anyway",
    is_flag=True,
    help="Also against the leader's doubts: its view is stale, the node looks alive, a disk there goes; recorded.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--timeout", type=Seconds(1), default=TIMEOUT_S, show_default=True, help="How long to wait for its end.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def order(
    ctx: click.Context,
    what: str,
    level: str,
    reason: str,
    dry_run: bool,
    confirmed: bool,
    anyway: bool,
    yes: bool,
    timeout: float,
    output: str,
) -> int:
    """Make sure that a node or a pod cannot write any more.

    A pod is NAME or NAMESPACE/NAME. Everything that runs there and is managed starts elsewhere.
    """
    _refuse_contradictions(ctx, dry_run=dry_run, confirmed=confirmed, level=level, reason=reason)
    if dry_run:
        return _plan(ask(target(ctx), PlanFence(what, level)), output)
    if confirmed:
        _vouch(what, yes)
        order: Fence | Confirm = Confirm(what, reason, anyway)
    else:
        confirm(f"Fence {what}? Whatever runs there is cut off from its volumes (--dry-run shows how).", yes)
        order = Fence(what, level, anyway)
    show = _Shower() if output == "text" else None
    store = open_store(target(ctx))
    try:
        record = follow(store, ask_through(store, order).fence, timeout, show or (lambda _status: None))
    finally:
        store.close()
    if show is None:
        click.echo(json.dumps(complete(record), indent=2, ensure_ascii=False))
    else:
        _conclude(record)
    return Exit.OK if record.outcome == "succeeded" else Exit.ERROR


@click.command()
@click.argument("node")
@click.pass_context
def unfence(ctx: click.Context, node: str) -> int:
    """Let a fenced node take part again, once it has restarted."""
    for entry in ask(target(ctx), Unfence(node)).removed:
        click.echo(f"removed {entry}")
    click.echo(f"{node} may take part again")
    return Exit.OK


def follow(store: Store, fence_id: str, timeout_s: float, on_change: Callable[[FenceStatus], None]) -> FenceStatus:
    """Follow a fence's record until it has ended, telling each change. Raises CommandError when that takes too long."""
    inbox: queue.Queue[Any] = queue.Queue()
    snapshot = store.read(FENCES + fence_id)
    for value in snapshot.values.values():
        inbox.put(value)

    def on_store(changes: Sequence[Change], _revision: int) -> None:
        for change in changes:
            if change.entry is not None:
                inbox.put(change.value)

    deadline = time.monotonic() + timeout_s
    goes_on = f"fence {fence_id} goes on without this command: see `hamgr status` and `hamgr fence history`"
    watch = store.watch(snapshot, on_store)
    try:
        while True:
            record = _read(inbox.get(timeout=max(0.0, deadline - time.monotonic())))
            on_change(record)
            if record.outcome != "pending":
                return record
    except queue.Empty:
        raise CommandError(f"not ended within {timeout_s:g} s; {goes_on}", Exit.TIMEOUT) from None
    except KeyboardInterrupt:
        raise CommandError(f"interrupted; {goes_on}", Exit.INTERRUPTED) from None
    finally:
        watch.stop()


def _read(value: Any) -> FenceStatus:
    try:
        return as_status(FenceRecord.from_json(value))
    except ValueError as error:
        raise CommandError(f"the fence's record cannot be read: {error}") from None


class _Shower:
    """Prints each step of a fence once, in the order in which they come."""

    def __init__(self) -> None:
        self._shown = 0

    def __call__(self, record: FenceStatus) -> None:
        for step in record.steps[self._shown :]:
            click.echo(fitted(render_step(step.at_s, step.step, step.detail)))
        self._shown = max(self._shown, len(record.steps))


def _conclude(record: FenceStatus) -> None:
    click.echo(f"{record.target}: {record.outcome}{render_how(record)}")
    if record.proof:
        click.echo(fitted(f"proof: {record.proof}"))
    if record.left:
        click.echo(f"not released in time: {record.left} (the leader goes on with it: `hamgr status`, Warnings)")
    if record.error:
        click.echo(f"hamgr: the fence of {record.target} failed: {record.error}", err=True)
    if record.outcome == "superseded":
        click.echo(f"hamgr: the fence of {record.target} was not carried through: {record.steps[-1].detail}", err=True)


def _plan(plan: FencePlan, output: str) -> int:
    if output == "json":
        click.echo(json.dumps(to_value(plan), indent=2, ensure_ascii=False))
        return Exit.OK
    for level in plan.levels:
        click.echo(f"level {level.level} on {plan.node}:")
        for number, step in enumerate(level.steps, 1):
            click.echo(f"{number:3}. {step}")
        click.echo(f"  cannot be used: {level.unfit}" if level.unfit else f"  proves: {level.proves}")
    click.echo("nothing was done")
    return Exit.OK


def _refuse_contradictions(ctx: click.Context, *, dry_run: bool, confirmed: bool, level: str, reason: str) -> None:
    """Raises UsageError for options of which one would be left out silently."""
    if dry_run and confirmed:
        raise click.UsageError("--dry-run does nothing, --confirm puts your word on record: choose one", ctx)
    if confirmed and level:
        raise click.UsageError("--confirm is level manual: leave --level out", ctx)
    if reason and not confirmed:
        raise click.UsageError("--reason is recorded with --confirm, and with nothing else", ctx)


def _vouch(node: str, yes: bool) -> None:
    """The manual acknowledgement: a wrong word here loses data, so the node's name is typed."""
    if yes:
        return
    if not sys.stdin.isatty():
        text = f"Is {node} off? If not, two writers will destroy data. Say --yes, as there is no terminal to ask on"
        raise CommandError(text, Exit.USAGE)
    warning = f"If {node} is still running, two writers will destroy data. Type the node's name to vouch that it is off"
    if click.prompt(warning, default="", show_default=False) != node:
        raise CommandError("that is not the node's name: nothing was done", Exit.USAGE)


fence.add_command(history)
fence.add_command(devices)
fence.add_command(topology)
fence.add_command(test)
