"""`hamgr standby`, `unstandby` and `maintenance`: what a node may be used for."""

from __future__ import annotations

import click

from hamgr.api.exits import Exit
from hamgr.cli.group import target
from hamgr.cli.leader_client import ask


@click.command()
@click.argument("node")
@click.pass_context
def standby(ctx: click.Context, node: str) -> int:
    """Move everything off a node."""
    ask(target(ctx), "standby", {"node": node, "on": True})
    click.echo(f"{node} is in standby; undo: hamgr unstandby {node}")
    return Exit.OK


@click.command()
@click.argument("node")
@click.pass_context
def unstandby(ctx: click.Context, node: str) -> int:
    """Let resources onto a node again."""
    ask(target(ctx), "standby", {"node": node, "on": False})
    click.echo(f"{node} takes part again")
    return Exit.OK


@click.command()
@click.argument("state", type=click.Choice(["on", "off"]))
@click.argument("node", required=False, default="")
@click.pass_context
def maintenance(ctx: click.Context, state: str, node: str) -> int:
    """Leave a NODE, or all of the cluster, alone: nothing is started, stopped, monitored or fenced."""
    ask(target(ctx), "maintenance", {"node": node, "on": state == "on"})
    click.echo(f"maintenance of {node or 'the cluster'} is {state}")
    return Exit.OK
