"""`hamgr move`, `ban` and `clear`: where a resource is wanted, and where not."""

from __future__ import annotations

import time

import click

from hamgr.cib import requests
from hamgr.cib.config_options import duration_ms
from hamgr.cli.asking import ask_and_tell
from hamgr.cli.exits import CommandError, Exit
from hamgr.cli.group import target

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
    body = {"resource": resource, "node": node, "role": _role(promoted), "until": _until(lifetime)}
    return ask_and_tell(
        target(ctx), requests.MOVE, body, f"{resource} now prefers {node}; undo: hamgr clear {resource}"
    )


@click.command()
@click.argument("resource")
@click.argument("node", required=False, default="")
@_LIFETIME
@_PROMOTED
@click.pass_context
def ban(ctx: click.Context, resource: str, node: str, lifetime: str | None, promoted: bool) -> int:
    """Keep a resource off a node (default: the one where it runs) until `hamgr clear`.

    WARNING: a resource that is banned from every node runs nowhere.
    """
    body = {"resource": resource, "node": node, "role": _role(promoted), "until": _until(lifetime)}
    where = node or "the node where it ran"
    return ask_and_tell(target(ctx), requests.BAN, body, f"{resource} stays off {where}; undo: hamgr clear {resource}")


@click.command()
@click.argument("resource")
@click.argument("node", required=False, default="")
@click.pass_context
def clear(ctx: click.Context, resource: str, node: str) -> int:
    """Undo moves and bans of a resource, all or those that name NODE."""
    body = {"resource": resource, "node": node}
    return ask_and_tell(target(ctx), requests.CLEAR, body, f"moves and bans of {resource} are cleared")


def _role(promoted: bool) -> str:
    return "Promoted" if promoted else ""


def _until(lifetime: str | None) -> float | None:
    if lifetime is None:
        return None
    try:
        return time.time() + duration_ms(lifetime) / 1000
    except ValueError as error:
        raise CommandError(f"--lifetime: {error}", Exit.USAGE) from None
