"""`hamgr move`, `ban` and `clear`: where a resource is wanted, and where not."""

from __future__ import annotations

import click

from hamgr.api.exits import Exit
from hamgr.api.requests import Ban, Clear, Move
from hamgr.cli.connection import target
from hamgr.cli.exits import CommandError
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
    answer = ask(target(ctx), Move(resource, node, _role(promoted), _seconds(lifetime)))
    click.echo(f"{resource} now prefers {node} (constraint {answer.constraint}); undo: hamgr clear {resource}")
    return Exit.OK


@click.command()
@click.argument("resource")
@click.argument("node")
@_LIFETIME
@_PROMOTED
@click.pass_context
def ban(ctx: click.Context, resource: str, node: str, lifetime: str | None, promoted: bool) -> int:
    """Keep a resource off a node until `hamgr clear`."""
    answer = ask(target(ctx), Ban(resource, node, _role(promoted), _seconds(lifetime)))
    click.echo(f"{resource} stays off {node} (constraint {answer.constraint}); undo: hamgr clear {resource}")
    click.echo("WARNING: a resource that is banned from every node runs nowhere", err=True)
    return Exit.OK


@click.command()
@click.argument("resource")
@click.argument("node", required=False, default="")
@click.pass_context
def clear(ctx: click.Context, resource: str, node: str) -> int:
    """Undo moves and bans of a resource, all or those that name NODE."""
    cleared = ask(target(ctx), Clear(resource, node)).cleared
    for constraint in cleared:
        click.echo(f"removed {constraint}")
    if not cleared:
        click.echo(f"there was no move or ban of {resource} to undo")
    return Exit.OK


def _role(promoted: bool) -> str:
    return "Promoted" if promoted else ""


def _seconds(lifetime: str | None) -> float | None:
    try:
        seconds = None if lifetime is None else duration_ms(lifetime) / 1000
    except ValueError as error:
        raise CommandError(f"--lifetime: {error}", Exit.USAGE) from None
    if seconds == 0:
        text = "--lifetime: 0 would be over at once; leave it out, and it holds until `hamgr clear`"
        raise CommandError(text, Exit.USAGE)
    return seconds
