"""`hamgr move`, `ban` and `clear`: where a resource is wanted, and where not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from hamgr.api.exits import Exit
from hamgr.cli.exits import CommandError
from hamgr.cli.group import target
from hamgr.cli.leader_client import ask
from hamgr.clusterfile.options import duration_ms

_LIFETIME = click.option("--lifetime", metavar="DURATION", help="Undo it by itself after 30min, 2h, ...")
_PROMOTED = click.option("--promoted", is_flag=True, help="Only the promoted role.")


@click.command()
@click.argument("resource")
@click.argument("node")
@_LIFETIME
@_PROMOTED
@click.pass_context
def move(ctx: click.Context, resource: str, node: str, lifetime: str | None, promoted: bool) -> int:
    """Move a resource to a node, and keep it there until `hamgr clear`."""
    answer = ask(target(ctx), "move", _body(resource, node, lifetime, promoted))
    click.echo(f"{resource} now prefers {node} ({_constraint(answer)}); undo: hamgr clear {resource}")
    return Exit.OK


@click.command()
@click.argument("resource")
@click.argument("node")
@_LIFETIME
@_PROMOTED
@click.pass_context
def ban(ctx: click.Context, resource: str, node: str, lifetime: str | None, promoted: bool) -> int:
    """Keep a resource off a node until `hamgr clear`."""
    answer = ask(target(ctx), "ban", _body(resource, node, lifetime, promoted))
    click.echo(f"{resource} stays off {node} ({_constraint(answer)}); undo: hamgr clear {resource}")
    click.echo("WARNING: a resource that is banned from every node runs nowhere", err=True)
    return Exit.OK


@click.command()
@click.argument("resource")
@click.argument("node", required=False, default="")
@click.pass_context
def clear(ctx: click.Context, resource: str, node: str) -> int:
    """Undo moves and bans of a resource, all or those that name NODE."""
    answer = ask(target(ctx), "clear", {"resource": resource, "node": node})
    cleared = answer.get("cleared", ())
    for constraint in cleared:
        click.echo(f"removed {constraint}")
    if not cleared:
        click.echo(f"there was no move or ban of {resource} to undo")
    return Exit.OK


def _body(resource: str, node: str, lifetime: str | None, promoted: bool) -> dict[str, Any]:
    role = "Promoted" if promoted else ""
    return {"resource": resource, "node": node, "role": role, "lifetime_s": _seconds(lifetime)}


def _constraint(answer: Mapping[str, Any]) -> str:
    return f"constraint {answer.get('constraint', '')}".rstrip()


def _seconds(lifetime: str | None) -> float | None:
    try:
        seconds = None if lifetime is None else duration_ms(lifetime) / 1000
    except ValueError as error:
        raise CommandError(f"--lifetime: {error}", Exit.USAGE) from None
    if seconds == 0:
        text = "--lifetime: 0 would be over at once; leave it out, and it holds until `hamgr clear`"
        raise CommandError(text, Exit.USAGE)
    return seconds
