"""`hamgr cleanup`: what has failed is forgotten, and looked at again."""

from __future__ import annotations

import click

from hamgr.api.exits import Exit
from hamgr.api.requests import Cleanup
from hamgr.cli.connection import target
from hamgr.cli.leader_client import ask


@click.command()
@click.argument("resource", required=False, default="")
@click.option("--node", default="", help="Only on this node.")
@click.pass_context
def cleanup(ctx: click.Context, resource: str, node: str) -> int:
    """Forget failures of a resource (default: all) and look again at what is running."""
    cleaned = ask(target(ctx), Cleanup(resource, node)).cleaned
    for entry in cleaned:
        click.echo(f"cleaned up {entry}")
    if not cleaned:
        click.echo("there were no failures to clean up")
    return Exit.OK
