"""`hamgr fence history|devices|topology|test`: what was fenced, with what it would be, and whether that works."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import tzinfo

import click

from hamgr.api.exits import Exit
from hamgr.api.requests import AskDevice, FenceDeviceList, ListDevices, ListLevels, Topology, TopologyLevel
from hamgr.api.status import FenceStatus, complete
from hamgr.api.wire import to_value
from hamgr.cli.connection import open_store, target
from hamgr.cli.exits import CommandError
from hamgr.cli.leader_client import ask
from hamgr.cli.name_check import require_node
from hamgr.cli.render.status import render_how, render_step, render_time
from hamgr.cli.screen import fitted
from hamgr.fencer.history import FENCES, records_of
from hamgr.fencer.records import FenceRecord
from hamgr.fencer.status_view import as_status

DEVICE_TIMEOUT_S = 180.0

_output = click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)


@click.command()
@click.argument("what", metavar="[NODE|POD]", required=False, default="")
@click.option("-n", "--number", type=click.IntRange(1), default=20, show_default=True, help="How many, newest first.")
@_output
@click.pass_context
def history(ctx: click.Context, what: str, number: int, output: str) -> int:
    """Show past fences, with each step and proof."""
    store = open_store(target(ctx))
    try:
        records = records_of(store.read(FENCES))
        chosen = [record for record in reversed(records) if _concerns(record, what)][:number]
        if what and not chosen and "-" not in what and "/" not in what:
            require_node(store, what)
    finally:
        store.close()
    if output == "json":
        click.echo(json.dumps([complete(as_status(record)) for record in chosen], indent=2, ensure_ascii=False))
    elif chosen:
        click.echo(fitted("\n\n".join("\n".join(render_fence(as_status(record))) for record in chosen)))
    else:
        click.echo(f"{what} was not fenced, as far as the history goes" if what else "nothing was fenced")
    return Exit.OK


@click.command()
@_output
@click.pass_context
def devices(ctx: click.Context, output: str) -> int:
    """Show the fence devices, and what is wrong with them."""
    answer = ask(target(ctx), ListDevices())
    _show(answer, render_devices(answer), output)
    return Exit.OK


@click.command()
@_output
@click.pass_context
def topology(ctx: click.Context, output: str) -> int:
    """Show each node's fencing levels, in order."""
    answer = ask(target(ctx), ListLevels())
    _show(answer, render_topology(answer), output)
    return Exit.OK


@click.command()
@click.argument("device")
@_output
@click.pass_context
def test(ctx: click.Context, device: str, output: str) -> int:
    """Ask a device whether it works; nothing is switched."""
    answer = ask(target(ctx), AskDevice(device), DEVICE_TIMEOUT_S)
    if output == "json":
        click.echo(json.dumps(to_value(answer), indent=2, ensure_ascii=False))
        return Exit.ERROR if answer.trouble else Exit.OK
    click.echo(f"device {device}: {'does not work' if answer.trouble else 'works'}")
    for node, state in answer.states.items():
        click.echo(f"  {node}: {state}")
    if not answer.states:
        click.echo("  no level of any node uses it")
    if answer.trouble:
        raise CommandError(answer.trouble)
    return Exit.OK


def render_fence(fence: FenceStatus, zone: tzinfo | None = None) -> Iterator[str]:
    """One fence in full."""
    how = render_how(fence)
    yield f"{render_time(fence.started_at, zone)}  {fence.action} of {fence.target}: {fence.outcome}{how}"
    yield f"  id {fence.id}, asked for by {fence.requested_by}, done by {fence.executed_by} (token {fence.token})"
    if fence.reason and fence.reason != f"asked for by {fence.requested_by}":
        yield f"  why: {fence.reason}"
    yield from (f"  {render_step(step.at_s, step.step, step.detail)}" for step in fence.steps)
    if fence.proof:
        yield f"  proof: {fence.proof}"
    if fence.left:
        yield f"  not released in time: {fence.left}"
    if fence.error:
        yield f"  error: {fence.error}"


def _show(answer: FenceDeviceList | Topology, lines: Iterator[str], output: str) -> None:
    """An answer of the leader's, as it came or as lines for people."""
    for line in (json.dumps(to_value(answer), indent=2, ensure_ascii=False),) if output == "json" else lines:
        click.echo(line)


def render_devices(answer: FenceDeviceList) -> Iterator[str]:
    """The devices, one block each, then what is wrong."""
    for device in answer.devices:
        used = ", ".join(device.nodes) or "no node"
        yield f"{device.name} ({device.agent}), time-out {device.timeout_s:g} s, used for {used}"
        if device.params:
            yield f"  parameters: {', '.join(device.params)}"
        if device.params_from:
            yield f"  more parameters from {device.params_from}"
        yield from (f"  {node} is called {plug} there" for node, plug in device.port_map.items())
    if not answer.devices:
        yield "no fence devices are configured"
    yield from (f"trouble: {trouble}" for trouble in answer.troubles)


def render_topology(answer: Topology) -> Iterator[str]:
    """The levels, numbered, of each node."""
    for entry in answer.nodes:
        yield f"{entry.node}:"
        for number, level in enumerate(entry.levels, 1):
            yield f"{number:3}. {_level(level, entry.promise_s)}"


def _level(level: TopologyLevel, promise_s: float | None) -> str:
    parts = [level.level]
    if level.devices:
        parts.append(f"devices {', '.join(level.devices)} ({level.action})")
    if level.level == "watchdog":
        fit = f"it stops within {promise_s:g} s" if promise_s is not None else "REFUSED: it does not fence itself"
        parts.append(fit)
    parts.append(f"time-out {level.timeout_s:g} s")
    if level.attempts > 1:
        parts.append(f"{level.attempts} attempts")
    if level.delay_s or level.random_delay_s:
        parts.append(f"delay {level.delay_s:g} s and up to {level.random_delay_s:g} s more")
    return ", ".join(parts)


def _concerns(record: FenceRecord, what: str) -> bool:
    pods = record.target.pods or ()
    return what in ("", record.target.node, *(name for _, name in pods), *("/".join(pod) for pod in pods))
