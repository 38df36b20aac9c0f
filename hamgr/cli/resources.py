"""`hamgr cleanup`, `enable`, `disable`, `manage` and `unmanage`: what may be done with a resource."""

from __future__ import annotations

import click

from hamgr.api.exits import Exit
from hamgr.cli.group import target
from hamgr.cli.leader_client import ask


@click.command()
@click.argument("resource", required=False, default="")
@click.option("--node", default="", help="Only on this node.")
@click.pass_context
def cleanup(ctx: click.Context, resource: str, node: str) -> int:
    """Forget failures of a resource (default: all) and look again at what is running."""
    answer = ask(target(ctx), "cleanup", {"resource": resource, "node": node})
    cleaned = answer.get("cleaned", ())
    for entry in cleaned:
        click.echo(f"cleaned up {entry}")
    if not cleaned:
        click.echo("there were no failures to clean up")
    return Exit.OK


@click.command()
@click.argument("resource")
@click.pass_context
def enable(ctx: click.Context, resource: str) -> int:
    """Let a resource run: undoes `hamgr disable`."""
    ask(target(ctx), "target-role", {"resource": resource, "role": None})
    click.echo(f"{resource} may run")
    return Exit.OK


@click.command()
@click.argument("resource")
@click.pass_context
def disable(ctx: click.Context, resource: str) -> int:
    """Stop a resource and keep it stopped."""
    ask(target(ctx), "target-role", {"resource": resource, "role": "Stopped"})
    click.echo(f"{resource} is to be stopped; undo: hamgr enable {resource}")
    return Exit.OK


@click.command()
@click.argument("resource")
@click.pass_context
def unmanage(ctx: click.Context, resource: str) -> int:
    """Leave a resource as it is: it is watched, but neither started nor stopped."""
    ask(target(ctx), "managed", {"resource": resource, "on": False})
    click.echo(f"{resource} is left alone; undo: hamgr manage {resource}")
    return Exit.OK


@click.command()
@click.argument("resource")
@click.pass_context
def manage(ctx: click.Context, resource: str) -> int:
    """Let the cluster look after a resource again: undoes `hamgr unmanage`."""
    ask(target(ctx), "managed", {"resource": resource, "on": True})
    click.echo(f"{resource} is managed as the cluster file says")
    return Exit.OK
