"""`hamgr cleanup`, `enable`, `disable`, `manage` and `unmanage`: what may be done with a resource."""

from __future__ import annotations

import click

from hamgr.cib import requests
from hamgr.cli.asking import ask_and_tell
from hamgr.cli.group import target


@click.command()
@click.argument("resource", required=False, default="")
@click.option("--node", default="", help="Only on this node.")
@click.pass_context
def cleanup(ctx: click.Context, resource: str, node: str) -> int:
    """Forget failures of a resource (default: all) and look again at what is running."""
    body = {"resource": resource, "node": node}
    where = f" on {node}" if node else ""
    return ask_and_tell(target(ctx), requests.CLEANUP, body, f"cleaned up {resource or 'all resources'}{where}")


@click.command()
@click.argument("resource")
@click.pass_context
def enable(ctx: click.Context, resource: str) -> int:
    """Let a resource run: undoes `hamgr disable`."""
    return _meta(ctx, resource, "target-role", None, f"{resource} may run")


@click.command()
@click.argument("resource")
@click.pass_context
def disable(ctx: click.Context, resource: str) -> int:
    """Stop a resource and keep it stopped."""
    return _meta(ctx, resource, "target-role", "Stopped", f"{resource} is to be stopped")


@click.command()
@click.argument("resource")
@click.pass_context
def manage(ctx: click.Context, resource: str) -> int:
    """Let the cluster start and stop a resource again: undoes `hamgr unmanage`."""
    return _meta(ctx, resource, "is-managed", None, f"{resource} is managed")


@click.command()
@click.argument("resource")
@click.pass_context
def unmanage(ctx: click.Context, resource: str) -> int:
    """Leave a resource as it is, whatever happens."""
    return _meta(ctx, resource, "is-managed", "false", f"{resource} is left as it is")


def _meta(ctx: click.Context, resource: str, name: str, value: str | None, done: str) -> int:
    return ask_and_tell(target(ctx), requests.META, {"resource": resource, "name": name, "value": value}, done)
